//! Fits the confidence: logistic regression on whether told causes were right, with no weight below zero, so that it is monotone.

use taut_insight::locate::Features;

const STEPS: usize = 20_000;
const RATE: f64 = 0.5;

pub fn fit(causes: &[(Features, f64, bool)]) -> String {
    let mut weights = [0.0_f64; Features::COUNT + 1];
    let count = causes.len().max(1) as f64;
    for _ in 0..STEPS {
        let mut slope = [0.0_f64; Features::COUNT + 1];
        for (features, _, right) in causes {
            let values = features.values();
            let sum = weights[0] + weights[1..].iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>();
            let error = f64::from(u8::from(*right)) - 1.0 / (1.0 + (-sum).exp());
            slope[0] += error;
            slope[1..].iter_mut().zip(values).for_each(|(slope, value)| *slope += error * value);
        }
        for (at, slope) in slope.into_iter().enumerate() {
            weights[at] += RATE * slope / count;
            if at > 0 {
                weights[at] = weights[at].max(0.0);
            }
        }
    }
    format!("{} causes: intercept {:.2}, weights {:.2?}", causes.len(), weights[0], &weights[1..])
}
