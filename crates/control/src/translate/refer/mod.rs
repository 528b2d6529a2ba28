//! References that lead nowhere and objects in each other's way: findings that need all objects to be known. None of them
//! keeps an object from being accepted.

mod conflicts;
mod destinations;
mod notes;
mod policies;
mod routes;
mod world;

use super::translation::Translation;
use notes::Notes;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::Problem;
use world::World;

/// Findings about references and conflicts, by the object that they are about.
pub fn references(objects: &[Arc<Object>], translation: &Translation) -> BTreeMap<ObjectRef, Vec<Problem>> {
    let world = World::new(objects, translation);
    let mut notes = Notes::new(objects);
    for route in translation.routes.values() {
        routes::check(&world, route, &mut notes);
    }
    conflicts::check(translation, &mut notes);
    for destination in translation.destinations.values() {
        destinations::check(&world, destination, &mut notes);
    }
    for policy in translation.authorizations.values() {
        policies::check(&world, policy, &mut notes);
        policies::check_provider(translation, policy, &mut notes);
    }
    destinations::check_selectors(&world, translation, &mut notes);
    notes.finish()
}
