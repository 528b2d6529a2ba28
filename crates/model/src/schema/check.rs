//! One walk over an object beside its schema, collecting every problem. Pure structure; metadata rules are `metadata`'s.

use super::nearest::nearest;
use super::{choice, text};
use crate::kinds::Kind;
use crate::path;
use crate::problem::{Problem, Severity};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub fn object(kind: &Kind, schema: &Value, value: &Value) -> Vec<Problem> {
    let built_in = !kind.group.contains('.') || kind.group == "discovery.k8s.io";
    let mut walk = Walk { root: kind.kind, secret: kind.group.is_empty() && kind.kind == "Secret", built_in, branch: false, problems: Vec::new() };
    walk.node(schema, value, "", None);
    walk.problems
}

struct Walk<'a> {
    /// What to call the object itself.
    root: &'a str,
    /// Values must not be repeated in messages.
    secret: bool,
    /// A kind of Kubernetes itself, whose API server does not refuse repeated keys in lists.
    built_in: bool,
    /// Trying one alternative of a schema: it names only the fields it cares about, so others are none of its business.
    branch: bool,
    problems: Vec<Problem>,
}

/// The objects around the node at hand, innermost first.
struct Scope<'a> {
    schema: &'a Value,
    path: &'a str,
    outer: Option<&'a Scope<'a>>,
}

impl Walk<'_> {
    fn report(&mut self, code: &'static str, path: &str, message: String, help: Option<String>) {
        let severity = Severity::Error;
        self.problems.push(Problem { severity, code, object: None, path: path.to_owned(), location: None, message, help, excerpt: None });
    }

    /// The node's path as a sentence's subject.
    fn name<'p>(&'p self, path: &'p str) -> &'p str {
        if path.is_empty() { self.root } else { path }
    }

    fn shown(&self, value: &Value) -> String {
        match value {
            Value::Null => "empty (null)".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a map".to_owned(),
            Value::String(_) if self.secret => "text".to_owned(),
            Value::String(text) => format!("the text {}", quoted(text)),
            Value::Number(_) if self.secret => "a number".to_owned(),
            Value::Number(number) => format!("the number {number}"),
            Value::Bool(truth) => truth.to_string(),
        }
    }

    fn node(&mut self, schema: &Value, value: &Value, path: &str, outer: Option<&Scope<'_>>) {
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        let expected = expected(schema);
        if !expected.is_empty() && !expected.iter().any(|expected| is_of(expected, value)) {
            return self.wrong_type(schema, &expected, value, path);
        }
        match value {
            Value::Object(fields) => self.map(schema, fields, path, outer),
            Value::Array(items) => self.list(schema, items, path, outer),
            Value::String(text) => self.text(schema, text, path),
            Value::Number(number) => self.number(schema, number, path),
            Value::Null | Value::Bool(_) => {}
        }
        self.allowed_values(schema, value, path);
        let fits = |branch: &Value, value: &Value| {
            let mut walk = Walk { root: "", secret: true, built_in: true, branch: true, problems: Vec::new() };
            walk.node(branch, value, "", None);
            walk.problems.is_empty()
        };
        if let Some(contradiction) = choice::check(schema, value, &fits) {
            let at = contradiction.field.map_or_else(|| path.to_owned(), |field| path::field(path, field));
            let message = format!("{} {}", self.name(path), contradiction.message);
            self.report("Contradiction", &at, message, contradiction.help);
        }
    }

    fn wrong_type(&mut self, schema: &Value, expected: &[&str], value: &Value, path: &str) {
        let wanted: Vec<_> = expected.iter().copied().map(words).collect();
        let message = format!("{} must be {}, and is {}", self.name(path), wanted.join(" or "), self.shown(value));
        let help = match (expected[0], value) {
            ("string", Value::Null) => Some(r#"write "" for an empty text"#.to_owned()),
            ("string", Value::Number(number)) if !self.secret && !number.is_f64() => Some(format!("put it in quotes: \"{number}\"")),
            ("string", Value::Bool(truth)) => Some(format!("put it in quotes: \"{truth}\"")),
            ("string", Value::Number(_)) => Some("put it in quotes".to_owned()),
            ("integer" | "number", Value::String(text)) if text.parse::<f64>().is_ok() => Some("remove the quotes".to_owned()),
            ("boolean", Value::String(text)) => truth(text).map(|truth| format!("write {truth}, without quotes")),
            ("array", Value::Object(_)) => Some("make it a list: start each item with `- `".to_owned()),
            ("array", Value::Null) => Some("write [] for an empty list".to_owned()),
            ("array", value) if is_of(schema["items"]["type"].as_str().unwrap_or_default(), value) && !self.secret => {
                Some(format!("make it a list: [{value}]"))
            }
            ("object", Value::Array(_)) => Some("make it a map: `key: value`, without `- `".to_owned()),
            ("object", Value::Null) => Some("write {} for an empty map".to_owned()),
            ("object", _) => schema["properties"].as_object().and_then(choices),
            _ => None,
        };
        self.report("WrongType", path, message, help);
    }

    fn map(&mut self, schema: &Value, fields: &Map<String, Value>, path: &str, outer: Option<&Scope<'_>>) {
        let no_fields = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&no_fields);
        let others = &schema["additionalProperties"];
        let open = self.branch || schema["x-kubernetes-preserve-unknown-fields"] == true || *others == true;
        let scope = Scope { schema, path, outer };
        let mut meant = Vec::new();
        for (key, child) in fields {
            let at = path::field(path, key);
            if let Some(property) = properties.get(key) {
                // A field that is null is a field that is not set.
                if !child.is_null() {
                    self.node(property, child, &at, Some(&scope));
                }
            } else if others.is_object() {
                self.node(others, child, &at, Some(&scope));
            } else if !open {
                let unset = properties.keys().filter(|name| !fields.contains_key(*name)).map(String::as_str);
                let near = nearest(key, unset);
                let below = below(key, schema);
                meant.extend(near);
                meant.extend(below.iter().copied());
                let known_elsewhere = || around(key, &scope).or_else(|| put_below(key, &below));
                let help = near.map(|near| format!("did you mean {near:?}?")).or_else(known_elsewhere).or_else(|| choices(properties));
                let message = format!("unknown field {} in {}", quoted(key), self.name(path));
                self.report("UnknownField", &at, message, help);
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| fields.get(*name).is_none_or(Value::is_null) && !meant.contains(name)) {
            let message = format!("{} needs {name:?}", self.name(path));
            let help = properties.get(name).and_then(|property| first_sentence(&property["description"]));
            self.report("MissingField", path, message, help);
        }
        self.count(schema, ["minProperties", "maxProperties"], fields.len(), "entries", path);
    }

    fn list(&mut self, schema: &Value, items: &[Value], path: &str, outer: Option<&Scope<'_>>) {
        for (index, child) in items.iter().enumerate() {
            self.node(&schema["items"], child, &path::item(path, index), outer);
        }
        self.count(schema, ["minItems", "maxItems"], items.len(), "items", path);
        self.repeated(schema, items, path);
    }

    /// Items of a `map` list are known by their key fields, those of a `set` by their value: neither may stand twice.
    fn repeated(&mut self, schema: &Value, items: &[Value], path: &str) {
        let keys: Vec<&str> = match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
            Some("set") => Vec::new(),
            _ => return,
        };
        let mut seen = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let value_or_default = |key: &&str| match &item[*key] {
                Value::Null => schema["items"]["properties"][*key]["default"].to_string(),
                set => set.to_string(),
            };
            let identity: Vec<String> = if keys.is_empty() { vec![item.to_string()] } else { keys.iter().map(value_or_default).collect() };
            if let Some(first) = seen.insert(identity, index) {
                let what = if keys.is_empty() { "value".to_owned() } else { keys.join(" and ") };
                let message = format!("{} has the same {what} as {}", path::item(path, index), path::item(path, first));
                self.report("Duplicate", &path::item(path, index), message, Some("change or remove one of them".to_owned()));
                if let (true, Some(problem)) = (self.built_in, self.problems.last_mut()) {
                    problem.severity = Severity::Warning;
                }
            }
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        if schema["minLength"].as_u64().is_some() || schema["maxLength"].as_u64().is_some() {
            self.count(schema, ["minLength", "maxLength"], text.chars().count(), "characters", path);
        }
        let shown = if self.secret { "text".to_owned() } else { quoted(text) };
        if let Some(wanted) = schema["format"].as_str().and_then(|format| text::misses(format, text)) {
            self.report("InvalidValue", path, format!("{} must be {wanted}, and is {shown}", self.name(path)), None);
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !text::fits(pattern, text)
        {
            let message = format!("{} cannot be {shown}", self.name(path));
            self.report("InvalidValue", path, message, Some(text::wanted(pattern)));
        }
    }

    fn number(&mut self, schema: &Value, number: &serde_json::Number, path: &str) {
        let (low, high) = match schema["format"].as_str() {
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        let low = schema["minimum"].as_f64().or(low);
        let high = schema["maximum"].as_f64().or(high);
        let value = number.as_f64().unwrap_or(f64::NAN);
        let below = low.is_some_and(|low| value < low || value == low && schema["exclusiveMinimum"] == true);
        let above = high.is_some_and(|high| value > high || value == high && schema["exclusiveMaximum"] == true);
        if !below && !above {
            return;
        }
        let range = match (low, high) {
            (Some(low), Some(high)) => format!("from {low} to {high}"),
            (Some(low), None) => format!("at least {low}"),
            (None, Some(high)) => format!("at most {high}"),
            (None, None) => return,
        };
        self.report("InvalidValue", path, format!("{} must be {range}, and is {number}", self.name(path)), None);
    }

    fn count(&mut self, schema: &Value, [least, most]: [&str; 2], count: usize, unit: &str, path: &str) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let limit = |key: &str| schema[key].as_u64();
        let bound = match (limit(least), limit(most)) {
            (Some(least), _) if count < least => format!("at least {least}"),
            (_, Some(most)) if count > most => format!("at most {most}"),
            _ => return,
        };
        self.report("InvalidValue", path, format!("{} must have {bound} {unit}, and has {count}", self.name(path)), None);
    }

    fn allowed_values(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(allowed) = schema["enum"].as_array() else { return };
        if allowed.contains(value) {
            return;
        }
        let texts: Vec<&str> = allowed.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).collect();
        let written = value.as_str().unwrap_or_default();
        let help = nearest(written, texts.iter().copied()).map(|near| format!("did you mean {near:?}?"));
        let list: Vec<String> = allowed.iter().filter(|value| value.as_str() != Some("")).map(bare).collect();
        let message = format!("{} must be one of {}, and is {}", self.name(path), list.join(", "), self.shown(value));
        self.report("UnknownValue", path, message, help);
    }
}

/// The types that the schema takes; empty for any.
fn expected(schema: &Value) -> Vec<&str> {
    if schema["x-kubernetes-int-or-string"] == true {
        return vec!["integer", "string"];
    }
    if let Some(expected) = schema["type"].as_str() {
        return vec![expected];
    }
    let alternatives = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let types: Vec<&str> = alternatives.iter().filter_map(|branch| branch["type"].as_str()).collect();
    if types.len() == alternatives.len() { types } else { Vec::new() }
}

fn is_of(expected: &str, value: &Value) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

fn words(expected: &str) -> &str {
    match expected {
        "object" => "a map",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "an integer",
        other => other,
    }
}

/// YAML 1.1's and people's words for truth values.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Where a field that is unknown here is known further out.
fn around(key: &str, scope: &Scope<'_>) -> Option<String> {
    let mut outer = scope.outer;
    while let Some(around) = outer {
        if !around.schema["properties"][key].is_null() {
            let place = if around.path.is_empty() { "the object itself" } else { around.path };
            return Some(format!("{key:?} is a field of {place}: indent it less"));
        }
        outer = around.outer;
    }
    None
}

/// The fields of `schema` that have a field `key` themselves, or in their items.
fn below<'s>(key: &str, schema: &'s Value) -> Vec<&'s str> {
    let has = |child: &Value| [child, &child["items"]].iter().any(|inner| !inner["properties"][key].is_null());
    schema["properties"].as_object().into_iter().flatten().filter(|(_, child)| has(child)).map(|(name, _)| name.as_str()).collect()
}

fn put_below(key: &str, places: &[&str]) -> Option<String> {
    match places {
        [] => None,
        [only] => Some(format!("{key:?} is a field of {only:?}: put it below that")),
        several => Some(format!("{key:?} is a field of {}: put it below one of them", several.join(", "))),
    }
}

fn choices(properties: &Map<String, Value>) -> Option<String> {
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    match names.len() {
        0 => Some("no field is known here".to_owned()),
        1..=20 => Some(format!("known here: {}", names.join(", "))),
        _ => None,
    }
}

fn first_sentence(description: &Value) -> Option<String> {
    let text = description.as_str()?.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = text.split_once(". ").map_or(text.as_str(), |(first, _)| first).trim_end_matches('.');
    (!sentence.is_empty() && sentence.len() <= 160).then(|| sentence.to_owned())
}

/// In quotes, escaped, and short enough for a message.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
