//! What a schema says about merging: which maps and lists are taken whole, and what tells the elements of a list apart.

use serde_json::{Value, json};
use std::sync::LazyLock;

/// A place in a schema; a place that the schema does not describe has granular maps and atomic lists, as for
/// Kubernetes' schemaless objects.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    schema: Option<&'a Value>,
    root: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListShape<'a> {
    /// Replaced as a whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by the values of these fields.
    Map(Vec<&'a str>),
}

impl<'a> Shape<'a> {
    /// The shape of a whole object. Its `metadata` is `object_meta()`, whatever the schema says of it.
    pub fn root(schema: &'a Value) -> Self {
        Shape { schema: Some(schema), root: true }
    }

    pub fn field(self, name: &str) -> Shape<'a> {
        if self.root && name == "metadata" {
            return Shape { schema: Some(object_meta()), root: false };
        }
        let schema = self.declared(name).or_else(|| self.get("additionalProperties"));
        Shape { schema, root: false }
    }

    /// Whether the field is one of the schema's own, not an entry of a map.
    pub fn declares(self, name: &str) -> bool {
        (self.root && name == "metadata") || self.declared(name).is_some()
    }

    pub fn items(self) -> Shape<'a> {
        Shape { schema: self.get("items"), root: false }
    }

    pub fn is_atomic_map(self) -> bool {
        self.text("x-kubernetes-map-type") == Some("atomic")
    }

    /// Server-side apply's view of a list.
    pub fn list(self) -> ListShape<'a> {
        match self.text("x-kubernetes-list-type") {
            Some("set") => ListShape::Set,
            Some("map") => match self.map_keys() {
                keys if keys.is_empty() => ListShape::Atomic,
                keys => ListShape::Map(keys),
            },
            _ => ListShape::Atomic,
        }
    }

    /// Strategic merge's view of a list: its own extensions first, then those of server-side apply.
    pub fn strategic_list(self) -> ListShape<'a> {
        let strategies: Vec<&str> = self.text("x-kubernetes-patch-strategy").map(|text| text.split(',').collect()).unwrap_or_default();
        match (strategies.contains(&"merge"), self.text("x-kubernetes-patch-merge-key")) {
            (true, Some(key)) => ListShape::Map(vec![key]),
            (true, None) => ListShape::Set,
            (false, _) if !strategies.is_empty() => ListShape::Atomic,
            (false, _) => self.list(),
        }
    }

    /// Whether strategic merge replaces this map as a whole.
    pub fn strategic_map_is_replaced(self) -> bool {
        self.text("x-kubernetes-patch-strategy").is_some_and(|text| text.split(',').any(|strategy| strategy == "replace")) || self.is_atomic_map()
    }

    /// The default of a field, which takes part in a list key when the field is not given.
    pub fn default_of(self, name: &str) -> Option<&'a Value> {
        self.declared(name)?.get("default")
    }

    fn map_keys(self) -> Vec<&'a str> {
        self.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn declared(self, name: &str) -> Option<&'a Value> {
        self.get("properties")?.get(name)
    }

    fn get(self, name: &str) -> Option<&'a Value> {
        self.schema?.get(name)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }
}

/// The schema of `metadata` (Kubernetes API conventions, "Metadata").
pub fn object_meta() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        json!({
            "type": "object",
            "description": "What every object has: its names, and what the mesh keeps about it.",
            "properties": {
                "name": text("Unique among the objects of its kind in its namespace. Cannot be changed."),
                "generateName": text("A prefix: the server makes a unique name of it when `name` is not given."),
                "namespace": text("The namespace the object is in; empty for kinds that are not in one. Cannot be changed."),
                "uid": text("Unique over all objects and all time. Set by the server."),
                "resourceVersion": text("Changes with every write. Send it back to be told when somebody else wrote in between."),
                "generation": {"type": "integer", "format": "int64", "description": "Counts the changes of what is wanted. Set by the server."},
                "creationTimestamp": time("When the object was created. Set by the server."),
                "deletionTimestamp": time("When deletion was asked for; the object goes when `finalizers` is empty. Set by the server."),
                "deletionGracePeriodSeconds": {"type": "integer", "format": "int64", "description": "Set by the server."},
                "selfLink": text("Not used any more."),
                "labels": {"type": "object", "additionalProperties": {"type": "string"}, "description": "For selecting objects."},
                "annotations": {"type": "object", "additionalProperties": {"type": "string"}, "description": "For tools to keep notes."},
                "finalizers": {
                    "type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge",
                    "description": "Who must agree before the object goes.",
                },
                "ownerReferences": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
                    "x-kubernetes-patch-merge-key": "uid", "x-kubernetes-patch-strategy": "merge",
                    "description": "The objects that this one depends on.",
                    "items": {
                        "type": "object", "x-kubernetes-map-type": "atomic", "required": ["apiVersion", "kind", "name", "uid"],
                        "properties": {
                            "apiVersion": text("API version of the owner."), "kind": text("Kind of the owner."), "name": text("Name of the owner."),
                            "uid": text("UID of the owner."),
                            "controller": {"type": "boolean", "description": "Whether the owner is the one that manages this object."},
                            "blockOwnerDeletion": {"type": "boolean", "description": "Whether the owner waits for this object to go."},
                        },
                    },
                },
                "managedFields": {
                    "type": "array", "x-kubernetes-list-type": "atomic", "description": "Which writer owns which fields. Kept by the server.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "manager": text("The writer."), "operation": text("Apply, or Update for all else."), "apiVersion": text("The version the writer used."),
                            "time": time("When the writer last changed what it owns."), "fieldsType": text("Always FieldsV1."),
                            "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "The owned fields."},
                            "subresource": text("`status`, if the writer wrote there."),
                        },
                    },
                },
            },
        })
    });
    &SCHEMA
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn time(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": description})
}
