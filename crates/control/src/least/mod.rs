//! Least privilege from what was seen: the smallest policies that let every caller in that was seen, and what would break if plain text
//! were refused. Both are held against the mesh before anybody is told; nothing is stored.

mod confidence;
mod plain;
mod ports;
mod routes;
mod selector;
mod strict;
mod suggest;
#[cfg(test)]
mod tests;

pub use routes::router;

use crate::calls::{Calls, Seen};
use crate::proposal::{FlowChange, Proposal};
use crate::signal_routes::text;
use serde_json::{Value, json};
use taut_model::problem::Severity;

/// The window in which calls were looked for.
fn window(calls: &Calls) -> Value {
    json!({
        "from": text(calls.window.start), "to": text(calls.window.end), "seconds": calls.window.end.saturating_sub(calls.window.start),
        "knownFrom": text(calls.known_from), "stepSeconds": calls.step,
    })
}

/// When and how much.
fn seen(seen: &Seen) -> Value {
    json!({"carried": seen.carried, "refused": seen.refused, "first": text(seen.first), "last": text(seen.last)})
}

/// What would stand in the way of applying it: its own errors, and flows that were carried and would be refused.
struct Check {
    errors: Vec<String>,
    refused: Vec<FlowChange>,
    seen: usize,
}

impl Check {
    fn of(proposal: Proposal) -> Self {
        let errors = proposal.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let mut errors: Vec<String> = errors.map(ToString::to_string).collect();
        if proposal.flows.truncated {
            errors.push("there are more flows than can be looked at: ask for one service at a time".to_owned());
        }
        let refused = proposal.flows.changes.into_iter().filter(|flow| flow.refused && flow.requests.is_some_and(|requests| requests > 0));
        Self { errors, refused: refused.collect(), seen: proposal.flows.seen }
    }

    fn told(&self) -> Value {
        let flow = |flow: &FlowChange| json!({"from": flow.from, "to": flow.to, "request": flow.request, "requests": flow.requests, "before": flow.before, "after": flow.after});
        json!({"seen": self.seen, "errors": self.errors, "refused": self.refused.iter().map(flow).collect::<Vec<_>>()})
    }
}

/// Objects as one text that can be read again.
fn manifests(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
