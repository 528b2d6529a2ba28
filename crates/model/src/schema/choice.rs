//! `oneOf`, `anyOf`, `allOf` and `not` in words. Istio's CRDs write a protobuf `oneof` as branches of one `required` each.

use serde_json::Value;

pub struct Contradiction<'a> {
    /// The field at fault, where one is; else the object.
    pub field: Option<&'a str>,
    /// Follows the object's path.
    pub message: String,
    pub help: Option<String>,
}

/// Whether a value fits a schema, unknown fields aside.
type Fits<'f> = &'f dyn Fn(&Value, &Value) -> bool;

/// The first contradiction between `value` and the schema's alternatives.
pub fn check<'a>(schema: &'a Value, value: &Value, fits: Fits<'_>) -> Option<Contradiction<'a>> {
    if let Some(branches) = schema["oneOf"].as_array() {
        let found = match members(branches) {
            Some(members) => one_member(&members, value),
            // Kubernetes fills in defaults before it counts the branches that fit; without them more than one may.
            None => none_fits(branches, value, fits),
        };
        if found.is_some() {
            return found;
        }
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        let found = match members(branches) {
            Some(members) if !members.may_be_none => one_of_them(&members, value),
            _ => none_fits(branches, value, fits),
        };
        if found.is_some() {
            return found;
        }
    }
    if schema["not"].is_object() && fits(&schema["not"], value) {
        return Some(Contradiction { field: None, message: "has a form that is not allowed".to_owned(), help: None });
    }
    schema["allOf"].as_array()?.iter().find_map(|branch| check(branch, value, fits))
}

/// A protobuf `oneof`.
struct Members<'a> {
    names: Vec<&'a str>,
    /// A branch says that none need be set.
    may_be_none: bool,
}

fn members(branches: &[Value]) -> Option<Members<'_>> {
    let mut members = Members { names: Vec::new(), may_be_none: false };
    for branch in branches {
        let fields = branch.as_object()?;
        if let (1, Some(required)) = (fields.len(), fields.get("required").and_then(Value::as_array)) {
            let [name] = required.as_slice() else { return None };
            members.names.push(name.as_str()?);
        } else if fields.len() == 1 && fields.get("not").is_some_and(|not| not["anyOf"].is_array()) {
            members.may_be_none = true;
        } else {
            return None;
        }
    }
    Some(members)
}

fn set<'a>(members: &Members<'a>, value: &Value) -> Vec<&'a str> {
    members.names.iter().copied().filter(|name| !value[*name].is_null()).collect()
}

fn one_member<'a>(members: &Members<'a>, value: &Value) -> Option<Contradiction<'a>> {
    match set(members, value)[..] {
        [] if !members.may_be_none => one_of_them(members, value),
        [first, second, ..] => Some(Contradiction {
            field: Some(second),
            message: format!("has both {first:?} and {second:?}"),
            help: Some(format!("set only one of {}", members.names.join(", "))),
        }),
        _ => None,
    }
}

fn one_of_them<'a>(members: &Members<'a>, value: &Value) -> Option<Contradiction<'a>> {
    let message = format!("needs one of {}", members.names.join(", "));
    set(members, value).is_empty().then_some(Contradiction { field: None, message, help: None })
}

fn none_fits<'a>(branches: &'a [Value], value: &Value, fits: Fits<'_>) -> Option<Contradiction<'a>> {
    let fitting = branches.iter().any(|branch| fits(branch, value));
    (!fitting).then(|| Contradiction { field: None, message: "fits none of the allowed forms".to_owned(), help: forms(branches) })
}

/// The formats among the branches, if that is what they are.
fn forms(branches: &[Value]) -> Option<String> {
    let formats: Option<Vec<&str>> = branches.iter().map(|branch| branch["format"].as_str()).collect();
    formats.filter(|formats| !formats.is_empty()).map(|formats| format!("use one of: {}", formats.join(", ")))
}
