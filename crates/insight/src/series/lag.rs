//! Observations that are not learnt from yet: what is wrong begins before it is surprising, and must not count as usual by then.

use serde::{Deserialize, Serialize};

/// How many observations wait.
const WAITING: usize = 10;

/// A ring of counts and what they are out of. About 80 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    waiting: [(f32, f32); WAITING],
    next: u8,
}

impl Lag {
    /// Takes an observation, and gives the one that has waited long enough.
    pub fn pass(&mut self, count: f64, exposure: f64) -> Option<(f64, f64)> {
        let place = &mut self.waiting[usize::from(self.next) % WAITING];
        self.next = (self.next + 1) % WAITING as u8;
        let (count, exposure) = std::mem::replace(place, (count as f32, exposure as f32));
        // Nothing is out of nothing: the place was empty.
        (exposure > 0.0).then_some((f64::from(count), f64::from(exposure)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Lag, WAITING};

    #[test]
    fn what_comes_in_comes_out_in_its_order_and_later() {
        let mut lag = Lag::default();
        let out: Vec<_> = (1..=25).map(|number| lag.pass(f64::from(number), 100.0)).collect();
        assert!(out[..WAITING].iter().all(Option::is_none));
        assert_eq!(out[WAITING..], (1..=15).map(|number| Some((f64::from(number), 100.0))).collect::<Vec<_>>());
    }
}
