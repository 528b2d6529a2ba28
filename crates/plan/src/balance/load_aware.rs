//! Choosing by what endpoints say of themselves, in the manner of Prequal (Wydrowski et al., "Load is not what you should balance",
//! NSDI 2024): with every response a proxy of the mesh reports how many requests are with its application and what an answer takes.
//! An endpoint that is much slower or much fuller than most is **hot** and avoided; among the cold ones the one wins to which this
//! worker has sent least. What is old, or has been acted upon too often, is not used: then it is two choices by requests in flight.
//!
//! Prequal probes endpoints for every request, so that what it knows is milliseconds old, and takes the fastest of the cold ones.
//! Reports that come with responses cost nothing and are older: whoever takes the fastest by them meets all the others there. In
//! `cargo xtask bench overload` that rule was worse than two choices from 75 % load on; avoiding what is hot was not.

use super::{Usable, two_choices};
use crate::dice::below;
use std::time::Duration;

/// What an endpoint's proxy says of its application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Requests that are with the application or wait for it.
    pub in_flight: u32,
    /// What an answer takes.
    pub latency: Duration,
}

/// A report is believed for this long, and for so many choices.
const FRESH: Duration = Duration::from_secs(1);
const USES: u32 = 32;
/// So many endpoints are compared.
const CHOICES: usize = 4;
/// Of this many reports the medians are taken.
const KEPT: usize = 64;
/// Hot is what takes more than this multiple of the median latency, or has more than this multiple of the median load and
/// [`FEW`] requests more.
const SLOWER: f64 = 1.5;
const FULLER: f64 = 2.0;
const FEW: f64 = 2.0;
/// How much less a hot endpoint is loaded by this worker when it is chosen all the same: those that are not hot have their limits.
const AVOIDED: f64 = 2.0;
/// One choice in so many tries what is not known instead.
const CURIOUS: u64 = 16;

/// The last report of an endpoint, and what was chosen since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    report: Report,
    at: Duration,
    since: u32,
    failed: bool,
}

impl Heard {
    pub(crate) fn new(report: Report, now: Duration) -> Self {
        Self { report, at: now, since: 0, failed: false }
    }

    /// It failed, or sent a request away: it may well look idle and fast, and is hot for as long as a report is believed.
    pub(crate) fn failing(now: Duration) -> Self {
        let report = Report { in_flight: u32::MAX, latency: Duration::MAX };
        Self { report, at: now, since: 0, failed: true }
    }

    pub(crate) fn is_failing(&self, now: Duration) -> bool {
        self.failed && self.is_fresh(now)
    }

    /// It was chosen: it has one more in flight than it said.
    pub(crate) fn chosen(&mut self) {
        self.since = self.since.saturating_add(1);
    }

    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) <= FRESH && self.since < USES
    }

    fn in_flight(&self) -> u32 {
        self.report.in_flight.saturating_add(self.since)
    }
}

/// What endpoints of a cluster have reported lately, as medians.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    kept: Vec<Report>,
    next: usize,
    latency: f64,
    in_flight: f64,
}

impl Reported {
    pub(crate) fn note(&mut self, report: Report) {
        match self.kept.get_mut(self.next) {
            Some(oldest) => *oldest = report,
            None => self.kept.push(report),
        }
        self.next = (self.next + 1) % KEPT;
        // They move slowly; so many reports share the cost of finding them.
        if self.next.is_multiple_of(8) || self.kept.len() < 8 {
            self.latency = median(self.kept.iter().map(|report| report.latency)).unwrap_or_default().as_secs_f64();
            self.in_flight = median(self.kept.iter().map(|report| report.in_flight)).unwrap_or_default().into();
        }
    }

    fn is_hot(&self, heard: Heard, weight: u32) -> bool {
        let load = f64::from(heard.in_flight()) / f64::from(weight);
        heard.failed || heard.report.latency.as_secs_f64() > SLOWER * self.latency || load > FULLER * self.in_flight + FEW
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Chooses. `own`: the load that this worker itself puts on an endpoint, per weight.
pub(crate) fn choose(
    usable: &Usable<'_>,
    reported: &Reported,
    heard: impl Fn(usize) -> Option<Heard>,
    own: impl Fn(usize) -> f64,
    weight: impl Fn(usize) -> u32,
    now: Duration,
    roll: &mut dyn FnMut() -> u64,
) -> Option<usize> {
    let (sample, count) = sample(usable, roll);
    let sample = sample.get(..count).unwrap_or_default();
    let fresh = |position: usize| heard(position).filter(|heard| heard.is_fresh(now));
    let known = sample.iter().filter(|position| fresh(**position).is_some()).count();
    if known < 2 {
        return two_choices(usable, own, roll);
    }
    let unknown = sample.iter().copied().find(|position| fresh(*position).is_none() && own(*position) * f64::from(weight(*position)) < 1.5);
    if let Some(unknown) = unknown.filter(|_| below(roll(), CURIOUS) == 0) {
        return Some(unknown);
    }
    let cost = |heard: Heard, position: usize| {
        let hot = reported.is_hot(heard, weight(position));
        (heard.failed, own(position) * if hot { AVOIDED } else { 1.0 })
    };
    let known = sample.iter().copied().filter_map(|position| Some((cost(fresh(position)?, position), position)));
    // Of equals the first, in the random order of the sample.
    let best = known.min_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.map(|(_, position)| position)
}

/// Different positions at random, in random order.
fn sample(usable: &Usable<'_>, roll: &mut dyn FnMut() -> u64) -> ([usize; CHOICES], usize) {
    let (mut taken, mut count) = ([0; CHOICES], 0);
    let all = usable.len();
    // Floyd's algorithm draws a set; its order is drawn afterwards.
    for bound in all.saturating_sub(CHOICES)..all {
        let index = below(roll(), bound as u64 + 1) as usize;
        let index = if taken.get(..count).is_some_and(|taken| taken.contains(&index)) { bound } else { index };
        if let Some(slot) = taken.get_mut(count) {
            *slot = index;
            count += 1;
        }
    }
    for last in (1..count).rev() {
        taken.swap(last, below(roll(), last as u64 + 1) as usize);
    }
    taken.iter_mut().take(count).for_each(|index| *index = usable.at(*index));
    (taken, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice() -> impl FnMut() -> u64 {
        let mut rolls = 0;
        move || {
            rolls += 1;
            crate::dice::mix(rolls)
        }
    }

    fn report(in_flight: u32, ms: u64) -> Option<Heard> {
        Some(Heard::new(Report { in_flight, latency: Duration::from_millis(ms) }, Duration::from_secs(10)))
    }

    /// How often each of them is chosen in 1000 choices, when this worker has so much in flight there.
    fn shares(heard: &[(Option<Heard>, u32)], now: Duration) -> Vec<usize> {
        let mut reported = Reported::default();
        heard.iter().filter_map(|(heard, _)| *heard).for_each(|heard| reported.note(heard.report));
        let (mut roll, mut shares) = (dice(), vec![0; heard.len()]);
        for _ in 0..1000 {
            let own = |position: usize| f64::from(heard[position].1 + 1);
            let chosen = choose(&Usable::All(heard.len()), &reported, |position| heard[position].0, own, |_| 1, now, &mut roll);
            shares[chosen.unwrap()] += 1;
        }
        shares
    }

    const NOW: Duration = Duration::from_millis(10_500);

    #[test]
    fn hot_ones_are_avoided_and_cold_ones_share() {
        let (cold, slow, full) = ((report(2, 10), 0), (report(2, 16), 0), (report(7, 10), 0));
        for hot in [slow, full, (Some(Heard::failing(Duration::from_secs(10))), 0)] {
            let shares = shares(&[cold, hot, cold, cold], NOW);
            assert!(shares[1] == 0 && [0, 2, 3].iter().all(|cold| shares[*cold] > 250), "{shares:?}");
        }
        // Nearly the same is not hot.
        let even = shares(&[(report(2, 10), 0), (report(4, 14), 0), (report(3, 12), 0)], NOW);
        assert!(even.iter().all(|share| *share > 250), "{even:?}");
        // The cold ones are not loaded without end; one that fails is not chosen for that.
        let loaded = (report(2, 10), 3);
        assert_eq!(shares(&[loaded, slow, loaded, loaded], NOW), [0, 1000, 0, 0]);
        let failing = (Some(Heard::failing(Duration::from_secs(10))), 0);
        assert_eq!(shares(&[loaded, failing], NOW), [1000, 0]);
    }

    #[test]
    fn old_and_used_up_reports_are_not_believed() {
        let later = Duration::from_secs(12);
        let even = shares(&[(report(0, 1), 0), (report(50, 100), 0)], later);
        assert!(even.iter().all(|share| *share > 400), "{even:?}");
        let mut used = report(0, 1);
        (0..USES).for_each(|_| used.iter_mut().for_each(Heard::chosen));
        assert_eq!(used.unwrap().in_flight(), USES);
        let even = shares(&[(used, 0), (report(50, 100), 0)], NOW);
        assert!(even.iter().all(|share| *share > 400), "{even:?}");
        // What is not known is tried now and then.
        let curious = shares(&[(None, 0), (report(1, 10), 0), (report(1, 20), 0)], NOW);
        assert!((30..=100).contains(&curious[0]) && curious[1] + curious[2] >= 900, "{curious:?}");
    }

    #[test]
    fn samples_hold_no_position_twice() {
        let mut roll = dice();
        for all in 0..40 {
            let (sample, count) = sample(&Usable::All(all), &mut roll);
            let distinct: std::collections::BTreeSet<usize> = sample[..count].iter().copied().collect();
            assert!(distinct.len() == all.min(CHOICES) && distinct.iter().all(|position| *position < all), "{sample:?} of {all}");
        }
    }
}
