//! What would change if some objects were applied (`taut plan`): in the objects, and for the flows that were seen. Both worlds are
//! compiled into the plans that the proxies would have, and asked; nothing is stored.

mod flows;
mod objects;
mod probes;
mod routes;
#[cfg(test)]
mod tests;

pub use flows::{Caller, FlowChange, Outcomes, Pair};
pub use objects::Changed;
pub use routes::{Proposals, router};

use crate::publish::Published;
use crate::store::Store;
use crate::translate::{self, Settings};
use std::sync::Arc;
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use taut_model::read;

/// What is proposed, held against what is.
#[derive(Debug, Default)]
pub struct Proposal {
    /// In the order of their places. With an error among them nothing would be applied, and nothing more is said.
    pub problems: Vec<Problem>,
    pub changes: Vec<Changed>,
    pub flows: Outcomes,
}

/// How a proposal is looked at.
pub struct Terms<'a> {
    pub store: &'a Store,
    pub published: &'a Published,
    pub settings: &'a Settings,
    /// Who would apply it, as server-side apply counts.
    pub manager: &'a str,
    pub now: &'a str,
    /// The flows that were seen.
    pub pairs: &'a [Pair],
}

/// Judges the objects of a text.
pub fn judge(text: &str, file: &str, terms: &Terms<'_>) -> Proposal {
    let reading = read::yaml(text, file);
    let mut problems = reading.problems;
    problems.extend(reading.objects.iter().flat_map(translate::admit));
    let mut changes = Vec::new();
    for object in &reading.objects {
        match objects::applied(object, terms) {
            Ok(changed) => changes.push(changed),
            Err(problem) => problems.push(*problem),
        }
    }
    if has_errors(&problems) {
        return told(Proposal { problems, ..Proposal::default() }, text);
    }
    let after = world(&changes, terms);
    problems.extend(new_findings(&after, terms, &changes));
    if has_errors(&problems) {
        return told(Proposal { problems, changes, ..Proposal::default() }, text);
    }
    let flows = flows::compare(terms.published, &after, &terms.settings.trust_domain, terms.pairs);
    told(Proposal { problems, changes, flows }, text)
}

fn told(mut proposal: Proposal, text: &str) -> Proposal {
    proposal.problems.sort_by(|a, b| a.location.cmp(&b.location));
    read::attach_excerpts(text, &mut proposal.problems);
    proposal
}

fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// The mesh as it would be published.
fn world(changes: &[Changed], terms: &Terms<'_>) -> Published {
    let (mut objects, _) = terms.store.all();
    for changed in changes {
        let same = |object: &Arc<Object>| {
            object.kind == changed.object.kind && object.namespace == changed.object.namespace && object.name == changed.object.name
        };
        objects.retain(|object| !same(object));
        objects.push(changed.object.clone());
    }
    Published::new(&objects, terms.published.version + 1, terms.settings, terms.published)
}

/// What is wrong then and not now: references that lead nowhere, objects in each other's way.
fn new_findings(after: &Published, terms: &Terms<'_>, changes: &[Changed]) -> Vec<Problem> {
    let before = &terms.published.translation.findings;
    let known = |problem: &Problem| {
        let same = |old: &Problem| (old.code, &old.path, &old.message) == (problem.code, &problem.path, &problem.message);
        problem.object.as_ref().and_then(|object| before.get(object)).is_some_and(|old| old.iter().any(same))
    };
    let mut found: Vec<Problem> = after.translation.findings.values().flatten().filter(|problem| !known(problem)).cloned().collect();
    for problem in &mut found {
        let of = changes.iter().find(|changed| problem.object.as_ref() == Some(&changed.object.reference()));
        problem.location = problem.location.take().or_else(|| of?.written.location(&problem.path));
        // The objects of others are not refused for it; they stay as they are, and that is told.
        if of.is_none() && problem.severity == Severity::Error {
            problem.severity = Severity::Warning;
        }
    }
    found
}
