//! Services and workloads put together: who serves what, by label, by slice, or because an entry spells it out.

use super::meaning::{Candidate, Offer, Slice};
use super::reader::code;
use std::collections::BTreeMap;
use taut_model::host::service_host;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::service::Service;
use taut_model::workload::{Serves, Workload};

/// The label with the name of the machine that a workload runs on.
pub const NODE_NAME: &str = "kubernetes.io/hostname";

/// All that was found, in the order of the objects.
#[derive(Default)]
pub struct Found {
    pub offers: Vec<Offer>,
    pub candidates: Vec<Candidate>,
    pub slices: Vec<Slice>,
    /// Locality by node.
    pub nodes: BTreeMap<String, String>,
    /// Workloads that know what they serve.
    pub endpoints: Vec<Workload>,
}

#[derive(Default)]
pub struct Registry {
    pub services: BTreeMap<String, Service>,
    pub workloads: BTreeMap<String, Workload>,
    pub problems: Vec<(ObjectRef, Problem)>,
}

pub fn assemble(found: Found) -> Registry {
    let mut registry = Registry::default();
    let offers = winners(found.offers, &mut registry.problems);
    let mut pool = Pool::new(found.candidates);
    for offer in offers.values().filter(|offer| !offer.selector.is_empty()) {
        pool.serve(offer);
    }
    let nodes = found.nodes;
    let from_slices = found.slices.into_iter().flat_map(|slice| slice_workloads(slice, &offers)).map(|workload| placed(workload, &nodes));
    let workloads = pool.candidates.into_iter().map(|candidate| candidate.workload).chain(from_slices).chain(found.endpoints);
    registry.workloads = workloads.map(|workload| (workload.uid.clone(), workload)).collect();
    registry.services = offers.into_iter().map(|(host, offer)| (host, offer.service)).collect();
    registry
}

/// One offer per host: the oldest, as for every conflict between objects. The others are told.
fn winners(offers: Vec<Offer>, problems: &mut Vec<(ObjectRef, Problem)>) -> BTreeMap<String, Offer> {
    let mut winners: BTreeMap<String, Offer> = BTreeMap::new();
    for offer in offers {
        let age = |offer: &Offer| (offer.created.clone(), offer.service.origin.object.clone());
        let host = offer.service.host.clone();
        let loser = match winners.remove(&host) {
            None => {
                winners.insert(host, offer);
                continue;
            }
            Some(holder) => {
                let (winner, loser) = if age(&offer) < age(&holder) { (offer, holder) } else { (holder, offer) };
                winners.insert(host.clone(), winner);
                loser
            }
        };
        let winner = &winners[&host].service.origin.object;
        problems.push(duplicate(&loser, winner));
    }
    winners
}

fn duplicate(loser: &Offer, winner: &ObjectRef) -> (ObjectRef, Problem) {
    let origin = &loser.service.origin;
    let problem = Problem {
        severity: Severity::Warning,
        code: code::CONFLICT,
        object: Some(origin.object.clone()),
        path: origin.path.clone(),
        location: origin.location.clone(),
        message: format!("the host {} belongs to {winner}, which is older, so it is not taken from here", loser.service.host),
        help: Some("remove one of the two, or change its host".to_owned()),
        excerpt: None,
    };
    (origin.object.clone(), problem)
}

/// Candidates by namespace and label, so that a service looks only at those that share its rarest label.
struct Pool {
    candidates: Vec<Candidate>,
    by_label: BTreeMap<(String, String, String), Vec<usize>>,
}

impl Pool {
    fn new(candidates: Vec<Candidate>) -> Self {
        let mut by_label: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            for (name, value) in &candidate.workload.labels {
                by_label.entry((candidate.workload.namespace.clone(), name.clone(), value.clone())).or_default().push(index);
            }
        }
        Self { candidates, by_label }
    }

    fn serve(&mut self, offer: &Offer) {
        let namespace = &offer.service.namespace;
        let with_label =
            |(name, value): (&String, &String)| self.by_label.get(&(namespace.clone(), name.clone(), value.clone())).map_or(&[][..], Vec::as_slice);
        let Some(rarest) = offer.selector.iter().map(with_label).min_by_key(|indices| indices.len()) else { return };
        for index in rarest {
            let candidate = &mut self.candidates[*index];
            if candidate.workload.has_labels(&offer.selector) {
                let serves = offer.ports.iter().map(|port| Serves {
                    host: offer.service.host.clone(),
                    port: port.port.number,
                    target: port.target_on(&candidate.ports),
                });
                candidate.workload.serves.extend(serves);
            }
        }
    }
}

/// The endpoints of a Service that selects nothing itself; a slice of one that does repeats what labels say already.
fn slice_workloads(slice: Slice, offers: &BTreeMap<String, Offer>) -> Vec<Workload> {
    let host = service_host(&slice.service, &slice.namespace);
    let Some(offer) = offers.get(&host).filter(|offer| offer.selector.is_empty()) else { return Vec::new() };
    let serves: Vec<Serves> = offer
        .ports
        .iter()
        .filter_map(|port| {
            let target = *slice.ports.get(&port.port.name)?;
            Some(Serves { host: host.clone(), port: port.port.number, target })
        })
        .collect();
    slice.endpoints.into_iter().map(|workload| Workload { serves: serves.clone(), ..workload }).collect()
}

/// A slice tells at most the zone of an endpoint; its node tells the region, too.
fn placed(workload: Workload, nodes: &BTreeMap<String, String>) -> Workload {
    let locality = workload.labels.get(NODE_NAME).and_then(|node| nodes.get(node)).filter(|locality| !locality.is_empty());
    match locality {
        Some(locality) => Workload { locality: locality.clone(), ..workload },
        None => workload,
    }
}
