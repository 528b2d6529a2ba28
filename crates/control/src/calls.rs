//! Who called whom in a span of time, as the signals tell it: how much of each call was carried, how much a policy refused, and when it
//! was seen. It judges nothing.

use crate::signals::{Columns, Filter, Gap, Reports, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Edge, Party, Protocol, Reporter, Second, Security, Signals, UNKNOWN};

/// Steps into which a window is cut at most: when a call was seen is known as finely as they are.
const MOST_STEPS: Second = 1500;
/// As the store keeps time: seconds, tens of seconds, minutes, hours.
const STEPS: [Second; 4] = [1, 10, 60, 3600];
pub const HOUR: Second = 3600;
/// Reasons by which policies refuse.
const REFUSALS: [&str; 2] = ["authorization_denied", "mutual_tls_required"];

/// All calls of one caller to one workload for one service, as one of the two proxies saw them.
#[derive(Clone, Debug)]
pub struct Call {
    /// Unknown throughout for what came in plain text.
    pub from: Arc<Party>,
    pub host: String,
    pub to: Arc<Party>,
    pub reporter: Reporter,
    pub security: Security,
    pub protocol: Protocol,
    pub seen: Seen,
}

/// How much of something was seen, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests and new connections that no policy refused.
    pub carried: u64,
    /// Those that a policy refused.
    pub refused: u64,
    /// Something was carried, be it over a connection that is older than the window.
    pub alive: bool,
    /// The first and the last step with anything in it, by their first and their last second.
    pub first: Second,
    pub last: Second,
    /// Hours since 1970 with anything carried in them.
    pub hours: BTreeSet<u64>,
    /// Steps with anything in them, as seconds.
    pub seconds: Second,
}

impl Seen {
    pub fn merge(&mut self, other: &Self) {
        if self.last == 0 {
            self.first = other.first;
        }
        self.carried += other.carried;
        self.refused += other.refused;
        self.alive |= other.alive;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.hours.extend(&other.hours);
        // Steps of different calls may be the same.
        self.seconds = self.seconds.max(other.seconds);
    }
}

/// The calls of a window.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub window: Range<Second>,
    pub step: Second,
    /// Before that second nothing is known.
    pub known_from: Second,
    pub gaps: Vec<Gap>,
    /// Requests and connections of callers that found no room to be told apart.
    pub crowded: u64,
    pub all: Vec<Call>,
}

impl Calls {
    /// Reads the newest `length` seconds. `namespace`: of the caller, the service or the destination. May read from disk.
    pub fn read(store: &Store, length: Second, namespace: Option<&str>, now: Second) -> Self {
        let latest = if store.latest() > 0 { store.latest() } else { now };
        let start = (latest + 1).saturating_sub(length);
        let known_from = store.oldest().unwrap_or(latest + 1).max(start);
        let finest = store.finest_at(known_from);
        let step = STEPS.into_iter().find(|step| *step >= finest && length.div_ceil(*step) <= MOST_STEPS).unwrap_or(HOUR);
        let first = known_from / step * step;
        let steps = usize::try_from(step).unwrap_or(1);
        let windows: Vec<Range<Second>> = (first..latest + 1).step_by(steps).map(|from| from..from + step).collect();
        let filter = Filter { namespace: namespace.map(str::to_owned), reports: Reports::Both, ..Filter::default() };
        let mut calls = Self { window: start..latest + 1, step, known_from, ..Self::default() };
        let mut sums = BTreeMap::new();
        store.steps(&windows, &filter, Columns::Counts, &mut |edge, at, signals| {
            let window = windows.get(at).cloned().unwrap_or_default();
            calls.note(&mut sums, edge, &(window.start..window.end.min(latest + 1)), signals);
            true
        });
        calls.gaps = store.gaps(calls.window.clone());
        calls.all = sums.into_values().collect();
        calls
    }

    fn note(&mut self, sums: &mut BTreeMap<Key, Call>, edge: &Arc<Edge>, step: &Range<Second>, signals: &Signals) {
        let refused = refused(signals);
        let carried = (signals.requests + signals.opened).saturating_sub(refused.of_requests);
        if edge.is_other() {
            self.crowded += carried;
            return;
        }
        // What reached nobody says nothing of who may reach whom.
        if edge.security == Security::Unknown || edge.service.host == UNKNOWN {
            return;
        }
        let call = sums.entry(key(edge)).or_insert_with(|| Call {
            from: edge.source.clone(),
            host: edge.service.host.clone(),
            to: edge.destination.clone(),
            reporter: edge.reporter,
            security: edge.security,
            protocol: edge.protocol,
            seen: Seen::default(),
        });
        let alive = carried > 0 || signals.connections > 0 || signals.request_bytes > 0 && refused.all == 0;
        call.seen.merge(&Seen {
            carried,
            refused: refused.all,
            alive,
            first: step.start,
            last: step.end.saturating_sub(1),
            hours: if alive { BTreeSet::from([step.start / HOUR]) } else { BTreeSet::new() },
            seconds: call.seen.seconds + step.end.saturating_sub(step.start),
        });
    }

    /// How many seconds of the window are known, of these proxies: what the store has begun to know, without gaps.
    pub fn known_seconds(&self, proxies: &BTreeSet<&str>) -> Second {
        let about = |gap: &&Gap| gap.proxy.as_deref().is_none_or(|proxy| proxies.contains(proxy));
        let mut gaps: Vec<Range<Second>> =
            self.gaps.iter().filter(about).map(|gap| gap.from.max(self.known_from)..gap.to.min(self.window.end)).collect();
        gaps.sort_by_key(|gap| gap.start);
        let (mut missing, mut reached) = (0, self.known_from);
        for gap in gaps {
            missing += gap.end.saturating_sub(gap.start.max(reached));
            reached = reached.max(gap.end);
        }
        self.window.end.saturating_sub(self.known_from).saturating_sub(missing)
    }
}

/// By what calls are told apart.
type Key = (String, String, String, String, Reporter, Security, Protocol);

fn key(edge: &Edge) -> Key {
    let uid = |party: &Party| format!("{}/{}", party.namespace, party.workload);
    let (from, to) = (uid(&edge.source), uid(&edge.destination));
    (edge.source.principal.clone(), from, edge.service.host.clone(), to, edge.reporter, edge.security, edge.protocol)
}

struct Refused {
    all: u64,
    /// Connections that are refused are not among those that were opened.
    of_requests: u64,
}

fn refused(signals: &Signals) -> Refused {
    let mut refused = Refused { all: 0, of_requests: 0 };
    for (outcome, count) in signals.outcomes.iter() {
        if outcome.reason.as_deref().is_some_and(|reason| REFUSALS.contains(&reason)) {
            refused.all += count;
            refused.of_requests += if outcome.status > 0 { *count } else { 0 };
        }
    }
    refused
}

/// `namespace/name` of a workload; `None` where nobody knows it.
pub fn uid(party: &Party) -> Option<String> {
    (party.workload != UNKNOWN).then(|| format!("{}/{}", party.namespace, party.workload))
}

/// Whole seconds of a span such as `7d`, `12h` or `1h30m`.
///
/// # Errors
/// What is expected instead.
pub fn span(text: &str) -> Result<Second, String> {
    const LONGEST: Second = 366 * 24 * HOUR;
    let wrong = || format!("{text:?} is no span of time: write a number and a unit, such as 30m, 12h or 7d");
    let seconds = match text.strip_suffix('d') {
        Some(days) => days.parse::<Second>().ok().and_then(|days| days.checked_mul(24 * HOUR)).ok_or_else(wrong)?,
        None => crate::signal_routes::seconds(text).map_err(|_| wrong())?,
    };
    if (1..=LONGEST).contains(&seconds) { Ok(seconds) } else { Err(wrong()) }
}

#[cfg(test)]
pub(crate) mod tests;
