//! Walking values by their schema: the fields of a value, the difference of two, the merge of two, removal by path.
//!
//! The rules are those of server-side apply ("Merge strategy" in the Kubernetes documentation).

use super::fields::{FieldSet, field_step, key_step, value_step};
use super::shape::{ListShape, Shape};
use super::{PatchError, ordered};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What changed between two values, as sets of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

/// The fields that a configuration sets: its leaves, the entries of its maps, the elements of its keyed lists.
pub fn field_set(value: &Value, shape: Shape<'_>) -> FieldSet {
    match parts(value, shape) {
        Some(parts) if !parts.is_empty() => {
            let mut set = FieldSet::default();
            for part in parts {
                let mut child = field_set(part.value, part.shape);
                child.own |= !part.declared;
                set.insert(part.step, child);
            }
            set
        }
        _ => FieldSet::leaf(),
    }
}

/// What is new, other or gone in `new`. A subtree that is new (or gone) as a whole counts with all its inner nodes.
pub fn changes(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>) -> Changes {
    match (old, new) {
        (None, Some(new)) => Changes { added: whole(new, shape), ..Changes::default() },
        (Some(old), None) => Changes { removed: whole(old, shape), ..Changes::default() },
        (Some(old), Some(new)) if old != new => match (parts(old, shape), parts(new, shape)) {
            (Some(left), Some(right)) if old.is_object() == new.is_object() => changes_of_parts(left, right),
            _ => Changes { modified: FieldSet::leaf(), ..Changes::default() },
        },
        _ => Changes::default(),
    }
}

/// `config` laid over `live`: its fields win, lists merge as their shape says.
pub fn merge(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    match (live, config) {
        (Value::Object(old), Value::Object(new)) if !shape.is_atomic_map() => {
            let mut out = old.clone();
            for (name, value) in new {
                let merged = old.get(name).map_or_else(|| value.clone(), |old| merge(old, value, shape.field(name)));
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(_), Value::Array(_)) => match (parts(live, shape), parts(config, shape)) {
            (Some(old), Some(new)) => Value::Array(merge_lists(old, new)),
            _ => config.clone(),
        },
        _ => config.clone(),
    }
}

/// Removes the paths of `set`, and containers that this leaves empty, unless they are in `kept` as such.
pub fn remove(value: &mut Value, set: &FieldSet, kept: &FieldSet, shape: Shape<'_>) {
    let nothing = FieldSet::default();
    match value {
        Value::Object(fields) if !shape.is_atomic_map() => remove_fields(fields, set, kept, shape),
        Value::Array(items) => {
            let list = shape.list();
            items.retain_mut(|item| {
                let Some(step) = element_step(item, &list, shape) else { return true };
                match set.children.get(&step) {
                    Some(found) if found.own => return false,
                    Some(found) => remove(item, found, kept.children.get(&step).unwrap_or(&nothing), shape.items()),
                    None => {}
                }
                true
            });
        }
        _ => {}
    }
}

/// Refuses a value in which two elements of a keyed list or a set are the same.
///
/// # Errors
/// The first such element, by its path.
pub fn check_unique(value: &Value, shape: Shape<'_>) -> Result<(), PatchError> {
    check_unique_at(value, shape, &mut String::new())
}

/// One child of a value, with the step that leads to it.
struct Part<'v, 's> {
    step: String,
    value: &'v Value,
    shape: Shape<'s>,
    /// A field that the schema names; not an entry of a map or an element of a list.
    declared: bool,
}

/// The children of a value that are owned one by one; `None` for a leaf, or what is taken as a whole.
fn parts<'v, 's>(value: &'v Value, shape: Shape<'s>) -> Option<Vec<Part<'v, 's>>> {
    match value {
        Value::Object(fields) if !shape.is_atomic_map() => {
            let part = |(name, value): (&String, &'v Value)| Part {
                step: field_step(name),
                value,
                shape: shape.field(name),
                declared: shape.declares(name),
            };
            Some(fields.iter().map(part).collect())
        }
        Value::Array(items) => {
            let list = shape.list();
            let part = |value: &'v Value| Some(Part { step: element_step(value, &list, shape)?, value, shape: shape.items(), declared: false });
            items.iter().map(part).collect()
        }
        _ => None,
    }
}

/// The step to an element; `None` when the list is atomic, or the element is not of the list's shape.
fn element_step(item: &Value, list: &ListShape<'_>, shape: Shape<'_>) -> Option<String> {
    match list {
        ListShape::Atomic => None,
        ListShape::Set => (!item.is_object() && !item.is_array()).then(|| value_step(item)),
        ListShape::Map(names) => {
            let fields = item.as_object()?;
            let value = |name: &str| fields.get(name).or_else(|| shape.items().default_of(name));
            let keys: BTreeMap<&str, &Value> = names.iter().filter_map(|name| value(name).map(|value| (*name, value))).collect();
            (!keys.is_empty()).then(|| key_step(&keys))
        }
    }
}

/// Every node of a value.
fn whole(value: &Value, shape: Shape<'_>) -> FieldSet {
    let mut set = FieldSet::leaf();
    for part in parts(value, shape).into_iter().flatten() {
        set.insert(part.step, whole(part.value, part.shape));
    }
    set
}

fn changes_of_parts(left: Vec<Part<'_, '_>>, right: Vec<Part<'_, '_>>) -> Changes {
    let mut pairs: BTreeMap<String, (Option<&Value>, Option<&Value>, Shape<'_>)> = BTreeMap::new();
    for part in left {
        pairs.insert(part.step, (Some(part.value), None, part.shape));
    }
    for part in right {
        pairs.entry(part.step).or_insert((None, None, part.shape)).1 = Some(part.value);
    }
    let mut out = Changes::default();
    for (step, (old, new, shape)) in pairs {
        let changes = changes(old, new, shape);
        out.added.insert(step.clone(), changes.added);
        out.modified.insert(step.clone(), changes.modified);
        out.removed.insert(step, changes.removed);
    }
    out
}

fn merge_lists(old: Vec<Part<'_, '_>>, new: Vec<Part<'_, '_>>) -> Vec<Value> {
    let stored: Vec<String> = old.iter().map(|part| part.step.clone()).collect();
    let wanted: Vec<String> = new.iter().map(|part| part.step.clone()).collect();
    let others: Vec<String> = stored.iter().filter(|step| !wanted.contains(step)).cloned().collect();
    let mut values: BTreeMap<&String, Value> = old.iter().map(|part| (&part.step, part.value.clone())).collect();
    for part in &new {
        let merged = values.get(&part.step).map_or_else(|| part.value.clone(), |old| merge(old, part.value, part.shape));
        values.insert(&part.step, merged);
    }
    ordered(&wanted, &others, &stored).into_iter().filter_map(|step| values.get(step).cloned()).collect()
}

fn remove_fields(fields: &mut Map<String, Value>, set: &FieldSet, kept: &FieldSet, shape: Shape<'_>) {
    let nothing = FieldSet::default();
    for (step, found) in &set.children {
        let Some(name) = step.strip_prefix("f:") else { continue };
        if found.own {
            fields.remove(name);
        } else if let Some(child) = fields.get_mut(name) {
            let was_empty = is_empty(child);
            let kept = kept.children.get(step).unwrap_or(&nothing);
            remove(child, found, kept, shape.field(name));
            if is_empty(child) && !was_empty && !kept.own {
                fields.remove(name);
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn check_unique_at(value: &Value, shape: Shape<'_>, path: &mut String) -> Result<(), PatchError> {
    let mut seen = std::collections::BTreeSet::new();
    for part in parts(value, shape).into_iter().flatten() {
        let length = path.len();
        match part.step.strip_prefix("f:") {
            Some(name) => path.extend([if length == 0 { "" } else { "." }, name]),
            None => path.extend(["[", &part.step[2..], "]"]),
        }
        check_unique_at(part.value, part.shape, path)?;
        if !seen.insert(part.step) {
            return Err(PatchError::new(path.clone(), "is in its list more than once, and the list tells its elements apart by that"));
        }
        path.truncate(length);
    }
    Ok(())
}
