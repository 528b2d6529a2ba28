//! `taut analyze`: what is wrong in files, without a control plane. Exit code 1 when there is an error.

use crate::apply::readings;
use crate::output::{self, Format};
use crate::{Failure, Outcome};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use taut_control::translate::{self, Settings};
use taut_model::problem::{Problem, Severity};

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
    let translation = translate::translate(&objects, &Settings { trust_domain: "cluster.local".to_owned() });
    problems.extend(translation.findings.into_values().flatten());
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

fn report(problems: &[Problem], objects: usize, errors: usize, warnings: usize) -> Outcome {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    text += &match (errors, warnings) {
        (0, 0) => format!("{}: nothing wrong\n", plural(objects, "object")),
        _ => format!("{}: {}, {}\n", plural(objects, "object"), plural(errors, "error"), plural(warnings, "warning")),
    };
    output::print(&text)
}
