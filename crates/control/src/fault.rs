//! Why the control plane cannot start or go on, in one line that says what to do.

use std::fmt;

/// One fault: what happened, and what the operator can do about it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    /// What to do next, as a whole sentence.
    pub help: String,
}

impl Fault {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what, self.help)
    }
}

impl std::error::Error for Fault {}
