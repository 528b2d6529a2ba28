//! Compiling a snapshot into a plan: for every host and port, the rules in the order in which they are tried.

use crate::by_host::ByHost;
use crate::cluster::ClusterKey;
use crate::clusters::{self, specificity};
use crate::cors;
use crate::inbound::InboundPlan;
use crate::plan::Plan;
use crate::rules::{Matchers, Scope};
use crate::session;
use crate::snapshot::Snapshot;
use crate::table::{Direct, Entries, Entry, HostPlan, Rule, Table, TcpEntry};
use crate::telemetry::Telemetry;
use foldhash::fast::FixedState;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use taut_model::destination::{Balancer, HashKey};
use taut_model::origin::Origin;
use taut_model::route::{Dialect, Parent, PathMatch, Route, RouteProtocol, TextMatch};
use taut_model::service::AppProtocol;

impl Plan {
    /// Never fails: an object that cannot be compiled is left out and told in [`Plan::problems`]. A policy is never left
    /// out; a value in one that cannot be read matches nothing in an ALLOW rule and everything in a DENY rule.
    pub fn compile(snapshot: &Snapshot) -> Plan {
        let mut problems = Vec::new();
        let mut routes: Vec<Compiled<'_>> = Vec::new();
        for route in snapshot.routes.values() {
            match Matchers::compile(route) {
                Ok(matchers) => routes.push(Compiled { route, matchers }),
                Err(because) => problems.push((route.origin.clone(), because)),
            }
        }
        routes.sort_by(|a, b| a.age().cmp(&b.age()));
        let clusters = clusters::build(snapshot);
        let inbound = InboundPlan::compile(snapshot, &mut problems);
        let mut compiler = Compiler { snapshot, attachments: Attachments::of(&routes), clusters: &clusters, notes: Vec::new() };
        let mut hosts: BTreeMap<String, Arc<HostPlan>> = BTreeMap::new();
        for name in snapshot.services.keys() {
            hosts.insert(name.clone(), Arc::new(compiler.host(name)));
        }
        for name in routes.iter().flat_map(|route| &route.route.parents).map(|parent| &parent.host) {
            if !hosts.contains_key(name) && !name.starts_with('*') {
                hosts.insert(name.clone(), Arc::new(compiler.host(name)));
            }
        }
        let mut notes = std::mem::take(&mut compiler.notes);
        let telemetry = Telemetry::compile(snapshot, &mut problems, &mut notes);
        notes.sort();
        notes.dedup();
        let (virtual_addresses, endpoint_addresses) = addresses(snapshot, &clusters);
        let mut headers_used = inbound.header_names();
        routes.iter().for_each(|route| route.header_names(&mut headers_used));
        clusters.values().for_each(|built| balancer_headers(&built.cluster.balancer, &mut headers_used));
        headers_used.extend(clusters.values().filter_map(|built| built.cluster.sessions.as_ref()).map(|sessions| sessions.header_name()));
        let mut namespaces: BTreeSet<String> = snapshot.services.values().map(|service| service.namespace.clone()).collect();
        namespaces.extend(snapshot.workloads.values().chain(&snapshot.own).map(|workload| workload.namespace.clone()));
        Plan {
            version: snapshot.version,
            own: snapshot.own.clone(),
            names: names(&hosts, snapshot.own.as_ref().map_or("", |own| &own.namespace)),
            hosts,
            absent: snapshot.absent.clone(),
            namespaces,
            virtual_addresses,
            endpoint_addresses,
            clusters: clusters.into_iter().map(|(key, built)| (key, built.cluster)).collect(),
            settings: snapshot.settings.values().next().cloned().unwrap_or_default(),
            telemetry,
            inbound,
            passthrough: Arc::new(crate::rules::bare_plan(Origin::built_in("hosts outside the mesh are passed through"))),
            problems,
            notes,
            headers_used,
        }
    }
}

/// Every spelling of [`host::candidates`] whose first candidate is a service that is known.
fn names(hosts: &BTreeMap<String, Arc<HostPlan>>, own_namespace: &str) -> HashMap<Box<str>, Arc<HostPlan>, FixedState> {
    let mut names = HashMap::default();
    let known = hosts.iter().filter(|(key, found)| found.service.is_some() && key.parse::<std::net::IpAddr>().is_err());
    for (key, found) in known {
        let labels: Vec<&str> = key.split('.').collect();
        let spellings = match labels[..] {
            [name, namespace, "svc", "cluster", "local"] => {
                let short = (namespace == own_namespace).then(|| name.to_owned());
                short.into_iter().chain([format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"), key.clone()]).collect()
            }
            [_, _, _, _, ..] => vec![key.clone()],
            // Another candidate may come first.
            _ => Vec::new(),
        };
        names.extend(spellings.into_iter().map(|spelling| (spelling.into(), found.clone())));
    }
    names
}

struct Compiled<'a> {
    route: &'a Arc<Route>,
    matchers: Matchers,
}

impl Compiled<'_> {
    /// Oldest first, then by namespace and name.
    fn age(&self) -> (&str, &str, &str, &str) {
        let object = &self.route.origin.object;
        (&self.route.created, &object.namespace, &object.name, &object.kind)
    }

    fn header_names(&self, into: &mut BTreeSet<String>) {
        (0..self.route.http.len()).flat_map(|rule| self.matchers.of(rule)).for_each(|matcher| matcher.header_names(into));
        if self.route.http.iter().any(|rule| rule.cors.is_some()) {
            into.extend(cors::REQUEST_HEADERS.map(str::to_owned));
        }
        into.extend(self.route.http.iter().filter_map(|rule| rule.persistence.as_ref()).map(|said| session::header_name(&said.by)));
    }
}

/// Which routes are attached to a host. All routes and their parents are read once, not once for every host.
struct Attachments<'a> {
    /// Oldest first.
    routes: &'a [Compiled<'a>],
    /// Each with the position of its route.
    parents: ByHost<'a, (usize, &'a Parent)>,
}

impl<'a> Attachments<'a> {
    fn of(routes: &'a [Compiled<'a>]) -> Self {
        let numbered = routes.iter().enumerate().flat_map(|(at, route)| route.route.parents.iter().map(move |parent| (at, parent)));
        Self { routes, parents: ByHost::new(numbered.map(|(at, parent)| (parent.host.as_str(), (at, parent)))) }
    }

    /// The parents that name the host, in the order of their routes.
    fn parents(&self, name: &str) -> Vec<(usize, &'a Parent)> {
        let mut parents: Vec<_> = self.parents.covering(name).collect();
        parents.sort_unstable_by_key(|(route, _)| *route);
        parents
    }

    /// The routes with a parent among `parents` for this port, oldest first, and how closely it names the host.
    fn routes(&self, parents: &[(usize, &Parent)], port: Option<u16>) -> impl Iterator<Item = Attached<'a>> {
        let here = move |parent: &Parent| parent.port.is_none() || port.is_none() || parent.port == port;
        parents.chunk_by(|(one, _), (other, _)| one == other).filter_map(move |of_one| {
            let closest = of_one.iter().filter(|(_, parent)| here(parent)).map(|(_, parent)| specificity(&parent.host)).max()?;
            Some((self.routes.get(of_one.first()?.0)?, closest))
        })
    }
}

fn balancer_headers(balancer: &Balancer, into: &mut BTreeSet<String>) {
    if let Balancer::RingHash { key, .. } | Balancer::Maglev { key, .. } = balancer {
        match key {
            HashKey::Header(name) => drop(into.insert(name.to_ascii_lowercase())),
            HashKey::Cookie { .. } => drop(into.insert("cookie".to_owned())),
            HashKey::Query(_) | HashKey::SourceIp => {}
        }
    }
}

/// A route that is attached somewhere, and how closely it names it.
type Attached<'a> = (&'a Compiled<'a>, (bool, usize));

struct Compiler<'a> {
    snapshot: &'a Snapshot,
    attachments: Attachments<'a>,
    clusters: &'a clusters::Clusters,
    /// Objects that lose to others.
    notes: Vec<(Origin, String)>,
}

/// The routes that hold for one host and port, for HTTP or for connections.
struct Winners<'a> {
    routes: Vec<&'a Compiled<'a>>,
    shadowed: Vec<(Origin, String)>,
}

impl<'a> Compiler<'a> {
    fn host(&mut self, name: &str) -> HostPlan {
        let service = self.snapshot.services.get(name).cloned();
        let parents = self.attachments.parents(name);
        let mut ports = BTreeMap::new();
        for port in service.iter().flat_map(|service| &service.ports) {
            let table = self.table(name, &parents, Some(port.number), port.protocol);
            ports.insert(port.number, table);
        }
        let any_port = service.is_none().then(|| self.table(name, &parents, None, AppProtocol::Unknown));
        HostPlan { host: name.into(), service, ports, any_port }
    }

    fn table(&mut self, name: &str, parents: &[(usize, &'a Parent)], port: Option<u16>, protocol: AppProtocol) -> Table {
        let scope = Scope { snapshot: self.snapshot, clusters: self.clusters, port: port.unwrap_or(0) };
        let at = port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let attached: Vec<Attached<'a>> = self.attachments.routes(parents, port).filter(|(route, _)| self.concerns_me(route.route)).collect();
        let (attached, outdone) = of_one_kind(attached, &at);
        let http = winners(&at, &attached, |route| !route.http.is_empty());
        let tcp = winners(&at, &attached, |route| !route.tcp.is_empty());
        // A TCPRoute is about every connection, so none may turn out to be HTTP, which it would not be asked about.
        let bytes = tcp.routes.iter().any(|route| (route.route.dialect, route.route.protocol) == (Dialect::GatewayApi, RouteProtocol::Tcp));
        let protocol = if protocol == AppProtocol::Unknown && bytes { AppProtocol::Tcp } else { protocol };
        let mut shadowed = outdone;
        shadowed.extend(http.shadowed.into_iter().chain(tcp.shadowed).chain(older_connection_rules(&tcp.routes, &at)));
        shadowed.sort();
        shadowed.dedup();
        self.notes.extend(shadowed.iter().cloned());
        let routes: Vec<Origin> = http.routes.iter().map(|route| route.route.origin.clone()).collect();
        let tcp = tcp_entries(&scope, &tcp.routes);
        let fallback = Arc::new(scope.default_rule(name));
        Table { protocol, http: (!routes.is_empty()).then(|| Entries::new(http_entries(&scope, &http.routes))), routes, tcp, shadowed, fallback }
    }

    fn concerns_me(&self, route: &Route) -> bool {
        let own_namespace = self.snapshot.own.as_ref().map(|own| &own.namespace);
        route.consumer_namespaces.is_empty() || own_namespace.is_some_and(|own| route.consumer_namespaces.contains(own))
    }
}

/// Among the routes of Gateway API, those of the client's own namespace (consumer routes) win over those of the service's owner as a
/// whole, and then one kind of routes counts, the most specific (GEP-1426; the two are not merged). The others are told why they lose.
fn of_one_kind<'a>(attached: Vec<Attached<'a>>, at: &str) -> (Vec<Attached<'a>>, Vec<(Origin, String)>) {
    let gateway = |route: &Route| route.dialect == Dialect::GatewayApi;
    let rank = |route: &Route| (route.consumer_namespaces.is_empty(), route.protocol);
    let Some(winner) = attached.iter().map(|(route, _)| &**route.route).filter(|route| gateway(route)).min_by_key(|route| rank(route)) else {
        return (attached, Vec::new());
    };
    let (kept, outdone): (Vec<_>, Vec<_>) = attached.iter().partition(|(route, _)| !gateway(route.route) || rank(route.route) == rank(winner));
    let loses = |(route, _): &Attached<'_>| {
        let because = match route.route.consumer_namespaces.is_empty() == winner.consumer_namespaces.is_empty() {
            true => "is of a more specific kind, and only one kind of routes counts",
            false => "of the client's own namespace wins over the routes of the service's owner",
        };
        (route.route.origin.clone(), format!("not used for {at}: {} {because}", winner.origin.object))
    };
    let told = outdone.iter().map(loses).collect();
    (kept, told)
}

/// Routes of Gateway API win over VirtualServices. Among VirtualServices the one that names the host most closely wins, then the one for
/// fewest clients (see [`audience`]), then the oldest, as a whole: sidecars do not merge them.
fn winners<'a>(at: &str, attached: &[Attached<'a>], relevant: impl Fn(&Route) -> bool) -> Winners<'a> {
    let attached = attached.iter().copied().filter(|(route, _)| relevant(route.route));
    let (gateway, istio): (Vec<_>, Vec<_>) = attached.partition(|(route, _)| route.route.dialect == Dialect::GatewayApi);
    // The routes are in order of age, which this keeps, so the first is the oldest of the best.
    let mut istio = istio;
    istio.sort_by_key(|(route, closeness)| (Reverse(*closeness), audience(route.route)));
    let losers = istio.split_off(istio.len().min(1));
    let strip = |group: Vec<Attached<'a>>| group.into_iter().map(|(route, _)| route).collect::<Vec<_>>();
    let groups = [strip(gateway), strip(istio), strip(losers)];
    let mut groups = groups.into_iter().filter(|group| !group.is_empty());
    let routes = groups.next().unwrap_or_default();
    let loses = |route: &Compiled<'_>| (route.route.origin.clone(), why_it_loses(routes[0].route, at));
    let shadowed = groups.flatten().map(loses).collect();
    Winners { routes, shadowed }
}

/// Istio looks first at what a namespace keeps to itself (`exportTo: ["."]`), then at what is exported to it by name, then at what all see.
fn audience(route: &Route) -> u8 {
    match route.consumer_namespaces.as_slice() {
        [only] if *only == route.origin.object.namespace => 0,
        [_, ..] => 1,
        [] => 2,
    }
}

/// Why a VirtualService loses.
fn why_it_loses(winner: &Route, at: &str) -> String {
    let name = &winner.origin.object;
    match winner.dialect {
        Dialect::GatewayApi => format!("not used for {at}: {name} is attached to it, and wins over a VirtualService"),
        Dialect::Istio => format!("not used for {at}: {name} names the same host, and does so more closely, for fewer clients, or is older"),
    }
}

/// Routes of Gateway API that have rules for any connection, behind one that has too and is older.
fn older_connection_rules(routes: &[&Compiled<'_>], at: &str) -> Vec<(Origin, String)> {
    let takes_all = |route: &&&Compiled<'_>| route.route.dialect == Dialect::GatewayApi && route.route.tcp.iter().any(|rule| rule.sni.is_empty());
    let mut taking = routes.iter().filter(takes_all);
    let Some(winner) = taking.next() else { return Vec::new() };
    let name = &winner.route.origin.object;
    taking.map(|route| (route.route.origin.clone(), format!("not used for {at}: {name} takes every connection and is older"))).collect()
}

/// Istio's in the order written; Gateway API's by their server names, the most specific first (TLSRoute `hostnames`), then the oldest.
fn tcp_entries(scope: &Scope<'_>, routes: &[&Compiled<'_>]) -> Vec<TcpEntry> {
    let mut entries = Vec::new();
    for route in routes.iter().map(|route| route.route) {
        for said in &route.tcp {
            let rule = Arc::new(scope.tcp_rule(route.dialect, said));
            let source = || crate::matching::Source { port: said.port, labels: said.source_labels.clone(), namespace: said.source_namespace.clone() };
            let entry = |sni| TcpEntry { rule: rule.clone(), source: source(), subnets: crate::rules::subnets(said).unwrap_or_default(), sni };
            let names = said.sni.iter().map(|name| name.to_ascii_lowercase());
            match route.dialect {
                Dialect::GatewayApi if !said.sni.is_empty() => entries.extend(names.map(|name| (specificity(&name), entry(vec![name])))),
                // All alike, so that they stay in their order.
                _ => entries.push(((false, 0), entry(names.collect()))),
            }
        }
    }
    entries.sort_by_key(|(closeness, _)| Reverse(*closeness));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Gateway API's precedence (HTTPRoute `matches`): hostname, exact path, regular expression, longest prefix, method, number
/// of headers, number of query parameters, oldest, namespace and name, then the order written. The API leaves the place of
/// regular expressions to implementations; here they come between exact paths and prefixes. In place of the path, GRPCRoute has the
/// length of the service, then that of the method. Smaller sorts first.
type Precedence<'a> = (
    Reverse<(bool, usize)>,
    Reverse<(u8, usize, usize)>,
    Reverse<bool>,
    Reverse<usize>,
    Reverse<usize>,
    (&'a str, &'a str, &'a str, &'a str),
    usize,
    usize,
);

fn http_entries(scope: &Scope<'_>, routes: &[&Compiled<'_>]) -> Vec<Entry> {
    let mut entries: Vec<(Option<Precedence<'_>>, Entry)> = Vec::new();
    for route in routes {
        for (number, rule) in route.route.http.iter().enumerate() {
            let compiled: Arc<Rule> = Arc::new(scope.http_rule(route.route.dialect, rule, route.route.sampling));
            let matchers = route.matchers.of(number);
            let matches: Vec<Option<usize>> = if matchers.is_empty() { vec![None] } else { (0..matchers.len()).map(Some).collect() };
            for position in matches {
                for hostname in hostnames(route.route) {
                    let precedence = (route.route.dialect == Dialect::GatewayApi).then(|| precedence(route, number, position, hostname.as_deref()));
                    let matcher = position.and_then(|position| matchers.get(position).cloned());
                    entries.push((precedence, Entry { rule: compiled.clone(), matcher, hostname }));
                }
            }
        }
    }
    // Stable, so Istio's rules (no precedence) stay in the order written.
    #[expect(clippy::unnecessary_sort_by, reason = "a key function would have to copy what the precedence borrows")]
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn hostnames(route: &Route) -> Vec<Option<String>> {
    match route.hostnames.is_empty() {
        true => vec![None],
        false => route.hostnames.iter().map(|name| Some(name.trim_end_matches('.').to_ascii_lowercase())).collect(),
    }
}

fn precedence<'a>(route: &'a Compiled<'_>, rule: usize, position: Option<usize>, hostname: Option<&str>) -> Precedence<'a> {
    let said = position.and_then(|position| route.route.http.get(rule)?.matches.get(position));
    let path = match said.and_then(|said| said.path.as_ref()) {
        Some(PathMatch::Exact(path)) => (3, path.len(), 0),
        Some(PathMatch::Regex(pattern)) => (2, pattern.len(), 0),
        Some(PathMatch::Prefix(path) | PathMatch::Segments(path)) => (1, path.len(), 0),
        // On its own: no other kind of route is attached to the port.
        Some(PathMatch::Grpc { service, method }) => (0, length(service.as_ref()), length(method.as_ref())),
        // The API's default is the prefix `/`.
        None => (1, 1, 0),
    };
    (
        Reverse(hostname.map_or((false, 0), specificity)),
        Reverse(path),
        Reverse(said.is_some_and(|said| said.method.is_some())),
        Reverse(said.map_or(0, |said| said.headers.len())),
        Reverse(said.map_or(0, |said| said.query.len())),
        route.age(),
        rule,
        position.unwrap_or(0),
    )
}

fn length(text: Option<&TextMatch>) -> usize {
    match text {
        Some(TextMatch::Exact(text) | TextMatch::Prefix(text) | TextMatch::Regex(text)) => text.len(),
        Some(TextMatch::Present) | None => 0,
    }
}

type Addresses = (BTreeMap<(std::net::IpAddr, u16), String>, BTreeMap<std::net::SocketAddr, Direct>);

/// The services and endpoints that clients may dial by address. Where two claim one address, the first host by name has it.
fn addresses(snapshot: &Snapshot, clusters: &clusters::Clusters) -> Addresses {
    let mut services = BTreeMap::new();
    for service in snapshot.services.values() {
        for (address, port) in service.addresses.iter().flat_map(|address| service.ports.iter().map(move |port| (*address, port.number))) {
            services.entry((address, port)).or_insert_with(|| service.host.clone());
        }
    }
    let mut endpoints: BTreeMap<std::net::SocketAddr, Direct> = BTreeMap::new();
    for built in clusters.values().filter(|built| built.cluster.key.subset.is_none() && !built.passthrough) {
        for endpoint in &built.cluster.endpoints {
            let key: &ClusterKey = &built.cluster.key;
            let target = endpoint.workload.target(&key.host, key.port);
            let (Ok(address), Some(target)) = (endpoint.workload.address.parse(), target) else { continue };
            endpoints.entry(std::net::SocketAddr::new(address, target)).or_insert_with(|| {
                let scope = Scope { snapshot, clusters, port: key.port };
                let cluster = Arc::new(clusters::only(&built.cluster, endpoint));
                Direct { key: key.clone(), rule: Arc::new(scope.direct_rule(cluster)) }
            });
        }
    }
    (services, endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By looking at every route and every parent.
    fn slowly(routes: &[Compiled<'_>], name: &str, port: Option<u16>) -> Vec<(usize, (bool, usize))> {
        let attached = |route: &Route| {
            let here = route.parents.iter().filter(|parent| taut_model::host::matches(&parent.host, name));
            let here = here.filter(|parent| parent.port.is_none() || port.is_none() || parent.port == port);
            here.map(|parent| specificity(&parent.host)).max()
        };
        routes.iter().enumerate().filter_map(|(at, route)| Some((at, attached(route.route)?))).collect()
    }

    fn parent() -> impl Strategy<Value = Parent> {
        ("\\*?[ab.]{0,3}", proptest::option::of(1_u16..3)).prop_map(|(host, port)| Parent { host, port })
    }

    fn route(number: usize, parents: Vec<Parent>) -> Arc<Route> {
        let origin = Origin { object: taut_model::origin::ObjectRef::new("HTTPRoute", "default", number.to_string()), ..Origin::default() };
        let (dialect, protocol, created) = (Dialect::GatewayApi, RouteProtocol::Http, String::new());
        Arc::new(Route {
            origin,
            dialect,
            protocol,
            parents,
            consumer_namespaces: vec![],
            hostnames: vec![],
            created,
            http: vec![],
            tcp: vec![],
            sampling: None,
        })
    }

    proptest! {
        #[test]
        fn the_routes_of_a_host_are_those_that_a_look_at_every_route_finds(
            parents in proptest::collection::vec(proptest::collection::vec(parent(), 0..4), 0..20), name in "\\*?[ab.]{0,4}", port in proptest::option::of(1_u16..4),
        ) {
            let routes: Vec<Arc<Route>> = parents.into_iter().enumerate().map(|(number, parents)| route(number, parents)).collect();
            let routes: Vec<Compiled<'_>> = routes.iter().map(|route| Compiled { route, matchers: Matchers::compile(route).unwrap() }).collect();
            let attachments = Attachments::of(&routes);
            let parents = attachments.parents(&name);
            let found = attachments.routes(&parents, port);
            let found: Vec<(usize, (bool, usize))> =
                found.map(|(route, closest)| (routes.iter().position(|known| std::ptr::eq(known, route)).unwrap(), closest)).collect();
            prop_assert_eq!(found, slowly(&routes, &name, port));
        }
    }
}
