//! How metrics are written: Prometheus' text format 0.0.4, or OpenMetrics 1.0, which has exemplars.

use crate::metrics::Kind;
pub use crate::series::raw_pair;
use crate::text::Moment;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for: OpenMetrics where it is named and not liked less than text.
    pub fn accepted(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let offers = accept.split(',').filter_map(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                parts.next().filter(|kind| kind.eq_ignore_ascii_case(wanted))?;
                let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f64>().ok());
                quality.filter(|quality| (0.0..=1.0).contains(quality))
            });
            offers.fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One measurement behind a histogram's bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    pub trace: u128,
    pub value: f64,
    pub at: Moment,
}

/// A page of metrics in the making.
pub struct Exposition {
    out: String,
    format: Format,
}

// Writing to a String cannot fail, so results of `write!` are dropped below.
impl Exposition {
    pub fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 << 10), format }
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// To be written once for all lines of a metric.
    pub fn head(&mut self, name: &str, help: &str, kind: Kind) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // OpenMetrics names the family; the suffix belongs to the sample.
        let name = if self.format == Format::OpenMetrics && kind == Kind::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {word}");
    }

    /// `labels`: escaped, with commas.
    pub fn line(&mut self, name: &str, suffix: &str, labels: &str, value: f64) {
        let _ = match labels.is_empty() {
            true => writeln!(self.out, "{name}{suffix} {value}"),
            false => writeln!(self.out, "{name}{suffix}{{{labels}}} {value}"),
        };
    }

    /// One bucket of a histogram. The bound is written alike in both formats, so that a series is one series whoever reads it.
    pub fn bucket(&mut self, name: &str, labels: &str, bound: Option<f64>, count: u64, exemplar: Option<&Exemplar>) {
        let _ = match bound {
            Some(bound) => write!(self.out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}"),
            None => write!(self.out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"),
        };
        if let (Format::OpenMetrics, Some(Exemplar { trace, value, at })) = (self.format, exemplar) {
            let seconds = at.0.as_millisecond() as f64 / 1000.0;
            let _ = write!(self.out, " # {{trace_id=\"{trace:032x}\"}} {value} {seconds}");
        }
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        for text in
            ["", "*/*", "text/plain", "application/openmetrics-text;q=0", "application/openmetrics-text;q=0.1,text/plain;q=0.9", "text/html,q"]
        {
            assert_eq!(Format::accepted(text), Format::Text, "{text}");
        }
    }
}
