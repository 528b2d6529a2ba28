//! `metadata.managedFields`: which writer owns which fields, and what a plain update does to that.

use super::fields::FieldSet;
use super::shape::Shape;
use super::typed;
use serde_json::{Value, json};

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    /// RFC 3339; empty if not known.
    pub time: String,
    /// `status`, or empty.
    pub subresource: String,
    pub fields: FieldSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// Who writes, and through which door.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    pub manager: &'a str,
    /// RFC 3339, seconds.
    pub now: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
}

/// More update managers than this are folded into one, the oldest first (Kubernetes keeps ten).
const UPDATE_MANAGERS: usize = 10;
const FOLDED: &str = "ancient-changes";

impl Manager {
    pub fn is(&self, name: &str, operation: Operation, subresource: &str) -> bool {
        self.name == name && self.operation == operation && self.subresource == subresource
    }
}

/// The managers of an object; entries that cannot be read are left out.
pub fn managers(object: &Value) -> Vec<Manager> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(manager).collect()
}

/// Writes the managers into an object, without those that own nothing.
pub fn set_managers(object: &mut Value, managers: &[Manager]) {
    let entries: Vec<Value> = managers.iter().filter(|manager| !manager.fields.is_empty()).map(entry).collect();
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match entries.is_empty() {
        true => metadata.remove("managedFields"),
        false => metadata.insert("managedFields".into(), Value::Array(entries)),
    };
}

/// Records that `writer` made `new` out of `old` (`Null` when there was none) by anything but server-side apply: it owns what
/// it changed, and nobody else does any more.
pub fn track_update(old: &Value, new: &mut Value, writer: Writer<'_>, schema: &Value) {
    let absent = Value::Null;
    let old = if old.is_null() { &absent } else { old };
    let changes = typed::changes(Some(old).filter(|old| !old.is_null()), Some(new), Shape::root(schema));
    let ignored = never_owned();
    let taken = changes.added.union(&changes.modified).without(&ignored);
    let taken = FieldSet { own: false, ..taken };
    let mut managers = managers(new);
    for manager in &mut managers {
        manager.fields = manager.fields.difference(&changes.removed).difference(&taken);
    }
    if !taken.is_empty() {
        let api_version = new["apiVersion"].as_str().unwrap_or_default().to_owned();
        let mine =
            managers.iter_mut().find(|entry| entry.is(writer.manager, Operation::Update, writer.subresource) && entry.api_version == api_version);
        match mine {
            Some(mine) => {
                mine.fields = std::mem::take(&mut mine.fields).union(&taken);
                mine.time = writer.now.to_owned();
            }
            None => managers.push(Manager {
                name: writer.manager.to_owned(),
                operation: Operation::Update,
                api_version,
                time: writer.now.to_owned(),
                subresource: writer.subresource.to_owned(),
                fields: taken,
            }),
        }
    }
    fold_oldest(&mut managers);
    set_managers(new, &managers);
}

/// What the server writes, and what names the object: nobody owns these.
pub fn never_owned() -> FieldSet {
    FieldSet::from_json(&json!({
        "f:apiVersion": {}, "f:kind": {},
        "f:metadata": {
            "f:name": {}, "f:namespace": {}, "f:creationTimestamp": {}, "f:deletionTimestamp": {}, "f:selfLink": {}, "f:uid": {},
            "f:generation": {}, "f:managedFields": {}, "f:resourceVersion": {}, "f:generateName": {},
        },
    }))
}

fn fold_oldest(managers: &mut Vec<Manager>) {
    loop {
        let mut updates: Vec<usize> = (0..managers.len()).filter(|at| managers[*at].operation == Operation::Update).collect();
        if updates.len() <= UPDATE_MANAGERS {
            return;
        }
        updates.sort_by(|left, right| managers[*left].time.cmp(&managers[*right].time));
        let (oldest, next) = (updates[0], updates[1]);
        let fields = std::mem::take(&mut managers[oldest].fields);
        let folded = &mut managers[next];
        folded.name = FOLDED.to_owned();
        folded.fields = std::mem::take(&mut folded.fields).union(&fields);
        managers.remove(oldest);
    }
}

fn manager(entry: &Value) -> Option<Manager> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let operation = match entry["operation"].as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let fields = FieldSet { own: false, ..FieldSet::from_json(&entry["fieldsV1"]) };
    let (time, subresource) = (text("time"), text("subresource"));
    Some(Manager { name: text("manager"), operation, api_version: text("apiVersion"), time, subresource, fields })
}

fn entry(manager: &Manager) -> Value {
    let mut entry = json!({
        "manager": manager.name,
        "operation": match manager.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
        "apiVersion": manager.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": manager.fields.to_json(),
    });
    for (name, value) in [("time", &manager.time), ("subresource", &manager.subresource)] {
        if !value.is_empty() {
            entry[name] = json!(value);
        }
    }
    entry
}
