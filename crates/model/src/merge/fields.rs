//! Sets of fields in the FieldsV1 form of Kubernetes: nested maps keyed `f:name`, `k:{"key":…}`, `v:value`; `.` is the node itself.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of paths. Steps are kept as FieldsV1 spells them; the keys of a `k:` step are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the path that leads here is in the set.
    pub own: bool,
    pub children: BTreeMap<String, FieldSet>,
}

/// Deeper than any object that the API reads (its JSON parser stops at 128).
const DEEPEST: usize = 200;

impl FieldSet {
    pub fn leaf() -> Self {
        FieldSet { own: true, children: BTreeMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        !self.own && self.children.values().all(FieldSet::is_empty)
    }

    pub fn insert(&mut self, step: String, set: FieldSet) {
        if !set.is_empty() {
            let merged = self.children.remove(&step).unwrap_or_default().union(&set);
            self.children.insert(step, merged);
        }
    }

    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.own |= other.own;
        for (step, set) in &other.children {
            let mine = self.children.remove(step).unwrap_or_default();
            self.children.insert(step.clone(), mine.union(set));
        }
        self
    }

    /// The paths of this set that are not in `other`.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    /// The paths that are in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    /// This set without `paths` and everything beneath them.
    pub fn without(&self, paths: &FieldSet) -> FieldSet {
        if paths.own {
            return FieldSet::default();
        }
        let mut out = FieldSet { own: self.own, children: BTreeMap::new() };
        for (step, set) in &self.children {
            out.insert(step.clone(), paths.children.get(step).map_or_else(|| set.clone(), |paths| set.without(paths)));
        }
        out
    }

    /// The paths of this set beneath which (and at which) `kept` has nothing.
    pub fn clear_of(&self, kept: &FieldSet) -> FieldSet {
        let mut out = FieldSet { own: self.own && kept.is_empty(), children: BTreeMap::new() };
        let nothing = FieldSet::default();
        for (step, set) in &self.children {
            out.insert(step.clone(), set.clear_of(kept.children.get(step).unwrap_or(&nothing)));
        }
        out
    }

    /// Each path as Kubernetes prints it: `.spec.ports[port=80,protocol="TCP"].name`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.print_into(&mut String::new(), &mut out);
        out
    }

    /// Reads FieldsV1. What is not FieldsV1 is left out.
    pub fn from_json(value: &Value) -> FieldSet {
        read(value, DEEPEST).unwrap_or_default()
    }

    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        if self.own && !self.children.is_empty() {
            out.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, set) in &self.children {
            out.insert(step.clone(), set.to_json());
        }
        Value::Object(out)
    }

    fn combine(&self, other: &FieldSet, keep: fn(bool, bool) -> bool) -> FieldSet {
        let nothing = FieldSet::default();
        let mut out = FieldSet { own: keep(self.own, other.own), children: BTreeMap::new() };
        for (step, set) in &self.children {
            out.insert(step.clone(), set.combine(other.children.get(step).unwrap_or(&nothing), keep));
        }
        out
    }

    fn print_into(&self, path: &mut String, out: &mut Vec<String>) {
        if self.own {
            out.push(path.clone());
        }
        for (step, set) in &self.children {
            let length = path.len();
            print_step(step, path);
            set.print_into(path, out);
            path.truncate(length);
        }
    }
}

/// The step to a field of a map.
pub fn field_step(name: &str) -> String {
    format!("f:{name}")
}

/// The step to an element of a list by the values of its key fields.
pub fn key_step(keys: &BTreeMap<&str, &Value>) -> String {
    let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
    format!("k:{{{}}}", keys.join(","))
}

/// The step to an element of a set.
pub fn value_step(value: &Value) -> String {
    format!("v:{value}")
}

fn read(value: &Value, depth: usize) -> Option<FieldSet> {
    let fields = value.as_object()?;
    let mut set = FieldSet { own: fields.is_empty() || fields.contains_key("."), children: BTreeMap::new() };
    for (step, child) in fields.iter().filter(|(step, _)| *step != ".") {
        if let (Some(step), Some(child)) = (read_step(step), depth.checked_sub(1).and_then(|depth| read(child, depth))) {
            set.insert(step, child);
        }
    }
    Some(set)
}

/// The step in the spelling of this module, whatever the order of its keys was.
fn read_step(step: &str) -> Option<String> {
    let (sort, rest) = step.split_once(':')?;
    match sort {
        "f" | "i" => Some(step.to_owned()),
        "v" => serde_json::from_str::<Value>(rest).ok().map(|value| value_step(&value)),
        "k" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
            Some(key_step(&keys.iter().map(|(name, value)| (name.as_str(), value)).collect()))
        }
        _ => None,
    }
}

fn print_step(step: &str, path: &mut String) {
    match step.split_once(':') {
        Some(("f", name)) => path.extend([".", name]),
        Some(("k", keys)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            path.extend(["[", &keys.join(","), "]"]);
        }
        Some(("v", value)) => path.extend(["[=", value, "]"]),
        Some((_, index)) => path.extend(["[", index, "]"]),
        None => path.push_str(step),
    }
}
