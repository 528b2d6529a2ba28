//! What one worker has seen since it was last asked, summed by edge: the proxy's half of the signals.
//!
//! An exchange costs a lock that nobody else holds, a few comparisons of addresses, and additions. Edges are told apart by the names of
//! workloads, services and routes, never by paths, so what a client invents makes no new one; there is a ceiling all the same.

use crate::labels::service;
use crate::names::UNKNOWN;
use crate::record::{ConnectionRecord, Edge, ExchangeRecord, Party, Reporter};
use crate::text::Text;
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use taut_model::signal::{self, Security, ServiceName, Signals};

/// Edges of a worker; what comes beyond is summed in one per reporter.
pub const MOST_EDGES: usize = 2000;
/// How often a tally may be emptied without an edge having changed before the edge is forgotten.
const FORGET_AFTER: u8 = 60;
/// Edges that are found by the addresses of their parts: a power of two.
const NEAR: usize = 64;

/// An edge of a tally while something is under way on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// Sums of one worker. Emptied by another thread once a second.
#[derive(Default)]
pub struct Tally {
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    hasher: RandomState,
    slots: Vec<Slot>,
    /// Slots that stand for no edge.
    free: Vec<u32>,
    by_edge: HashMap<u64, Vec<u32>>,
    near: Vec<Option<Near>>,
    /// Stand for what finds no slot.
    others: [Option<u32>; 2],
    overflow: u64,
}

/// One edge.
struct Slot {
    edge: Option<Arc<signal::Edge>>,
    signals: Signals,
    under_way: u64,
    connections: u64,
    unchanged: u8,
}

/// An edge by the addresses of its parts, which it holds, so that no address can come to mean something else.
struct Near {
    source: Arc<Party>,
    destination: Arc<Party>,
    host: Text,
    route: Text,
    kind: Kind,
    slot: u32,
}

/// What tells edges of the same names apart.
type Kind = (Reporter, crate::record::Protocol, Security);

fn security(edge: &Edge) -> Security {
    match (edge.mutual_tls, edge.reporter) {
        (true, _) => Security::MutualTls,
        (false, Reporter::Source) if edge.destination.workload == UNKNOWN => Security::Unknown,
        (false, _) => Security::Plaintext,
    }
}

impl Tally {
    /// An exchange has ended. `told`: bytes from and to the client that were reported while it went on.
    pub fn exchange(&self, record: &ExchangeRecord, told: (u64, u64)) {
        let mut sums = self.sums.lock();
        let signals = &mut sums.slot(&record.edge, &record.route).signals;
        signals.requests += 1;
        signals.outcomes.count(record.status, record.grpc_status, record.failure.as_ref().map(|failure| failure.reason.as_str()), 1);
        signals.latency.record(record.duration_us);
        signals.request_bytes += record.request_bytes.saturating_sub(told.0);
        signals.response_bytes += record.response_bytes.saturating_sub(told.1);
    }

    /// An exchange is being carried over an edge, until [`Tally::left`].
    pub fn under_way(&self, edge: &Edge, route: &Text) -> Place {
        let mut sums = self.sums.lock();
        let place = sums.place(edge, route);
        let slot = sums.at(place);
        slot.under_way += 1;
        slot.signals.in_flight = slot.signals.in_flight.max(slot.under_way);
        Place(place)
    }

    pub fn left(&self, place: Place) {
        let mut sums = self.sums.lock();
        let slot = sums.at(place.0);
        slot.under_way = slot.under_way.saturating_sub(1);
    }

    /// A connection has reached its destination, or (`new` is false) was taken over from another proxy. It ends with [`Tally::closed`] or
    /// [`Tally::moved`].
    pub fn opened(&self, edge: &Edge, new: bool) -> Place {
        let mut sums = self.sums.lock();
        let place = sums.place(edge, &Text::default());
        let slot = sums.at(place);
        slot.signals.opened += u64::from(new);
        slot.connections += 1;
        Place(place)
    }

    /// Bytes of a connection that goes on, from and to the client.
    pub fn carried(&self, place: Place, received: u64, sent: u64) {
        let mut sums = self.sums.lock();
        let signals = &mut sums.at(place.0).signals;
        signals.request_bytes += received;
        signals.response_bytes += sent;
    }

    /// A connection goes on in another proxy.
    pub fn moved(&self, place: Place) {
        let mut sums = self.sums.lock();
        let slot = sums.at(place.0);
        slot.connections = slot.connections.saturating_sub(1);
    }

    /// A connection has ended; one without a place has never reached its destination.
    pub fn closed(&self, record: &ConnectionRecord, place: Option<Place>) {
        let mut sums = self.sums.lock();
        let place = place.map_or_else(|| sums.place(&record.edge, &Text::default()), |place| place.0);
        let slot = sums.at(place);
        slot.connections = slot.connections.saturating_sub(1);
        slot.signals.closed += 1;
        if let Some(failure) = &record.failure {
            slot.signals.outcomes.count(0, None, Some(failure.reason.as_str()), 1);
        }
    }

    /// What was summed since the last time, and how much of it found no edge of its own since the start.
    pub fn take(&self) -> (Vec<(Arc<signal::Edge>, Signals)>, u64) {
        let mut sums = self.sums.lock();
        (sums.take(), sums.overflow)
    }
}

impl Sums {
    fn slot(&mut self, edge: &Edge, route: &Text) -> &mut Slot {
        let place = self.place(edge, route);
        self.at(place)
    }

    fn at(&mut self, place: u32) -> &mut Slot {
        // Places are given out by `place` and stay while something is under way.
        let slot = &mut self.slots[place as usize];
        slot.unchanged = 0;
        slot
    }

    fn place(&mut self, edge: &Edge, route: &Text) -> u32 {
        let kind = (edge.reporter, edge.protocol, security(edge));
        let address = |pointer: *const u8| pointer as usize >> 4;
        let mixed = address(Arc::as_ptr(&edge.source).cast())
            ^ address(Arc::as_ptr(&edge.destination).cast()).rotate_left(7)
            ^ address(Arc::as_ptr(&edge.service_host).cast()).rotate_left(13)
            ^ address(Arc::as_ptr(route).cast()).rotate_left(19);
        let near = (mixed ^ mixed >> 6 ^ mixed >> 12) % NEAR;
        if let Some(Some(known)) = self.near.get(near)
            && known.kind == kind
            && Arc::ptr_eq(&known.source, &edge.source)
            && Arc::ptr_eq(&known.destination, &edge.destination)
            && Arc::ptr_eq(&known.host, &edge.service_host)
            && Arc::ptr_eq(&known.route, route)
        {
            return known.slot;
        }
        let slot = self.by_names(edge, route, kind);
        self.near.resize_with(NEAR, || None);
        let (source, destination) = (edge.source.clone(), edge.destination.clone());
        self.near[near] = Some(Near { source, destination, host: edge.service_host.clone(), route: route.clone(), kind, slot });
        slot
    }

    fn by_names(&mut self, edge: &Edge, route: &Text, kind: Kind) -> u32 {
        let service = service(edge);
        let hash = self.hasher.hash_one((service, &**route, kind, &*edge.source, &*edge.destination));
        let is = |known: &signal::Edge| {
            (known.reporter, known.protocol, known.security) == kind
                && [&*known.service.host, &known.service.name, &known.service.namespace] == service
                && *known.route == **route
                && (Arc::ptr_eq(&known.source, &edge.source) || known.source == edge.source)
                && (Arc::ptr_eq(&known.destination, &edge.destination) || known.destination == edge.destination)
        };
        let found = self.by_edge.get(&hash).into_iter().flatten().copied();
        if let Some(slot) = found.into_iter().find(|slot| self.slots[*slot as usize].edge.as_deref().is_some_and(is)) {
            return slot;
        }
        if self.slots.len() - self.free.len() >= MOST_EDGES {
            self.overflow += 1;
            return self.other(edge.reporter);
        }
        let [host, name, namespace] = service.map(str::to_owned);
        let named = signal::Edge {
            source: edge.source.clone(),
            service: Arc::new(ServiceName { host, namespace, name }),
            destination: edge.destination.clone(),
            protocol: edge.protocol,
            route: route.clone(),
            reporter: edge.reporter,
            security: kind.2,
        };
        let slot = self.new_slot(named);
        self.by_edge.entry(hash).or_default().push(slot);
        slot
    }

    fn other(&mut self, reporter: Reporter) -> u32 {
        if let Some(slot) = self.others[reporter as usize] {
            return slot;
        }
        let slot = self.new_slot(signal::Edge::other(reporter));
        self.others[reporter as usize] = Some(slot);
        slot
    }

    fn new_slot(&mut self, edge: signal::Edge) -> u32 {
        let slot = Slot { edge: Some(Arc::new(edge)), signals: Signals::default(), under_way: 0, connections: 0, unchanged: 0 };
        match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                // At most MOST_EDGES and two.
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn take(&mut self) -> Vec<(Arc<signal::Edge>, Signals)> {
        let mut taken = Vec::new();
        let mut forgotten = false;
        for place in 0..self.slots.len() {
            let slot = &mut self.slots[place];
            let Some(edge) = &slot.edge else { continue };
            slot.signals.connections = slot.connections;
            slot.signals.in_flight = slot.signals.in_flight.max(slot.under_way);
            if !slot.signals.is_empty() {
                taken.push((edge.clone(), std::mem::take(&mut slot.signals)));
            }
            let lasting = slot.under_way > 0 || slot.connections > 0 || edge.is_other();
            slot.unchanged = if lasting { 0 } else { slot.unchanged + 1 };
            if slot.unchanged > FORGET_AFTER {
                slot.edge = None;
                forgotten = true;
                self.free.push(place as u32);
            }
        }
        if forgotten {
            self.near.clear();
            let slots = &self.slots;
            self.by_edge.retain(|_, places| {
                places.retain(|place| slots[*place as usize].edge.is_some());
                !places.is_empty()
            });
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Failure, Protocol};
    use crate::text::{Id, Moment};

    fn edge(service: &str, namespace: &str) -> Edge {
        Edge {
            reporter: Reporter::Source,
            source: Party::nobody(),
            destination: Party::nobody(),
            service_host: service.into(),
            service_name: service.into(),
            service_namespace: namespace.into(),
            mutual_tls: false,
            protocol: Protocol::Http,
        }
    }

    fn exchange(edge: Edge, path: &str, status: u16) -> ExchangeRecord {
        let none = Text::default();
        ExchangeRecord {
            edge,
            started: Moment(jiff::Timestamp::UNIX_EPOCH),
            request_id: Id::None,
            trace_id: Id::None,
            method: "GET".into(),
            authority: none.clone(),
            path: path.into(),
            status,
            grpc_status: None,
            failure: None,
            request_bytes: 10,
            response_bytes: 100,
            duration_us: 2000,
            waited_us: 0,
            upstream_us: 0,
            attempts: Default::default(),
            plan: 1,
            rule: None,
            would_deny: None,
            route: none,
        }
    }

    #[test]
    fn edges_are_told_apart_by_names_and_a_million_paths_are_one() {
        let tally = Tally::default();
        for n in 0..1_000_000 {
            // Every record has names of its own, and so addresses.
            let service = if n % 4 == 0 { "cart" } else { "stock" };
            tally.exchange(&exchange(edge(service, "shop"), &format!("/{n}"), if n % 10 == 0 { 503 } else { 200 }), (0, 0));
        }
        let (taken, overflow) = tally.take();
        let sums: Vec<_> = taken.iter().map(|(edge, signals)| (edge.service.name.as_str(), signals.requests, signals.request_bytes)).collect();
        assert_eq!((sums, overflow), (vec![("cart", 250_000, 2_500_000), ("stock", 750_000, 7_500_000)], 0));
        assert_eq!(taken.iter().map(|(_, signals)| signals.errors()).sum::<u64>(), 100_000);
        assert!(tally.take().0.is_empty());
    }

    #[test]
    fn names_that_clients_invent_make_no_edge() {
        let tally = Tally::default();
        (0..100).for_each(|n| tally.exchange(&exchange(edge(&format!("nosuch-{n}"), UNKNOWN), "/", 503), (0, 0)));
        let (taken, _) = tally.take();
        assert_eq!((taken.len(), taken[0].0.service.host.as_str()), (1, UNKNOWN));
    }

    #[test]
    fn edges_beyond_the_ceiling_share_one_and_nothing_is_lost() {
        let tally = Tally::default();
        (0..3000).for_each(|n| tally.exchange(&exchange(edge(&format!("s{n}"), "shop"), "/", 200), (0, 0)));
        let (taken, overflow) = tally.take();
        assert_eq!((taken.len(), overflow), (MOST_EDGES + 1, 1000));
        assert_eq!(taken.iter().map(|(_, signals)| signals.requests).sum::<u64>(), 3000);
        assert_eq!(taken.iter().find(|(edge, _)| edge.is_other()).unwrap().1.requests, 1000);
        // What is not used any more makes room.
        (0..=FORGET_AFTER).for_each(|_| drop(tally.take()));
        (0..1000).for_each(|n| tally.exchange(&exchange(edge(&format!("t{n}"), "shop"), "/", 200), (0, 0)));
        let (taken, overflow) = tally.take();
        assert_eq!((taken.len(), overflow), (1000, 1000));
    }

    #[test]
    fn what_is_under_way_is_told_while_it_lasts() {
        let (tally, edge) = (Tally::default(), edge("cart", "shop"));
        let [first, second] = [(); 2].map(|()| tally.under_way(&edge, &Text::default()));
        tally.left(second);
        assert_eq!(tally.take().0[0].1.in_flight, 2);
        (0..200).for_each(|_| assert_eq!(tally.take().0[0].1.in_flight, 1));
        tally.left(first);
        drop(tally.take());
        assert!(tally.take().0.is_empty());
    }

    #[test]
    fn a_connection_tells_its_bytes_while_it_lives() {
        let (tally, edge) = (Tally::default(), edge("db", "shop"));
        let place = tally.opened(&edge, true);
        tally.carried(place, 5, 50);
        let told = tally.take().0.remove(0).1;
        assert_eq!((told.opened, told.connections, told.request_bytes, told.response_bytes), (1, 1, 5, 50));
        assert_eq!(tally.take().0[0].1.connections, 1);
        let failure = Failure { side: "upstream".into(), reason: "reset".into(), retry_safe: false, detail: String::new(), origin: None };
        let none = Text::default();
        let record = ConnectionRecord {
            edge,
            started: Moment(jiff::Timestamp::UNIX_EPOCH),
            connection_id: Id::None,
            failure: Some(failure),
            received_bytes: 5,
            sent_bytes: 50,
            duration_us: 1,
            endpoint: none,
            plan: 1,
            rule: None,
        };
        tally.closed(&record, Some(place));
        let told = tally.take().0.remove(0).1;
        assert_eq!((told.closed, told.connections, told.failures().len(), told.request_bytes), (1, 0, 1, 0));
    }
}
