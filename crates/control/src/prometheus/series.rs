//! What a query reads: series of samples by label matchers, within a budget; and why a query fails.

use super::labels::LabelSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Samples that one query may load or make; each takes 16 bytes.
pub const MOST_SAMPLES: usize = 5_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Unix time in milliseconds.
    pub at: i64,
    pub value: f64,
}

/// The value that says that a series has ended (Prometheus, `model/value`, StaleNaN).
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

impl Sample {
    pub fn is_stale(&self) -> bool {
        self.value.to_bits() == STALE
    }
}

#[derive(Clone, Debug)]
pub struct Series {
    pub labels: LabelSet,
    /// In order of time, no two at the same.
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub enum Condition {
    Is(String),
    IsNot(String),
    /// Anchored at both ends.
    Like(regex::Regex),
    NotLike(regex::Regex),
}

#[derive(Clone, Debug)]
pub struct Matcher {
    pub label: String,
    pub condition: Condition,
}

impl Matcher {
    pub fn matches(&self, value: &str) -> bool {
        match &self.condition {
            Condition::Is(wanted) => value == wanted,
            Condition::IsNot(refused) => value != refused,
            Condition::Like(pattern) => pattern.is_match(value),
            Condition::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

/// All matchers must hold; a label that a series lacks is empty. The metric's name is the label `__name__`.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    pub matchers: Vec<Matcher>,
}

impl Selector {
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.value(&matcher.label)))
    }

    /// Whether a series whose label `name` is `value` could match.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.matchers.iter().filter(|matcher| matcher.label == name).all(|matcher| matcher.matches(value))
    }
}

/// The time that a query looks at, both ends included, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: i64,
    pub to: i64,
    /// Samples nearer to each other than this change little in the answer: a source that rolls up may choose by it.
    pub spacing: i64,
}

/// Where series come from.
pub trait Source: Send + Sync {
    /// The series that match, with their samples in the window.
    ///
    /// # Errors
    /// The budget is used up, or the source cannot be read.
    fn select(&self, selector: &Selector, window: Window, budget: &mut Budget<'_>) -> Result<Vec<Series>, Failure>;

    /// The label sets that match and have a sample in the window.
    ///
    /// # Errors
    /// As [`Source::select`].
    fn sets(&self, selector: &Selector, window: Window, budget: &mut Budget<'_>) -> Result<Vec<LabelSet>, Failure> {
        Ok(self.select(selector, window, budget)?.into_iter().map(|series| series.labels).collect())
    }

    /// What there can be.
    fn families(&self) -> &[Family] {
        &[]
    }

    /// How far back samples go at most; `None` for no limit but space.
    fn retention_seconds(&self) -> Option<u64> {
        None
    }
}

/// A metric, with the names of its series.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub help: &'static str,
    pub series: &'static [&'static str],
}

/// What one query may still use.
pub struct Budget<'a> {
    samples: usize,
    /// Set when nobody waits for the answer any more.
    given_up: &'a AtomicBool,
}

impl<'a> Budget<'a> {
    pub fn new(samples: usize, given_up: &'a AtomicBool) -> Self {
        Self { samples, given_up }
    }

    /// # Errors
    /// There are not so many left, or nobody waits for the answer any more.
    pub fn spend(&mut self, samples: usize) -> Result<(), Failure> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Failure::Timeout("the query took longer than its time limit; ask for less time, fewer steps or fewer series".to_owned()));
        }
        self.samples = self.samples.checked_sub(samples).ok_or_else(|| {
            Failure::Execution(
                "query processing would load too many samples into memory in query execution; ask for less time, a longer step or fewer series"
                    .to_owned(),
            )
        })?;
        Ok(())
    }
}

/// Why there is no answer, by Prometheus' error types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The query or a parameter cannot be read, or asks for what is not supported: the asker's fault.
    BadData(String),
    /// The query can be read and not be evaluated over these series.
    Execution(String),
    /// It took too long.
    Timeout(String),
    /// A fault of the control plane.
    Internal(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadData(why) | Self::Execution(why) | Self::Timeout(why) | Self::Internal(why) => f.write_str(why),
        }
    }
}
impl std::error::Error for Failure {}
