//! Makes ticks of signals, as proxies report them and recordings keep them. Which service a workload is, it learns from the signals
//! themselves, so that a recording tells as much as the live mesh.

use crate::tick::{Flow, Node, Part, Tick};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use taut_model::signal::{Edge, Party, Second, ServiceName, Signals, UNKNOWN};

/// Workloads that are remembered; when there are more, all are forgotten, and learnt again.
const MOST: usize = 100_000;

/// `namespace`, `workload`.
type Workload = (String, String);

#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// By which services a workload was asked, how often, and the one that it is taken for.
    served: HashMap<Workload, Served>,
}

#[derive(Clone, Debug, Default)]
struct Served {
    requests: BTreeMap<Node, u64>,
    node: Option<Node>,
}

impl Feed {
    /// One tick of what edges carried in the span that begins at a second.
    pub fn tick<'a>(
        &mut self,
        at: Second,
        span: Second,
        incomplete: bool,
        edges: impl Iterator<Item = (&'a Arc<Edge>, &'a Signals)> + Clone,
    ) -> Tick {
        if self.served.len() > MOST {
            self.served.clear();
        }
        edges.clone().for_each(|(edge, signals)| self.learn(edge, signals));
        // Of what found no room, nobody can be told.
        let named = |edge: &Edge| !edge.is_other() && (edge.service.host != UNKNOWN || edge.destination.workload != UNKNOWN);
        let flows = edges.filter(|(edge, _)| named(edge)).map(|(edge, signals)| self.flow(edge, signals)).collect();
        Tick { at, span: span.max(1), incomplete, flows, pressures: Vec::new() }
    }

    fn learn(&mut self, edge: &Edge, signals: &Signals) {
        let party = &edge.destination;
        if party.workload == UNKNOWN || edge.service.host == UNKNOWN || edge.is_other() {
            return;
        }
        let served = self.served.entry((party.namespace.clone(), party.workload.clone())).or_default();
        let node = service(&edge.service);
        let known = served.requests.entry(node.clone()).or_default();
        *known = known.saturating_add(signals.requests + signals.opened);
        // A workload may serve several: the one that bears its application's name, else the one that is asked most.
        let named = |node: &Node| node.name() == party.app;
        let (most, _) = served.requests.iter().max_by_key(|(node, requests)| (named(node), **requests)).unzip();
        served.node = most.cloned();
    }

    fn flow(&self, edge: &Edge, signals: &Signals) -> Flow {
        let part = Part { workload: edge.destination.workload.as_str().into(), version: edge.destination.version.as_str().into() };
        let carried = || signals.outcomes.iter().any(|(outcome, _)| outcome.reason.is_none() && outcome.status > 0);
        Flow {
            source: self.party(&edge.source),
            // A connection that is refused at the door was for whoever is behind it.
            destination: if edge.service.host == UNKNOWN { self.party(&edge.destination) } else { service(&edge.service) },
            part,
            external: edge.destination.workload == UNKNOWN && carried(),
            protocol: edge.protocol,
            reporter: edge.reporter,
            security: edge.security,
            signals: signals.clone(),
        }
    }

    fn party(&self, party: &Party) -> Node {
        if party.workload == UNKNOWN {
            return Node::outside();
        }
        let known = self.served.get(&(party.namespace.clone(), party.workload.clone())).and_then(|served| served.node.clone());
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
        let tick = Feed::default().tick(100, 1, false, edges.iter().map(|(edge, signals)| (edge, signals)));
        let ends: Vec<_> = tick.flows.iter().map(|flow| (flow.source.id(), flow.destination.id(), flow.external)).collect();
        assert_eq!(ends, [("outside", "default/www", false), ("default/www", "default/cart", false)]);
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
        let tick = Feed::default().tick(100, 1, false, edges.iter().map(|(edge, signals)| (edge, signals)));
        assert!(tick.flows.iter().all(|flow| flow.destination.id() == "default/www"), "{:?}", tick.flows);
    }

    #[test]
    fn who_answers_and_is_nobody_is_outside_the_mesh() {
        let mut signals = Signals { requests: 1, ..Signals::default() };
        signals.outcomes.count(200, None, None, 1);
        let mut unreachable = Signals { requests: 1, ..Signals::default() };
        unreachable.outcomes.count(503, None, Some("unreachable"), 1);
        let edges = [(edge(party("a", "a"), "bank", Party::nobody()), signals), (edge(party("a", "a"), "b", Party::nobody()), unreachable)];
        let tick = Feed::default().tick(100, 1, false, edges.iter().map(|(edge, signals)| (edge, signals)));
        assert_eq!(tick.flows.iter().map(|flow| flow.external).collect::<Vec<_>>(), [true, false]);
    }
}
