//! Texts that look like patterns where letters are compared, and patterns that match less than they read.

use super::findings::Findings;
use super::name;
use super::paths::items;
use serde_json::Value;
use taut_model::object::Object;
use taut_model::path;

/// What is hardly ever meant literally.
const SYNTAX: [&str; 10] = [".*", ".+", "\\d", "\\w", "\\.", "[0-9", "[a-z", "[A-Z", "[^", "(?"];

/// The StringMatches of a VirtualService's match at `at`.
pub fn istio(object: &Object, at: &str, matching: &Value, findings: &mut Findings) {
    for field in ["uri", "method", "scheme", "authority"] {
        text(object, &path::field(at, field), &matching[field], findings);
    }
    for field in ["headers", "withoutHeaders", "queryParams"] {
        for (name, said) in matching[field].as_object().into_iter().flatten() {
            text(object, &path::field(&path::field(at, field), name), said, findings);
        }
    }
}

fn text(object: &Object, at: &str, said: &Value, findings: &mut Findings) {
    for kind in ["exact", "prefix"] {
        if let Some(text) = said[kind].as_str() {
            literal(object, &format!("{at}.{kind}"), text, kind, findings);
        }
    }
    if let Some(pattern) = said["regex"].as_str() {
        whole(object, &format!("{at}.regex"), pattern, findings);
    }
}

/// The matches of a standard route's match at `at`.
pub fn standard(object: &Object, at: &str, matching: &Value, findings: &mut Findings) {
    let lists = ["headers", "queryParams"].into_iter().flat_map(|field| items(matching, at, field));
    for (at, said) in lists.chain([(format!("{at}.path"), &matching["path"])]) {
        let Some(value) = said["value"].as_str() else { continue };
        let at = format!("{at}.value");
        match said["type"].as_str() {
            Some("RegularExpression") => whole(object, &at, value, findings),
            kind => literal(object, &at, value, kind.unwrap_or("its default type"), findings),
        }
    }
}

fn literal(object: &Object, at: &str, text: &str, kind: &str, findings: &mut Findings) {
    let anchored = text.starts_with('^') || text.len() > 1 && text.ends_with('$');
    if anchored || text.ends_with("/*") || SYNTAX.iter().any(|syntax| text.contains(syntax)) {
        findings.warn(name::LITERAL_PATTERN, object, at, format!("{text:?} reads like a pattern, and {kind} compares it letter by letter"));
    }
}

fn whole(object: &Object, at: &str, pattern: &str, findings: &mut Findings) {
    let open = [".*", ".+", "$", ")", "]", "*", "+", "?", "}"].iter().any(|end| pattern.ends_with(end));
    if pattern.starts_with('^') && !open {
        findings.warn(name::WHOLE_PATTERN, object, at, format!("{pattern:?} matches {:?} and nothing longer", pattern.trim_start_matches('^')));
    }
}
