//! Request limits: which of them a request falls under, and whether each has room. Pure: buckets are the caller's, and so is the time.
//!
//! A bucket is the generic cell rate algorithm (ITU-T I.371): one time per bucket, the moment at which it will be full again. It lets
//! `burst` requests through at once and one more every `interval / requests`.

use crate::authorization::{Policy, Visit};
use crate::dice::stable_hash;
use crate::snapshot::Snapshot;
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use taut_model::origin::Origin;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, ROOT_NAMESPACE};
use taut_model::rate_limit::{Per, RequestLimit};
use taut_model::workload::Workload;

/// Keys (clients, header values) of one limit that have a bucket of their own at the same time; any more share one.
pub const MOST_KEYS: usize = 10_000;
/// How often the keys of a limit are looked through for full buckets, which need not be kept.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One limit of a RateLimit, compiled.
#[derive(Debug)]
pub struct Limit {
    pub origin: Origin,
    /// `default/reviews each-client`: as people find it, and what its buckets are kept under.
    pub name: Arc<str>,
    pub requests: u32,
    pub interval: Duration,
    pub burst: u32,
    per: Per,
    matching: Policy,
}

/// A limit that a request falls under, and which of its buckets.
#[derive(Clone, Debug)]
pub struct Due {
    pub limit: Arc<Limit>,
    pub(crate) key: u64,
}

/// A limit that has no room.
#[derive(Clone, Debug)]
pub struct Full {
    pub limit: Arc<Limit>,
    /// Until there is room for one more.
    pub wait: Duration,
}

/// `10 requests per 1s for each client`
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests per {:?}", self.requests, self.interval)?;
        match &self.per {
            Per::Workload => Ok(()),
            Per::Client => f.write_str(" for each client"),
            Per::Header(name) => write!(f, " for each value of {name}"),
        }
    }
}

/// The limits that concern the workload beside this proxy, in the order of their objects' names.
pub(crate) fn compile(snapshot: &Snapshot, problems: &mut Vec<(Origin, String)>) -> Vec<Arc<Limit>> {
    let Some(own) = snapshot.own.as_deref() else { return Vec::new() };
    let concerns = |namespace: &str, own: &Workload| namespace == own.namespace || namespace == ROOT_NAMESPACE;
    let here = snapshot.limits.values().filter(|limit| concerns(&limit.namespace, own) && own.has_labels(&limit.selector));
    here.flat_map(|limit| limit.limits.iter().map(|one| Arc::new(Limit::compile(one, &snapshot.trust_domain, problems))).collect::<Vec<_>>())
        .collect()
}

impl Limit {
    fn compile(said: &RequestLimit, trust_domain: &str, problems: &mut Vec<(Origin, String)>) -> Self {
        // What cannot be read matches: a limit never lets more through than it reads.
        let matching = AuthorizationPolicy {
            origin: said.origin.clone(),
            namespace: String::new(),
            selector: Default::default(),
            action: AuthorizationAction::Deny,
            rules: vec![said.matching.clone()],
        };
        let object = &said.origin.object;
        Self {
            origin: said.origin.clone(),
            name: format!("{}/{} {}", object.namespace, object.name, said.name).into(),
            requests: said.requests,
            interval: said.interval,
            burst: said.burst.max(1),
            per: said.per.clone(),
            matching: Policy::compile(&matching, trust_domain, problems),
        }
    }

    pub(crate) fn header_names(&self, into: &mut BTreeSet<String>) {
        self.matching.header_names(into);
        if let Per::Header(name) = &self.per {
            into.insert(name.to_ascii_lowercase());
        }
    }

    /// `address`: of the client, where it proves no identity.
    pub(crate) fn due(self: &Arc<Self>, visit: &Visit<'_>, address: Option<IpAddr>) -> Option<Due> {
        if !self.matching.rules.iter().any(|rule| rule.matches(visit, true)) {
            return None;
        }
        let key = match &self.per {
            Per::Workload => 0,
            Per::Client => match (visit.identity, address) {
                (Some(identity), _) => stable_hash(identity.to_string().as_bytes()),
                (None, Some(address)) => stable_hash(address.to_canonical().to_string().as_bytes()),
                (None, None) => 0,
            },
            Per::Header(name) => visit.http.and_then(|http| http.header(name)).map_or(0, |value| stable_hash(value.as_bytes())),
        };
        Some(Due { limit: self.clone(), key })
    }

    /// Between two requests at the limit's rate. `None` for a limit of nothing.
    fn step(&self) -> Option<Duration> {
        self.interval.checked_div(self.requests)
    }

    /// When the bucket will be full after one more request, given when it would be without; or how long there is no room.
    fn take(&self, full_at: Duration, now: Duration) -> Result<Duration, Duration> {
        let Some(step) = self.step() else { return Err(self.interval) };
        let after = full_at.max(now).saturating_add(step);
        let deepest = now.saturating_add(step.saturating_mul(self.burst));
        if after > deepest { Err(after - deepest) } else { Ok(after) }
    }
}

/// The buckets of every limit of one workload, kept while plans come and go.
#[derive(Debug, Default)]
pub struct Buckets(HashMap<Arc<str>, Keyed, FixedState>);

#[derive(Debug, Default)]
struct Keyed {
    /// When each bucket is full again.
    full_at: HashMap<u64, Duration, FixedState>,
    /// The bucket of all keys that there is no room for.
    others: Duration,
    swept: Duration,
    refused: u64,
}

impl Buckets {
    /// Takes one from every bucket, or from none if one is empty.
    ///
    /// # Errors
    /// The limit that has no room for the longest time.
    pub fn take(&mut self, due: &[Due], now: Duration) -> Result<(), Full> {
        let mut taken = Vec::with_capacity(due.len());
        let mut full: Option<Full> = None;
        for Due { limit, key } in due {
            match limit.take(self.of(limit).full_at(*key, now), now) {
                Ok(after) => taken.push(after),
                Err(wait) if full.as_ref().is_none_or(|known| known.wait < wait) => full = Some(Full { limit: limit.clone(), wait }),
                Err(_) => {}
            }
        }
        if let Some(full) = full {
            self.of(&full.limit).refused += 1;
            return Err(full);
        }
        for (Due { limit, key }, after) in due.iter().zip(taken) {
            self.of(limit).set(*key, after);
        }
        Ok(())
    }

    /// How often each limit had no room, by name.
    pub fn refused(&self) -> Vec<(Arc<str>, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, keyed)| (name.clone(), keyed.refused)).collect();
        all.sort();
        all
    }

    /// Forgets limits that are gone.
    pub fn retain(&mut self, limits: &[Arc<Limit>]) {
        self.0.retain(|name, _| limits.iter().any(|limit| limit.name == *name));
    }

    fn of(&mut self, limit: &Limit) -> &mut Keyed {
        if !self.0.contains_key(&limit.name) {
            self.0.insert(limit.name.clone(), Keyed::default());
        }
        self.0.entry(limit.name.clone()).or_default()
    }
}

impl Keyed {
    fn full_at(&mut self, key: u64, now: Duration) -> Duration {
        if let Some(full_at) = self.full_at.get(&key) {
            return *full_at;
        }
        if self.full_at.len() >= MOST_KEYS && now >= self.swept + SWEEP_EVERY {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept = now;
        }
        if self.full_at.len() < MOST_KEYS { Duration::ZERO } else { self.others }
    }

    fn set(&mut self, key: u64, full_at: Duration) {
        if let Some(known) = self.full_at.get_mut(&key) {
            *known = full_at;
        } else if self.full_at.len() < MOST_KEYS {
            self.full_at.insert(key, full_at);
        } else {
            self.others = full_at;
        }
    }
}

#[cfg(test)]
mod tests;
