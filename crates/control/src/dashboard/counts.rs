//! What the listener counts, as Prometheus reads it.

use super::origin::Refusal;
use http::StatusCode;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use taut_observe::names;

/// By class of status, by result of signing in, by reason of refusal.
#[derive(Debug, Default)]
pub struct Counts {
    answers: [AtomicU64; 5],
    sign_ins: [AtomicU64; 2],
    refusals: [AtomicU64; 2],
}

impl Counts {
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn signed_in(&self, succeeded: bool) {
        self.sign_ins[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refusals[usize::from(refusal == Refusal::Origin)].fetch_add(1, Ordering::Relaxed);
    }

    /// Prometheus text.
    pub fn text(&self, sessions: usize) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let row = |label: &str, value: &str, count: &AtomicU64| (format!("{{{label}=\"{value}\"}}"), count.load(Ordering::Relaxed));
        let answers: Vec<_> = (1..).zip(&self.answers).map(|(class, count)| row("code", &format!("{class}xx"), count)).collect();
        family(names::DASHBOARD_REQUESTS, "counter", "Requests to the dashboard's listener, by class of status.", &answers);
        let sign_ins = [row("result", "refused", &self.sign_ins[0]), row("result", "good", &self.sign_ins[1])];
        family(names::DASHBOARD_SIGN_INS, "counter", "Attempts to sign in.", &sign_ins);
        let refusals = [row("reason", "host", &self.refusals[0]), row("reason", "origin", &self.refusals[1])];
        family(names::DASHBOARD_REFUSALS, "counter", "Requests for a name that is not ours, or from pages of others.", &refusals);
        family(names::DASHBOARD_SESSIONS, "gauge", "Sessions that have not ended.", &[(String::new(), sessions as u64)]);
        text
    }
}
