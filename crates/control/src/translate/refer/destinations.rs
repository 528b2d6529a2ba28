//! DestinationRules and selectors: hosts that are not there, subsets and Services that select no workload.

use super::super::reader::code;
use super::super::translation::Translation;
use super::notes::Notes;
use super::world::{World, covers};
use taut_model::destination::{Destination, Role};
use taut_model::problem::Severity;

pub fn check(world: &World<'_>, destination: &Destination, notes: &mut Notes<'_>) {
    let about = &destination.origin.object;
    // A pattern may cover what is to come.
    if destination.host.starts_with('*') {
        return;
    }
    let at = if destination.role == Role::Addition { "spec.targetRefs" } else { "spec.host" };
    if world.service(&destination.host).is_none() {
        let message = format!("{at}: there is no service {}, so this has no effect yet", destination.host);
        return notes.warn(code::UNKNOWN_REFERENCE, about, at, message, world.near_host(&destination.host));
    }
    let behind = world.labels_behind(&destination.host);
    for subset in destination.subsets.iter().filter(|_| !behind.is_empty()) {
        if !behind.iter().any(|labels| covers(&subset.labels, labels)) {
            let path = &subset.origin.path;
            let message = format!("{path}: the subset {:?} selects none of the {} workloads of {}", subset.name, behind.len(), destination.host);
            notes.warn(code::SELECTS_NOTHING, about, path, message, None);
        }
    }
}

/// Services with a selector and nobody behind them.
pub fn check_selectors(world: &World<'_>, translation: &Translation, notes: &mut Notes<'_>) {
    for (host, selector) in world.selectors() {
        let Some(service) = translation.services.get(host).filter(|_| world.labels_behind(host).is_empty()) else { continue };
        let pairs: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let message = format!("spec.selector: no workload has {}, so requests to {host} are refused", pairs.join(","));
        notes.add(Severity::Info, code::SELECTS_NOTHING, &service.origin.object, "spec.selector", message, None);
    }
}
