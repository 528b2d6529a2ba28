//! One configuration file: its last good version, what is wrong with it now, and what guards the mesh meanwhile.

use crate::translate;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;
use taut_model::object::Object;
use taut_model::origin::Location;
use taut_model::problem::{Problem, Severity};
use taut_model::read::{self, Reading};

const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Group, kind, namespace, name.
pub(super) type Key = (&'static str, &'static str, String, String);

pub(super) fn key(object: &Object) -> Key {
    (object.kind.group, object.kind.kind, object.namespace.clone(), object.name.clone())
}

/// What a file looks like from outside.
type Stamp = (Option<SystemTime>, u64);

#[derive(Default)]
pub(super) struct File {
    stamp: Option<Stamp>,
    /// Of its last good version.
    pub objects: Vec<Object>,
    /// While it has errors: the policies and DestinationRules that it names, good ones as they are written, others as what
    /// stands in for them. For those that have no last good version.
    pub guards: Vec<Object>,
    /// While it has errors: all objects that it names.
    pub claimed: BTreeSet<Key>,
    pub problems: Vec<Problem>,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Good,
    /// It has errors, so what it names and what it no longer names is known, and nothing of it is applied.
    Broken,
    /// Nothing is known of what it says now.
    Unreadable,
}

impl File {
    /// Reads the file again if it looks different, or in any case. `thorough`: also if it looks the same.
    pub fn refresh(&mut self, path: &Path, thorough: bool) {
        let stamp = stamp(path);
        // A file that could not be read may look the same when it can be.
        if thorough || self.stamp != stamp || stamp.is_none() || self.state == State::Unreadable {
            self.read(path);
            self.stamp = stamp;
        }
    }

    /// Takes the file's content over if it is good; else only its problems, and what guards the mesh until it is mended.
    fn read(&mut self, path: &Path) {
        let bytes = match std::fs::metadata(path) {
            Ok(facts) if facts.len() > LARGEST_FILE => Err(format!("it is larger than {LARGEST_FILE} bytes")),
            _ => std::fs::read(path).map_err(|error| error.to_string()),
        };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()));
        match text {
            Ok(text) => self.take(admitted(read::yaml(&text, &path.display().to_string()), &text), path),
            Err(why) => {
                self.state = State::Unreadable;
                self.problems = vec![problem(path, "UnreadableFile", format!("cannot read the file: {why}; what it last said stays live"))];
            }
        }
    }

    fn take(&mut self, reading: Reading, path: &Path) {
        let Reading { objects, refused, problems } = reading;
        self.problems = problems;
        self.claimed.clear();
        self.guards.clear();
        let Some(first) = self.problems.iter().find(|problem| is_error(problem)) else {
            (self.state, self.objects) = (State::Good, objects);
            return;
        };
        self.state = State::Broken;
        let message = match objects.is_empty() && refused.is_empty() {
            true => "nothing can be read in this file, so nothing stands in for policies that may be in it; what it last said stays live",
            false => "nothing of this file is applied until its errors are mended; what it last said stays live",
        };
        let summary = Problem { severity: Severity::Warning, location: first.location.clone(), ..problem(path, "NotApplied", message.to_owned()) };
        self.claimed = objects.iter().chain(&refused).map(key).collect();
        let stand_ins = refused.iter().filter_map(|object| translate::stand_in(object, &why(object, &self.problems, path)));
        let as_written = objects.iter().filter(|object| translate::stand_in(object, "").is_some()).cloned();
        self.guards = stand_ins.chain(as_written).collect();
        self.problems.push(summary);
    }

    /// Whether an object that came from this file stays although the file does not ask for it now.
    pub fn keeps(&self, object: &Object) -> bool {
        match self.state {
            State::Good => false,
            State::Broken => !is_stand_in(object),
            State::Unreadable => true,
        }
    }
}

/// A file is held to what the API is held to: objects that the mesh cannot carry out are refused.
fn admitted(mut reading: Reading, text: &str) -> Reading {
    for object in std::mem::take(&mut reading.objects) {
        let errors: Vec<Problem> = translate::admit(&object).into_iter().filter(is_error).collect();
        match errors.is_empty() {
            true => reading.objects.push(object),
            false => reading.refused.push(object),
        }
        reading.problems.extend(errors);
    }
    reading.problems.sort_by(|a, b| a.location.cmp(&b.location));
    read::attach_excerpts(text, &mut reading.problems);
    reading
}

/// Where a refused object is and what is wrong with it, as its stand-in says it.
fn why(object: &Object, problems: &[Problem], path: &Path) -> String {
    let about = |problem: &&Problem| is_error(problem) && problem.object.as_ref() == Some(&object.reference());
    // A kind that had to be guessed has its problem under no name.
    let found = problems.iter().find(about).or_else(|| problems.iter().find(|problem| is_error(problem)));
    match found {
        Some(Problem { location: Some(location), message, .. }) => format!("{location}: {message}"),
        Some(problem) => format!("{}: {}", path.display(), problem.message),
        None => path.display().to_string(),
    }
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == Severity::Error
}

pub(super) fn is_stand_in(object: &Object) -> bool {
    object.value["metadata"]["annotations"].get(translate::STANDS_IN).is_some()
}

/// Something about the file as a whole.
pub(super) fn problem(path: &Path, code: &'static str, message: String) -> Problem {
    let location = Location { file: path.display().to_string(), line: 1, column: 1 };
    Problem { severity: Severity::Error, code, object: None, path: String::new(), location: Some(location), message, help: None, excerpt: None }
}

fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|facts| (facts.modified().ok(), facts.len()))
}
