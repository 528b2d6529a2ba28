//! What a schema says about merging: which maps and lists are taken whole, and what tells the elements of a list apart.

use serde_json::Value;

/// A place in a schema; a place that the schema does not describe has granular maps and atomic lists, as for
/// Kubernetes' schemaless objects.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    schema: Option<&'a Value>,
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
    /// The shape of a whole object; `Null` describes nothing.
    pub fn root(schema: &'a Value) -> Self {
        Shape { schema: Some(schema) }
    }

    pub fn field(self, name: &str) -> Shape<'a> {
        let schema = self.declared(name).or_else(|| self.get("additionalProperties"));
        Shape { schema }
    }

    /// Whether the field is one of the schema's own, not an entry of a map.
    pub fn declares(self, name: &str) -> bool {
        self.declared(name).is_some()
    }

    pub fn items(self) -> Shape<'a> {
        Shape { schema: self.get("items") }
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
