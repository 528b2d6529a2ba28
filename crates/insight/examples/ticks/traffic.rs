//! Made-up traffic of one service, second by second: kinds that are well and unlike each other, and what may go wrong with them.

/// What came in a second.
pub struct Tick {
    pub requests: u64,
    pub bad: u64,
    /// The median, in milliseconds; without requests it means nothing.
    pub latency: f64,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Steady(f64),
    /// Twice as much at noon as in the mean; latency follows.
    Daily,
    /// Load and latency wander by a third within minutes.
    Wandering,
    /// A burst of twenty times the load, twice an hour at any time, for some seconds.
    Bursty,
}

pub const KINDS: [Kind; 6] = [Kind::Steady(200.0), Kind::Steady(10.0), Kind::Steady(1.0), Kind::Daily, Kind::Wandering, Kind::Bursty];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady(rate) if rate >= 100.0 => "200 a second",
            Self::Steady(rate) if rate >= 10.0 => "10 a second",
            Self::Steady(_) => "1 a second",
            Self::Daily => "50, by the hour of the day",
            Self::Wandering => "50, wandering",
            Self::Bursty => "50, with bursts",
        }
    }
}

#[derive(Clone, Copy)]
pub enum Fault {
    /// A share of the requests fails.
    Errors(f64),
    /// All take so many times as long.
    Slow(f64),
    /// Only so many of the requests still come.
    Gone(f64),
}

pub const FAULTS: [Fault; 6] = [Fault::Errors(0.05), Fault::Errors(0.5), Fault::Slow(1.5), Fault::Slow(3.0), Fault::Gone(0.5), Fault::Gone(0.0)];

impl Fault {
    pub fn name(self) -> String {
        match self {
            Self::Errors(share) => format!("{:.0} % fail", share * 100.0),
            Self::Slow(times) => format!("{times} times as slow"),
            Self::Gone(left) => format!("{:.0} % of the requests come", left * 100.0),
        }
    }
}

pub struct Traffic {
    kind: Kind,
    dice: Dice,
    wander: f64,
    burst: u64,
}

impl Traffic {
    pub fn new(kind: Kind, dice: Dice) -> Self {
        Self { kind, dice, wander: 0.0, burst: 0 }
    }

    pub fn tick(&mut self, second: u64, fault: Option<Fault>) -> Tick {
        // A mean-reverting walk of about five minutes.
        self.wander += (2.0_f64 / 300.0).sqrt() * self.dice.normal() - self.wander / 300.0;
        let (mut rate, mut latency) = match self.kind {
            Kind::Steady(rate) => (rate, 20.0),
            Kind::Daily => {
                let day = (second as f64 / 86_400.0 * std::f64::consts::TAU).sin();
                (50.0 * (1.0 + day * 0.9), 20.0 * (1.0 + day * 0.2))
            }
            Kind::Wandering => (50.0 * (0.33 * self.wander).exp(), 20.0 * (0.33 * self.wander).exp()),
            Kind::Bursty => {
                self.burst = if self.dice.share() < 2.0 / 3600.0 { 5 } else { self.burst.saturating_sub(1) };
                (if self.burst > 0 { 1000.0 } else { 50.0 }, 20.0)
            }
        };
        let mut share = 0.002;
        match fault {
            Some(Fault::Errors(more)) => share = more,
            Some(Fault::Slow(times)) => latency *= times,
            Some(Fault::Gone(left)) => rate *= left,
            None => {}
        }
        let requests = self.dice.poisson(rate);
        let bad = (0..requests).filter(|_| self.dice.share() < share).count() as u64;
        // Single requests vary by a half, the second as a whole by a twentieth.
        let sampled = 0.6 / (requests.max(1) as f64).sqrt();
        Tick { requests, bad, latency: latency * (self.dice.normal() * sampled + 0.05 * self.dice.normal()).exp() }
    }
}

/// splitmix64.
pub struct Dice(pub u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (mut count, mut left) = (0, mean);
        loop {
            left += (1.0 - self.share()).ln();
            if left < 0.0 {
                return count;
            }
            count += 1;
        }
    }
}
