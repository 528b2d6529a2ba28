//! How rare a count is where another was expected.

/// Chernoff's bound on the tail of a negative binomial distribution (Poisson's, where `dispersion` is 0), as a signed -log10. A bound: few counts
/// are never called rarer than they are.
pub(crate) fn rarity(count: f64, mean: f64, dispersion: f64) -> f64 {
    if mean <= 0.0 || !mean.is_finite() {
        return 0.0;
    }
    let own = if count > 0.0 { count * (count / mean).ln() } else { 0.0 };
    let nats = if dispersion > 1e-9 {
        let size = 1.0 / dispersion;
        own - (count + size) * ((count + size) / (mean + size)).ln()
    } else {
        own - count + mean
    };
    let rarity = nats.max(0.0) * std::f64::consts::LOG10_E;
    if count < mean { -rarity } else { rarity }
}

#[cfg(test)]
mod tests {
    use super::rarity;

    /// P(X >= count) of Poisson's distribution, summed.
    fn poisson_at_least(count: u32, mean: f64) -> f64 {
        let mut term = (-mean).exp();
        let mut below = 0.0;
        for k in 0..count {
            below += term;
            term *= mean / f64::from(k + 1);
        }
        1.0 - below
    }

    #[test]
    fn a_count_is_never_called_rarer_than_it_is() {
        for (count, mean) in [(1, 0.01), (3, 0.1), (5, 1.0), (20, 10.0), (150, 100.0)] {
            let exact = -poisson_at_least(count, mean).log10();
            let told = rarity(f64::from(count), mean, 0.0);
            assert!(told <= exact && told > exact - 1.5, "{count} of {mean}: {told} for {exact}");
            assert!(rarity(f64::from(count), mean, 0.5) < told, "a rate that varies surprises less");
        }
        assert_eq!(rarity(0.0, 10.0, 0.0), -10.0 * std::f64::consts::LOG10_E, "nothing where ten are expected: exactly e^-10");
    }
}
