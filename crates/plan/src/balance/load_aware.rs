//! Choosing by what endpoints say of themselves, in the manner of Prequal (Wydrowski et al., "Load is not what you should balance",
//! NSDI 2024): of a few endpoints, those with more requests in flight than most are hot and avoided, and of the cold ones the
//! fastest is chosen. What they say comes with every response of a proxy of the mesh, so nothing is probed. What is old, or has
//! been acted upon too often, is not used: then two choices by requests in flight, as without reports.

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
/// So many endpoints are compared, in a power of d choices: with all of them, all clients would choose the same.
const CHOICES: usize = 5;
/// Of this many reports, the share of those below the limit between cold and hot: 2^-0.25, the paper's.
const KEPT: usize = 64;
const COLD: f64 = 0.84;
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

/// The loads that endpoints of a cluster have reported lately.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    kept: Vec<u32>,
    next: usize,
    hot: u32,
}

impl Loads {
    pub(crate) fn note(&mut self, in_flight: u32) {
        match self.kept.get_mut(self.next) {
            Some(oldest) => *oldest = in_flight,
            None => self.kept.push(in_flight),
        }
        self.next = (self.next + 1) % KEPT;
        // The limit moves slowly; so many reports share the cost of finding it.
        if self.next.is_multiple_of(8) || self.kept.len() < 8 {
            let mut sorted = self.kept.clone();
            sorted.sort_unstable();
            let position = (COLD * sorted.len() as f64) as usize;
            self.hot = sorted.get(position.min(sorted.len().saturating_sub(1))).copied().unwrap_or(u32::MAX);
        }
    }
}

/// Chooses. `own`: the load that this worker itself puts on an endpoint, per weight.
pub(crate) fn choose(
    usable: &Usable,
    loads: &Loads,
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
    // Cold before hot, then the faster of the cold and the less loaded of the hot.
    let cost = |heard: Heard, position: usize| {
        let load = f64::from(heard.in_flight()) / f64::from(weight(position));
        let is_hot = heard.failed || load > f64::from(loads.hot);
        (is_hot, if is_hot { load } else { heard.report.latency.as_secs_f64() }, load)
    };
    let known = sample.iter().copied().filter_map(|position| Some((cost(fresh(position)?, position), position)));
    let best = known.min_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)));
    best.map(|(_, position)| position)
}

/// Different positions at random, in random order.
fn sample(usable: &Usable, roll: &mut dyn FnMut() -> u64) -> ([usize; CHOICES], usize) {
    let (mut taken, mut count) = ([0; CHOICES], 0);
    let all = usable.len();
    // Floyd's algorithm, in order of the draw.
    for bound in all.saturating_sub(CHOICES)..all {
        let index = below(roll(), bound as u64 + 1) as usize;
        let index = if taken.get(..count).is_some_and(|taken| taken.contains(&index)) { bound } else { index };
        if let Some(slot) = taken.get_mut(count) {
            *slot = index;
            count += 1;
        }
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

    fn shares(heard: &[Option<Heard>], now: Duration) -> Vec<usize> {
        let mut loads = Loads::default();
        heard.iter().flatten().for_each(|heard| loads.note(heard.report.in_flight));
        let (mut roll, mut shares) = (dice(), vec![0; heard.len()]);
        for _ in 0..1000 {
            let chosen = choose(&Usable::All(heard.len()), &loads, |position| heard[position], |_| 1.0, |_| 1, now, &mut roll);
            shares[chosen.unwrap()] += 1;
        }
        shares
    }

    const NOW: Duration = Duration::from_millis(10_500);

    #[test]
    fn of_the_cold_the_fastest_and_of_the_hot_the_least_loaded() {
        // The fastest is the hottest of six, and is avoided; of the others the fastest wins.
        assert_eq!(shares(&[report(2, 30), report(3, 20), report(1, 40), report(3, 25), report(90, 1)], NOW), [0, 1000, 0, 0, 0]);
        // An endpoint that fails fast does not look fast.
        let failing = Some(Heard::failing(Duration::from_secs(10)));
        assert_eq!(shares(&[failing, report(5, 900)], NOW), [0, 1000]);
    }

    #[test]
    fn old_and_used_up_reports_are_not_believed() {
        let later = Duration::from_secs(12);
        let even = shares(&[report(0, 1), report(50, 100)], later);
        assert!(even.iter().all(|share| *share > 400), "{even:?}");
        let mut used = report(0, 1);
        (0..USES).for_each(|_| used.iter_mut().for_each(Heard::chosen));
        assert_eq!(used.unwrap().in_flight(), USES);
        let even = shares(&[used, report(50, 100)], NOW);
        assert!(even.iter().all(|share| *share > 400), "{even:?}");
        // What is not known is tried now and then.
        let curious = shares(&[None, report(1, 10), report(1, 20)], NOW);
        assert!((30..=100).contains(&curious[0]) && curious[1] >= 900, "{curious:?}");
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
