//! How probable a residual is among all that were seen, by the largest of them (peaks over threshold), whatever its unit: for
//! [`super::Thorough`], which can afford to keep them.

use serde::{Deserialize, Serialize};

/// Share of the residuals whose smallest is the threshold.
const BEYOND: f64 = 0.02;
/// How many of the largest are kept; when more are needed, half of them stand for twice as many.
const KEPT: usize = 256;
/// Fewer peaks tell nothing of their mean.
const FEWEST: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// The largest, in order.
    largest: Vec<f32>,
    /// How many residuals there were, over `worth`.
    seen: f64,
    /// How many residuals each of the largest stands for.
    worth: f64,
}

impl Peaks {
    /// -log10 of the probability of a residual as large.
    pub fn surprise(&self, residual: f64) -> f64 {
        let beyond = ((self.seen * BEYOND).ceil() as usize).max(FEWEST).min(self.largest.len());
        let peaks = &self.largest[self.largest.len() - beyond..];
        let Some(threshold) = peaks.first().map(|peak| f64::from(*peak)) else { return 0.0 };
        let at_threshold = -(beyond as f64 / self.seen).min(1.0).log10();
        if residual <= threshold {
            return if threshold > 0.0 { at_threshold * residual / threshold } else { 0.0 };
        }
        let mean = peaks.iter().map(|peak| f64::from(*peak)).sum::<f64>() / beyond as f64;
        // However far off, it is told no rarer than so many residuals can prove: some decades beyond one in all of them.
        let excess = (mean - threshold).max((residual - threshold) / (1.0 + self.seen).ln());
        at_threshold + (residual - threshold) / excess * std::f64::consts::LOG10_E
    }

    pub fn learn(&mut self, residual: f64) {
        let residual = residual.clamp(0.0, f64::from(f32::MAX)) as f32;
        self.worth = self.worth.max(1.0);
        self.seen += 1.0 / self.worth;
        if self.seen * BEYOND > KEPT as f64 {
            let mut kept = false;
            self.largest.retain(|_| {
                kept = !kept;
                kept
            });
            self.seen /= 2.0;
            self.worth *= 2.0;
        }
        if self.largest.len() >= KEPT {
            if residual <= self.largest[0] {
                return;
            }
            self.largest.remove(0);
        }
        let at = self.largest.partition_point(|peak| *peak <= residual);
        self.largest.insert(at, residual);
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        self.largest.capacity() * size_of::<f32>()
    }
}
