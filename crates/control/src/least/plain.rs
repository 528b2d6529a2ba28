//! What was carried in plain text: to whom, how much, when, and from whom as far as anybody knows.

use crate::calls::{Call, Calls, Seen, uid};
use crate::signal_routes::text;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use taut_model::signal::{Protocol, Reporter, Security};

/// Calls in plain text from one caller to one workload for one service.
#[derive(Clone, Debug)]
pub struct Plain {
    /// `namespace/name` of a workload whose own proxy has told of it; `None`: nobody with a proxy.
    pub from: Option<String>,
    /// `namespace/name`
    pub to: String,
    pub host: String,
    pub protocols: BTreeSet<Protocol>,
    pub seen: Seen,
}

impl Plain {
    /// Without a verdict.
    pub fn told(&self) -> Value {
        json!({
            "from": self.from, "to": self.to, "host": self.host, "service": taut_model::host::short(&self.host), "protocols": self.protocols,
            "carried": self.seen.carried, "first": text(self.seen.first), "last": text(self.seen.last),
        })
    }
}

/// The workload that it comes to, and the host that it is for.
type Target = (String, String);

/// Calls in plain text that were carried, to those workloads. What a caller's proxy and the destination's both have told counts once.
pub fn plain(calls: &Calls, is_target: impl Fn(&str) -> bool) -> Vec<Plain> {
    let is_plain = |call: &&Call| call.security == Security::Plaintext && call.seen.alive;
    let mut found: BTreeMap<(Target, Option<String>), Plain> = BTreeMap::new();
    for call in calls.all.iter().filter(is_plain) {
        let Some(to) = uid(&call.to).filter(|to| is_target(to)) else { continue };
        let from = if call.reporter == Reporter::Source { uid(&call.from) } else { None };
        let entry = found.entry(((to.clone(), call.host.clone()), from.clone()));
        let plain = entry.or_insert_with(|| Plain { from, to, host: call.host.clone(), protocols: BTreeSet::new(), seen: Seen::default() });
        plain.protocols.insert(call.protocol);
        plain.seen.merge(&call.seen);
    }
    let mut named: BTreeMap<Target, u64> = BTreeMap::new();
    for ((target, _), plain) in found.iter().filter(|((_, from), _)| from.is_some()) {
        *named.entry(target.clone()).or_default() += plain.seen.carried;
    }
    let rest = |((target, from), mut plain): ((Target, Option<String>), Plain)| {
        if let (None, Some(named)) = (from, named.get(&target)) {
            plain.seen.carried = plain.seen.carried.saturating_sub(*named);
            // Who is left over, if anybody is.
            plain.seen.alive = plain.seen.carried > 0;
        }
        plain.seen.alive.then_some(plain)
    };
    found.into_iter().filter_map(rest).collect()
}
