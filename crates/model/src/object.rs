//! One user object as it was written: its kind, its names, its JSON, and where each node stood in a file.

use crate::kinds::Kind;
use crate::origin::{Location, ObjectRef, Origin};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Field path (`spec.http[0].route`) -> place in the file. The key of a map entry is where its value's path points.
pub type Places = BTreeMap<String, Location>;

#[derive(Clone, Debug)]
pub struct Object {
    pub kind: &'static Kind,
    /// Empty for cluster-scoped kinds. `default` is filled in when a namespaced object names none.
    pub namespace: String,
    pub name: String,
    /// The whole object, `apiVersion` and `kind` included.
    pub value: Value,
    pub places: Option<Arc<Places>>,
}

impl Object {
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::new(self.kind.kind, self.namespace.clone(), self.name.clone())
    }

    /// `metadata.generation`, 0 when the object never went through an API.
    pub fn generation(&self) -> i64 {
        self.value["metadata"]["generation"].as_i64().unwrap_or(0)
    }

    /// The origin of the node at `path`; the nearest enclosing node's place is taken when it has none of its own.
    pub fn origin(&self, path: &str) -> Origin {
        Origin { object: self.reference(), generation: self.generation(), path: path.to_owned(), location: self.location(path) }
    }

    pub fn location(&self, path: &str) -> Option<Location> {
        let places = self.places.as_deref()?;
        let mut path = path;
        loop {
            if let Some(found) = places.get(path) {
                return Some(found.clone());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}
