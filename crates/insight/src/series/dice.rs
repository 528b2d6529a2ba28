//! A small generator of numbers that look random, for tests.

/// splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    /// Poisson's law, by counting what comes within one unit of time; by the normal law where that would take long.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 200.0 {
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

    pub fn binomial(&mut self, all: u64, share: f64) -> u64 {
        (0..all).filter(|_| self.share() < share).count() as u64
    }
}
