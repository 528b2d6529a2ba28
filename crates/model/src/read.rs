//! Text to objects: finds the kind, checks the object, and puts every problem where the user will look for it.

mod excerpt;
mod lookup;
pub mod only;

pub use excerpt::attach as attach_excerpts;
pub use excerpt::attach as show_lines;
pub use lookup::FOREIGN_KIND;

use crate::kinds::Kind;
use crate::object::{Object, Places};
use crate::origin::ObjectRef;
use crate::path;
use crate::problem::{Problem, Severity};
use crate::schema;
use crate::tree::{self, Content, Node, Place};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a text holds.
#[derive(Debug, Default)]
pub struct Reading {
    /// In the order written. An object with an error is not among them.
    pub objects: Vec<Object>,
    /// Objects with an error whose kind could be read or guessed, as they are written, for those who must know what was refused. Not
    /// to be stored: nothing of them is sure, not even that they have a name.
    pub refused: Vec<Object>,
    /// In the order of their places.
    pub problems: Vec<Problem>,
}

/// Reads a YAML or JSON text of any number of documents; `List` objects are taken apart. `file` is only for messages and
/// places. Every problem of the whole text is found, each with its place and the line it is about.
pub fn yaml(text: &str, file: &str) -> Reading {
    let mut reading = Reading::default();
    for document in tree::documents(text, file) {
        reading.problems.extend(document.problems);
        if let Some(root) = document.root {
            node(&root, file, &mut reading);
        }
    }
    reading.problems.sort_by(|a, b| a.location.cmp(&b.location));
    excerpt::attach(text, &mut reading.problems);
    reading
}

/// Checks one object that came without a text, as through an API. A missing `metadata.name` is allowed where
/// `generateName` is set: the name of the object is then empty. Warnings are dropped when there is no error.
pub fn json(value: Value) -> Result<Object, Vec<Problem>> {
    let kind = lookup::kind(&value).map_err(|problem| vec![*problem])?;
    let mut problems = schema::check(kind, &value);
    if !problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Ok(object(kind, value, None));
    }
    let reference = reference(kind, &value);
    problems.iter_mut().for_each(|problem| problem.object = Some(reference.clone()));
    Err(problems)
}

fn node(root: &Node, file: &str, reading: &mut Reading) {
    let value = root.value();
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    let is_list = text("kind") == "List" && text("apiVersion") == "v1" || text("kind").ends_with("List") && root.get("items").is_some();
    if let (true, Some(Node { content: Content::List(items), .. })) = (is_list, root.get("items")) {
        return items.iter().for_each(|item| node(item, file, reading));
    }
    let places = Located::new(root, file);
    let mut problems = match lookup::kind(&value) {
        Err(problem) => {
            let meant = lookup::meant(&value).map(|kind| object(kind, value, Some(places.keys())));
            reading.refused.extend(meant);
            vec![*problem]
        }
        Ok(kind) => {
            let mut problems = schema::check(kind, &value);
            if problems.iter().all(|problem| problem.severity != Severity::Error) {
                named(object(kind, value, Some(places.keys())), &mut problems, reading);
            } else {
                let reference = reference(kind, &value);
                problems.iter_mut().for_each(|problem| problem.object = Some(reference.clone()));
                reading.refused.push(object(kind, value, Some(places.keys())));
            }
            problems
        }
    };
    problems.iter_mut().for_each(|problem| places.locate(problem));
    reading.problems.append(&mut problems);
}

/// Only an API can generate names: a file would make another object every time it is read.
fn named(object: Object, problems: &mut Vec<Problem>, reading: &mut Reading) {
    problems.iter_mut().for_each(|problem| problem.object = Some(object.reference()));
    if !object.name.is_empty() {
        return reading.objects.push(object);
    }
    reading.refused.push(object);
    problems.push(Problem {
        severity: Severity::Error,
        code: "UnsupportedValue",
        object: None,
        path: "metadata.generateName".to_owned(),
        location: None,
        message: "a file cannot have a name generated: it would make another object each time it is read".to_owned(),
        help: Some("set metadata.name".to_owned()),
        excerpt: None,
    });
}

fn object(kind: &'static Kind, mut value: Value, places: Option<Arc<Places>>) -> Object {
    drop_nulls(&mut value);
    let ObjectRef { namespace, name, .. } = reference(kind, &value);
    Object { kind, namespace, name, value, places }
}

fn reference(kind: &Kind, value: &Value) -> ObjectRef {
    let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
    let namespace = match (kind.namespaced, text("namespace")) {
        (false, _) => "",
        (true, "") => "default",
        (true, namespace) => namespace,
    };
    ObjectRef::new(kind.kind, namespace, text("name"))
}

/// A field that is null is a field that is not set; nobody downstream should have to tell the two apart.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, child| !child.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The places of one object's nodes: of keys, and of the values behind them.
struct Located<'a> {
    file: &'a str,
    places: BTreeMap<String, (Place, Place)>,
}

impl<'a> Located<'a> {
    fn new(root: &Node, file: &'a str) -> Self {
        let mut places = BTreeMap::new();
        collect(root, root.place, String::new(), &mut places);
        Self { file, places }
    }

    fn keys(&self) -> Arc<Places> {
        Arc::new(self.places.iter().map(|(path, (key, _))| (path.clone(), key.location(self.file))).collect())
    }

    /// What is wrong with a field's presence is shown at its key, what is wrong with its value at the value. A node that is
    /// not there is looked for at what would enclose it.
    fn locate(&self, problem: &mut Problem) {
        let at_value = matches!(problem.code, "WrongType" | "InvalidValue" | "UnknownValue" | "UnknownKind" | lookup::FOREIGN_KIND);
        let mut path = problem.path.as_str();
        loop {
            if let Some((key, value)) = self.places.get(path) {
                let place = if at_value && path == problem.path { value } else { key };
                problem.location = Some(place.location(self.file));
                return;
            }
            path = path.rfind(['.', '[']).map_or("", |end| &path[..end]);
        }
    }
}

fn collect(node: &Node, key_place: Place, path: String, places: &mut BTreeMap<String, (Place, Place)>) {
    match &node.content {
        Content::Map(entries) => {
            entries.iter().for_each(|entry| collect(&entry.value, entry.key_place, path::field(&path, &entry.key), places));
        }
        Content::List(items) => {
            items.iter().enumerate().for_each(|(index, item)| collect(item, item.place, path::item(&path, index), places));
        }
        _ => {}
    }
    places.insert(path, (key_place, node.place));
}

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;
