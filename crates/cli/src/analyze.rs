//! `taut analyze`: what is wrong in files, without a control plane, or in the mesh that runs. Exit code 1 when that is enough to fail.

mod mesh;
mod report;

use crate::api::Api;
use crate::apply::readings;
use crate::output::Format;
use crate::place::Place;
use crate::trust::strict;
use crate::{Failure, Outcome};
use report::{Finding, Report};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use taut_control::lint::{self, Suppression};
use taut_control::translate::{self, Settings};
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::read::{self, FOREIGN_KIND};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut analyze ./mesh                                          files
  taut analyze                                                 the mesh that runs
  taut analyze --fail-on warning --suppress 'TAUT0501=Service */legacy-*' ./mesh
  taut analyze --explain TAUT0201                              or IST0130, or UnreachableRule, or all
  taut analyze -o json ./mesh | jq '.findings[].message'")]
pub struct Arguments {
    /// Files and directories; - for standard input. Without one, the mesh that runs
    paths: Vec<PathBuf>,
    /// The least that makes the command fail
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// Say nothing of these: CODE=RESOURCE, e.g. 'TAUT0201=VirtualService default/*'; may be given again
    #[arg(long, value_name = "CODE[=RESOURCE]")]
    suppress: Vec<Suppression>,
    /// What a code means, why it matters and how to mend it; `all` lists them
    #[arg(long, value_name = "CODE", conflicts_with_all = ["paths", "suppress"])]
    explain: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Error,
    Warning,
    Info,
    Never,
}

impl FailOn {
    fn covers(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity == Severity::Error,
            Self::Warning => severity != Severity::Info,
            Self::Info => true,
            Self::Never => false,
        }
    }
}

pub async fn analyze(place: &Place, arguments: Arguments) -> Outcome {
    if let Some(code) = &arguments.explain {
        return report::explain(code, arguments.output);
    }
    let (objects, mut problems) = match arguments.paths.is_empty() {
        true => in_mesh(&place.api()?).await?,
        false => in_files(&arguments.paths)?,
    };
    let from_files = !arguments.paths.is_empty();
    let total = objects.len();
    let objects = last(objects);
    let translation = translate::translate(&objects, &Settings { trust_domain: "cluster.local".to_owned(), ..Settings::default() });
    let whole = from_files && objects.iter().any(|object| matches!(object.kind.kind, "Service" | "ServiceEntry"));
    let found = lint::lint(&objects, &translation).into_iter();
    problems.extend(found.map(|problem| if whole { settled(problem) } else { problem }));
    let before = problems.len();
    let by_name: BTreeMap<ObjectRef, &Object> = objects.iter().map(|object| (object.reference(), object.as_ref())).collect();
    problems.retain(|problem| {
        let own = problem.object.as_ref().and_then(|object| by_name.get(object));
        !own.is_some_and(|object| lint::annotated(object, problem)) && !arguments.suppress.iter().any(|one| one.covers(problem))
    });
    let suppressed = before - problems.len();
    show_lines(&mut problems);
    problems
        .sort_by(|a, b| (&a.location, &a.object, a.severity, &a.path, &a.message).cmp(&(&b.location, &b.object, b.severity, &b.path, &b.message)));
    problems.dedup();
    let fails = problems.iter().any(|problem| arguments.fail_on.covers(problem.severity));
    let findings = problems.into_iter().map(Finding::from).collect();
    Report::new(total, suppressed, findings).show(arguments.output)?;
    if fails { Err(Failure::no("")) } else { Ok(()) }
}

/// The mesh that runs, and what is seen of its traffic.
async fn in_mesh(api: &Api) -> Outcome<(Vec<Arc<Object>>, Vec<Problem>)> {
    let plaintext = strict::lately(api).await?.map(|report| strict::lines(&report)).unwrap_or_default();
    Ok((mesh::objects(api).await?, plaintext.into_iter().map(seen_in_plain_text).collect()))
}

fn seen_in_plain_text(line: String) -> Problem {
    Problem {
        severity: Severity::Info,
        code: lint::name::PLAINTEXT_SEEN,
        object: None,
        path: String::new(),
        location: None,
        message: format!("plain text in the last hour: {line}"),
        help: None,
        excerpt: None,
    }
}

fn in_files(paths: &[PathBuf]) -> Outcome<(Vec<Arc<Object>>, Vec<Problem>)> {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    for reading in readings(paths)? {
        problems.extend(reading.problems.into_iter().map(foreign));
        objects.extend(reading.objects.into_iter().map(Arc::new));
    }
    problems.extend(repeated(&objects));
    Ok((objects, problems))
}

/// Of objects that are defined more than once the last, in the order in which they were read.
fn last(objects: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
    let mut by_name: BTreeMap<(&str, ObjectRef), Arc<Object>> = BTreeMap::new();
    by_name.extend(objects.into_iter().map(|object| ((object.kind.group, object.reference()), object)));
    by_name.into_values().collect()
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
    let mut first: BTreeMap<(&str, ObjectRef), &Object> = BTreeMap::new();
    let mut found = Vec::new();
    for object in objects {
        let Some(before) = first.insert((object.kind.group, object.reference()), object) else { continue };
        let at = before.location("metadata.name").map_or_else(|| "before".to_owned(), |location| format!("at {location} too"));
        found.push(Problem {
            severity: Severity::Warning,
            code: lint::name::REPEATED_OBJECT,
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

/// Objects for others lie beside those for the mesh in any directory of manifests: that is nothing wrong.
fn foreign(problem: Problem) -> Problem {
    match problem.code {
        FOREIGN_KIND => Problem { severity: Severity::Info, ..problem },
        _ => problem,
    }
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
