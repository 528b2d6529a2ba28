//! How many of the requests of a service are bad, against how many used to be: how surprising that is ([`crate::series`]), and how much it is,
//! in three windows.

use crate::series::{Detector, Settings};
use taut_model::signal::Second;

/// Cells of a window. A window of six cells is renewed a sixth at a time.
const CELLS: usize = 6;
/// Seconds of a cell: windows of 6 seconds, a minute and ten minutes. The short one is for services that are asked often, the long one
/// for those that are asked once a minute.
const SPANS: [Second; 3] = [1, 10, 100];
/// Times after this one (the year 36812) are taken for it.
const LATEST: Second = 1 << 40;
/// Fewer bad requests than this in a window say nothing.
const FEWEST: f64 = 3.0;
/// So many bad requests would have to be expected, if it went on, to say of something that is no alarm yet that it does not.
const EXPECTED: f64 = 5.0;
/// Of what was wrong, so much may be left when it is over.
const LEFT: f64 = 0.1;
/// A share of bad requests beyond this says no more: windows of few requests tell larger ones than there are.
const MOST_ILL: f64 = 0.5;

/// Bad requests among all, in some span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    bad: f64,
    all: f64,
}

impl Count {
    /// 0 of nothing.
    fn ratio(self) -> f64 {
        if self.all > 0.0 { self.bad / self.all } else { 0.0 }
    }

    fn add(&mut self, other: Self) {
        self.bad += other.bad;
        self.all += other.all;
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Window {
    cells: [Count; CELLS],
    /// The number of the newest cell: seconds since 1970 by the seconds of a cell.
    newest: Second,
}

impl Window {
    /// Makes room for the cell of a second. Returns whether cells have left.
    fn turn(&mut self, number: Second) {
        let passed = number.saturating_sub(self.newest);
        for step in 1..=passed.min(CELLS as Second) {
            self.cells[((self.newest + step) % CELLS as Second) as usize] = Count::default();
        }
        self.newest = self.newest.max(number);
    }

    fn add(&mut self, count: Count) {
        self.cells[(self.newest % CELLS as Second) as usize].add(count);
    }

    fn sum(&self) -> Count {
        let mut sum = Count::default();
        self.cells.iter().for_each(|cell| sum.add(*cell));
        sum
    }
}

/// What is known now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// -log10 of how probable it is, had nothing changed; 0 where too little is bad to matter.
    pub surprise: f64,
    /// Of the window in which most are bad.
    pub ratio: f64,
    pub usual: f64,
}

/// See the file's first sentence.
#[derive(Clone, Debug)]
pub struct Ratio {
    detector: Detector,
    surprise: f64,
    usual: f64,
    windows: [Window; 3],
    latest: Count,
}

impl Ratio {
    /// `patience`: seconds after which what stays is taken for usual.
    pub fn new(patience: Second) -> Self {
        let detector = Detector::new(Settings { relearn: patience, ..Settings::ERRORS });
        Self { detector, surprise: 0.0, usual: 0.0, windows: Default::default(), latest: Count::default() }
    }

    /// Takes what happened in the second.
    pub fn observe(&mut self, at: Second, bad: u64, all: u64) {
        let at = at.min(LATEST);
        let bad = bad.min(all);
        let seen = self.detector.observe_ratio(at, bad, all);
        // A second without a request neither surprises nor calms.
        if all > 0 {
            self.surprise = if seen.above { seen.value } else { 0.0 };
        }
        self.usual = seen.baseline;
        self.latest = Count { bad: bad as f64, all: all as f64 };
        for (window, span) in self.windows.iter_mut().zip(SPANS) {
            window.turn(at / span);
            window.add(self.latest);
        }
    }

    /// What is known, of windows in which at least `margin` more of the requests are bad than usual, and at least `least` of all.
    pub fn read(&self, margin: f64, least: f64) -> Reading {
        let short = self.windows[0].sum().ratio();
        let enough = (self.usual + margin).max(least);
        let sums = self.windows.iter().map(Window::sum).filter(|sum| sum.bad >= FEWEST && sum.ratio() >= enough);
        let most = sums.map(Count::ratio).max_by(f64::total_cmp);
        Reading { surprise: if most.is_some() { self.surprise } else { 0.0 }, ratio: most.unwrap_or(short), usual: self.usual }
    }

    /// What was bad is over, and says nothing about what comes.
    pub fn put_behind(&mut self) {
        for window in &mut self.windows {
            window.cells = Default::default();
        }
    }

    /// What the latest second says for it that no longer `ill` of the requests are bad, but about as many as usual: the logarithm of how much likelier
    /// it is so (Wald's sequential test). Below 0 it speaks against it.
    pub fn recovery(&self, ill: f64) -> f64 {
        let Count { bad, all } = self.latest;
        let usual = self.usual.clamp(0.0, MOST_ILL);
        let ill = ill.min(usual + MOST_ILL).min(1.0 - 1e-3);
        let well = usual.max(usual + LEFT * (ill - usual)).max(1e-6);
        if ill <= well { 0.0 } else { bad * (well / ill).ln() + (all - bad) * ((1.0 - well) / (1.0 - ill)).ln() }
    }

    /// The ratio of the shortest window that would hold enough bad requests if `alarmed` of them still were; `None`: none would.
    pub fn since(&self, alarmed: f64) -> Option<f64> {
        let long_enough = |sum: &Count| sum.all * alarmed >= EXPECTED;
        self.windows.iter().map(Window::sum).find(long_enough).map(Count::ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Ratio {
        Ratio::new(3600)
    }

    fn steady(ratio: &mut Ratio, from: Second, seconds: Second, bad: u64, all: u64) {
        (from..from + seconds).for_each(|at| ratio.observe(at, bad, all));
    }

    #[test]
    fn failures_surprise_within_seconds() {
        let mut ratio = new();
        steady(&mut ratio, 1000, 120, 0, 10);
        assert!(ratio.read(0.02, 0.0).surprise < 0.1);
        steady(&mut ratio, 1120, 2, 5, 10);
        assert!(ratio.read(0.02, 0.0).surprise > 8.0, "{:?}", ratio.read(0.02, 0.0));
    }

    #[test]
    fn what_always_failed_does_not_surprise() {
        let mut ratio = new();
        (1000..4000).for_each(|at| ratio.observe(at, u64::from(at % 3 == 0), 10));
        assert!(ratio.read(0.02, 0.0).surprise < 3.0, "{:?}", ratio.read(0.02, 0.0));
    }

    #[test]
    fn one_failure_of_a_quiet_service_says_nothing() {
        let mut ratio = new();
        (0..600).for_each(|minute| ratio.observe(1000 + minute * 60, u64::from(minute == 599), 1));
        assert_eq!(ratio.read(0.02, 0.0).surprise, 0.0);
    }

    #[test]
    fn few_good_requests_end_what_was_bad_and_chance_does_not() {
        let until_well = |bad: &dyn Fn(Second) -> u64, ill: f64| {
            let mut ratio = new();
            steady(&mut ratio, 1000, 120, 0, 10);
            let mut evidence = 0.0_f64;
            (1120..1180).find(|at| {
                ratio.observe(*at, bad(*at), 10);
                evidence = (evidence + ratio.recovery(ill)).max(0.0);
                evidence >= 7.0
            })
        };
        assert_eq!(until_well(&|_| 0, 1.0), Some(1121));
        assert!((1126..1130).contains(&until_well(&|_| 0, 0.1).unwrap()));
        assert_eq!(until_well(&|_| 1, 0.1), None, "it goes on");
        assert_eq!(until_well(&|at| at % 2, 0.1), None, "half of it goes on");
    }

    #[test]
    fn clocks_that_jump_and_gaps_are_borne() {
        let mut ratio = new();
        for at in [0, 5, u64::MAX, 3, u64::MAX - 1, 0] {
            ratio.observe(at, 9, 3);
            assert!(ratio.read(0.0, 0.0).surprise.is_finite());
        }
    }
}
