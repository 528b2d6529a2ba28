//! Explaining a decision: the decision itself, made with a listener, and a sentence for its outcome.

use crate::decide::Dice;
use crate::facts::{Direction, Facts};
use crate::plan::Plan;
use crate::rules::cluster_name;
use crate::trace::{Explanation, Mark, Recorder, Step};
use crate::verdict::{Action, Go, Question, Refusal, Rolls, Verdict};
use crate::words;

impl Plan {
    /// Why [`Plan::decide`] answers as it does, step by step. Without rolls, every outcome that dice could lead to is told with its
    /// share, and the heaviest is followed.
    pub fn explain(&self, facts: &Facts<'_>, rolls: Option<&Rolls>) -> Explanation {
        let mut recorder = Recorder::default();
        recorder.steps.push(Step { mark: Mark::Info, text: self.question(facts), origin: None });
        let verdict = self.decide_with(facts, rolls.map_or(Dice::Open, Dice::Cast), &mut recorder);
        let outcome = match recorder.possible.is_empty() {
            true => outcome(&verdict),
            false => format!("{}; most often: {}", recorder.possible.join(", "), outcome(&verdict)),
        };
        Explanation { steps: recorder.steps, outcome }
    }

    /// `GET /reviews/1 from productpage (default) to reviews:9080`
    fn question(&self, facts: &Facts<'_>) -> String {
        let what = facts.http.map_or_else(|| "connection".to_owned(), |http| format!("{} {}", http.method, http.path));
        let own = self.own.as_ref().map_or_else(|| "an unknown workload".to_owned(), |own| format!("{} ({})", own.name, own.namespace));
        let target = if facts.host.is_empty() { format!("port {}", facts.port) } else { format!("{}:{}", facts.host, facts.port) };
        match facts.direction {
            Direction::Outbound => format!("{what} from {own} to {target}"),
            Direction::Inbound => {
                let peer = match (facts.peer.identity, facts.peer.address, facts.peer.client) {
                    (Some(identity), ..) => identity.to_string(),
                    (None, Some(address), Some(client)) if address != client => format!("{client}, through {address}, in plain text"),
                    (None, Some(address), _) => format!("{address} in plain text"),
                    (None, None, _) => "an unknown peer in plain text".to_owned(),
                };
                format!("{what} from {peer} to {target} at {own}")
            }
        }
    }
}

pub(crate) fn outcome(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Go(go) => carried(go),
        Verdict::Ask(Question::Services(hosts)) => format!("not known yet: the control plane is asked for {}", hosts.join(", ")),
        Verdict::Ask(Question::Permission(permission)) => format!("let in if the authorizer {:?} lets it pass", permission.name),
        Verdict::Refuse(Refusal { status, reason, detail, .. }) => format!("refused with {status} {}: {detail}", reason.name()),
    }
}

fn carried(go: &Go) -> String {
    let delay = go.delay.map_or_else(String::new, |delay| format!("delayed by {delay:?}, then "));
    let what = match &go.action {
        Action::Forward(forward) => format!("forwarded to {}", cluster_name(&forward.cluster.key)),
        Action::Local { port, .. } => format!("let in to port {port}"),
        Action::Redirect { status, location } => format!("redirected with {status} to {location}"),
        Action::Respond { status, .. } => format!("answered with {status} by the rule itself"),
        Action::Abort { with, .. } => format!("aborted with {} by a fault", words::abort(*with)),
        Action::Passthrough { host, port } => format!("passed through to {host}:{port}"),
    };
    format!("{delay}{what}")
}
