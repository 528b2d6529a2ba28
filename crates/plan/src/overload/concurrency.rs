//! How many requests one application should work on at a time, learned from how its latency answers to load. Owns no queue and
//! sends nobody away: [`super::entrance`] does.
//!
//! Nothing is limited until there is a reason to. The reason are two windows of time in a row in which latency was more than twice
//! its baseline while more was in flight than usual. That alone proves nothing: a dependency that became slow looks the same, since
//! what is slower is longer in flight (Little's law). So the limit begins with a **trial**: no more than now are let in, then half
//! as many, for three windows in all; the others wait, and nobody is sent away. If as many answers come per second from half as
//! many requests, the others were only in each other's way: load is the cause, and the limit stays (**guarding**). If half as many
//! come, the application is as fast as it is, which becomes the new baseline. The same question is asked again when the limit has
//! come down by half, and now and then.
//!
//! While guarding, the limit follows the gradient of Netflix's Gradient2 (concurrency-limits): limit x (2 x baseline / latency) +
//! room to grow. The baseline is learned while nothing is limited and never rises while something is, so it cannot drift, and no
//! probe is needed that stops traffic to measure it (as Envoy's adaptive concurrency does, with 3 requests in flight).
//! Latency is the geometric mean of a window: an average would follow one slow request in a hundred, a quantile would jump
//! between the modes of an application that has a fast and a slow answer.

use std::time::Duration;

/// Latency may grow to this multiple of the baseline before load is suspected.
const TOLERANCE: f64 = 2.0;
/// By so many standard errors more than that.
const SURE: f64 = 2.0;
/// No limit is below this: one less would be measured as if the application served one by one.
const FLOOR: f64 = 4.0;
/// More in flight than this multiple of the usual, and [`FEW_MORE`] on top, is more than usual.
const MORE: f64 = 1.5;
const FEW_MORE: f64 = 2.0;
/// Load is the cause of latency when the rate of answers falls by less than this share (in logarithms) of what the number in
/// flight fell by.
const FOLLOWS: f64 = 0.4;
/// It is not when the rate falls by more than this share. What lies between is asked for again.
const SLOWED: f64 = 0.65;
const OPEN: Stage = Stage::Open { suspicious: 0, strict: false };
/// What a trial leaves of the requests in flight.
const LEFT: f64 = 0.5;
/// The limit is asked for its reason again when it has come down by this, and after so many windows: soon at first, then now and then.
const AGAIN: f64 = 0.5;
const FIRST: u32 = 4;
const WINDOWS: u32 = 40;

/// A window ends when it has lasted for this long and for as long as an answer takes (but no longer than [`LONGEST`] seconds for
/// that), and its mean is known to [`EXACT`] (standard error, in logarithms) or from [`ENOUGH`] samples.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: f64 = 2.0;
const EXACT: f64 = 0.15;
const FEW: u32 = 12;
const ENOUGH: u32 = 100;
/// A window of a trial counts so many answers, and more where their number varies more than by chance alone.
const COUNTED: f64 = 48.0;
/// So many windows in a row must be suspicious: one may be chance.
const SUSPICIOUS: u32 = 2;
/// The first windows of an application teach more than those after them.
const YOUNG: u32 = 3;
/// What nearly all answers take is waited for, but no longer than this.
const LONGEST_CHANGE: f64 = 1.0;
/// A strict trial sends those away who wait too long, and takes its time. It follows one that could not halve what is in flight, where
/// answers usually take no longer than this.
const USUALLY_FAST: Duration = Duration::from_millis(250);
/// A step of a trial takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A limit that nothing was measured under for this long is forgotten.
const FORGET: Duration = Duration::from_secs(30);
/// A limit that nobody ran into for this long is lifted.
const CALM: Duration = Duration::from_secs(2);
/// The baseline follows slower latencies with this time constant, or [`SLOW_ANSWERS`] latencies if that is longer.
const FOLLOW: f64 = 20.0;
const SLOW_ANSWERS: f64 = 200.0;

/// What one window saw.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    /// Natural logarithm of seconds.
    latency: f64,
    /// Mean over time.
    in_flight: f64,
    /// Answers per second.
    rate: f64,
    /// Of the latency: its standard error.
    error: f64,
    /// Seconds that nearly all answers take.
    most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Nothing is limited. `suspicious`: windows in a row. `strict`: the next trial is.
    Open { suspicious: u32, strict: bool },
    /// Is it load? `back`: the limit that had been proven before, and when to ask for it again.
    Trial { limit: f64, step: Step, back: Option<(f64, u32)>, strict: bool },
    /// It is.
    Guarding { limit: f64, asked: Asked, calm: Duration },
}

/// When the question was put last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Asked {
    /// The highest limit since.
    limit: f64,
    /// Windows since, and how many make it due again.
    windows: u32,
    due: u32,
}

/// The windows of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// As many as there were.
    Hold,
    /// Until half of them have gone.
    Settle { before: Seen },
    /// Half of them.
    Measure { before: Seen },
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Duration,
    samples: u32,
    /// Sums of the logarithms and of their squares.
    latency: f64,
    squares: f64,
    /// Sums of the seconds themselves and of their squares.
    seconds: f64,
    seconds_squares: f64,
    /// Requests x seconds.
    in_flight: f64,
    /// Up to when `in_flight` is counted.
    counted: Duration,
    /// Somebody had to wait.
    held: bool,
}

impl Window {
    fn new(now: Duration) -> Self {
        Self { since: now, samples: 0, latency: 0.0, squares: 0.0, seconds: 0.0, seconds_squares: 0.0, in_flight: 0.0, counted: now, held: false }
    }

    fn count(&mut self, now: Duration, in_flight: u32) {
        self.in_flight += now.saturating_sub(self.counted).as_secs_f64() * f64::from(in_flight);
        self.counted = self.counted.max(now);
    }

    fn ends(&self, now: Duration) -> bool {
        let lasted = now.saturating_sub(self.since);
        if self.samples < FEW || lasted < SHORTEST || lasted.as_secs_f64() < self.mean().exp().min(LONGEST) {
            return false;
        }
        self.samples >= ENOUGH || self.error() <= EXACT
    }

    /// Standard error of the mean.
    fn error(&self) -> f64 {
        let samples = f64::from(self.samples.max(1));
        ((self.squares / samples - self.mean() * self.mean()).max(0.0) / samples).sqrt()
    }

    /// The mean and two standard deviations.
    fn most(&self) -> f64 {
        let samples = f64::from(self.samples.max(1));
        let mean = self.seconds / samples;
        mean + 2.0 * (self.seconds_squares / samples - mean * mean).max(0.0).sqrt()
    }

    /// How much more than by chance alone the number of answers varies: as much as the latencies do (squared coefficient of variation).
    fn dispersion(&self) -> f64 {
        let samples = f64::from(self.samples.max(1));
        let mean = self.seconds / samples;
        ((self.seconds_squares / samples - mean * mean) / (mean * mean).max(1e-12)).clamp(1.0, 20.0)
    }

    fn mean(&self) -> f64 {
        self.latency / f64::from(self.samples.max(1))
    }

    fn seen(&self, now: Duration) -> Seen {
        let lasted = now.saturating_sub(self.since).as_secs_f64().max(1e-9);
        Seen {
            latency: self.mean(),
            in_flight: (self.in_flight / lasted).max(1e-3),
            rate: f64::from(self.samples) / lasted,
            error: self.error(),
            most: self.most(),
        }
    }
}

/// The limit of one application, and what it was learned from.
#[derive(Clone, Debug)]
pub struct Concurrency {
    stage: Stage,
    baseline: Option<Seen>,
    window: Window,
    in_flight: u32,
    /// Windows that the baseline was learned from, up to [`YOUNG`].
    age: u32,
    /// Of the number of answers in a window: how many times that of chance its variance is.
    dispersion: f64,
}

impl Concurrency {
    pub fn new(now: Duration) -> Self {
        Self { stage: OPEN, baseline: None, window: Window::new(now), in_flight: 0, age: 0, dispersion: 1.0 }
    }

    /// How many may be in flight; `None`: as many as come.
    pub fn limit(&self) -> Option<u32> {
        match self.stage {
            Stage::Open { .. } => None,
            // Rounded down; the floor is whole.
            Stage::Trial { limit, .. } | Stage::Guarding { limit, .. } => Some(limit.max(FLOOR) as u32),
        }
    }

    /// How many the application has proven to be able to work on: not the half of it that a trial lets in.
    pub fn proven_limit(&self) -> Option<u32> {
        match self.stage {
            Stage::Guarding { limit, .. } | Stage::Trial { back: Some((limit, _)), .. } => Some(limit.max(FLOOR) as u32),
            Stage::Open { .. } | Stage::Trial { back: None, .. } => None,
        }
    }

    /// Whether the limit has proven itself, so that those who wait too long may be sent away.
    pub fn is_proven(&self) -> bool {
        matches!(self.stage, Stage::Guarding { .. } | Stage::Trial { back: Some(_), .. } | Stage::Trial { strict: true, .. })
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How long an answer takes when there is no overload, as far as is known.
    pub fn usual_latency(&self) -> Option<Duration> {
        self.baseline.map(|baseline| Duration::from_secs_f64(baseline.latency.exp().clamp(0.0, 3600.0)))
    }

    /// A request goes to the application.
    pub fn started(&mut self, now: Duration) {
        if self.limit().is_some() && now.saturating_sub(self.window.since) > FORGET && self.window.samples < FEW {
            self.stage = OPEN;
            self.window = Window::new(now);
        }
        self.window.count(now, self.in_flight);
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// A request is no longer with the application. `None`: it says nothing about latency (an error, a client that left early).
    pub fn ended(&mut self, now: Duration, latency: Option<Duration>) {
        self.window.count(now, self.in_flight);
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(latency) = latency else { return };
        self.window.samples = self.window.samples.saturating_add(1);
        let seconds = latency.as_secs_f64();
        self.window.seconds += seconds;
        self.window.seconds_squares += seconds * seconds;
        let latency = seconds.max(1e-6).ln();
        self.window.latency += latency;
        self.window.squares += latency * latency;
        if self.is_over(now) {
            self.close(now);
        }
    }

    /// Whether the window has seen enough.
    fn is_over(&self, now: Duration) -> bool {
        let Stage::Trial { limit, step, strict, .. } = self.stage else { return self.window.ends(now) };
        let lasted = now.saturating_sub(self.window.since);
        let counted = f64::from(self.window.samples) >= COUNTED * self.dispersion;
        // What began before the limit came down ends at the rate of before: that is waited for, and not measured.
        let changed = |before: Seen| lasted.as_secs_f64() >= before.most.min(LONGEST_CHANGE);
        let over = match step {
            Step::Hold => counted && lasted >= SHORTEST,
            Step::Settle { before } => f64::from(self.in_flight) <= limit && changed(before),
            Step::Measure { before } => counted && changed(before),
        };
        over || lasted > if strict { FORGET } else { PATIENCE }
    }

    /// The limit made somebody wait.
    pub fn held(&mut self) {
        self.window.held = true;
    }

    fn close(&mut self, now: Duration) {
        let window = std::mem::replace(&mut self.window, Window::new(now));
        let (seen, lasted) = (window.seen(now), now.saturating_sub(window.since));
        let baseline = *self.baseline.get_or_insert(seen);
        self.dispersion += (window.dispersion() - self.dispersion) * 0.2;
        self.stage = match self.stage {
            Stage::Open { suspicious, strict } if is_suspicious(seen, baseline) => match suspicious + 1 < SUSPICIOUS {
                true => {
                    self.learn(seen, lasted);
                    Stage::Open { suspicious: suspicious + 1, strict }
                }
                false => Stage::Trial { limit: f64::from(self.in_flight).max(FLOOR), step: Step::Hold, back: None, strict },
            },
            Stage::Open { .. } => {
                self.learn(seen, lasted);
                OPEN
            }
            // Too few answers to tell; an application this slow is left alone.
            Stage::Trial { step: Step::Hold | Step::Measure { .. }, back: None, .. } if window.samples < FEW => OPEN,
            Stage::Trial { step: Step::Hold | Step::Measure { .. }, back: Some((limit, due)), .. } if window.samples < FEW => {
                Stage::Guarding { limit, asked: Asked { limit, windows: 0, due }, calm: Duration::ZERO }
            }
            // It was a burst.
            Stage::Trial { step: Step::Hold, back: None, .. } if !is_suspicious(seen, baseline) => OPEN,
            Stage::Trial { step: Step::Hold, back, strict, .. } => {
                Stage::Trial { limit: (seen.in_flight * LEFT).max(FLOOR), step: Step::Settle { before: seen }, back, strict }
            }
            Stage::Trial { limit, step: Step::Settle { before }, back, strict } => {
                Stage::Trial { limit, step: Step::Measure { before }, back, strict }
            }
            Stage::Trial { limit, step: Step::Measure { before }, back, .. } => self.verdict(limit, before, back, seen),
            Stage::Guarding { limit, asked, .. } if window.held => self.guard(limit, asked, seen),
            Stage::Guarding { limit, asked, calm } => {
                if seen.latency < baseline.latency {
                    self.learn(seen, lasted);
                }
                let calm = calm + lasted;
                if calm < CALM { Stage::Guarding { limit, asked, calm } } else { OPEN }
            }
        };
    }

    /// Without a limit at work, what is seen is what is usual: answers that are surely faster are believed soon, slower ones slowly,
    /// unless they are slower without more in flight.
    fn learn(&mut self, seen: Seen, lasted: Duration) {
        let Some(baseline) = &mut self.baseline else { return };
        let constant = FOLLOW.max(SLOW_ANSWERS * seen.latency.exp());
        let slowly = 1.0 - (-lasted.as_secs_f64() / constant).exp();
        let loaded = seen.in_flight > baseline.in_flight * MORE + FEW_MORE;
        let change = seen.latency - baseline.latency;
        let sure = change.abs() > SURE * seen.error;
        let weight = if self.age < YOUNG || sure && (change < 0.0 || !loaded) { 0.5 } else { slowly };
        baseline.latency += change * weight;
        let weight = match loaded {
            _ if self.age < YOUNG => 0.5,
            true => slowly,
            false => slowly.max(0.1),
        };
        baseline.in_flight += (seen.in_flight - baseline.in_flight) * weight;
        self.age = (self.age + 1).min(YOUNG);
    }

    /// What the trial has shown.
    fn verdict(&mut self, limit: f64, before: Seen, back: Option<(f64, u32)>, seen: Seen) -> Stage {
        let (fewer, less) = ((seen.in_flight / before.in_flight).ln(), (seen.rate / before.rate).ln());
        // Where there were no fewer, the question was not put, or the load has gone by itself.
        let put = fewer < -0.2;
        if put && less < SLOWED * fewer {
            self.baseline = Some(Seen { latency: seen.latency, ..before });
            return OPEN;
        }
        let load = less > FOLLOWS * fewer;
        if !put && back.is_none() {
            // More came than left, for as long as anybody would wait. The next trial takes the time it needs, if answers are usually fast.
            let strict = self.usual_latency().is_some_and(|usual| usual < USUALLY_FAST) && f64::from(self.in_flight) > before.in_flight;
            return Stage::Open { suspicious: SUSPICIOUS - 1, strict };
        }
        let Some((limit, due)) = back.or(load.then_some((limit, FIRST))) else { return OPEN };
        // What was proven before stays until it is refuted; in doubt it is asked for again soon.
        let due = if load { due } else { FIRST };
        if let Some(baseline) = self.baseline.as_mut().filter(|baseline| seen.latency < baseline.latency) {
            baseline.latency = seen.latency;
        }
        Stage::Guarding { limit, asked: Asked { limit, windows: 0, due }, calm: Duration::ZERO }
    }

    /// Somebody had to wait: is the limit still right?
    fn guard(&mut self, limit: f64, asked: Asked, seen: Seen) -> Stage {
        let Some(baseline) = &mut self.baseline else { return OPEN };
        if limit <= AGAIN * asked.limit && limit > FLOOR || asked.windows >= asked.due {
            return Stage::Trial { limit, step: Step::Hold, back: Some((limit, (asked.due * 2).min(WINDOWS))), strict: false };
        }
        // At the floor nothing waits in the application any more: that is what it takes.
        let at_the_floor = limit <= FLOOR && seen.in_flight <= FLOOR + 1.0;
        if at_the_floor || seen.latency < baseline.latency {
            baseline.latency = seen.latency;
        }
        let gradient = gradient(seen, *baseline).clamp(0.5, 1.0);
        let room = (limit.sqrt() / 2.0).max(1.0);
        let wanted = limit * gradient + room;
        let has_room = seen.latency < baseline.latency + 0.2;
        let limit = match wanted < limit {
            true => wanted,
            // The application became faster: the way back takes few windows.
            false if has_room => limit * 1.5,
            false => wanted,
        };
        let asked = Asked { limit: asked.limit.max(limit), windows: asked.windows + 1, ..asked };
        Stage::Guarding { limit: limit.max(FLOOR), asked, calm: Duration::ZERO }
    }
}

/// What share of the requests in flight would bring latency down to what is tolerated, if load is its cause.
fn gradient(seen: Seen, baseline: Seen) -> f64 {
    (baseline.latency + TOLERANCE.ln() - seen.latency).exp()
}

fn is_suspicious(seen: Seen, baseline: Seen) -> bool {
    seen.latency - SURE * seen.error > baseline.latency + TOLERANCE.ln() && seen.in_flight > baseline.in_flight * MORE + FEW_MORE
}
