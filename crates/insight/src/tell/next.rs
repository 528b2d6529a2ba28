//! What to look at next: commands that show more of what a cause rests on.

use crate::change::What;
use crate::incident::{Cause, CauseKind, Evidence, Incident, Place};
use crate::tick::Node;

/// At most so many: who is on call reads no more.
const MOST: usize = 3;

/// For the likeliest cause, or for the subject when there is none; the most telling first.
pub(super) fn commands(incident: &Incident) -> Vec<String> {
    let Some(cause) = incident.causes.first() else { return vec![edges(&incident.subject, incident.began)] };
    let mut commands: Vec<String> = cause.evidence.iter().filter_map(change).collect();
    commands.extend(by_kind(cause));
    let node = match &cause.place {
        Place::Service(node) | Place::Part(node, _) | Place::Link(_, node) | Place::Outside(node) => node,
    };
    commands.push(edges(if node.is_outside() { &incident.subject } else { node }, incident.began));
    commands.dedup();
    commands.truncate(MOST);
    commands
}

fn change(evidence: &Evidence) -> Option<String> {
    let Evidence::Change { change, .. } = evidence else { return None };
    match &change.what {
        What::Configuration { generation, .. } => {
            Some(format!("`taut changes {generation}` shows what was changed, `taut rollback {generation}` takes it back"))
        }
        What::Certificate { .. } => Some("`taut trust` shows who holds which certificate".into()),
        What::Version { .. } | What::Endpoints { .. } => None,
    }
}

fn by_kind(cause: &Cause) -> Option<String> {
    let told = |what: &str, node: &Node| format!("`taut tap --destination {node}{what}` shows such requests as they happen");
    Some(match (&cause.place, cause.kind) {
        (Place::Link(source, destination), CauseKind::Refused) => why(source, destination),
        (Place::Link(source, destination), _) => {
            format!("`taut tap --source {source} --destination {destination}` shows such requests as they happen")
        }
        (Place::Part(node, part), CauseKind::Slow | CauseKind::Saturated) => {
            format!("`taut profile {}/{}` shows where its proxy's time goes", node.namespace(), part.workload)
        }
        (Place::Service(node) | Place::Part(node, _), CauseKind::Failing) => told(" --status 5xx", node),
        (Place::Service(node) | Place::Part(node, _), CauseKind::Refused) => refused(cause).unwrap_or_else(|| told("", node)),
        (Place::Service(node), CauseKind::Surge | CauseKind::Quiet) => format!("`taut tap --source {node}` shows what it asks for"),
        (Place::Service(node) | Place::Part(node, _), _) => told("", node),
        (Place::Outside(_), _) => return None,
    })
}

fn refused(cause: &Cause) -> Option<String> {
    cause.evidence.iter().find_map(|evidence| match evidence {
        Evidence::Reason { source, destination, .. } if !source.is_outside() => Some(why(source, destination)),
        _ => None,
    })
}

fn why(source: &Node, destination: &Node) -> String {
    format!("`taut why --from {source} --to {}.{}` shows what decides", destination.name(), destination.namespace())
}

fn edges(node: &Node, began: u64) -> String {
    let service = if node.namespace().is_empty() { node.name().to_owned() } else { format!("{}.{}", node.name(), node.namespace()) };
    format!("`taut edges --service {service}` shows its calls now, with `--at {began}` as they were")
}
