//! Every outcome that one exchange can have, each with its exact share: the decision is made once per way in which the dice can fall.
//! Nothing is sampled, and nothing is decided here: [`Plan::decide`] and [`Plan::explain`] answer for each.

use crate::cluster::ClusterKey;
use crate::decide::Dice;
use crate::dice::{WHOLE, parts, roll_for};
use crate::facts::Facts;
use crate::plan::Plan;
use crate::trace::{Explanation, Recorder, Toss};
use crate::verdict::{Rolls, Verdict};
use taut_model::origin::Origin;

/// All outcomes of one exchange.
#[derive(Debug)]
pub struct Possibilities {
    /// What the odds of all outcomes add up to.
    pub whole: u128,
    /// Those that can happen, in the order in which the configuration names them.
    pub all: Vec<Possibility>,
    /// Copies of the request, whatever becomes of the request itself.
    pub mirrors: Vec<Mirrored>,
}

#[derive(Debug)]
pub struct Possibility {
    /// Out of [`Possibilities::whole`], above zero.
    pub odds: u128,
    pub verdict: Verdict,
    pub explanation: Explanation,
}

/// Where copies go. Their dice are their own, so their shares are of all requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirrored {
    /// `None`: nowhere, as the destination cannot be reached.
    pub to: Option<ClusterKey>,
    pub percent: f64,
    pub origin: Origin,
}

/// A roll that hits nothing but what is certain.
const MISS: u64 = u64::MAX;

impl Plan {
    /// What can become of an exchange. New session cookies are drawn as 0.
    pub fn possibilities(&self, facts: &Facts<'_>) -> Possibilities {
        let miss = Rolls { backend: 0, delay: MISS, abort: MISS, mirror: MISS, cookie: 0 };
        let mut recorder = Recorder::default();
        self.decide_with(facts, Dice::Cast(&miss), &mut recorder);
        let mut asked = Asked::default();
        for toss in recorder.tosses {
            asked.hear(toss);
        }
        let total = asked.weights.iter().map(|weight| u128::from(*weight)).sum::<u128>().max(1);
        let ways = |odds: Option<u64>| match odds {
            None => vec![(MISS, u128::from(WHOLE))],
            Some(odds) => vec![(0, u128::from(odds)), (MISS, u128::from(WHOLE - odds))],
        };
        let mut all = Vec::new();
        for (delay, delay_odds) in ways(asked.delay) {
            for (abort, abort_odds) in ways(asked.abort) {
                let faults = delay_odds * abort_odds;
                // An abort calls nobody, so there is no backend to choose.
                let aborted = asked.abort.is_some() && abort == 0;
                for (backend, odds) in if aborted { vec![(0, total)] } else { asked.backends(total) } {
                    let rolls = Rolls { backend, delay, abort, ..miss };
                    if faults * odds > 0 {
                        let (verdict, explanation) = (self.decide(facts, &rolls), self.explain(facts, Some(&rolls)));
                        all.push(Possibility { odds: faults * odds, verdict, explanation });
                    }
                }
            }
        }
        Possibilities { whole: u128::from(WHOLE) * u128::from(WHOLE) * total, all, mirrors: asked.mirrors }
    }
}

/// What the dice were asked.
#[derive(Default)]
struct Asked {
    /// Out of [`WHOLE`].
    delay: Option<u64>,
    abort: Option<u64>,
    weights: Vec<u64>,
    mirrors: Vec<Mirrored>,
}

impl Asked {
    fn hear(&mut self, toss: Toss) {
        match toss {
            Toss::Delay(percent) => self.delay = Some(parts(percent)),
            Toss::Abort(percent) => self.abort = Some(parts(percent)),
            Toss::Backend(weights) => self.weights = weights,
            Toss::Mirror { to, percent, origin } => self.mirrors.push(Mirrored { to, percent, origin }),
        }
    }

    /// A roll for every backend that gets something, and its odds out of `total`. Where nothing is chosen (or nothing can be), one roll
    /// for all.
    fn backends(&self, total: u128) -> Vec<(u64, u128)> {
        let mut before = 0;
        let mut ways = Vec::new();
        for weight in &self.weights {
            if *weight > 0 {
                ways.push((roll_for(before, total), u128::from(*weight)));
            }
            before += u128::from(*weight);
        }
        if ways.is_empty() { vec![(0, total)] } else { ways }
    }
}
