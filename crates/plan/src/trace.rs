//! The steps of an explanation, and the trait through which a decision tells them: for free when nobody listens.

use crate::cluster::ClusterKey;
use serde::{Deserialize, Serialize};
use std::fmt;
use taut_model::origin::Origin;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    Info,
    Match,
    NoMatch,
    Chosen,
    Refused,
}

impl Mark {
    pub fn symbol(self) -> char {
        match self {
            Self::Info => '·',
            Self::Match => '✓',
            Self::NoMatch => '✗',
            Self::Chosen => '→',
            Self::Refused => '⊘',
        }
    }
}

/// One thing that was looked at, and what said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub mark: Mark,
    /// A topic of at most 12 characters (`service`, `no match`), padded, then what was seen.
    pub text: String,
    pub origin: Option<Origin>,
}

/// Why a decision is as it is. `Display` renders the text of `taut why`, without colour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// In the order in which the decision was made; the first says what was asked.
    pub steps: Vec<Step>,
    /// One sentence.
    pub outcome: String,
}

/// Texts longer than this do not push the origins of all other lines to the right.
const WIDEST_TEXT: usize = 72;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_origin = self.steps.iter().filter(|step| step.origin.is_some());
        let width = with_origin.map(|step| step.text.chars().count()).filter(|width| *width <= WIDEST_TEXT).max().unwrap_or(0);
        for (position, step) in self.steps.iter().enumerate() {
            match (position, &step.origin) {
                (0, None) => writeln!(f, "{}", step.text)?,
                (_, None) => writeln!(f, "{} {}", step.mark.symbol(), step.text.trim_end())?,
                (_, Some(origin)) => writeln!(f, "{} {:<width$}  {origin}", step.mark.symbol(), step.text)?,
            }
        }
        write!(f, "= {}", self.outcome)
    }
}

/// Told of every step while a decision is made. The decision itself must not depend on it.
pub(crate) trait Trace {
    /// Whether anybody hears the steps. If not, what cannot match need not be looked at.
    const LISTENS: bool;
    fn step(&mut self, mark: Mark, topic: &str, text: impl FnOnce() -> String, origin: Option<&Origin>);
    /// One of several possible outcomes, when the dice are not cast.
    fn possible(&mut self, text: impl FnOnce() -> String);
    /// What the dice are asked, cast or open, so that outcomes can be counted.
    fn toss(&mut self, toss: impl FnOnce() -> Toss);
}

/// One question to the dice.
#[derive(Debug)]
pub(crate) enum Toss {
    /// Percentages, 0 to 100.
    Delay(f64),
    Abort(f64),
    /// The weights of all backends, in order.
    Backend(Vec<u64>),
    Mirror {
        to: Option<ClusterKey>,
        percent: f64,
        origin: Origin,
    },
}

/// Nobody listens.
pub(crate) struct Silent;

impl Trace for Silent {
    const LISTENS: bool = false;

    #[inline(always)]
    fn step(&mut self, _: Mark, _: &str, _: impl FnOnce() -> String, _: Option<&Origin>) {}
    #[inline(always)]
    fn possible(&mut self, _: impl FnOnce() -> String) {}
    #[inline(always)]
    fn toss(&mut self, _: impl FnOnce() -> Toss) {}
}

#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) steps: Vec<Step>,
    pub(crate) possible: Vec<String>,
    pub(crate) tosses: Vec<Toss>,
}

impl Trace for Recorder {
    const LISTENS: bool = true;

    fn step(&mut self, mark: Mark, topic: &str, text: impl FnOnce() -> String, origin: Option<&Origin>) {
        self.steps.push(Step { mark, text: format!("{topic:<12} {}", text()), origin: origin.cloned() });
    }

    fn possible(&mut self, text: impl FnOnce() -> String) {
        self.possible.push(text());
    }

    fn toss(&mut self, toss: impl FnOnce() -> Toss) {
        self.tosses.push(toss());
    }
}
