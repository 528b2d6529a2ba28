//! What is wrong with what a user wrote: whose fault, where, what was expected, what to do next.

use crate::origin::{Location, ObjectRef};
use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is not accepted.
    Error,
    /// Accepted, but probably not what was meant.
    Warning,
    Info,
}

/// One finding about one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// A stable code in CamelCase, used as a condition reason: `UnknownField`, `WrongType`, `UnsupportedValue`, `UnknownReference`, …
    pub code: &'static str,
    pub object: Option<ObjectRef>,
    /// Field path; empty for the whole object.
    pub path: String,
    pub location: Option<Location>,
    pub message: String,
    /// What to do, as a whole sentence or the nearest valid name: `did you mean "weight"?`
    pub help: Option<String>,
    /// The source line at `location` with a caret line beneath, when the text is at hand.
    pub excerpt: Option<String>,
}

/// `reviews.yaml:14:9: error[UnknownField]: unknown field "wieght" in spec.http[0].route[0]` then excerpt and help, indented.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        if let Some(object) = &self.object {
            write!(f, " ({object})")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{}", excerpt.trim_end_matches('\n'))?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}
