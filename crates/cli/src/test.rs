//! `taut test`: assertions over configuration, for CI, without a cluster. Exit code 1 when one does not hold.

mod junit;

use crate::apply::readings;
use crate::output::{self, Format};
use crate::{Failure, Outcome};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use taut_control::translate::Settings;
use taut_control::trial::{self, Judgement, Mismatch, Suite, Trial};
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut test --config ./mesh tests.yaml
  taut test --config ./mesh --config ./platform tests/*.yaml --junit report.xml
  kustomize build . | taut test --config - tests.yaml -o json")]
pub struct Arguments {
    /// Files of RouteTests
    #[arg(required = true, value_name = "FILE")]
    tests: Vec<PathBuf>,
    /// The configuration: a file, a directory or - for standard input; may be given again
    #[arg(short, long, required = true, value_name = "FILE|DIR")]
    config: Vec<PathBuf>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Explain every case, as `taut why` does, and not only tell what decided
    #[arg(long)]
    why: bool,
    /// Write a report as JUnit's XML, for CI systems
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The mesh's trust domain
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn test(arguments: Arguments) -> Outcome {
    let suites = suites(&arguments.tests)?;
    let objects = configuration(&arguments.config, &arguments.tests)?;
    let settings = Settings { trust_domain: arguments.trust_domain.clone(), ..Settings::default() };
    let mut trial = trial::run(&suites, objects, &settings);
    if let Some(text) = &arguments.only {
        trial.judgements.retain(|judgement| judgement.name.contains(text.as_str()));
        if trial.judgements.is_empty() {
            return Err(Failure::cannot(format!("no case is called {text:?}; names are those of spec.cases[].name")));
        }
    }
    let failed = trial.judgements.iter().filter(|judgement| !judgement.passed).count();
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit::report(&trial.judgements)).map_err(|error| Failure::cannot(format!("{}: {error}", path.display())))?;
    }
    match arguments.output {
        Format::Table => output::print(&told(&trial, arguments.why))?,
        format => {
            let passed = trial.judgements.len() - failed;
            let value = json!({ "passed": passed, "failed": failed, "notAccepted": trial.refused, "cases": trial.judgements });
            output::structured(format, &value)?;
        }
    }
    match failed == 0 && trial.refused.is_empty() {
        true => Ok(()),
        false => Err(Failure::no("")),
    }
}

fn suites(files: &[PathBuf]) -> Outcome<Vec<Suite>> {
    let mut suites = Vec::new();
    let mut errors = 0;
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| Failure::cannot(format!("{}: {error}", file.display())))?;
        match trial::read(&text, &file.display().to_string()) {
            Ok(found) => suites.extend(found),
            Err(problems) => errors += told_problems(&problems),
        }
    }
    match (errors, suites.is_empty()) {
        (0, false) => Ok(suites),
        (0, true) => Err(Failure::cannot("the files hold no RouteTest")),
        (errors, _) => Err(Failure::cannot(format!("{errors} error{} in the tests; none was tried", if errors == 1 { "" } else { "s" }))),
    }
}

/// Tests may lie beside what they are about. Of an object that is there twice the last counts, as in a mesh that is given both.
fn configuration(paths: &[PathBuf], tests: &[PathBuf]) -> Outcome<Vec<Arc<Object>>> {
    let tests: Vec<PathBuf> = tests.iter().filter_map(|test| test.canonicalize().ok()).collect();
    let of_tests = |problem: &Problem| {
        let file = problem.location.as_ref().and_then(|location| Path::new(&location.file).canonicalize().ok());
        file.is_some_and(|file| tests.contains(&file))
    };
    let mut objects: BTreeMap<(&str, ObjectRef), Arc<Object>> = BTreeMap::new();
    let mut errors = 0;
    for reading in readings(paths)? {
        let problems: Vec<Problem> = reading.problems.into_iter().filter(|problem| !of_tests(problem)).collect();
        errors += told_problems(&problems);
        objects.extend(reading.objects.into_iter().map(|object| ((object.kind.group, object.reference()), Arc::new(object))));
    }
    match errors {
        0 => Ok(objects.into_values().collect()),
        n => Err(Failure::no(format!("{n} error{} in the configuration; nothing was tried", if n == 1 { "" } else { "s" }))),
    }
}

/// How many errors there were.
fn told_problems(problems: &[Problem]) -> usize {
    problems.iter().for_each(|problem| output::say(&problem.to_string()));
    problems.iter().filter(|problem| problem.severity == Severity::Error).count()
}

fn told(trial: &Trial, why: bool) -> String {
    let mut text: String = trial.refused.iter().map(|problem| format!("{problem}\n")).collect();
    for judgement in &trial.judgements {
        text += &case(judgement);
        if why {
            text.extend(judgement.explanation.lines().map(|line| format!("      {line}\n")));
        }
    }
    let (all, failed) = (trial.judgements.len(), trial.judgements.iter().filter(|judgement| !judgement.passed).count());
    text += &format!("{all} case{}: {} passed, {failed} failed\n", if all == 1 { "" } else { "s" }, all - failed);
    if !trial.refused.is_empty() {
        text += "objects of the configuration are not accepted, which fails the run\n";
    }
    text
}

fn case(judgement: &Judgement) -> String {
    let decided: Vec<String> = judgement.decided_by.iter().map(ToString::to_string).collect();
    let place = judgement.location.as_ref().map_or_else(String::new, |location| format!(" ({location})"));
    let mark = if judgement.passed { '✓' } else { '✗' };
    let mut text = format!("{mark} {}{place}\n", judgement.name);
    match judgement.passed {
        true if decided.is_empty() => {}
        true => text += &format!("    decided by {}\n", decided.join(", ")),
        false => text.extend(judgement.mismatches.iter().map(mismatch)),
    }
    text
}

fn mismatch(mismatch: &Mismatch) -> String {
    let field = mismatch.path.rsplit_once(".expect.").map_or("expect", |(_, field)| field);
    let place = mismatch.location.as_ref().map_or_else(|| field.to_owned(), |location| format!("{location}: {field}"));
    let because = mismatch.because.as_ref().map_or_else(String::new, |origin| format!("      because  {origin}\n"));
    format!("    {place}\n      expected {}\n      got      {}\n{because}", mismatch.expected, mismatch.got)
}
