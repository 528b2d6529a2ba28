//! Findings as they are made.

use crate::translate::problem;
use std::fmt::Display;
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};

#[derive(Default)]
pub struct Findings {
    found: Vec<Problem>,
}

impl Findings {
    pub fn add(&mut self, severity: Severity, name: &'static str, object: &Object, path: &str, message: impl Display, help: Option<String>) {
        let message = if path.is_empty() { message.to_string() } else { format!("{path}: {message}") };
        self.found.push(problem(object, severity, name, path, message, help));
    }

    pub fn warn(&mut self, name: &'static str, object: &Object, path: &str, message: impl Display) {
        self.add(Severity::Warning, name, object, path, message, None);
    }

    pub fn info(&mut self, name: &'static str, object: &Object, path: &str, message: impl Display) {
        self.add(Severity::Info, name, object, path, message, None);
    }

    pub fn finish(self) -> Vec<Problem> {
        self.found
    }
}
