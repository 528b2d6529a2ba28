//! Findings as they are made, by the object that they are about.

use super::super::reader::problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};

/// What was found so far.
pub struct Notes<'a> {
    objects: BTreeMap<ObjectRef, &'a Object>,
    found: BTreeMap<ObjectRef, Vec<Problem>>,
}

impl<'a> Notes<'a> {
    pub fn new(objects: &'a [Arc<Object>]) -> Self {
        Self { objects: objects.iter().map(|object| (object.reference(), object.as_ref())).collect(), found: BTreeMap::new() }
    }

    pub fn finish(self) -> BTreeMap<ObjectRef, Vec<Problem>> {
        self.found
    }

    pub fn add(&mut self, severity: Severity, code: &'static str, about: &ObjectRef, path: &str, message: String, help: Option<String>) {
        if let Some(object) = self.objects.get(about) {
            let found = problem(object, severity, code, path, message, help);
            let all = self.found.entry(about.clone()).or_default();
            // A delegate is looked at once for every root.
            if !all.contains(&found) {
                all.push(found);
            }
        }
    }

    pub fn warn(&mut self, code: &'static str, about: &ObjectRef, path: &str, message: String, help: Option<String>) {
        self.add(Severity::Warning, code, about, path, message, help);
    }
}
