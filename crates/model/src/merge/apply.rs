//! Server-side apply: a writer says all that it wants, and owns exactly that.
//!
//! Source of the semantics: "Server-Side Apply" in the Kubernetes documentation.

use super::PatchError;
use super::fields::FieldSet;
use super::managed::{Manager, Operation, Writer, managers, never_owned, set_managers};
use super::shape::Shape;
use super::typed;
use serde_json::{Value, json};
use std::fmt;

/// A field that another writer owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    /// `.spec.hosts`
    pub field: String,
}

/// `conflict with "kubectl" using networking.istio.io/v1`
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conflict with {:?}", self.manager)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Other writers own these fields with other values, and the apply was not forced.
    Conflicts(Vec<Conflict>),
    Invalid(PatchError),
}

/// What `config` makes of `live` (`None`: there is no such object yet), `managedFields` included. Fields that this writer
/// applied before and does not any more go, unless another writer owns them too. With `force`, fields of others are taken.
///
/// # Errors
/// `Conflicts`, all of them; `Invalid` for a configuration that has `managedFields` or repeats an element of a keyed list.
pub fn apply(live: Option<&Value>, config: &Value, writer: Writer<'_>, force: bool, schema: &Value) -> Result<Value, ApplyError> {
    let shape = Shape::root(schema);
    check(config, shape).map_err(ApplyError::Invalid)?;
    let base = live.cloned().unwrap_or_else(|| json!({"metadata": {}}));
    let (mine, mut others): (Vec<Manager>, Vec<Manager>) =
        managers(&base).into_iter().partition(|entry| entry.is(writer.manager, Operation::Apply, writer.subresource));
    let before = mine.iter().fold(FieldSet::default(), |set, entry| set.union(&entry.fields));
    let wanted = typed::field_set(config, shape).without(&never_owned());

    let mut merged = typed::merge(&base, config, shape);
    let kept = others.iter().fold(wanted.clone(), |set, entry| set.union(&entry.fields));
    typed::remove(&mut merged, &before.clear_of(&kept), &kept, shape);

    let changes = typed::changes(Some(&base), Some(&merged), shape);
    let taken = changes.added.union(&changes.modified);
    let conflicts: Vec<Conflict> = others.iter().flat_map(|entry| conflicts(entry, &taken)).collect();
    if !conflicts.is_empty() && !force {
        return Err(ApplyError::Conflicts(conflicts));
    }
    for entry in &mut others {
        entry.fields = entry.fields.difference(&taken).difference(&changes.removed);
    }
    let api_version = config["apiVersion"].as_str().unwrap_or_default().to_owned();
    let same = mine.first().filter(|entry| entry.fields == wanted && entry.api_version == api_version).map(|entry| entry.time.clone());
    others.push(Manager {
        name: writer.manager.to_owned(),
        operation: Operation::Apply,
        api_version,
        time: same.unwrap_or_else(|| writer.now.to_owned()),
        subresource: writer.subresource.to_owned(),
        fields: wanted,
    });
    others.sort_by(|left, right| (left.operation, &left.time, &left.name).cmp(&(right.operation, &right.time, &right.name)));
    set_managers(&mut merged, &others);
    Ok(merged)
}

fn check(config: &Value, shape: Shape<'_>) -> Result<(), PatchError> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(PatchError::new("metadata.managedFields", "must not be in what is applied: leave it out"));
    }
    typed::check_unique(config, shape)
}

fn conflicts(entry: &Manager, taken: &FieldSet) -> Vec<Conflict> {
    let conflict = |field: String| Conflict {
        manager: entry.name.clone(),
        operation: entry.operation,
        api_version: entry.api_version.clone(),
        subresource: entry.subresource.clone(),
        field,
    };
    entry.fields.intersection(taken).paths().into_iter().map(conflict).collect()
}
