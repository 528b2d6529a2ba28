//! What can become of a request, as a case speaks of it: both ends' decisions taken together, each outcome with its odds.

use crate::why::Inquiry;
use std::sync::Arc;
use std::time::Duration;
use taut_model::origin::Origin;
use taut_model::route::AbortWith;
use taut_plan::verdict::{Action, Forward, RulePlan};
use taut_plan::{ClusterKey, Possibility, Question, Refusal, Verdict};

pub struct Seen {
    pub odds: u128,
    pub end: End,
    pub delay: Option<Duration>,
    /// `None` when no rule was reached.
    pub rule: Option<Arc<RulePlan>>,
    pub forward: Option<Forward>,
    /// What of the configuration decided.
    pub origin: Option<Origin>,
    pub explanation: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum End {
    GoesTo(ClusterKey),
    /// To what is not the mesh's.
    Passes {
        host: String,
        port: u16,
    },
    Answered {
        status: u16,
        body: String,
    },
    Redirected {
        status: u16,
        location: String,
    },
    Aborted(AbortWith),
    Refused {
        status: u16,
        reason: &'static str,
        detail: String,
    },
    /// The configuration holds no such service.
    Unknown(String),
}

impl End {
    pub fn arrives(&self) -> bool {
        matches!(self, Self::GoesTo(_) | Self::Passes { .. })
    }

    pub fn describe(&self) -> String {
        match self {
            Self::GoesTo(key) => label(key),
            Self::Passes { host, port } => format!("{host}:{port}"),
            Self::Answered { status, .. } => format!("answered with {status}"),
            Self::Redirected { status, location } => format!("redirected with {status} to {location}"),
            Self::Aborted(AbortWith::Http(status)) => format!("aborted with {status}"),
            Self::Aborted(AbortWith::Grpc(status)) => format!("aborted with gRPC status {status}"),
            Self::Refused { status, reason, detail } => format!("refused with {status} {reason} ({detail})"),
            Self::Unknown(hosts) => format!("unknown: the configuration has no service {hosts}"),
        }
    }
}

/// `reviews v1`, with the port where it does not go without saying.
pub fn label(key: &ClusterKey) -> String {
    let host = taut_model::host::short(&key.host);
    match &key.subset {
        Some(subset) => format!("{host} {subset}"),
        None => format!("{host}:{}", key.port),
    }
}

/// One outcome, followed to its other end.
pub fn seen(inquiry: &Inquiry<'_>, possibility: Possibility) -> Seen {
    let explanation = possibility.explanation.to_string();
    let bare = Seen { odds: possibility.odds, end: End::Unknown(String::new()), delay: None, rule: None, forward: None, origin: None, explanation };
    let go = match possibility.verdict {
        Verdict::Ask(question) => return Seen { end: End::Unknown(asked(question)), ..bare },
        Verdict::Refuse(refusal) => return refused(refusal, bare),
        Verdict::Go(go) => *go,
    };
    let origin = Some((*go.rule.origin).clone());
    let ruled = Seen { delay: go.delay, rule: Some(go.rule), origin, ..bare };
    match go.action {
        Action::Forward(forward) => arrived(inquiry, forward, ruled),
        Action::Passthrough { host, port } => Seen { end: End::Passes { host, port }, ..ruled },
        Action::Redirect { status, location } => Seen { end: End::Redirected { status, location }, ..ruled },
        Action::Respond { status, body } => {
            let body = String::from_utf8_lossy(AsRef::<[u8]>::as_ref(&body)).into_owned();
            Seen { end: End::Answered { status, body }, ..ruled }
        }
        Action::Abort { with, origin } => Seen { end: End::Aborted(with), origin: Some(origin), ..ruled },
        Action::Local { port, .. } => Seen { end: End::Passes { host: String::new(), port }, ..ruled },
    }
}

fn refused(refusal: Refusal, seen: Seen) -> Seen {
    let end = End::Refused { status: refusal.status, reason: refusal.reason.name(), detail: refusal.detail };
    Seen { end, origin: refusal.origin.or(seen.origin), ..seen }
}

/// Where the other end lets it in, it has arrived; where it does not, that is what becomes of it.
fn arrived(inquiry: &Inquiry<'_>, forward: Forward, seen: Seen) -> Seen {
    let key = forward.cluster.key.clone();
    let arrival = inquiry.arrival(&forward);
    let mut seen = Seen { end: End::GoesTo(key), forward: Some(forward), ..seen };
    let Some(arrival) = arrival else { return seen };
    seen.explanation += &format!("\n\nat {}:\n{}", arrival.workload, arrival.explanation);
    match arrival.verdict {
        Verdict::Refuse(refusal) => refused(refusal, seen),
        Verdict::Ask(question) => Seen { end: End::Unknown(asked(question)), ..seen },
        Verdict::Go(_) => seen,
    }
}

/// Who would have to say more.
fn asked(question: Question) -> String {
    match question {
        Question::Services(hosts) => hosts.join(", "),
        Question::Permission(permission) => format!("the authorizer {}", permission.name),
    }
}
