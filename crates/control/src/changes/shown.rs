//! Objects and their differences as text: the YAML that a user would write, and unified diffs of it.

use crate::source::directory::SOURCE;
use crate::store::ledger::{Entry, Generation, LAST_APPLIED};
use serde_json::{Map, Value, json};
use similar::TextDiff;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Bytes of one difference among many.
const LONGEST_TOLD: usize = 64 << 10;

/// What a user would write: without what tools keep for themselves.
pub fn yaml(value: &Value) -> String {
    let mut value = value.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        let empty = metadata.get_mut("annotations").and_then(Value::as_object_mut).is_some_and(|annotations: &mut Map<String, Value>| {
            annotations.remove(LAST_APPLIED);
            annotations.remove(SOURCE);
            annotations.is_empty()
        });
        if empty {
            metadata.remove("annotations");
        }
    }
    serde_saphyr::to_string(&value).unwrap_or_else(|error| format!("# cannot be written as YAML: {error}\n"))
}

/// A unified diff; empty when nothing differs.
pub fn diff(before: Option<&str>, after: Option<&str>) -> String {
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    TextDiff::from_lines(before, after).unified_diff().context_radius(CONTEXT).to_string()
}

/// Who changed what when; where it is live is not known here.
pub fn row(generation: &Generation) -> Value {
    let author = &generation.author;
    json!({
        "generation": generation.number, "at": generation.at,
        "by": {"user": author.user, "manager": author.manager, "file": author.file},
        "note": author.note, "objects": generation.entries.iter().map(|entry| named(entry)).collect::<Vec<_>>(),
    })
}

/// The same with the differences, as far as there is room for their text: what comes beyond is told by name.
pub fn told(generation: &Generation, room: &mut usize) -> Value {
    let mut value = row(generation);
    for (object, entry) in value["objects"].as_array_mut().into_iter().flatten().zip(&generation.entries) {
        let diff = entry_diff(entry);
        if diff.len() <= LONGEST_TOLD.min(*room) {
            *room -= diff.len();
            object["diff"] = diff.into();
        }
    }
    value
}

pub(super) fn named(entry: &Entry) -> Value {
    json!({"verb": entry.verb, "group": entry.kind.group, "kind": entry.kind.kind, "namespace": entry.namespace, "name": entry.name, "generation": entry.generation})
}

/// What an entry changed.
pub fn entry_diff(entry: &Entry) -> String {
    diff(side(entry.before.as_deref()).as_deref(), side(entry.after.as_deref()).as_deref())
}

/// One side of an entry, as text.
pub(super) fn side(text: Option<&str>) -> Option<String> {
    text.and_then(|text| serde_json::from_str(text).ok()).map(|value: Value| yaml(&value))
}

/// `file:line` that the entry's object was read from.
pub(super) fn source(entry: &Entry) -> Option<String> {
    let text = entry.after.as_deref().or(entry.before.as_deref())?;
    let value: Value = serde_json::from_str(text).ok()?;
    value["metadata"]["annotations"][SOURCE].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_keep_is_not_shown() {
        let value = json!({"kind": "Service", "metadata": {"name": "a", "annotations": {LAST_APPLIED: "{}", SOURCE: "a.yaml:1"}}});
        assert_eq!(yaml(&value), "kind: Service\nmetadata:\n  name: a\n");
    }

    #[test]
    fn a_diff_is_unified_and_has_context() {
        let text =
            |weight: u32| (1..=9).map(|line| if line == 5 { format!("weight: {weight}\n") } else { format!("line: {line}\n") }).collect::<String>();
        let said = diff(Some(&text(90)), Some(&text(80)));
        assert!(said.starts_with("@@ -2,7 +2,7 @@\n line: 2\n"), "{said}");
        assert!(said.contains("-weight: 90\n+weight: 80\n") && !said.contains("line: 1"), "{said}");
        assert_eq!(diff(Some("a\n"), Some("a\n")), "");
        assert!(diff(None, Some("a\n")).contains("+a"));
    }
}
