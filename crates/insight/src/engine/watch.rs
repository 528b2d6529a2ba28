//! One service as its callers see it: what is usual of it, and what is wrong with it now.

use super::drift::Drift;
use super::latency::{Bounds, Latency};
use super::ratio::{Ratio, Reading};
use super::settings::Settings;
use crate::incident::Signal;
use crate::tick::Node;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use taut_model::signal::{Second, Signals, Sketch};

/// A symptom must be seen in so many ticks, one after the other.
const CONFIRMED: u32 = 2;
/// The same of failures that retries cover: nobody feels them yet, and what starts and ends has some for a moment.
const COVERED_CONFIRMED: u32 = 5;
/// What was wrong is over when that is so much likelier than that it goes on (a natural logarithm): chance says so once in a thousand times.
const SURE: f64 = 7.0;
/// Of what was wrong, so much may be left when it is none of an alarm's beginning.
const LEFT: f64 = 0.3;
/// The median is told of when it is one of the slow.
const HALF: f64 = 0.5;
/// When nobody asks any more, what was wrong is over after this.
const SILENCE: Second = 120;
/// After how many seconds what was learnt of the load counts half.
const HALF_LIFE: f64 = 600.0;
/// A second may be a slip: the load is learnt with this delay.
const WINDOW: usize = 6;

/// What passed to each service in a tick. It is only looked up in: what is told does not depend on its order.
pub type Each<'a> = HashMap<&'a Node, Passed, BuildHasherDefault<DefaultHasher>>;

/// What passed to a service in a tick, each request once.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    pub requests: u64,
    pub errors: u64,
    pub latency: Sketch,
    pub in_flight: u64,
    known: bool,
    /// What the service's own proxies saw of callers of the mesh: of one request of theirs, each try; and how many of these failed.
    attempts: u64,
    failed_attempts: u64,
    /// What these callers saw of the same.
    asked: u64,
    felt: u64,
}

impl Passed {
    /// `errors`: those that count as such.
    pub fn add(&mut self, signals: &Signals, errors: u64) {
        let connections = if signals.requests > 0 { 0 } else { signals.opened + errors };
        self.requests += signals.requests + connections;
        self.errors += errors;
        self.latency.merge(&signals.latency);
        self.in_flight += signals.in_flight;
        self.known = true;
    }

    /// Whether anything that counts was reported.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// A caller's report of what it asked of the service.
    pub fn add_asked(&mut self, signals: &Signals, errors: u64) {
        self.asked += signals.requests;
        self.felt += errors.min(signals.requests);
    }

    /// The other report of what passed between two proxies, that of the service's own.
    pub fn add_attempts(&mut self, signals: &Signals) {
        self.attempts += signals.requests;
        self.failed_attempts += signals.errors().min(signals.requests);
    }

    /// Tries that failed and that callers did not feel as often: retries made good for them.
    fn covered(&self) -> u64 {
        let felt = if self.asked > 0 { self.felt as f64 / self.asked as f64 } else { 0.0 };
        (self.failed_attempts as f64 - felt * self.attempts as f64).max(0.0) as u64
    }
}

/// What is wrong, since when, how badly.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub since: Second,
    /// When it was last seen.
    pub last: Second,
    pub confirmed: u32,
    /// Shares, milliseconds or requests, as the signal has it.
    pub baseline: f64,
    pub worst: f64,
    pub now: f64,
    pub surprise: f64,
    /// Share of bad requests when it was worst; what is over is measured against it.
    share: f64,
    /// What speaks for it that it is over.
    well: f64,
    /// In so many ticks it must be seen.
    asked: u32,
}

impl Alarm {
    pub fn is_confirmed(&self) -> bool {
        self.confirmed >= self.asked
    }

    /// A budget burns at so many times the rate at which it would last. Burn rates are of long windows: nothing is left to confirm.
    pub fn burning(at: Second, rate: f64) -> Self {
        Self { confirmed: CONFIRMED, surprise: 0.0, ..Self::new(at, CONFIRMED, 1.0, rate, 0.0) }
    }

    /// It has lasted for a while when it is noticed.
    pub fn lasting(since: Second, at: Second, baseline: f64, now: f64, surprise: f64) -> Self {
        Self { since, last: at, confirmed: CONFIRMED, surprise, ..Self::new(at, CONFIRMED, baseline, now, 0.0) }
    }

    fn new(at: Second, asked: u32, baseline: f64, now: f64, share: f64) -> Self {
        Self { since: at, last: at, confirmed: 0, baseline, worst: now, now, surprise: 0.0, share, well: 0.0, asked }
    }

    pub fn goes_on(self, at: Second, now: f64) -> Self {
        Self { last: at, now, worst: self.worst.max(now), ..self }
    }
}

/// Requests that end per second, and how many are under way, usually and lately.
#[derive(Clone, Debug, Default, PartialEq)]
struct Load {
    rate: f64,
    in_flight: f64,
    known: f64,
    recent: [(u64, u64); WINDOW],
    at: usize,
}

#[derive(Clone, Debug)]
pub struct Watch {
    errors: Ratio,
    slow: Ratio,
    stuck: Ratio,
    covered: Ratio,
    latency: Latency,
    load: Load,
    drift: Drift,
    alarms: BTreeMap<Signal, Alarm>,
    /// Requests that hurt in the last tick.
    hurt: u64,
    /// When anything was first and last heard.
    first: Second,
    last: Second,
}

impl Watch {
    pub fn new(settings: &Settings) -> Self {
        let ratio = || Ratio::new(settings.patience_seconds);
        let (latency, load, drift, alarms) = Default::default();
        Self { errors: ratio(), slow: ratio(), stuck: ratio(), covered: ratio(), latency, load, drift, alarms, hurt: 0, first: 0, last: 0 }
    }

    pub fn alarms(&self) -> &BTreeMap<Signal, Alarm> {
        &self.alarms
    }

    /// What no second shows.
    pub fn drift(&self) -> &Drift {
        &self.drift
    }

    pub fn hurt(&self) -> u64 {
        self.hurt
    }

    /// When anything was first heard.
    pub fn first(&self) -> Second {
        self.first
    }

    /// When anything was last heard.
    pub fn last(&self) -> Second {
        self.last
    }

    pub fn observe(&mut self, at: Second, passed: Passed, settings: &Settings) {
        let learn = self.alarms.values().all(|alarm| at.saturating_sub(alarm.since) > settings.patience_seconds);
        self.errors.observe(at, passed.errors, passed.requests);
        self.covered.observe(at, passed.covered(), passed.attempts);
        let (mut slow, mut stuck) = (0, 0);
        if let Some(bounds) = self.latency.bounds() {
            let over = |bound: u64| passed.latency.count().saturating_sub(passed.latency.count_up_to(bound));
            (slow, stuck) = (over(bounds.slow), over(bounds.stuck));
            self.slow.observe(at, slow, passed.requests);
            self.stuck.observe(at, stuck, passed.requests);
        }
        self.hurt = passed.errors.max(slow).max(stuck);
        self.drift.observe(at, &passed, self.alarms.is_empty(), settings.errors, settings.patience_seconds);
        self.load.observe(passed.requests, passed.in_flight, learn);
        if passed.requests > 0 || passed.in_flight > 0 {
            self.first = if self.first == 0 { at } else { self.first };
            self.last = at;
        }
        self.latency.observe(at, passed.latency, learn);
        self.judge(at, settings);
    }

    fn judge(&mut self, at: Second, settings: &Settings) {
        self.ratio(at, Signal::ErrorRatio, self.errors.read(settings.errors, 0.0), settings);
        self.ratio(at, Signal::Covered, self.covered.read(settings.covered, 0.0), settings);
        if self.latency.bounds().is_some() {
            self.ratio(at, Signal::LatencyP50, self.slow.read(settings.slow, HALF), settings);
            self.ratio(at, Signal::LatencyP99, self.stuck.read(settings.stuck, 0.0), settings);
        }
        self.stalled(at, settings);
        let patience = settings.patience_seconds;
        self.alarms.retain(|_, alarm| at.saturating_sub(alarm.since) <= patience && (alarm.is_confirmed() || alarm.last == at));
    }

    /// What is usual and what is now, as people read it.
    fn shown(&self, signal: &Signal, reading: &Reading) -> (f64, f64) {
        let usual = self.latency.bounds().map_or((0.0, 0.0), |Bounds { p50, p99, .. }| (p50 / 1000.0, p99 / 1000.0));
        match signal {
            Signal::LatencyP50 => (usual.0, self.latency.now(0.5).unwrap_or_default()),
            Signal::LatencyP99 => (usual.1, self.latency.now(0.99).unwrap_or_default()),
            _ => (reading.usual, reading.ratio),
        }
    }

    fn ratio(&mut self, at: Second, signal: Signal, reading: Reading, settings: &Settings) {
        let counts = match signal {
            Signal::ErrorRatio => &mut self.errors,
            Signal::Covered => &mut self.covered,
            Signal::LatencyP50 => &mut self.slow,
            _ => &mut self.stuck,
        };
        let known = self.alarms.get_mut(&signal);
        let is_known = known.is_some();
        let surprising = reading.surprise >= settings.surprise;
        let over = match known {
            Some(alarm) => {
                alarm.well = (alarm.well + counts.recovery(alarm.share)).max(0.0);
                alarm.well >= SURE || at.saturating_sub(self.last) > SILENCE
            }
            // The windows that surprise may still hold what is over.
            None => surprising && counts.since(reading.ratio).is_some_and(|now| now <= reading.usual + LEFT * (reading.ratio - reading.usual)),
        };
        if over {
            if is_known {
                counts.put_behind();
                self.alarms.remove(&signal);
            }
        } else if surprising || is_known {
            let shown = self.shown(&signal, &reading);
            self.raise(at, signal, surprising, &reading, shown);
        }
    }

    fn raise(&mut self, at: Second, signal: Signal, surprising: bool, reading: &Reading, (baseline, now): (f64, f64)) {
        let asked = if signal == Signal::Covered { COVERED_CONFIRMED } else { CONFIRMED };
        let alarm = self.alarms.entry(signal).or_insert_with(|| Alarm::new(at, asked, baseline, now, reading.ratio));
        alarm.now = now;
        if surprising {
            alarm.last = at;
            alarm.confirmed = alarm.confirmed.saturating_add(1);
            alarm.worst = alarm.worst.max(now);
            alarm.surprise = alarm.surprise.max(reading.surprise);
            alarm.share = alarm.share.max(reading.ratio);
        }
    }

    /// Requests come, and do not end.
    fn stalled(&mut self, at: Second, settings: &Settings) {
        let (surprise, in_flight) = self.load.stalled();
        let stalled = surprise >= settings.surprise / 2.0;
        match self.alarms.get(&Signal::Saturation) {
            Some(_) if !stalled && in_flight <= 2.0 * self.load.in_flight + 2.0 => {
                self.alarms.remove(&Signal::Saturation);
            }
            known if stalled || known.is_some() => {
                let reading = Reading { surprise, ..Reading::default() };
                self.raise(at, Signal::Saturation, stalled, &reading, (self.load.in_flight, in_flight));
            }
            _ => {}
        }
    }
}

impl Load {
    fn observe(&mut self, ended: u64, under_way: u64, learn: bool) {
        let slot = self.at % WINDOW;
        if learn && self.at >= WINDOW {
            let (ended, under_way) = self.recent[slot];
            let weight = (1.0 / (self.known + 1.0)).max(std::f64::consts::LN_2 / HALF_LIFE);
            self.known += 1.0;
            self.rate += weight * (ended as f64 - self.rate);
            self.in_flight += weight * (under_way as f64 - self.in_flight);
        }
        self.recent[slot] = (ended, under_way);
        self.at = self.at.wrapping_add(1).max(1);
    }

    /// -log10 of how probable it is that so few end (Poisson, Chernoff), where many more are under way than usual; and how many are.
    fn stalled(&self) -> (f64, f64) {
        let ended: u64 = self.recent.iter().map(|(ended, _)| ended).sum();
        let newest = (self.at + WINDOW - 1) % WINDOW;
        let under_way = self.recent[newest].1 as f64;
        let expected = self.rate * WINDOW as f64;
        let (ended, many) = (ended as f64, under_way >= 3.0 * self.in_flight + 4.0);
        if !many || self.known < 10.0 || ended >= 0.5 * expected {
            return (0.0, under_way);
        }
        let exponent = expected - ended + if ended > 0.0 { ended * (ended / expected).ln() } else { 0.0 };
        (exponent / std::f64::consts::LN_10, under_way)
    }
}
