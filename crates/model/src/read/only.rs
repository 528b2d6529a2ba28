//! Files of one kind that the mesh does not keep: read, and held to a schema that their owner brings.

use super::{Located, Reading, excerpt, object};
use crate::kinds::Kind;
use crate::problem::{Problem, Severity};
use crate::{schema, tree};
use serde_json::Value;

/// Reads a YAML or JSON text of any number of documents, all of them of `kind`. Each problem has its place, as those of [`super::yaml`].
pub fn yaml(text: &str, file: &str, kind: &'static Kind, schema: &Value) -> Reading {
    let mut reading = Reading::default();
    for document in tree::documents(text, file) {
        reading.problems.extend(document.problems);
        let Some(root) = document.root else { continue };
        let (value, places) = (root.value(), Located::new(&root, file));
        let mut problems = match of_kind(&value, kind) {
            Err(problem) => vec![*problem],
            Ok(()) => schema::check_against(kind, schema, &value),
        };
        let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
        problems.iter_mut().for_each(|problem| places.locate(problem));
        reading.problems.append(&mut problems);
        let object = object(kind, value, Some(places.keys()));
        if refused { &mut reading.refused } else { &mut reading.objects }.push(object);
    }
    reading.problems.sort_by(|a, b| a.location.cmp(&b.location));
    excerpt::attach(text, &mut reading.problems);
    reading
}

fn of_kind(value: &Value, kind: &Kind) -> Result<(), Box<Problem>> {
    let api_version = kind.api_version();
    for (field, expected) in [("apiVersion", api_version.as_str()), ("kind", kind.kind)] {
        let written = &value[field];
        if written != expected {
            let message = match written.as_str() {
                Some(written) => format!("{field} is {written:?}; here it must be {expected:?}"),
                None => format!("{field} is missing; here it must be {expected:?}"),
            };
            let path = field.to_owned();
            let (severity, code) = (Severity::Error, "UnknownKind");
            return Err(Box::new(Problem { severity, code, object: None, path, location: None, message, help: None, excerpt: None }));
        }
    }
    Ok(())
}
