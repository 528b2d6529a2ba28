//! Active health checks as a state machine: when each endpoint is asked next, and what its answers make of it. Asking is the shell's.

use crate::cluster::ClusterKey;
use crate::dice::below;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::HealthCheck;

/// The endpoints that fail their checks, by service port: what holds for a service holds for its subsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwell(BTreeMap<Arc<str>, BTreeMap<u16, BTreeSet<Arc<str>>>>);

impl Unwell {
    pub(crate) fn concerns(&self, key: &ClusterKey) -> bool {
        self.of(key).is_some()
    }

    pub fn contains(&self, key: &ClusterKey, uid: &str) -> bool {
        self.of(key).is_some_and(|uids| uids.contains(uid))
    }

    fn of(&self, key: &ClusterKey) -> Option<&BTreeSet<Arc<str>>> {
        self.0.get(&*key.host)?.get(&key.port)
    }

    pub fn insert(&mut self, key: &ClusterKey, uid: Arc<str>) {
        self.0.entry(key.host.clone()).or_default().entry(key.port).or_default().insert(uid);
    }

    /// Host, port and uid of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u16, &str)> {
        self.0.iter().flat_map(|(host, ports)| ports.iter().flat_map(move |(port, uids)| uids.iter().map(move |uid| (&**host, *port, &**uid))))
    }
}

/// One endpoint, as its answers so far have it. It is taken to be well until it has failed often enough: the control plane would not
/// have told of it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    well: bool,
    /// Answers in a row that speak against `well`.
    against: u32,
    due: Duration,
}

impl Checked {
    /// To be asked first within one interval, at a moment of its own: checks of many endpoints must not come together.
    pub fn new(check: &HealthCheck, now: Duration, roll: u64) -> Self {
        Self { well: true, against: 0, due: now + part(check.interval, roll) }
    }

    pub fn is_due(&self, now: Duration) -> bool {
        self.due <= now
    }

    pub fn due(&self) -> Duration {
        self.due
    }

    pub fn is_well(&self) -> bool {
        self.well
    }

    /// Takes an answer; returns whether it has changed what the endpoint is taken for. The next question comes after the interval, give
    /// or take a tenth.
    pub fn answered(&mut self, check: &HealthCheck, passed: bool, now: Duration, roll: u64) -> bool {
        self.due = now + check.interval.mul_f64(0.9) + part(check.interval.mul_f64(0.2), roll);
        if passed == self.well {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let enough = if self.well { check.unhealthy_after } else { check.healthy_after };
        let changes = self.against >= enough.max(1);
        if changes {
            (self.well, self.against) = (passed, 0);
        }
        changes
    }
}

fn part(of: Duration, roll: u64) -> Duration {
    Duration::from_nanos(below(roll, u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use taut_model::destination::Probe;
    use taut_model::origin::Origin;

    fn check() -> HealthCheck {
        let second = Duration::from_secs(1);
        HealthCheck { origin: Origin::default(), probe: Probe::Tcp, interval: 10 * second, timeout: second, unhealthy_after: 3, healthy_after: 2 }
    }

    #[test]
    fn an_endpoint_is_judged_by_answers_in_a_row() {
        let mut checked = Checked::new(&check(), Duration::ZERO, 0);
        let mut well = Vec::new();
        for passed in [false, false, true, false, false, false, true, false, true, true] {
            checked.answered(&check(), passed, Duration::ZERO, 0);
            well.push(checked.is_well());
        }
        assert_eq!(well, [true, true, true, true, true, false, false, false, false, true]);
    }

    #[test]
    fn what_is_unwell_is_known_by_port_for_all_subsets() {
        let key = |port, subset: Option<&str>| ClusterKey { host: "a".into(), port, subset: subset.map(Into::into) };
        let mut unwell = Unwell::default();
        unwell.insert(&key(80, None), "default/a-1".into());
        assert!(unwell.contains(&key(80, Some("v1")), "default/a-1") && unwell.concerns(&key(80, None)));
        assert!(!unwell.contains(&key(81, None), "default/a-1") && !unwell.contains(&key(80, None), "default/a-2"));
        assert_eq!(unwell.iter().collect::<Vec<_>>(), [("a", 80, "default/a-1")]);
    }

    proptest! {
        #[test]
        fn questions_are_spread_and_never_far_off(roll: u64, now in 0_u64..1_000_000) {
            let now = Duration::from_millis(now);
            let mut checked = Checked::new(&check(), now, roll);
            prop_assert!((now..now + check().interval).contains(&checked.due()));
            checked.answered(&check(), true, now, roll);
            let wait = checked.due() - now;
            prop_assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&wait), "{:?}", wait);
        }

        #[test]
        fn it_changes_only_after_enough_of_the_other_kind(answers in proptest::collection::vec(any::<bool>(), 0..40)) {
            let mut checked = Checked::new(&check(), Duration::ZERO, 0);
            for (at, passed) in answers.iter().enumerate() {
                let before = checked.is_well();
                let changed = checked.answered(&check(), *passed, Duration::ZERO, 0);
                prop_assert_eq!(changed, before != checked.is_well());
                let run = answers[..=at].iter().rev().take_while(|other| *other == passed).count();
                let enough = if before { 3 } else { 2 };
                prop_assert!(!changed || run >= enough);
            }
        }
    }
}
