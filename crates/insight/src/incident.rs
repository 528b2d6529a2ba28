//! Incidents as they are told: who is hurt, since when, what the causes are, and the evidence for each. Types only.

use crate::change::Change;
use crate::tick::{Node, Part};
use serde::{Deserialize, Serialize};
use taut_model::signal::Second;

/// Something that users feel, or soon will.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// The same in every run over the same signals: from the second it began in and where users were hurt first.
    pub id: String,
    /// Counts what was written about it.
    pub revision: u32,
    /// When it was noticed.
    pub opened: Second,
    /// When what it is about began, as far as the signals say.
    pub began: Second,
    pub closed: Option<Second>,
    /// Where users are hurt first: the service nearest to them.
    pub subject: Node,
    /// The services with a symptom that are called from outside the mesh, or by programs that nobody calls: gateways, pages, interfaces. None: what is ill
    /// lies behind services that are well.
    #[serde(default)]
    pub users: Vec<Node>,
    pub symptoms: Vec<Symptom>,
    pub verdict: Verdict,
    /// The likeliest first.
    pub causes: Vec<Cause>,
    pub timeline: Vec<Entry>,
    /// Requests that failed or were slower than usual, over its life.
    pub hurt: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symptom {
    pub node: Node,
    pub signal: Signal,
    pub since: Second,
    pub until: Option<Second>,
    /// In the unit of the signal: shares 0 to 1, milliseconds, requests per second.
    pub baseline: f64,
    pub worst: f64,
    pub now: f64,
    /// -log10 of how probable the worst was, had nothing changed.
    pub surprise: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    ErrorRatio,
    LatencyP50,
    LatencyP99,
    /// Requests that ought to come and do not.
    Rate,
    Saturation,
    /// What it answers fails, and retries of its callers make good for it: the share of tries.
    Covered,
    /// The budget of a ServiceLevelObjective burns: `namespace/name`.
    Objective(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The first of the causes.
    Found,
    /// What is at fault is no part of the mesh: a dependency that no proxy stands beside, or those who call.
    OutsideMesh,
    /// Nothing in the mesh explains it.
    NoCause,
    /// Too little has been seen to say.
    TooEarly,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    pub place: Place,
    pub kind: CauseKind,
    /// Share of the hurt that it explains by itself, 0 to 1.
    pub share: f64,
    /// How often causes that looked like this were right, 0 to 1 (bench/insight shows the calibration).
    pub confidence: f64,
    pub evidence: Vec<Evidence>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    Service(Node),
    /// One version or workload of a service, where the others of it are well.
    Part(Node, Part),
    /// Between two services: each is well by itself.
    Link(Node, Node),
    /// No part of the mesh.
    Outside(Node),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CauseKind {
    Slow,
    Failing,
    Unreachable,
    Network,
    /// The mesh refuses: a policy, a certificate, a limit.
    Refused,
    Saturated,
    /// More load than usual.
    Surge,
    /// It calls others less than it did.
    Quiet,
}

/// What a sentence about a cause rests on. Figures are of the incident's window against the time before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Evidence {
    /// Time that a node adds to requests by itself (its callees' taken off), in request-seconds per second.
    OwnTime {
        node: Node,
        per_second: f64,
        share: f64,
        surprise: f64,
    },
    /// Failures that begin at a node (those of its callees taken off), per second.
    OwnFailures {
        node: Node,
        per_second: f64,
        share: f64,
        surprise: f64,
    },
    /// What the caller saw less what the callee saw, in milliseconds.
    Gap {
        source: Node,
        destination: Node,
        before: f64,
        now: f64,
    },
    /// Requests that ended for a reason, per second.
    Reason {
        source: Node,
        destination: Node,
        reason: String,
        before: f64,
        now: f64,
    },
    /// Of what one tries at the other, this share fails; after retries it is `felt`.
    Covered {
        source: Node,
        destination: Node,
        before: f64,
        now: f64,
        felt: f64,
    },
    /// One part of a node is worse than its others.
    Part {
        node: Node,
        part: Part,
        own: f64,
        others: f64,
        unit: Unit,
    },
    Pressure {
        node: Node,
        what: String,
        before: f64,
        now: f64,
    },
    Load {
        node: Node,
        before: f64,
        now: f64,
    },
    /// It came shortly before: seconds.
    Change {
        change: Change,
        before: i64,
    },
    /// It serves others, and they are as well as ever.
    Well {
        node: Node,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    Share,
    Milliseconds,
    PerSecond,
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub at: Second,
    #[serde(flatten)]
    pub what: Happening,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum Happening {
    Began,
    Opened,
    Symptom { node: Node, signal: Signal },
    Relieved { node: Node, signal: Signal },
    Cause { place: Place, cause: CauseKind, confidence: f64 },
    Change { change: Change },
    Closed,
}

/// What a step of the engine has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event", content = "incident")]
pub enum Event {
    Opened(Incident),
    Updated(Incident),
    Closed(Incident),
}
