//! Which endpoints of a cluster are near the client, and which part of the traffic each place gets. Pure: decided when the plan is
//! compiled, but for how many endpoints of a place are well.

use crate::dice::below;
use taut_model::destination::{Distribute, LabelMatch, LocalityPolicy};
use taut_model::service::Distribution;
use taut_model::workload::Workload;

/// Envoy's overprovisioning factor, 1.4: a place carries all of its traffic as long as 5 of 7 endpoints are well.
const OVERPROVISIONING: u64 = 140;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const NODE: &str = "kubernetes.io/hostname";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Places {
    /// No endpoint is nearer than another.
    #[default]
    Alike,
    /// Nearest first: what one cannot carry goes to the next (Envoy's priorities). At least two.
    Ranked(Vec<Place>),
    /// By weight. Endpoints that are in none of them get nothing.
    Shared(Vec<(u32, Place)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// For people: `the same zone`, `eu/west/*`.
    pub name: String,
    /// Of endpoints, ascending; not empty.
    pub positions: Vec<usize>,
}

/// `fails_over`: something tells which endpoints are not well. Without that Istio keeps no traffic near, as it could not leave a
/// place that is down; a service's own wish (`trafficDistribution`) is followed all the same.
pub(crate) fn places(
    own: Option<&Workload>,
    endpoints: &[&Workload],
    policy: Option<&LocalityPolicy>,
    distribution: Distribution,
    fails_over: bool,
) -> Places {
    let Some(own) = own else { return Places::Alike };
    match policy {
        Some(policy) if policy.disabled => Places::Alike,
        Some(policy) if !policy.distribute.is_empty() => shared(own, endpoints, &policy.distribute),
        Some(_) if !fails_over => Places::Alike,
        Some(policy) if !policy.failover_priority.is_empty() => by_labels(own, endpoints, &policy.failover_priority),
        Some(policy) => by_locality(own, endpoints, &policy.failover),
        None if distribution != Distribution::Any => as_the_service_wishes(own, endpoints, distribution),
        None if fails_over => by_locality(own, endpoints, &[]),
        None => Places::Alike,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Locality<'a> {
    region: &'a str,
    zone: &'a str,
    subzone: &'a str,
}

impl<'a> Locality<'a> {
    fn of(workload: &'a Workload) -> Self {
        let mut parts = workload.locality.splitn(3, '/');
        let mut part = |label: &str| {
            let said = parts.next().unwrap_or_default();
            if said.is_empty() { workload.labels.get(label).map_or("", String::as_str) } else { said }
        };
        Self { region: part(REGION), zone: part(ZONE), subzone: part(SUBZONE) }
    }

    fn is_known(self) -> bool {
        self != Locality { region: "", zone: "", subzone: "" }
    }

    /// Zones have names of their own, so one whose region is not known is in the region of the zone of that name.
    fn shares_region(self, other: Self) -> bool {
        let unknown = self.region.is_empty() || other.region.is_empty();
        self.region == other.region || (unknown && !self.zone.is_empty() && self.zone == other.zone)
    }

    /// `region/zone/*`, `region/*`, `*`, or all that is written.
    fn is_in(self, pattern: &str) -> bool {
        let own = [self.region, self.zone, self.subzone];
        for (index, part) in pattern.split('/').enumerate() {
            match (part, own.get(index)) {
                ("*", _) => return true,
                (part, Some(own)) if part == *own => {}
                _ => return false,
            }
        }
        true
    }
}

/// Istio's default: subzone, zone, region, then the region to fail over to (any, where none is named), then the rest.
fn by_locality(own: &Workload, endpoints: &[&Workload], failover: &[(String, String)]) -> Places {
    const NAMES: [&str; 5] = ["the same subzone", "the same zone", "the same region", "other regions", "the last resort"];
    let own = Locality::of(own);
    if !own.is_known() {
        return Places::Alike;
    }
    let target = failover.iter().find(|(from, _)| from == own.region).map(|(_, to)| to.as_str());
    let rank = |endpoint: &Workload| {
        let there = Locality::of(endpoint);
        match (own.shares_region(there), own.zone == there.zone, own.subzone == there.subzone) {
            (true, true, true) => 0,
            (true, true, false) => 1,
            (true, false, _) => 2,
            (false, ..) if target.is_none_or(|target| target == there.region) => 3,
            (false, ..) => 4,
        }
    };
    ranked(endpoints, rank, |rank| NAMES.get(rank).copied().unwrap_or_default().to_owned())
}

fn as_the_service_wishes(own: &Workload, endpoints: &[&Workload], distribution: Distribution) -> Places {
    const NAMES: [&str; 4] = ["the same node", "the same zone", "the same region", "other regions"];
    let (here, node) = (Locality::of(own), own.labels.get(NODE).filter(|_| distribution == Distribution::SameNode));
    if here.zone.is_empty() && node.is_none() {
        return Places::Alike;
    }
    let rank = |endpoint: &Workload| {
        let there = Locality::of(endpoint);
        match (here.shares_region(there), here.zone == there.zone) {
            _ if node.is_some() && endpoint.labels.get(NODE) == node => 0,
            (true, true) => 1,
            (true, false) => 2,
            (false, _) => 3,
        }
    };
    ranked(endpoints, rank, |rank| NAMES.get(rank).copied().unwrap_or_default().to_owned())
}

/// An endpoint that differs from the client in the first label is furthest, one that differs in none is nearest.
fn by_labels(own: &Workload, endpoints: &[&Workload], labels: &[LabelMatch]) -> Places {
    let rank = |endpoint: &Workload| {
        let matches = |label: &&LabelMatch| value(endpoint, &label.name) == label.value.as_deref().unwrap_or_else(|| value(own, &label.name));
        labels.len() - labels.iter().take_while(matches).count()
    };
    ranked(endpoints, rank, |rank| match labels.get(labels.len() - rank) {
        None => format!("the same {}", labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>().join(", ")),
        Some(label) => format!("another {}", label.name),
    })
}

/// A label of a workload; those of topology are read off its locality, too.
fn value<'a>(workload: &'a Workload, label: &str) -> &'a str {
    let locality = Locality::of(workload);
    match workload.labels.get(label) {
        Some(value) => value,
        None => match label {
            REGION => locality.region,
            ZONE => locality.zone,
            SUBZONE => locality.subzone,
            _ => "",
        },
    }
}

fn ranked(endpoints: &[&Workload], rank: impl Fn(&Workload) -> usize, name: impl Fn(usize) -> String) -> Places {
    let mut ranks: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    for (position, endpoint) in endpoints.iter().enumerate() {
        ranks.entry(rank(endpoint)).or_default().push(position);
    }
    let places: Vec<Place> = ranks.into_iter().map(|(rank, positions)| Place { name: name(rank), positions }).collect();
    if places.len() > 1 { Places::Ranked(places) } else { Places::Alike }
}

/// The first entry for the client's locality holds. An endpoint belongs to the narrowest of the places it is in.
fn shared(own: &Workload, endpoints: &[&Workload], distribute: &[Distribute]) -> Places {
    let own = Locality::of(own);
    let Some(found) = distribute.iter().find(|entry| own.is_in(&entry.from)) else { return Places::Alike };
    let mut places: Vec<(u32, Place)> =
        found.to.iter().map(|(pattern, weight)| (*weight, Place { name: pattern.clone(), positions: Vec::new() })).collect();
    places.sort_by_key(|(_, place)| (std::cmp::Reverse(place.name.trim_end_matches('*').len()), place.name.clone()));
    for (position, endpoint) in endpoints.iter().enumerate() {
        let there = Locality::of(endpoint);
        if let Some((_, place)) = places.iter_mut().find(|(_, place)| there.is_in(&place.name)) {
            place.positions.push(position);
        }
    }
    places.retain(|(weight, place)| *weight > 0 && !place.positions.is_empty());
    Places::Shared(places)
}

impl Places {
    /// The places, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        let (ranked, shared): (&[Place], &[(u32, Place)]) = match self {
            Self::Alike => (&[], &[]),
            Self::Ranked(places) => (places, &[]),
            Self::Shared(places) => (&[], places),
        };
        ranked.iter().chain(shared.iter().map(|(_, place)| place))
    }

    /// Where one exchange goes while every endpoint is well. `None`: to no place.
    pub(crate) fn usual(&self, roll: impl FnOnce() -> u64) -> Option<&Place> {
        match self {
            Self::Alike => None,
            Self::Ranked(places) => places.first(),
            Self::Shared(places) => {
                let at = crate::dice::weighted(places.iter().map(|(weight, _)| u64::from(*weight)), roll())?;
                places.get(at).map(|(_, place)| place)
            }
        }
    }

    /// The positions in one place that `may` be used, when only some are `well`: the place is rolled for by what it can carry; one
    /// that has nothing to offer is passed over. Empty: no place has.
    pub(crate) fn pick(&self, well: impl Fn(usize) -> bool, may: impl Fn(usize) -> bool, roll: u64) -> Vec<usize> {
        let health = |place: &Place| (place.positions.iter().filter(|position| well(**position)).count(), place.positions.len());
        let shares: Vec<u64> = match self {
            Self::Alike => return Vec::new(),
            Self::Ranked(places) => loads(&places.iter().map(health).collect::<Vec<_>>()),
            Self::Shared(places) => places.iter().map(|(weight, place)| u64::from(*weight) * carries(health(place))).collect(),
        };
        let offer = |place: &Place| place.positions.iter().copied().filter(|position| may(*position)).collect::<Vec<_>>();
        let chosen = crate::dice::weighted(shares.iter().copied(), roll).and_then(|at| self.iter().nth(at)).map(offer);
        match chosen {
            Some(positions) if !positions.is_empty() => positions,
            _ => self.iter().map(offer).find(|positions| !positions.is_empty()).unwrap_or_default(),
        }
    }
}

/// Per cent of its traffic that a place can carry: at most 100.
fn carries((well, all): (usize, usize)) -> u64 {
    (well as u64 * OVERPROVISIONING / all.max(1) as u64).min(100)
}

/// Per cent of all traffic that each rank gets: as much as it can carry of what those before it have left. Where all together cannot
/// carry everything, each gets its part (Envoy, "Priority levels").
fn loads(health: &[(usize, usize)]) -> Vec<u64> {
    let carried: Vec<u64> = health.iter().map(|health| carries(*health)).collect();
    let together = carried.iter().sum::<u64>().min(100);
    let mut left = 100;
    let mut loads = Vec::with_capacity(carried.len());
    for carried in carried {
        let load = (carried * 100).checked_div(together).unwrap_or(0).min(left);
        left -= load;
        loads.push(load);
    }
    // What rounding has lost goes to the nearest that gets any.
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    loads
}

/// Which of `count` shares a hash belongs to is decided by the hash, so that a key keeps its place.
pub(crate) fn roll_of(hash: u64) -> u64 {
    below(crate::dice::mix(!hash), u64::MAX)
}

#[cfg(test)]
mod tests;
