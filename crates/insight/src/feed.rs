//! Makes ticks of signals, as proxies report them and recordings keep them. Which service a workload is, it learns from the signals
//! themselves, so that a recording tells as much as the live mesh.

use crate::tick::{Flow, Node, Part, Tick};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use taut_model::signal::{Edge, Party, Second, ServiceName, Signals, UNKNOWN};

/// Workloads and edges that are remembered; when there are more, all are forgotten, and learnt again.
const MOST: usize = 100_000;

/// `namespace`, `workload`.
type Workload = (String, String);

#[derive(Clone, Debug, Default)]
pub struct Feed {
    workloads: HashMap<Workload, usize>,
    served: Vec<Served>,
    /// By address: whoever keeps signals keeps one edge for all that is alike.
    edges: HashMap<usize, usize>,
    known: Vec<Known>,
    /// Counts how often a workload was taken for another service than before.
    turn: u64,
}

/// By which services a workload was asked, how often, and the one that it is taken for.
#[derive(Clone, Debug, Default)]
struct Served {
    requests: BTreeMap<Node, u64>,
    node: Option<Node>,
}

/// What an edge means. Names are put together once, and again when a workload turns out to be another service.
#[derive(Clone, Debug)]
struct Known {
    /// Kept, so that its address stays its own.
    _edge: Arc<Edge>,
    /// Where its destination's workload is among those that served; `None`: nobody served, or it is not known what.
    served: Option<usize>,
    part: Part,
    source: Node,
    destination: Node,
    turn: u64,
}

impl Feed {
    /// One tick of what edges carried in the span that begins at a second.
    pub fn tick(&mut self, at: Second, span: Second, incomplete: bool, mut edges: Vec<(Arc<Edge>, Signals)>) -> Tick {
        if self.served.len() > MOST || self.known.len() > MOST {
            *self = Self { turn: self.turn, ..Self::default() };
        }
        // Of what found no room, nobody can be told.
        edges.retain(|(edge, _)| !edge.is_other() && (edge.service.host != UNKNOWN || edge.destination.workload != UNKNOWN));
        let places: Vec<usize> = edges.iter().map(|(edge, signals)| self.learn(edge, signals)).collect();
        let flows = edges.into_iter().zip(places).map(|((edge, signals), place)| self.flow(&edge, signals, place)).collect();
        Tick { at, span: span.max(1), incomplete, flows, pressures: Vec::new() }
    }

    /// Where an edge is known.
    fn place(&mut self, edge: &Arc<Edge>) -> usize {
        let address = Arc::as_ptr(edge).addr();
        if let Some(place) = self.edges.get(&address) {
            return *place;
        }
        let party = &edge.destination;
        let serves = party.workload != UNKNOWN && edge.service.host != UNKNOWN;
        let served = serves.then(|| {
            let place = *self.workloads.entry((party.namespace.clone(), party.workload.clone())).or_insert(self.served.len());
            if place == self.served.len() {
                self.served.push(Served::default());
            }
            place
        });
        let part = Part { workload: party.workload.as_str().into(), version: party.version.as_str().into() };
        let (source, destination) = self.ends(edge);
        self.known.push(Known { _edge: edge.clone(), served, part, source, destination, turn: self.turn });
        self.edges.insert(address, self.known.len() - 1);
        self.known.len() - 1
    }

    /// Returns where the edge is known.
    fn learn(&mut self, edge: &Arc<Edge>, signals: &Signals) -> usize {
        let place = self.place(edge);
        let known = &self.known[place];
        if let Some(served) = known.served.map(|served| &mut self.served[served]) {
            // Of an edge whose service is known, the destination is the service.
            match served.requests.get_mut(&known.destination) {
                Some(requests) => *requests = requests.saturating_add(signals.requests + signals.opened),
                None => drop(served.requests.insert(known.destination.clone(), signals.requests + signals.opened)),
            }
            // A workload may serve several: the one that bears its application's name, else the one that is asked most.
            let named = |node: &Node| node.name() == edge.destination.app;
            let most = served.requests.iter().max_by_key(|(node, requests)| (named(node), **requests)).map(|(node, _)| node);
            if served.node.as_ref() != most {
                served.node = most.cloned();
                self.turn += 1;
            }
        }
        place
    }

    fn flow(&mut self, edge: &Edge, signals: Signals, place: usize) -> Flow {
        if self.known[place].turn != self.turn {
            let (source, destination) = self.ends(edge);
            let known = &mut self.known[place];
            (known.source, known.destination, known.turn) = (source, destination, self.turn);
        }
        let known = &self.known[place];
        let carried = || signals.outcomes.iter().any(|(outcome, _)| outcome.reason.is_none() && outcome.status > 0);
        Flow {
            source: known.source.clone(),
            destination: known.destination.clone(),
            part: known.part.clone(),
            external: edge.destination.workload == UNKNOWN && carried(),
            protocol: edge.protocol,
            reporter: edge.reporter,
            security: edge.security,
            signals,
        }
    }

    /// Who calls, and who is called.
    fn ends(&self, edge: &Edge) -> (Node, Node) {
        // A connection that is refused at the door was for whoever is behind it.
        let destination = if edge.service.host == UNKNOWN { self.party(&edge.destination) } else { service(&edge.service) };
        (self.party(&edge.source), destination)
    }

    fn party(&self, party: &Party) -> Node {
        if party.workload == UNKNOWN {
            return Node::outside();
        }
        let known = self.workloads.get(&(party.namespace.clone(), party.workload.clone()));
        let known = known.and_then(|place| self.served[*place].node.clone());
        let name = if party.app == UNKNOWN { &party.workload } else { &party.app };
        known.unwrap_or_else(|| Node::new(&party.namespace, name))
    }
}

/// Names that are none of the mesh's are their hosts.
fn service(name: &ServiceName) -> Node {
    match name.namespace.is_empty() || name.namespace == UNKNOWN {
        true => Node::new("", if name.host.is_empty() { &name.name } else { &name.host }),
        false => Node::new(&name.namespace, &name.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_model::signal::{Protocol, Reporter, Security};

    fn party(workload: &str, app: &str) -> Arc<Party> {
        let (workload, app) = (workload.to_owned(), app.to_owned());
        Arc::new(Party { workload, app, namespace: "default".to_owned(), ..Party::unknown() })
    }

    fn edge(source: Arc<Party>, service: &str, destination: Arc<Party>) -> Arc<Edge> {
        let service = ServiceName { host: format!("{service}.default"), namespace: "default".to_owned(), name: service.to_owned() };
        let (protocol, reporter, security) = (Protocol::Http, Reporter::Source, Security::MutualTls);
        Arc::new(Edge { source, service: Arc::new(service), destination, protocol, route: "".into(), reporter, security })
    }

    #[test]
    fn a_workload_is_the_service_by_which_it_is_asked() {
        let mut signals = Signals { requests: 5, ..Signals::default() };
        signals.outcomes.count(200, None, None, 5);
        let (web, shop) = (party("web-7d", "frontend"), party("shop-1", "cart"));
        let edges = [(edge(Party::nobody(), "www", web.clone()), signals.clone()), (edge(web, "cart", shop), signals.clone())];
        let tick = Feed::default().tick(100, 1, false, edges.to_vec());
        let ends: Vec<_> = tick.flows.iter().map(|flow| (flow.source.id(), flow.destination.id(), flow.external)).collect();
        assert_eq!(ends, [("outside", "default/www", false), ("default/www", "default/cart", false)]);
    }

    #[test]
    fn what_a_workload_turns_out_to_be_holds_for_edges_that_are_known() {
        let signals = |requests| Signals { requests, ..Signals::default() };
        let (web, shop) = (party("web-7d", "web"), party("shop-1", "cart"));
        let (call, asked) = (edge(web.clone(), "cart", shop), edge(Party::nobody(), "www", web));
        let mut feed = Feed::default();
        let before = feed.tick(100, 1, false, vec![(call.clone(), signals(1))]);
        assert_eq!(before.flows[0].source.id(), "default/web", "by its application, until it is asked for by another name");
        feed.tick(101, 1, false, vec![(asked, signals(9))]);
        assert_eq!(feed.tick(102, 1, false, vec![(call, signals(1))]).flows[0].source.id(), "default/www");
    }

    #[test]
    fn who_is_refused_at_the_door_came_for_whoever_is_behind_it() {
        let mut well = Signals { requests: 5, ..Signals::default() };
        well.outcomes.count(200, None, None, 5);
        let mut refused = Signals::default();
        refused.outcomes.count(0, None, Some("mutual_tls_required"), 3);
        let web = party("web-7d", "frontend");
        let door = edge(Party::nobody(), UNKNOWN, web.clone());
        let unknown = ServiceName { host: UNKNOWN.to_owned(), namespace: UNKNOWN.to_owned(), name: UNKNOWN.to_owned() };
        let door = Arc::new(Edge { service: Arc::new(unknown), ..(*door).clone() });
        let edges = [(edge(Party::nobody(), "www", web), well), (door, refused)];
        let tick = Feed::default().tick(100, 1, false, edges.to_vec());
        assert!(tick.flows.iter().all(|flow| flow.destination.id() == "default/www"), "{:?}", tick.flows);
    }

    #[test]
    fn who_answers_and_is_nobody_is_outside_the_mesh() {
        let mut signals = Signals { requests: 1, ..Signals::default() };
        signals.outcomes.count(200, None, None, 1);
        let mut unreachable = Signals { requests: 1, ..Signals::default() };
        unreachable.outcomes.count(503, None, Some("unreachable"), 1);
        let edges = [(edge(party("a", "a"), "bank", Party::nobody()), signals), (edge(party("a", "a"), "b", Party::nobody()), unreachable)];
        let tick = Feed::default().tick(100, 1, false, edges.to_vec());
        assert_eq!(tick.flows.iter().map(|flow| flow.external).collect::<Vec<_>>(), [true, false]);
    }
}
