//! One object on its way into the model: its typed spec, every field that nobody read, and the problems found so far.

use super::values;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;
use taut_model::host;
use taut_model::object::Object;
use taut_model::origin::Origin;
use taut_model::problem::{Problem, Severity};

/// Codes of problems, stable: they become condition reasons.
pub mod code {
    pub const UNSUPPORTED: &str = "UnsupportedValue";
    pub const INVALID: &str = "InvalidValue";
    pub const WRONG_TYPE: &str = "WrongType";
    pub const NOT_ACCEPTED: &str = "NotAccepted";
    pub const KEYS_NOT_FETCHED: &str = "KeysNotFetched";
    pub const NO_EFFECT: &str = "NoEffect";
    pub const REFUSES_ALL: &str = "RefusesAll";
    pub const CONFLICT: &str = "Conflicted";
    pub const UNREACHABLE: &str = "UnreachableRule";
    pub const UNKNOWN_REFERENCE: &str = "UnknownReference";
    pub const SELECTS_NOTHING: &str = "SelectsNothing";
    /// Gateway API's reasons of `ResolvedRefs=False`.
    pub const BACKEND_NOT_FOUND: &str = "BackendNotFound";
    pub const REFERENCE_NOT_PERMITTED: &str = "RefNotPermitted";
    pub const INVALID_KIND: &str = "InvalidKind";
}

/// A problem of one node of an object.
pub fn problem(object: &Object, severity: Severity, code: &'static str, path: &str, message: String, help: Option<String>) -> Problem {
    Problem { severity, code, object: Some(object.reference()), path: path.to_owned(), location: object.location(path), message, help, excerpt: None }
}

/// Reads one object. Every translation takes a reader, notes what it finds, and returns what it understood; whether the
/// object is accepted is decided from the problems at the end.
pub struct Reader<'a> {
    object: &'a Object,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub fn new(object: &'a Object) -> Self {
        Self { object, problems: Vec::new() }
    }

    pub fn object(&self) -> &'a Object {
        self.object
    }

    pub fn namespace(&self) -> &'a str {
        &self.object.namespace
    }

    pub fn finish(self) -> Vec<Problem> {
        self.problems
    }

    pub fn origin(&self, path: &str) -> Origin {
        self.object.origin(path)
    }

    /// The fully qualified host that `written` means in this object.
    pub fn host(&self, written: &str) -> String {
        host::resolve(written, &self.object.namespace)
    }

    /// `metadata.creationTimestamp`, empty when the object never went through an API.
    pub fn created(&self) -> String {
        self.object.value["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned()
    }

    pub fn annotation(&self, name: &str) -> Option<&'a str> {
        self.object.value["metadata"]["annotations"][name].as_str()
    }

    /// `spec` as `T`. A field of the object that `T` lacks is an error, unless its path (indices left out, such as
    /// `spec.http[].match[].statPrefix`) is in `harmless`: fields that change nothing about how traffic is carried.
    pub fn spec<T: DeserializeOwned + Default>(&mut self, harmless: &[&str]) -> T {
        let mut unread = Vec::new();
        let spec = self.typed("spec", |path| unread.push(path));
        for path in unread {
            if !harmless.contains(&without_indices(&path).as_str()) {
                self.unsupported(&path);
            }
        }
        spec
    }

    /// A top-level field as `T`; fields that `T` lacks are left alone. For kinds of which the mesh reads only a part.
    pub fn part<T: DeserializeOwned + Default>(&mut self, field: &str) -> T {
        self.typed(field, |_| ())
    }

    fn typed<T: DeserializeOwned + Default>(&mut self, field: &str, mut unread: impl FnMut(String)) -> T {
        let value = match self.object.value.get(field) {
            None | Some(Value::Null) => return T::default(),
            Some(value) => without_nulls(value),
        };
        let read = serde_ignored::deserialize(value.as_ref(), |path| unread(field_path(field, &path)));
        read.unwrap_or_else(|error: serde_json::Error| {
            let message = format!("{field} of this {} cannot be read: {error}", self.object.kind.kind);
            self.note(Severity::Error, code::WRONG_TYPE, field, message, None);
            T::default()
        })
    }

    fn note(&mut self, severity: Severity, code: &'static str, path: &str, message: String, help: Option<String>) {
        let found = problem(self.object, severity, code, path, message, help);
        // A part that is read twice (first for what it is bound to) is told about once.
        if self.problems.last() != Some(&found) {
            self.problems.push(found);
        }
    }

    /// A field that the API has and the mesh does not do.
    pub fn unsupported(&mut self, path: &str) {
        let message = format!("{path} is not supported yet: remove it, or keep this traffic out of the mesh");
        self.note(Severity::Error, code::UNSUPPORTED, path, message, None);
    }

    /// A value that the API has and the mesh does not do. `instead` is a clause: `use RANDOM or ROUND_ROBIN`.
    pub fn unsupported_value(&mut self, path: &str, value: impl Display, instead: &str) {
        let message = format!("{path}: {value} is not supported yet: {instead}");
        self.note(Severity::Error, code::UNSUPPORTED, path, message, None);
    }

    /// A value that the API itself does not allow.
    pub fn invalid(&mut self, path: &str, message: impl Display) {
        self.note(Severity::Error, code::INVALID, path, format!("{path}: {message}"), None);
    }

    /// An object that is as it must be, and is not to be followed.
    pub fn not_accepted(&mut self, path: &str, message: impl Display) {
        self.note(Severity::Error, code::NOT_ACCEPTED, path, message.to_string(), None);
    }

    pub fn warn(&mut self, code: &'static str, path: &str, message: impl Display) {
        self.note(Severity::Warning, code, path, format!("{path}: {message}"), None);
    }

    /// Takes a parsed text or notes why it is none.
    pub fn taken<T>(&mut self, path: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.invalid(path, message)).ok()
    }

    pub fn duration(&mut self, path: &str, text: Option<&str>) -> Option<Duration> {
        text.and_then(|text| self.taken(path, values::duration(text)))
    }

    /// A duration for which zero makes no sense.
    pub fn positive_duration(&mut self, path: &str, text: Option<&str>) -> Option<Duration> {
        let duration = self.duration(path, text)?;
        if duration.is_zero() {
            self.invalid(path, "must be longer than zero");
        }
        Some(duration)
    }

    pub fn port(&mut self, path: &str, number: Option<i64>) -> Option<u16> {
        let number = number?;
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        self.taken(path, port.ok_or_else(|| format!("{number} is not a port: a number from 1 to 65535")))
    }

    /// A count that fits `u32`; anything else is a problem and reads as `None`.
    pub fn count(&mut self, path: &str, number: Option<i64>) -> Option<u32> {
        let number = number?;
        self.taken(path, u32::try_from(number).map_err(|_| format!("{number} is not a count: a number from 0 to {}", u32::MAX)))
    }

    pub fn percent(&mut self, path: &str, number: f64) -> f64 {
        if !(0.0..=100.0).contains(&number) {
            self.invalid(path, format_args!("{number} is not a percentage: a number from 0 to 100"));
        }
        number
    }
}

/// Kubernetes reads an explicit null as an absent field. Entries of lists stay, so that indices stay true.
fn without_nulls(value: &Value) -> Cow<'_, Value> {
    match has_nulls(value) {
        true => Cow::Owned(pruned(value)),
        false => Cow::Borrowed(value),
    }
}

fn has_nulls(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(|field| field.is_null() || has_nulls(field)),
        Value::Array(items) => items.iter().any(has_nulls),
        _ => false,
    }
}

fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().filter(|(_, field)| !field.is_null()).map(|(name, field)| (name.clone(), pruned(field))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(pruned).collect()),
        other => other.clone(),
    }
}

/// `spec.http[0].corsPolicy`, as everywhere else in the mesh.
fn field_path(root: &str, path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => root.to_owned(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(root, parent)),
        Path::Map { parent, key } => format!("{}.{key}", field_path(root, parent)),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(root, parent),
    }
}

/// `spec.http[0].name` -> `spec.http[].name`
fn without_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = matches!((*c, inside), ('[', _) | ('0'..='9', true));
            !inside || *c == '['
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_left_out_of_patterns() {
        assert_eq!(without_indices("spec.http[10].match[0].statPrefix2"), "spec.http[].match[].statPrefix2");
    }
}
