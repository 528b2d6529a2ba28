//! What each kind may hold: its structural schema (OpenAPI v3, with descriptions), and whether an object fits it.

mod check;
mod choice;
mod metadata;
mod nearest;
mod text;

pub use nearest::nearest;

use crate::kinds::{KINDS, Kind};
use crate::problem::Problem;
use flate2::read::DeflateDecoder;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::OnceLock;

include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// The `openAPIV3Schema` of the kind's storage version, `apiVersion`, `kind` and the full `metadata` included.
/// Unpacked and parsed on first use; the large ones (Pod, Deployment) take a few milliseconds.
pub fn of(kind: &'static Kind) -> &'static Value {
    static PARSED: OnceLock<Vec<OnceLock<Value>>> = OnceLock::new();
    static NONE: Value = Value::Null;
    let parsed = PARSED.get_or_init(|| KINDS.iter().map(|_| OnceLock::new()).collect());
    match KINDS.iter().position(|known| known == kind) {
        Some(index) => parsed[index].get_or_init(|| load(kind)),
        None => &NONE,
    }
}

/// What is wrong with `value` as an object of `kind`, all of it: unknown fields, wrong types, missing fields, values out of
/// range, contradictions. Problems carry field paths and no places. CEL rules (`x-kubernetes-validations`) are not run.
pub fn check(kind: &'static Kind, value: &Value) -> Vec<Problem> {
    check_against(kind, of(kind), value)
}

/// As [`check`], of a kind that is not one of [`KINDS`] and whose schema is `schema`.
pub fn check_against(kind: &Kind, schema: &Value, value: &Value) -> Vec<Problem> {
    let mut problems = check::object(kind, schema, value);
    problems.extend(metadata::check(kind, value));
    problems
}

/// A kind without a schema file cannot ship: a test reads them all.
fn load(kind: &Kind) -> Value {
    let mut schema = unpack(&kind.full_name()).unwrap_or_default();
    let metadata = unpack("metadata").unwrap_or_default();
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("x-kubernetes-group-version-kind").or_insert_with(|| {
            let of_version = |version: &&str| json!({"group": kind.group, "version": version, "kind": kind.kind});
            kind.versions.iter().map(of_version).collect()
        });
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = json!({"type": "string", "description": "The group and version of the API that this object is written in."});
        properties["kind"] = json!({"type": "string", "description": "The kind of this object, in CamelCase."});
        properties["metadata"] = metadata;
    }
    schema
}

fn unpack(name: &str) -> Option<Value> {
    let (_, packed) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    let mut text = String::new();
    DeflateDecoder::new(*packed).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests;
