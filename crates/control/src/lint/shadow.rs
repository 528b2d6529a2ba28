//! Rules and matches that no request reaches, since an earlier one takes all that they are about. A VirtualService's first match wins
//! (VirtualService.http, "the first rule matching an incoming request is used"); of a standard route only the same match twice is certain.

use super::findings::Findings;
use super::name;
use super::paths::{items, labels};
use crate::translate::code;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use taut_model::object::Object;

/// Fields of a match that name it and restrict nothing.
const NAMES: [&str; 2] = ["name", "statPrefix"];

struct Match<'a> {
    path: String,
    value: &'a Value,
}

struct Rule<'a> {
    path: String,
    matches: Vec<Match<'a>>,
}

pub fn virtual_service(object: &Object, findings: &mut Findings) {
    for field in ["http", "tls", "tcp"] {
        let rules = rules(object, "spec", field, "match");
        let mut earlier: Vec<&Rule<'_>> = Vec::new();
        for rule in &rules {
            // What comes behind a rule that takes everything is told by the translation itself, for HTTP.
            if field == "http" && earlier.iter().any(|before| before.matches.iter().any(|m| covers(m.value, &Value::Null))) {
                break;
            }
            judge(object, rule, &earlier, covers, findings);
            earlier.push(rule);
        }
    }
}

pub fn standard(object: &Object, findings: &mut Findings) {
    let rules = rules(object, "spec", "rules", "matches");
    let mut earlier: Vec<&Rule<'_>> = Vec::new();
    for rule in &rules {
        judge(object, rule, &earlier, |one, other| canonical(one) == canonical(other), findings);
        earlier.push(rule);
    }
}

fn rules<'a>(object: &'a Object, path: &str, field: &str, matches: &str) -> Vec<Rule<'a>> {
    let rule = |(path, rule): (String, &'a Value)| {
        let mut found: Vec<Match<'a>> = items(rule, &path, matches).map(|(path, value)| Match { path, value }).collect();
        if found.is_empty() {
            found.push(Match { path: path.clone(), value: &Value::Null });
        }
        Rule { path, matches: found }
    };
    items(&object.value[path], path, field).map(rule).collect()
}

fn judge(object: &Object, rule: &Rule<'_>, earlier: &[&Rule<'_>], covers: fn(&Value, &Value) -> bool, findings: &mut Findings) {
    let before = |matching: &Match<'_>| earlier.iter().flat_map(|rule| &rule.matches).find(|earlier| covers(earlier.value, matching.value));
    let taken: Vec<Option<&str>> = rule.matches.iter().map(|matching| before(matching).map(|by| by.path.as_str())).collect();
    if taken.iter().all(Option::is_some) {
        let mut by: Vec<&str> = taken.into_iter().flatten().collect();
        by.dedup();
        let message = format!("never reached, since {} takes its requests before it", by.join(" and "));
        return findings.warn(code::UNREACHABLE, object, &rule.path, message);
    }
    for (index, matching) in rule.matches.iter().enumerate() {
        let beside = || rule.matches[..index].iter().find(|earlier| covers(earlier.value, matching.value)).map(|by| by.path.as_str());
        if let Some(by) = taken[index].or_else(beside) {
            findings.warn(name::INEFFECTIVE_MATCH, object, &matching.path, format!("matches nothing that {by} has not matched before it"));
        }
    }
}

/// Whether every request that fits `narrow` fits `wide`. A condition that is not known here covers only itself.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let empty = Map::new();
    let conditions = wide.as_object().unwrap_or(&empty);
    let either_case = wide["ignoreUriCase"] == true;
    conditions.iter().filter(|(key, _)| !NAMES.contains(&key.as_str())).all(|(key, condition)| {
        let other = &narrow[key];
        match key.as_str() {
            "ignoreUriCase" => true,
            "uri" if narrow["ignoreUriCase"] == true && !either_case => takes_any_path(condition),
            "uri" => takes_any_path(condition) || text_covers(condition, other, either_case),
            "method" | "scheme" | "authority" => text_covers(condition, other, false),
            "headers" | "queryParams" => all(condition, |name, text| !other[name].is_null() && text_covers(text, &other[name], false)),
            "sourceLabels" => labels(condition).iter().all(|(name, value)| other[name] == value.as_str()),
            "sniHosts" => other.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(|name| names_cover(condition, name))),
            _ => condition == other,
        }
    })
}

fn all(fields: &Value, test: impl Fn(&str, &Value) -> bool) -> bool {
    fields.as_object().is_none_or(|fields| fields.iter().all(|(name, value)| test(name, value)))
}

fn names_cover(patterns: &Value, name: &Value) -> bool {
    let fits = |pattern: &Value| matches!((pattern.as_str(), name.as_str()), (Some(pattern), Some(name)) if taut_model::host::matches(&pattern.to_ascii_lowercase(), &name.to_ascii_lowercase()));
    patterns.as_array().into_iter().flatten().any(fits)
}

fn takes_any_path(text: &Value) -> bool {
    matches!(text["prefix"].as_str(), Some("/" | "")) || matches!(text["regex"].as_str(), Some(".*" | "/.*"))
}

/// Of two StringMatches; one that names nothing asks only that the value is there.
fn text_covers(wide: &Value, narrow: &Value, either_case: bool) -> bool {
    if narrow.is_null() {
        return false;
    }
    let of = |text: &Value, field: &str| text[field].as_str().map(|text| if either_case { text.to_ascii_lowercase() } else { text.to_owned() });
    match (of(wide, "exact"), of(wide, "prefix"), wide["regex"].as_str()) {
        (Some(exact), ..) => of(narrow, "exact") == Some(exact),
        (_, Some(prefix), _) => [of(narrow, "exact"), of(narrow, "prefix")].into_iter().flatten().any(|text| text.starts_with(&prefix)),
        (.., Some(regex)) => regex == ".*" || narrow["regex"] == regex,
        _ => true,
    }
}

/// A match of a standard route with its defaults written out and its lists in order, so that the same is said the same way.
fn canonical(matching: &Value) -> Value {
    let mut conditions = matching.as_object().cloned().unwrap_or_default();
    if !conditions.contains_key("method") || !conditions["method"].is_object() {
        let path = conditions.entry("path").or_insert_with(|| json!({}));
        for (field, default) in [("type", "PathPrefix"), ("value", "/")] {
            if path[field].is_null() {
                path[field] = default.into();
            }
        }
    }
    for field in ["headers", "queryParams"] {
        let mut sorted: BTreeMap<String, Value> = BTreeMap::new();
        for item in conditions.remove(field).iter().filter_map(Value::as_array).flatten() {
            let name = item["name"].as_str().unwrap_or_default();
            let name = if field == "headers" { name.to_ascii_lowercase() } else { name.to_owned() };
            // Of entries for one name the first counts.
            sorted.entry(name).or_insert_with(|| json!([item["type"].as_str().unwrap_or("Exact"), item["value"]]));
        }
        if !sorted.is_empty() {
            conditions.insert(field.to_owned(), json!(sorted));
        }
    }
    Value::Object(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_covers_what_is_narrower() {
        for (wide, narrow, want) in [
            (json!({}), json!({"uri": {"exact": "/a"}}), true),
            (json!({"uri": {"prefix": "/"}}), json!({}), true),
            (json!({"uri": {"prefix": "/a"}}), json!({"uri": {"exact": "/ab"}, "method": {"exact": "GET"}}), true),
            (json!({"uri": {"prefix": "/a"}}), json!({"uri": {"prefix": "/A"}}), false),
            (json!({"uri": {"prefix": "/a"}, "ignoreUriCase": true}), json!({"uri": {"prefix": "/A"}}), true),
            (json!({"uri": {"exact": "/a"}}), json!({"uri": {"exact": "/a"}, "ignoreUriCase": true}), false),
            (json!({"uri": {"prefix": "/a"}}), json!({"uri": {"regex": "/a.*"}}), false),
            (json!({"uri": {"regex": "/a.*"}}), json!({"uri": {"regex": "/a.*"}}), true),
            (json!({"headers": {"x": {}}}), json!({"headers": {"x": {"exact": "1"}, "y": {}}}), true),
            (json!({"headers": {"x": {"exact": "1"}}}), json!({"headers": {"x": {}}}), false),
            (json!({"withoutHeaders": {"x": {}}}), json!({"uri": {"prefix": "/a"}}), false),
            (json!({"sourceLabels": {"a": "1"}}), json!({"sourceLabels": {"a": "1", "b": "2"}}), true),
            (json!({"port": 80}), json!({"port": 81}), false),
            (json!({"port": 80}), json!({}), false),
            (json!({"something new": 1}), json!({}), false),
            (json!({"sniHosts": ["*.a.example"]}), json!({"sniHosts": ["b.a.example"]}), true),
            (json!({"sniHosts": ["a.example"]}), json!({"sniHosts": ["a.example", "b.example"]}), false),
        ] {
            assert_eq!(covers(&wide, &narrow), want, "{wide} {narrow}");
        }
    }

    #[test]
    fn standard_matches_are_the_same_however_they_are_written() {
        let one = json!({"headers": [{"name": "A", "value": "1"}, {"name": "b", "type": "Exact", "value": "2"}]});
        let other = json!({"path": {"value": "/"}, "headers": [{"name": "b", "value": "2"}, {"name": "a", "type": "Exact", "value": "1"}]});
        assert_eq!(canonical(&one), canonical(&other));
        assert_ne!(canonical(&one), canonical(&json!({"path": {"type": "Exact", "value": "/"}})));
    }
}
