//! Request limits and their buckets: whether there is room for one more. Pure: the buckets are the caller's, and so is the time. Which
//! requests a limit is about is `counting`'s to say.
//!
//! A bucket is the generic cell rate algorithm (ITU-T I.371): one time per bucket, the moment at which it will be full again. It lets
//! `burst` requests through at once and one more every `interval / requests`.

use crate::dice::stable_hash;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taut_model::origin::Origin;
use taut_model::rate_limit::{Per, RequestLimit};

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
    pub(crate) per: Per,
}

/// A limit that a request falls under, and which of its buckets.
#[derive(Clone, Debug)]
pub struct Due {
    pub limit: Arc<Limit>,
    pub(crate) key: u64,
}

impl Due {
    /// `key`: what has a bucket of its own.
    pub fn new(limit: Arc<Limit>, key: &[u8]) -> Self {
        Self { limit, key: stable_hash(key) }
    }
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

impl Limit {
    /// One that is no RateLimit's: the caller says from which of its buckets each one is due.
    pub fn own(name: &str, requests: u32, interval: Duration, burst: u32) -> Self {
        Self { origin: Origin::built_in("a limit of its own"), name: name.into(), requests, interval, burst: burst.max(1), per: Per::Client }
    }

    pub(crate) fn new(said: &RequestLimit) -> Self {
        let object = &said.origin.object;
        Self {
            origin: said.origin.clone(),
            name: format!("{}/{} {}", object.namespace, object.name, said.name).into(),
            requests: said.requests,
            interval: said.interval,
            burst: said.burst.max(1),
            per: said.per.clone(),
        }
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
    pub fn retain<'a>(&mut self, limits: impl Iterator<Item = &'a Arc<Limit>> + Clone) {
        self.0.retain(|name, _| limits.clone().any(|limit| limit.name == *name));
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
