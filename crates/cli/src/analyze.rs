//! `taut analyze`: what is wrong in files, without a control plane. Exit code 1 when there is an error.

use crate::apply::readings;
use crate::output::{self, Format};
use crate::{Failure, Outcome};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use taut_control::translate::{self, Settings};
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::read;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut analyze ./mesh
  taut analyze -o json reviews.yaml | jq '.findings[].message'")]
pub struct Arguments {
    /// Files and directories; - for standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn analyze(arguments: Arguments) -> Outcome {
    let mut problems = Vec::new();
    let mut objects = Vec::new();
    for reading in readings(&arguments.paths)? {
        problems.extend(reading.problems);
        objects.extend(reading.objects.into_iter().map(Arc::new));
    }
    problems.extend(repeated(&objects));
    let translation = translate::translate(&objects, &Settings { trust_domain: "cluster.local".to_owned() });
    let whole = objects.iter().any(|object| matches!(object.kind.kind, "Service" | "ServiceEntry"));
    let found = translation.findings.into_values().flatten();
    problems.extend(found.map(|problem| if whole { settled(problem) } else { problem }));
    show_lines(&mut problems);
    problems.sort_by(|a, b| (&a.location, a.severity, &a.path, &a.message).cmp(&(&b.location, b.severity, &b.path, &b.message)));
    let count = |severity| problems.iter().filter(|p| p.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match arguments.output {
        Format::Table => report(&problems, objects.len(), errors, warnings)?,
        format => output::structured(format, &json!({ "objects": objects.len(), "errors": errors, "warnings": warnings, "findings": problems }))?,
    }
    match errors > 0 || (arguments.strict && warnings > 0) {
        true => Err(Failure::no("")),
        false => Ok(()),
    }
}

/// In files that bring their services along, a reference that leads nowhere is a mistake. (Routes alone may refer to what is elsewhere,
/// and a running mesh takes them: what they refer to may come later.)
fn settled(mut problem: Problem) -> Problem {
    if matches!(problem.code, "UnknownReference" | "BackendNotFound") && problem.severity == Severity::Warning {
        problem.severity = Severity::Error;
    }
    problem
}

/// Objects that are defined more than once: only the last would count.
fn repeated(objects: &[Arc<Object>]) -> Vec<Problem> {
    let mut first: BTreeMap<ObjectRef, &Object> = BTreeMap::new();
    let mut found = Vec::new();
    for object in objects {
        let Some(before) = first.insert(object.reference(), object) else { continue };
        let at = before.location("metadata.name").map_or_else(|| "before".to_owned(), |location| format!("at {location} too"));
        found.push(Problem {
            severity: Severity::Warning,
            code: "RepeatedObject",
            object: Some(object.reference()),
            path: "metadata.name".to_owned(),
            location: object.location("metadata.name"),
            message: format!("{} is defined {at}; only the last definition counts", object.reference()),
            help: Some("keep one of them".to_owned()),
            excerpt: None,
        });
    }
    found
}

/// Gives each finding the line that it is about.
fn show_lines(problems: &mut [Problem]) {
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for problem in problems.iter_mut().filter(|problem| problem.excerpt.is_none()) {
        let Some(location) = &problem.location else { continue };
        let text = texts.entry(location.file.clone()).or_insert_with(|| std::fs::read_to_string(&location.file).ok());
        if let Some(text) = text {
            read::show_lines(text, std::slice::from_mut(problem));
        }
    }
}

fn report(problems: &[Problem], objects: usize, errors: usize, warnings: usize) -> Outcome {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    text += &match (errors, warnings) {
        (0, 0) => format!("{}: nothing wrong\n", plural(objects, "object")),
        _ => format!("{}: {}, {}\n", plural(objects, "object"), plural(errors, "error"), plural(warnings, "warning")),
    };
    output::print(&text)
}
