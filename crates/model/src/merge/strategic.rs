//! Strategic merge patch: a merge patch that knows which lists merge by a key, with directives for what that cannot say.
//!
//! Source of the semantics: "Strategic Merge Patch" in the Kubernetes contributors' documentation (sig-api-machinery).

use super::shape::{ListShape, Shape};
use super::{PatchError, ordered};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// `patch` done to `target`.
///
/// # Errors
/// A directive that is not one, or an element of a keyed list without its key.
pub fn patch(target: &Value, patch: &Value, schema: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(fields) => {
            let empty = Map::new();
            let target = target.as_object().unwrap_or(&empty);
            map(target, fields, Shape::root(schema), "").map(Value::Object)
        }
        _ => Err(PatchError::new("", "a strategic merge patch must be a JSON object")),
    }
}

/// What `$patch` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(fields: &Map<String, Value>, path: &str) -> Result<Directive, PatchError> {
    match fields.get(PATCH).map(|value| value.as_str().unwrap_or_default()) {
        None | Some("merge") => Ok(Directive::Merge),
        Some("replace") => Ok(Directive::Replace),
        Some("delete") => Ok(Directive::Delete),
        Some(_) => Err(PatchError::new(join(path, PATCH), "must be \"merge\", \"replace\" or \"delete\"")),
    }
}

fn map(target: &Map<String, Value>, patch: &Map<String, Value>, shape: Shape<'_>, path: &str) -> Result<Map<String, Value>, PatchError> {
    let mut out = match directive(patch, path)? {
        Directive::Delete => return Ok(Map::new()),
        Directive::Replace => Map::new(),
        Directive::Merge => target.clone(),
    };
    retain_keys(&mut out, patch, path)?;
    for (name, deleted) in directives(patch, DELETE) {
        let deleted = list_of(deleted, path, DELETE)?;
        if let Some(Value::Array(items)) = out.get_mut(name) {
            items.retain(|item| !deleted.contains(item));
        }
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() {
            out.remove(name);
            continue;
        }
        let merged = field(out.get(name), value, shape.field(name), &join(path, name))?;
        out.insert(name.clone(), merged);
    }
    for (name, order) in directives(patch, ORDER) {
        let order = list_of(order, path, ORDER)?;
        let stored = target.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if let Some(Value::Array(items)) = out.get_mut(name) {
            *items = in_order(items, order, stored, &shape.field(name).strategic_list());
        }
    }
    match patch.keys().find(|name| name.starts_with('$') && !is_directive(name)) {
        Some(stranger) => Err(PatchError::new(join(path, stranger), "is not a directive of strategic merge patch")),
        None => Ok(out),
    }
}

fn field(target: Option<&Value>, patch: &Value, shape: Shape<'_>, path: &str) -> Result<Value, PatchError> {
    let empty = Map::new();
    match patch {
        Value::Object(fields) => {
            let keep = !shape.strategic_map_is_replaced();
            let target = target.and_then(Value::as_object).filter(|_| keep).unwrap_or(&empty);
            map(target, fields, shape, path).map(Value::Object)
        }
        Value::Array(items) => {
            let target = target.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            list(target, items, shape, path).map(Value::Array)
        }
        scalar => Ok(scalar.clone()),
    }
}

fn list(target: &[Value], patch: &[Value], shape: Shape<'_>, path: &str) -> Result<Vec<Value>, PatchError> {
    match shape.strategic_list() {
        ListShape::Map(keys) => keyed_list(target, patch, &keys, shape.items(), path),
        ListShape::Set => {
            let mut out = target.to_vec();
            for item in patch {
                if !out.contains(item) {
                    out.push(item.clone());
                }
            }
            Ok(out)
        }
        ListShape::Atomic => whole_list(patch, shape.items(), path),
    }
}

fn keyed_list(target: &[Value], patch: &[Value], keys: &[&str], items: Shape<'_>, path: &str) -> Result<Vec<Value>, PatchError> {
    // An element that is nothing but `$patch: replace` says that the others are the whole list.
    let replaces = patch.iter().any(|item| item.as_object().is_some_and(|item| item.len() == 1 && item.get(PATCH) == Some(&"replace".into())));
    let mut out = if replaces { Vec::new() } else { target.to_vec() };
    let empty = Map::new();
    for (at, item) in patch.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let fields = item.as_object().ok_or_else(|| PatchError::new(path.clone(), "must be an object, as the list merges by a key"))?;
        let directive = directive(fields, &path)?;
        if replaces && fields.len() == 1 && directive == Directive::Replace {
            continue;
        }
        let key = key(fields, keys, items, &path)?;
        let found = out.iter().position(|other| key.iter().all(|(name, value)| value_of(other, name, items) == Some(value)));
        match (found, directive) {
            (Some(found), Directive::Delete) => {
                out.remove(found);
            }
            (None, Directive::Delete) => {}
            (Some(found), _) => out[found] = Value::Object(map(out[found].as_object().unwrap_or(&empty), fields, items, &path)?),
            (None, _) => out.push(Value::Object(map(&empty, fields, items, &path)?)),
        }
    }
    Ok(out)
}

/// A list that is replaced; directives inside it are still taken out.
fn whole_list(patch: &[Value], items: Shape<'_>, path: &str) -> Result<Vec<Value>, PatchError> {
    let mut out = Vec::with_capacity(patch.len());
    for (at, item) in patch.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match item.as_object() {
            Some(fields) if directive(fields, &path)? == Directive::Delete => {}
            Some(fields) if fields.len() == 1 && fields.contains_key(PATCH) => {}
            _ => out.push(if item.is_null() { Value::Null } else { field(None, item, items, &path)? }),
        }
    }
    Ok(out)
}

/// The values of the key fields. The first must be there; the others may be left to their defaults.
fn key<'a>(fields: &'a Map<String, Value>, keys: &[&'a str], items: Shape<'a>, path: &str) -> Result<Vec<(&'a str, &'a Value)>, PatchError> {
    let given: Vec<(&str, &Value)> =
        keys.iter().filter_map(|name| fields.get(*name).or_else(|| items.default_of(name)).map(|value| (*name, value))).collect();
    match given.is_empty() || keys.first().is_some_and(|first| !fields.contains_key(*first)) {
        true => Err(PatchError::new(path, format!("has no {:?}, by which this list is merged", keys.first().unwrap_or(&"")))),
        false => Ok(given),
    }
}

fn value_of<'a>(item: &'a Value, name: &str, items: Shape<'a>) -> Option<&'a Value> {
    item.get(name).or_else(|| items.default_of(name))
}

fn retain_keys(out: &mut Map<String, Value>, patch: &Map<String, Value>, path: &str) -> Result<(), PatchError> {
    let Some(kept) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let kept = list_of(kept, path, RETAIN_KEYS)?;
    if let Some(lost) = patch.iter().find(|(name, value)| !name.starts_with('$') && !value.is_null() && !kept.contains(&Value::from(name.as_str()))) {
        return Err(PatchError::new(join(path, lost.0), "is set by the patch, and not in its $retainKeys"));
    }
    out.retain(|name, _| kept.contains(&Value::from(name.as_str())));
    Ok(())
}

/// `$setElementOrder`: the named elements in that order, the others where they stood among them.
fn in_order(items: &[Value], order: &[Value], stored: &[Value], list: &ListShape<'_>) -> Vec<Value> {
    let name = |item: &Value| match list {
        ListShape::Map(keys) => Value::Array(keys.iter().map(|key| item[*key].clone()).collect()),
        _ => item.clone(),
    };
    let order: Vec<Value> = order.iter().map(name).collect();
    let names: Vec<Value> = items.iter().map(name).collect();
    let stored: Vec<Value> = stored.iter().map(name).collect();
    let wanted: Vec<Value> = order.iter().filter(|element| names.contains(element)).cloned().collect();
    let others: Vec<Value> = names.iter().filter(|element| !order.contains(element)).cloned().collect();
    let at = |element: &Value| names.iter().position(|name| name == element).and_then(|at| items.get(at)).cloned();
    ordered(&wanted, &others, &stored).into_iter().filter_map(at).collect()
}

/// The directives of one sort, by the field they are about.
fn directives<'a>(patch: &'a Map<String, Value>, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    patch.iter().filter_map(move |(name, value)| name.strip_prefix(prefix).map(|field| (field, value)))
}

fn is_directive(name: &str) -> bool {
    name == PATCH || name == RETAIN_KEYS || name.starts_with(ORDER) || name.starts_with(DELETE)
}

fn list_of<'a>(value: &'a Value, path: &str, directive: &str) -> Result<&'a [Value], PatchError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| PatchError::new(join(path, directive), "must be a list"))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
