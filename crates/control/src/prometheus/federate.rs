//! The newest sample of every series as a page to scrape.

use super::evaluate::LOOKBACK_MS;
use super::labels::{LabelSet, NAME};
use super::series::{Budget, Failure, Selector, Source, Window};
use std::collections::BTreeMap;
use taut_observe::exposition::{Exposition, Format, raw_pair};
use taut_observe::metrics::Kind;

/// Each series once, whichever selectors match it, under its metric.
///
/// # Errors
/// As of [`Source::select`].
pub fn page(source: &dyn Source, selectors: &[Selector], now: i64, format: Format, mut budget: Budget<'_>) -> Result<String, Failure> {
    let window = Window { from: now.saturating_sub(LOOKBACK_MS), to: now, spacing: LOOKBACK_MS };
    let mut newest: BTreeMap<String, BTreeMap<LabelSet, f64>> = BTreeMap::new();
    for selector in selectors {
        for series in source.select(selector, window, &mut budget)? {
            if let Some(sample) = series.samples.last().filter(|sample| !sample.is_stale()) {
                newest.entry(series.labels.value(NAME).to_owned()).or_default().insert(series.labels, sample.value);
            }
        }
    }
    let mut page = Exposition::new(format);
    for family in source.families().iter().filter(|family| family.series.iter().any(|name| newest.contains_key(*name))) {
        let kind = match family.kind {
            "histogram" => Kind::Histogram,
            "counter" => Kind::Counter,
            _ => Kind::Gauge,
        };
        page.head(family.name, family.help, kind);
        for name in family.series {
            for (labels, value) in newest.get(*name).into_iter().flatten() {
                let mut text = String::new();
                labels.iter().filter(|(name, _)| *name != NAME).for_each(|(name, value)| raw_pair(&mut text, name, value));
                page.line(name, "", &text, *value);
            }
        }
    }
    Ok(page.finish())
}
