//! Routes that speak about the same service: who wins, told to both.

use super::super::reader::code;
use super::super::translation::Translation;
use super::notes::Notes;
use std::collections::BTreeMap;
use taut_model::destination::Role;
use taut_model::origin::ObjectRef;
use taut_model::problem::Severity;
use taut_model::route::{Dialect, Parent, Route};

pub fn check(translation: &Translation, notes: &mut Notes<'_>) {
    let mut by_host: BTreeMap<&str, Vec<(&Route, &Parent)>> = BTreeMap::new();
    for route in translation.routes.values() {
        for parent in &route.parents {
            by_host.entry(&parent.host).or_default().push((route, parent));
        }
    }
    for (host, mut attached) in by_host {
        attached.sort_by_key(|(route, _)| (&route.created, &route.origin.object.namespace, &route.origin.object.name));
        duplicates(host, &attached, notes);
        across_dialects(host, &attached, notes);
        kinds(host, &attached, notes);
    }
    additions(translation, notes);
}

/// Of several kinds of routes of Gateway API for one port, the most specific counts (GEP-1426). Consumer routes come first anyway.
fn kinds(host: &str, attached: &[(&Route, &Parent)], notes: &mut Notes<'_>) {
    let attached: Vec<_> = attached.iter().filter(|(route, _)| route.dialect == Dialect::GatewayApi).collect();
    for (loser, at) in &attached {
        let beats = |(winner, there): &&&(&Route, &Parent)| {
            let together = at.port.is_none() || there.port.is_none() || at.port == there.port;
            winner.protocol < loser.protocol && winner.consumer_namespaces == loser.consumer_namespaces && together
        };
        if let Some((winner, there)) = attached.iter().find(beats) {
            let port = there.port.or(at.port);
            let place = port.map_or_else(|| host.to_owned(), |port| format!("{host} port {port}"));
            tell(&place, "spec.parentRefs", winner, loser, "is of a more specific kind", notes);
        }
    }
}

/// Two objects that add the same to one host: the first by name holds.
fn additions(translation: &Translation, notes: &mut Notes<'_>) {
    let mut holders: BTreeMap<(&str, &str), &ObjectRef> = BTreeMap::new();
    let mut all: Vec<_> = translation.destinations.values().filter(|one| one.role == Role::Addition).collect();
    all.sort_by_key(|one| (&one.host, &one.origin.object));
    for one in all {
        let about = &one.origin.object;
        let says = [
            ("health checks", one.policy.health_check.is_some()),
            ("session persistence", one.policy.persistence.is_some()),
            ("TLS", one.policy.tls.is_some()),
        ];
        for (what, _) in says.into_iter().filter(|(_, said)| *said) {
            match holders.get(&(one.host.as_str(), what)) {
                Some(winner) if *winner != about => {
                    let lost = format!("spec.targetRefs: {winner} says the {what} of {}, since its name comes first", one.host);
                    notes.warn(code::CONFLICT, about, "spec.targetRefs", lost, Some("keep one of the two".to_owned()));
                }
                _ => drop(holders.insert((&one.host, what), about)),
            }
        }
    }
}

/// Two VirtualServices for one host and the same clients: the oldest wins.
fn duplicates(host: &str, attached: &[(&Route, &Parent)], notes: &mut Notes<'_>) {
    let mut holders: BTreeMap<&[String], &Route> = BTreeMap::new();
    for (route, _) in attached.iter().filter(|(route, _)| route.dialect == Dialect::Istio) {
        match holders.get(route.consumer_namespaces.as_slice()) {
            None => drop(holders.insert(&route.consumer_namespaces, route)),
            Some(winner) if winner.origin.object != route.origin.object => {
                tell(host, "spec.hosts", winner, route, "is older", notes);
            }
            // The same host twice in one object is no conflict.
            Some(_) => {}
        }
    }
}

/// A route of Gateway API wins over a VirtualService for the same host and port.
fn across_dialects(host: &str, attached: &[(&Route, &Parent)], notes: &mut Notes<'_>) {
    let winner = attached.iter().find(|(route, _)| route.dialect == Dialect::GatewayApi);
    let Some((winner, parent)) = winner else { return };
    let place = parent.port.map_or_else(|| host.to_owned(), |port| format!("{host} port {port}"));
    for (loser, _) in attached.iter().filter(|(route, _)| route.dialect == Dialect::Istio) {
        tell(&place, "spec.hosts", winner, loser, "binds to the service itself and comes first", notes);
    }
}

fn tell(place: &str, field: &str, winner: &Route, loser: &Route, why: &str, notes: &mut Notes<'_>) {
    let (winning, losing): (&ObjectRef, &ObjectRef) = (&winner.origin.object, &loser.origin.object);
    let lost = format!("{field}: {winning} decides for {place}, since it {why}");
    notes.warn(code::CONFLICT, losing, field, lost, Some("keep one of the two".to_owned()));
    let won = format!("decides for {place}, which {losing} is about as well");
    notes.add(Severity::Info, code::CONFLICT, winning, "", won, None);
}
