//! Ridge regression, learned one example at a time and forgetting slowly: its normal equations, solved by Cholesky's decomposition.

use super::expert::FEATURES;
use serde::{Deserialize, Serialize};

/// Examples after which it has forgotten to a third: a week of steps of five minutes.
const MEMORY: f64 = 2016.0;
/// Added to the diagonal, as a share of it: features are alike, and few examples are no proof.
const PENALTY: f64 = 0.02;
/// Examples before its word counts.
const ENOUGH: f64 = 4.0 * FEATURES as f64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ridge {
    products: [[f64; FEATURES]; FEATURES],
    targets: [f64; FEATURES],
    examples: f64,
}

impl Ridge {
    pub fn new() -> Self {
        Self { products: [[0.0; FEATURES]; FEATURES], targets: [0.0; FEATURES], examples: 0.0 }
    }

    pub fn learn(&mut self, features: &[f64; FEATURES], target: f64) {
        let kept = 1.0 - 1.0 / MEMORY;
        self.examples = self.examples * kept + 1.0;
        for (row, one) in features.iter().enumerate() {
            self.targets[row] = self.targets[row] * kept + one * target;
            for (column, other) in features.iter().enumerate() {
                self.products[row][column] = self.products[row][column] * kept + one * other;
            }
        }
    }

    /// 0 until it has learned enough.
    pub fn predict(&self, features: &[f64; FEATURES]) -> f64 {
        if self.examples < ENOUGH {
            return 0.0;
        }
        let weights = self.solve().unwrap_or_default();
        weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum()
    }

    /// `None` where nothing has ever varied.
    fn solve(&self) -> Option<[f64; FEATURES]> {
        let mean = (0..FEATURES).map(|at| self.products[at][at]).sum::<f64>() / FEATURES as f64;
        let mut lower = [[0.0; FEATURES]; FEATURES];
        for row in 0..FEATURES {
            for column in 0..=row {
                let known: f64 = (0..column).map(|at| lower[row][at] * lower[column][at]).sum();
                let left = self.products[row][column] - known;
                lower[row][column] = if row == column {
                    let pivot = left + PENALTY * mean;
                    if pivot.is_nan() || pivot <= 0.0 {
                        return None;
                    }
                    pivot.sqrt()
                } else {
                    left / lower[column][column]
                };
            }
        }
        let mut solution = self.targets;
        for row in 0..FEATURES {
            let known: f64 = (0..row).map(|at| lower[row][at] * solution[at]).sum();
            solution[row] = (solution[row] - known) / lower[row][row];
        }
        for row in (0..FEATURES).rev() {
            let known: f64 = (row + 1..FEATURES).map(|at| lower[at][row] * solution[at]).sum();
            solution[row] = (solution[row] - known) / lower[row][row];
        }
        Some(solution)
    }
}
