//! Where a decision comes from: the object, its generation, the field, and the file and line when one is known.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A user's object by kind, namespace and name, as users type it: `VirtualService default/reviews`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    pub fn new(kind: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => write!(f, "{} {}", self.kind, self.name),
            false => write!(f, "{} {}/{}", self.kind, self.namespace, self.name),
        }
    }
}

/// A place in a file. Lines and columns start at 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The origin of a node of the model: which object said it, at which generation, in which field, and where in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    pub object: ObjectRef,
    /// `metadata.generation` of the object when it was translated.
    pub generation: i64,
    /// Field path inside the object, e.g. `spec.http[0].route[1]`; empty for the whole object.
    pub path: String,
    /// Known when the object was read from a file that the control plane (or `taut apply`) saw.
    pub location: Option<Location>,
}

impl Origin {
    /// The origin of a default that no object set, e.g. `built-in default: retries`.
    pub fn built_in(what: &str) -> Self {
        Self { object: ObjectRef::new("built-in default:", "", what), ..Self::default() }
    }

    pub fn is_built_in(&self) -> bool {
        self.object.kind == "built-in default:"
    }

    /// The same object, another field.
    pub fn at(&self, path: impl Into<String>, location: Option<Location>) -> Self {
        Self { path: path.into(), location: location.or_else(|| self.location.clone()), ..self.clone() }
    }
}

/// `VirtualService default/reviews@3 spec.http[0] (reviews.yaml:12:5)`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if self.generation > 0 {
            write!(f, "@{}", self.generation)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        match &self.location {
            Some(location) => write!(f, " ({location})"),
            None => Ok(()),
        }
    }
}
