//! The detector of one series of the mesh: baseline, windows, calibrated tails, and when to stop learning.

use super::Surprise;
use super::estimate::{Assumed, Estimate};
use super::lag::Lag;
use super::season::{Period, Season};
use super::tail::{Law, Tail};
use super::window::{KEPT, Reading, SCALES, Window};
use serde::{Deserialize, Serialize};
use taut_model::signal::Second;

/// From here on the baseline learns nothing: one observation in a thousand is as strange by chance, and to skip it costs nothing.
const STRANGE: f64 = 3.0;
/// Observations in a row that are not strange and end what was.
const CALM: u8 = 10;
/// Observations, or requests, before a baseline is believed.
const ENOUGH: f64 = 30.0;
/// A deviation moves a window by at most as many spreads, so that one outlier is not news for a minute.
const LOUDEST: f64 = 8.0;
/// A latency of more requests than this is no more certain: what differs from second to second is the work, not the sample.
const SAMPLE: f64 = 100.0;
/// A window of a minute tells nothing when that of ten seconds leans by less than this share of it: what was is over.
const STILL: f64 = 0.25;
/// After so many observations the tail of a window learns once more; windows before that hold nearly the same.
const EVERY: [u8; SCALES] = [1, 5, 20];
/// So many requests are enough to know a rate by, and a memory is stretched for them by as much at most.
const WELL_KNOWN: f64 = 100.0;
const LONGEST: f64 = 20.0;
/// Steps that a gap between two requests counts for at most in the longest window of a ratio.
const SPARSE: u64 = 6;
/// An error ratio of which nothing is known: half an error in 50 requests.
const RATIO: Assumed = Assumed { count: 0.5, exposure: 50.0 };
/// A rate of which nothing is known.
const RATE: Assumed = Assumed { count: 0.5, exposure: 1.0 };

/// Deviations in spreads: a normal distribution's 98th percentile, and then a tail that is heavier than normal until it is known better.
const DEVIATIONS: Law = Law { threshold: 2.05, least_threshold: 1.5, excess: 0.6, least_excess: 0.37, shape: 0.05 };
/// -log10 of probabilities: exactly what they say, until the series turns out to be wilder. Never less: few counts are no proof of calm.
const RARITIES: Law =
    Law { threshold: 1.698_97, least_threshold: 1.698_97, excess: std::f64::consts::LOG10_E, least_excess: std::f64::consts::LOG10_E, shape: 0.0 };

/// What a detector is told of its series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Seconds from one observation to the next.
    pub step: Second,
    /// Observations after which the baseline has forgotten to a third.
    pub memory: u32,
    /// Share of the baseline that a deviation must exceed by far before it is news, however certain it is.
    pub floor: f64,
    /// The same in the unit of the series. For ratios: below this nothing is news.
    pub least: f64,
    /// Seconds after which something that has stayed strange is the new usual.
    pub relearn: Second,
    /// Whether the same time of the days before may explain a value. Ratios have none.
    pub season: Option<Period>,
}

/// All for ticks of a second: ten minutes of memory, half an hour to get used to a change.
impl Settings {
    /// Requests per tick: they come and go by a tenth without a reason.
    pub const RATE: Self = Self { step: 1, memory: 600, floor: 0.1, least: 0.0, relearn: 1800, season: None };
    /// Errors: one in a thousand is no news.
    pub const ERRORS: Self = Self { least: 0.001, ..Self::RATE };
    /// Quantiles of latency: nobody feels a twentieth.
    pub const LATENCY: Self = Self { floor: 0.05, ..Self::RATE };
    /// Shares of what a machine has.
    pub const SATURATION: Self = Self { least: 0.01, ..Self::RATE };
}

/// What is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Value,
    Latency,
    Count,
    Ratio,
}

/// One series. It is fed by one of the `observe`s, in the order of time; a clock that goes back is taken for one step. Fed by another of the
/// `observe`s it is another series, and starts anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    settings: Settings,
    kind: Option<Kind>,
    usual: Estimate,
    /// What is usual since it is strange.
    candidate: Estimate,
    /// Of ratios: what is not learnt yet.
    lag: Lag,
    strange_since: Option<Second>,
    calm: u8,
    turn: u8,
    last: Second,
    /// All that the shortest window holds is nothing, or is bad.
    unbroken: bool,
    windows: [Window; SCALES],
    above: [Tail; SCALES],
    below: [Tail; SCALES],
    season: Option<Box<Season>>,
}

impl Detector {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            kind: None,
            usual: Estimate::default(),
            candidate: Estimate::default(),
            lag: Lag::default(),
            strange_since: None,
            calm: 0,
            turn: 0,
            last: 0,
            unbroken: false,
            windows: [Window::default(); SCALES],
            above: [Tail::default(); SCALES],
            below: [Tail::default(); SCALES],
            season: settings.season.map(|period| Box::new(Season::new(period))),
        }
    }

    /// A value that is measured anew each time: a share, a level, a size. What is no number is a gap.
    pub fn observe(&mut self, at: Second, value: f64) -> Surprise {
        if !value.is_finite() {
            self.skip(at);
            return Surprise::default();
        }
        self.is_fed(Kind::Value);
        let value = value.clamp(-1e100, 1e100);
        let seen = self.observe_value(at, value, 1.0, |level, settings| (settings.floor * level.abs()).hypot(settings.least));
        Surprise { baseline: seen.level, spread: seen.spread, ..seen.surprise }
    }

    /// A quantile of how long `requests` requests took: the fewer, the less a deviation says. Without any it is a gap.
    pub fn observe_latency(&mut self, at: Second, value: f64, requests: u64) -> Surprise {
        if !value.is_finite() || requests == 0 {
            self.skip(at);
            return Surprise::default();
        }
        self.is_fed(Kind::Latency);
        // Latencies vary in proportion to themselves.
        let value = value.clamp(1e-9, 1e100).ln();
        let weight = SAMPLE / (SAMPLE / requests as f64 + 1.0);
        let seen = self.observe_value(at, value, weight, |_, settings| settings.floor.max(0.0).ln_1p());
        let baseline = seen.level.exp();
        Surprise { baseline, spread: baseline * seen.spread.min(100.0).exp_m1(), ..seen.surprise }
    }

    /// How many came in one step. Few are few: none where one in a minute is usual is no news until it lasts.
    pub fn observe_count(&mut self, at: Second, count: u64) -> Surprise {
        self.is_fed(Kind::Count);
        self.observe_counted(at, count as f64, 1.0, RATE)
    }

    /// How many of all were bad. Without any it is a gap.
    pub fn observe_ratio(&mut self, at: Second, bad: u64, all: u64) -> Surprise {
        self.is_fed(Kind::Ratio);
        if all == 0 {
            self.skip(at);
            return Surprise { baseline: self.usual.rate(RATIO), ready: self.usual.weight() >= ENOUGH, ..Surprise::default() };
        }
        self.observe_counted(at, bad.min(all) as f64, all as f64, RATIO)
    }

    /// Nothing is known of this step.
    pub fn skip(&mut self, at: Second) {
        let steps = self.pass(at);
        let [alone, _, longest] = self.windows;
        self.age(steps);
        if self.kind == Some(Kind::Ratio) {
            // Where no request was, none was good: these wait for the next.
            self.windows[0] = alone;
            self.windows[SCALES - 1] = longest;
        } else {
            self.unbroken = false;
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.season.as_ref().map_or(0, |season| season.bytes())
    }

    fn is_fed(&mut self, kind: Kind) {
        if *self.kind.get_or_insert(kind) != kind {
            *self = Self { kind: Some(kind), ..Self::new(self.settings) };
        }
    }

    /// Lets time pass; how many steps it was.
    fn pass(&mut self, at: Second) -> u64 {
        let step = self.settings.step.max(1);
        let steps = if self.last == 0 { 1 } else { (at.saturating_sub(self.last) / step).max(1) };
        self.last = at;
        if steps > u64::from(self.settings.memory) {
            // After a long silence the level may be anywhere; how much it varies is still known.
            self.usual.forget(0.1);
        }
        steps
    }

    fn age(&mut self, steps: u64) {
        for (window, kept) in self.windows.iter_mut().zip(KEPT) {
            window.pass(kept, steps);
        }
    }

    /// What the baseline keeps of itself when it learns; `stretch` times as long a memory as is set.
    fn kept(&self, stretch: f64) -> f64 {
        1.0 - 1.0 / (f64::from(self.settings.memory.max(2)) * stretch)
    }

    fn observe_value(&mut self, at: Second, value: f64, weight: f64, floor: impl Fn(f64, &Settings) -> f64) -> Seen {
        let steps = self.pass(at);
        self.age(steps);
        let (level, spread) = (self.usual.level().unwrap_or(value), self.usual.spread());
        let floor = floor(level, &self.settings);
        let deviation = (spread * spread / weight + floor * floor).sqrt();
        let limit = LOUDEST * deviation;
        let off = value - level;
        let off_season = self.season.as_ref().and_then(|season| season.expected(at)).map_or(off, |expected| value - expected);
        let mut readings = [Reading::default(); SCALES];
        for (scale, (window, reading)) in self.windows.iter_mut().zip(&mut readings).enumerate() {
            let most = if scale == 0 { f64::INFINITY } else { limit };
            window.add_value(off.clamp(-most, most), off_season.clamp(-most, most), weight);
            *reading = window.value(spread, floor);
        }
        let ready = self.usual.seen() >= ENOUGH;
        let surprise = if ready { self.judge(readings, true, &DEVIATIONS) } else { Surprise::default() };
        let kept = self.kept(1.0);
        self.settle(at, surprise.value >= STRANGE, |estimate| estimate.learn_value(value, weight, kept));
        if let Some(season) = &mut self.season {
            season.learn(at, value);
        }
        Seen { surprise: Surprise { ready, ..surprise }, level, spread: deviation }
    }

    fn observe_counted(&mut self, at: Second, count: f64, exposure: f64, assumed: Assumed) -> Surprise {
        let steps = self.pass(at);
        let ratio = self.kind == Some(Kind::Ratio);
        let [alone, _, longest] = self.windows;
        self.age(steps);
        if ratio {
            // Few requests far apart: the longest window is of at least ten observations.
            self.windows[SCALES - 1] = longest;
            self.windows[SCALES - 1].pass(KEPT[SCALES - 1], steps.min(SPARSE));
        }
        // As long as nothing comes, or nothing is good, the shortest window is all of that.
        let extreme = if ratio { count == exposure } else { count == 0.0 };
        let goes_on = extreme && self.unbroken && (ratio || steps == 1);
        if goes_on {
            self.windows[0] = alone;
        }
        let ended = (self.unbroken && !goes_on).then_some(alone);
        self.unbroken = extreme;
        let rate = self.usual.rate(assumed).max(if ratio { self.settings.least } else { 0.0 });
        let expected = rate * exposure;
        let dispersion = self.usual.dispersion(assumed, rate) + self.settings.floor * self.settings.floor;
        let seasonal = self.season.as_ref().filter(|_| !ratio).and_then(|season| season.expected(at)).unwrap_or(expected);
        let mut readings = [Reading::default(); SCALES];
        for (window, reading) in self.windows.iter_mut().zip(&mut readings) {
            window.add_count(count, expected, seasonal);
            *reading = window.count(dispersion);
        }
        // A share of errors is news from the first request on: there is a share that no service ought to have.
        let ready = self.usual.weight() >= ENOUGH;
        // A run is one event, however long: it is learned from when it ends.
        let surprise = if ready || ratio { self.judge(readings, !extreme, &RARITIES) } else { Surprise::default() };
        if let Some(run) = ended.filter(|_| ready && self.strange_since.is_none()) {
            self.learn_tail(0, run.count(dispersion).score, &RARITIES);
        }
        // A rate of few requests is known after many of them, not after some minutes.
        let few = WELL_KNOWN / (rate * f64::from(self.settings.memory)).max(1e-9);
        let kept = self.kept(if ratio { 1.0 } else { few.clamp(1.0, LONGEST) });
        // Fewer errors than usual are no reason not to learn.
        let strange = surprise.value >= STRANGE && (surprise.above || !ratio);
        let most = expected + 10.0 * (expected + dispersion * expected * expected).sqrt() + 10.0;
        let due = if ratio { self.lag.pass(count.min(most), exposure) } else { Some((count.min(most), exposure)) };
        self.settle(at, strange, |estimate| {
            if let Some((count, exposure)) = due {
                let expected = estimate.rate(assumed) * exposure;
                estimate.learn_count(count, exposure, expected, kept);
            }
        });
        if let Some(season) = self.season.as_mut().filter(|_| !ratio) {
            season.learn(at, count);
        }
        let deviation = (expected + dispersion * expected * expected).sqrt();
        Surprise { baseline: rate, spread: deviation / exposure, ready, ..surprise }
    }

    /// The most surprising window, less what looking through several of them costs; and the tails learn, each as often as its window is new,
    /// that of the shortest window if `alone`.
    fn judge(&mut self, readings: [Reading; SCALES], alone: bool, law: &Law) -> Surprise {
        self.turn = (self.turn + 1) % EVERY[SCALES - 1];
        let mut most = Surprise::default();
        for (scale, reading) in readings.iter().enumerate() {
            // What either the time before or the days before explain is explained.
            let score = if reading.seasonal.abs() < reading.score.abs() { reading.seasonal } else { reading.score };
            let value = if score > 0.0 { self.above[scale].surprise(law, score) } else { self.below[scale].surprise(law, -score) };
            if self.strange_since.is_none() && self.turn.is_multiple_of(EVERY[scale]) && (alone || scale > 0) {
                self.learn_tail(scale, score, law);
            }
            let over = scale == SCALES - 1 && reading.lean.signum() * readings[scale - 1].lean < STILL * reading.lean.abs();
            if value > most.value && !over {
                most = Surprise { value, above: score > 0.0, ..most };
            }
        }
        most.value = (most.value - (SCALES as f64).log10()).max(0.0);
        most
    }

    fn learn_tail(&mut self, scale: usize, score: f64, law: &Law) {
        self.above[scale].learn(law, score.max(0.0));
        self.below[scale].learn(law, (-score).max(0.0));
    }

    /// Learns what is usual while nothing is strange, and what else may become usual while something is.
    fn settle(&mut self, at: Second, strange: bool, learn: impl Fn(&mut Estimate)) {
        self.calm = if strange { 0 } else { self.calm.saturating_add(1) };
        match self.strange_since {
            None if !strange => learn(&mut self.usual),
            None => {
                self.strange_since = Some(at);
                self.candidate = Estimate::default();
                learn(&mut self.candidate);
            }
            Some(_) if self.calm >= CALM => self.strange_since = None,
            Some(since) => {
                learn(&mut self.candidate);
                if at < since {
                    self.strange_since = Some(at);
                } else if at - since >= self.settings.relearn && self.candidate.seen() >= f64::from(CALM) {
                    self.usual = self.candidate;
                    self.strange_since = None;
                    self.windows.iter_mut().for_each(Window::forget);
                }
            }
        }
    }
}

struct Seen {
    surprise: Surprise,
    level: f64,
    spread: f64,
}
