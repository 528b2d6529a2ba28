//! Findings as people and programs read them.

use crate::output::{self, Format};
use crate::{Failure, Outcome};
use serde::Serialize;
use serde_json::json;
use taut_control::lint::{self, Entry};
use taut_model::origin::{Location, ObjectRef};
use taut_model::problem::{Problem, Severity};

/// A problem with what the catalogue knows of its kind.
#[derive(Debug, Serialize)]
pub struct Finding {
    severity: Severity,
    /// `TAUT0201`
    code: &'static str,
    /// `UnreachableRule`
    name: &'static str,
    /// Istio's codes for it.
    istio: &'static [&'static str],
    message: String,
    why: &'static str,
    /// What to do about this one, or about its kind.
    help: String,
    path: String,
    object: Option<ObjectRef>,
    location: Option<Location>,
    excerpt: Option<String>,
}

/// For a reason that the catalogue lacks; a test of it holds that there is none.
static UNKNOWN: Entry =
    Entry { code: "TAUT0000", name: "", istio: &[], why: "the object may not do what it reads", mend: "do what the message says" };

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        let entry = lint::find(problem.code).unwrap_or(&UNKNOWN);
        Self {
            severity: problem.severity,
            code: entry.code,
            name: problem.code,
            istio: entry.istio,
            message: problem.message,
            why: entry.why,
            help: problem.help.unwrap_or_else(|| entry.mend.to_owned()),
            path: problem.path,
            object: problem.object,
            location: problem.location,
            excerpt: problem.excerpt,
        }
    }
}

impl Finding {
    fn text(&self) -> String {
        let place = self.location.as_ref().map_or_else(String::new, |location| format!("{location}: "));
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let object = self.object.as_ref().map_or_else(String::new, |object| format!(" ({object})"));
        let excerpt = self.excerpt.as_ref().map_or_else(String::new, |excerpt| format!("{}\n", excerpt.trim_end_matches('\n')));
        let (code, name, message, why, help) = (self.code, self.name, &self.message, self.why, &self.help);
        format!("{place}{severity}[{code} {name}]: {message}{object}\n{excerpt}  why:  {why}\n  help: {help}\n")
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    objects: usize,
    errors: usize,
    warnings: usize,
    infos: usize,
    suppressed: usize,
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(objects: usize, suppressed: usize, findings: Vec<Finding>) -> Self {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings, infos) = (count(Severity::Error), count(Severity::Warning), count(Severity::Info));
        Self { objects, errors, warnings, infos, suppressed, findings }
    }

    pub fn show(&self, format: Format) -> Outcome {
        match format {
            Format::Table => output::print(&self.text()),
            format => output::structured(format, self),
        }
    }

    fn text(&self) -> String {
        let mut text: String = self.findings.iter().map(Finding::text).collect();
        let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let suppressed = if self.suppressed == 0 { String::new() } else { format!(", {} suppressed", self.suppressed) };
        text += &match (self.errors, self.warnings) {
            (0, 0) => format!("{}: nothing wrong{suppressed}\n", plural(self.objects, "object")),
            (errors, warnings) => {
                format!("{}: {}, {}{suppressed}\n", plural(self.objects, "object"), plural(errors, "error"), plural(warnings, "warning"))
            }
        };
        text
    }
}

/// One code, or all of them.
pub fn explain(code: &str, format: Format) -> Outcome {
    let entries: Vec<&Entry> = match code {
        "all" => lint::CATALOGUE.iter().collect(),
        code => lint::CATALOGUE.iter().filter(|entry| entry.answers_to(code)).collect(),
    };
    if entries.is_empty() {
        return Err(Failure::cannot(format!("{code:?} is no code of a finding; `taut analyze --explain all` lists them")));
    }
    match format {
        Format::Table if code == "all" => {
            let rows = entries.iter().map(|entry| vec![entry.code.to_owned(), entry.name.to_owned(), entry.istio.join(" "), entry.why.to_owned()]);
            output::print(&output::table(&["code", "name", "istio", "why it matters"], rows))
        }
        Format::Table => output::print(&entries.iter().map(|entry| one(entry)).collect::<Vec<_>>().join("\n")),
        format => {
            let told = |entry: &&Entry| json!({ "code": entry.code, "name": entry.name, "istio": entry.istio, "why": entry.why, "help": entry.mend });
            output::structured(format, &entries.iter().map(told).collect::<Vec<_>>())
        }
    }
}

fn one(entry: &Entry) -> String {
    let istio = if entry.istio.is_empty() { String::new() } else { format!(" (Istio: {})", entry.istio.join(", ")) };
    format!("{} {}{istio}\n  why:  {}\n  help: {}\n", entry.code, entry.name, entry.why, entry.mend)
}
