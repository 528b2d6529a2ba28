//! References that lead nowhere and objects in each other's way: findings that need all objects to be known. None of them
//! keeps an object from being accepted.

mod conflicts;
mod destinations;
mod policies;
mod routes;
mod world;

use super::reader::problem;
use super::translation::Translation;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use world::World;

/// Findings about references and conflicts, by the object that they are about.
pub fn references(objects: &[Arc<Object>], translation: &Translation) -> BTreeMap<ObjectRef, Vec<Problem>> {
    let world = World::new(objects, translation);
    let mut notes = Notes { objects: objects.iter().map(|object| (object.reference(), object.as_ref())).collect(), found: BTreeMap::new() };
    for route in translation.routes.values() {
        routes::check(&world, route, &mut notes);
    }
    conflicts::check(translation, &mut notes);
    for destination in translation.destinations.values() {
        destinations::check(&world, destination, &mut notes);
    }
    for policy in translation.authorizations.values() {
        policies::check(&world, policy, &mut notes);
    }
    destinations::check_selectors(&world, translation, &mut notes);
    notes.found
}

/// What was found so far.
pub(super) struct Notes<'a> {
    objects: BTreeMap<ObjectRef, &'a Object>,
    found: BTreeMap<ObjectRef, Vec<Problem>>,
}

impl Notes<'_> {
    fn add(&mut self, severity: Severity, code: &'static str, about: &ObjectRef, path: &str, message: String, help: Option<String>) {
        if let Some(object) = self.objects.get(about) {
            let found = problem(object, severity, code, path, message, help);
            self.found.entry(about.clone()).or_default().push(found);
        }
    }

    fn warn(&mut self, code: &'static str, about: &ObjectRef, path: &str, message: String, help: Option<String>) {
        self.add(Severity::Warning, code, about, path, message, help);
    }
}
