//! The policies of one action that concern the workload beside this proxy, in order, and which of their rules match a visit.

use crate::authorization::{Policy, Rule, Visit};
use crate::index::{AnyOf, Index, Sought};
use crate::trace::{Mark, Trace};
use taut_model::policy::AuthorizationAction;

/// Holding a visit against this many rules costs as much as finding those that could match (measured: 12 ns each, against 50).
const FEW: usize = 4;
/// Policies that a refusal names.
const MOST_TOLD: usize = 5;

#[derive(Debug)]
pub(crate) struct Policies {
    policies: Vec<Policy>,
    /// Of every rule, in order: the position of its policy, and its own in there.
    rules: Vec<(usize, usize)>,
    index: Option<Index>,
    /// What a rule makes of an attribute that a visit does not have, see [`crate::authorization`].
    unknown: bool,
}

impl Policies {
    pub(crate) fn new(action: AuthorizationAction, policies: Vec<Policy>) -> Self {
        let numbered = policies.iter().enumerate();
        let rules = numbered.flat_map(|(at, policy)| (0..policy.rules.len()).map(move |rule| (at, rule))).collect();
        let demands: Vec<Vec<AnyOf<'_>>> = policies.iter().flat_map(|policy| &policy.rules).map(Rule::demands).collect();
        let index = Index::build(&demands, FEW);
        Self { policies, rules, index, unknown: action != AuthorizationAction::Allow }
    }

    /// Those that a visit could fall under.
    pub(crate) fn about<'a>(&'a self, visit: &'a Visit<'_>) -> impl Iterator<Item = &'a Policy> {
        self.policies.iter().filter(|policy| policy.is_about(visit, true))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.policies.iter()
    }

    /// The first policy with a rule that matches, and the first such rule. `topic`: what those before it are told under.
    pub(crate) fn first<T: Trace>(&self, visit: &Visit<'_>, topic: &str, trace: &mut T) -> Option<(&Policy, &Rule)> {
        if let Some(index) = self.index::<T>(visit) {
            return self.at(index.first(&sought(visit), |position| self.matches(position, visit))?);
        }
        for policy in &self.policies {
            if let Some(rule) = policy.matching(visit, self.unknown) {
                return Some((policy, rule));
            }
            trace.step(Mark::NoMatch, topic, || format!("no rule matches: {}", policy.mismatch(visit)), Some(&policy.origin));
        }
        None
    }

    /// Of a visit that no rule matches: the policies that it falls under, each with what its rules want otherwise.
    pub(crate) fn mismatches(&self, visit: &Visit<'_>) -> String {
        let more = self.about(visit).count().saturating_sub(MOST_TOLD);
        let told = |policy: &Policy| format!("{} ({})", policy.origin.object, policy.mismatch(visit));
        let told = self.about(visit).take(MOST_TOLD).map(told).collect::<Vec<_>>().join(", ");
        if more == 0 { told } else { format!("{told} and {more} more") }
    }

    /// Of every policy, the first rule that matches.
    pub(crate) fn each<T: Trace>(&self, visit: &Visit<'_>) -> Vec<&Rule> {
        let Some(index) = self.index::<T>(visit) else {
            return self.policies.iter().filter_map(|policy| policy.matching(visit, self.unknown)).collect();
        };
        let mut all = index.all(&sought(visit), |position| self.matches(position, visit));
        all.dedup_by_key(|position| self.rules.get(*position).map(|(policy, _)| *policy));
        all.into_iter().filter_map(|position| self.at(position)).map(|(_, rule)| rule).collect()
    }

    /// `None` where every policy has to be looked at: who listens hears of each; an identity that is not written like those of
    /// the mesh may read as another one's principal; and without HTTP, what is demanded of it may be taken as met.
    fn index<T: Trace>(&self, visit: &Visit<'_>) -> Option<&Index> {
        let usual = visit.identity.is_none_or(|identity| {
            ![&identity.trust_domain, &identity.namespace, &identity.service_account].into_iter().any(|part| part.contains('/'))
        });
        self.index.as_ref().filter(|_| !T::LISTENS && usual && (visit.http.is_some() || !self.unknown))
    }

    fn matches(&self, position: usize, visit: &Visit<'_>) -> bool {
        self.at(position).is_some_and(|(policy, rule)| policy.matches(rule, visit, self.unknown))
    }

    fn at(&self, position: usize) -> Option<(&Policy, &Rule)> {
        let (policy, rule) = self.rules.get(position)?;
        let policy = self.policies.get(*policy)?;
        Some((policy, policy.rules.get(*rule)?))
    }
}

fn sought<'a>(visit: &Visit<'a>) -> Sought<'a> {
    Sought { path: visit.path, host: None, http: None, identity: visit.identity }
}
