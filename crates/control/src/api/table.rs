//! Objects as `kubectl get` prints them: a `meta.k8s.io/v1` Table with the columns of the kind.

use super::answer::at_version;
use super::asked::RowObject;
use super::target::Address;
use super::{Api, jsonpath, look};
use serde_json::{Value, json};
use std::sync::Arc;
use taut_model::kinds::Kind;
use taut_model::object::Object;

/// `with_columns`: a watch says the columns once.
pub(super) fn of(api: &Api, address: &Address, objects: &[Arc<Object>], rows: RowObject, version: &str, with_columns: bool) -> Value {
    let now = seconds(&(api.clock)());
    let row = |object: &Arc<Object>| {
        let mut row = json!({"cells": cells(object, now)});
        match rows {
            RowObject::None => {}
            RowObject::Metadata => row["object"] = look::metadata_only(object),
            RowObject::Whole => row["object"] = at_version(object, address.version),
        }
        row
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": if with_columns { columns(address.kind) } else { Vec::new() },
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

fn columns(kind: &Kind) -> Vec<Value> {
    let column = |name: &str, sort: &str, format: &str, description: &str| {
        // kubectl prints a date column as it stands, and an age is text here.
        let sort = if sort == "date" { "string" } else { sort };
        json!({"name": name, "type": sort, "format": format, "description": description, "priority": 0})
    };
    let mut columns = vec![column("Name", "string", "name", "The name of the object.")];
    columns.extend(kind.columns.iter().map(|(title, path, sort)| column(title, sort, "", path)));
    columns.push(column("Age", "string", "", "The time since the object was created."));
    columns
}

fn cells(object: &Object, now: Option<i64>) -> Vec<Value> {
    let mut cells = vec![json!(object.name)];
    for (_, path, sort) in object.kind.columns {
        cells.push(cell(&jsonpath::find(&object.value, path), sort, now));
    }
    cells.push(json!(age(&object.value["metadata"]["creationTimestamp"], now)));
    cells
}

fn cell(found: &[&Value], sort: &str, now: Option<i64>) -> Value {
    match (found, sort) {
        ([], _) => Value::Null,
        ([one], "date") => json!(age(one, now)),
        ([one], "integer" | "number" | "boolean") if !one.is_string() => (*one).clone(),
        (many, _) => json!(many.iter().map(|value| text(value)).collect::<Vec<_>>().join(",")),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn age(created: &Value, now: Option<i64>) -> String {
    match (created.as_str().and_then(seconds), now) {
        (Some(created), Some(now)) => duration(now - created),
        _ => "<unknown>".to_owned(),
    }
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// As `kubectl` writes ages: two units while the second one matters.
fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |unit: i64, sign: &str, smaller: i64, smaller_sign: &str| match seconds % unit / smaller {
        0 => format!("{}{sign}", seconds / unit),
        rest => format!("{}{sign}{rest}{smaller_sign}", seconds / unit),
    };
    match seconds {
        ..0 => "<invalid>".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(DAY, "d", HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (601, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (30 * 3600, "30h"),
            (3 * 86400 + 7200, "3d2h"),
            (10 * 86400, "10d"),
            (800 * 86400, "2y70d"),
            (4000 * 86400, "10y"),
        ] {
            assert_eq!(duration(seconds), want);
        }
    }

    #[test]
    fn cells_keep_what_a_column_reaches() {
        assert_eq!(cell(&[], "string", None), Value::Null);
        assert_eq!(cell(&[&json!(["a"])], "string", None), json!(r#"["a"]"#));
        assert_eq!(cell(&[&json!(80), &json!(443)], "string", None), json!("80,443"));
        assert_eq!(cell(&[&json!(3)], "integer", None), json!(3));
    }
}
