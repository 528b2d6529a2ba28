//! API dialects -> the model: every accepted object in, everything downstream needs out. Pure: the same objects give the
//! same translation, whatever their order. A dialect is a module; `registry` puts services and workloads together, `refer`
//! says which references lead nowhere and which objects are in each other's way.

mod authorizer;
mod bundle;
mod core;
mod federation;
mod format;
mod gateway_api;
mod hedging;
mod istio;
mod meaning;
mod reader;
mod refer;
mod registry;
mod retry_on;
mod settings;
mod stand_in;
mod tautline;
mod telemetry;
mod translation;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use bundle::{authorities, published};
pub(crate) use reader::{code, problem};
pub use refer::references;
pub use stand_in::{STANDS_IN, stand_in};
pub use tautline::{Promised, SUBJECT};
pub use translation::{Fetched, Settings, Translation, key};
pub(crate) use values::{duration, key_set, nearest};

use meaning::{Bound, Delegate, Grant, Meaning, Root};
use reader::Reader;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::destination::Destination;
use taut_model::host;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationPolicy, PeerAuthentication};
use taut_model::problem::{Problem, Severity};
use taut_model::route::{Dialect, Parent, Route};

/// Translates all objects of the mesh, and says what is wrong with each.
pub fn translate(objects: &[Arc<Object>], settings: &Settings) -> Translation {
    let mut objects: Vec<&Arc<Object>> = objects.iter().collect();
    objects.sort_by_cached_key(|object| (object.kind.group, object.reference()));
    let mut assembly = Assembly::default();
    for object in &objects {
        assembly.take(object, settings);
    }
    let mut translation = assembly.finish();
    let objects: Vec<Arc<Object>> = objects.into_iter().cloned().collect();
    for (object, problems) in references(&objects, &translation) {
        translation.findings.entry(object).or_default().extend(problems);
    }
    translation
}

/// What is wrong with one object by itself, for admission: unsupported fields and values. References are not looked at.
pub fn admit(object: &Object) -> Vec<Problem> {
    let mut reader = Reader::new(object);
    match object.kind.kind {
        // Nobody but the mesh, which does not come this way.
        "Incident" => tautline::not_for_users(&mut reader),
        _ => drop(meaning(&mut reader, &Settings::default())),
    }
    reader.finish()
}

/// What one object means. Whether it is accepted is in the reader's problems.
fn meaning(reader: &mut Reader<'_>, settings: &Settings) -> Meaning {
    let kind = reader.object().kind;
    stand_in::note(reader);
    match (kind.group, kind.kind) {
        ("", "Service") => core::service(reader, settings),
        ("", "Node") => core::node(reader),
        ("discovery.k8s.io", "EndpointSlice") => core::endpoint_slice(reader, settings),
        ("networking.istio.io", "VirtualService") => istio::virtual_service(reader),
        ("networking.istio.io", "DestinationRule") => istio::destination_rule(reader),
        ("networking.istio.io", "ServiceEntry") => istio::service_entry(reader, settings),
        ("networking.istio.io", "WorkloadEntry") => istio::workload_entry(reader, settings),
        ("networking.istio.io", "Gateway" | "Sidecar" | "WorkloadGroup") => not_served(kind.kind),
        ("security.istio.io", "PeerAuthentication") => istio::peer_authentication(reader),
        ("security.istio.io", "AuthorizationPolicy") => istio::authorization_policy(reader),
        ("security.istio.io", "RequestAuthentication") => istio::request_authentication(reader, settings),
        ("gateway.networking.k8s.io", "HTTPRoute") => gateway_api::http_route(reader),
        ("gateway.networking.k8s.io", "GRPCRoute") => gateway_api::grpc_route(reader),
        ("gateway.networking.k8s.io", "ReferenceGrant") => gateway_api::reference_grant(reader),
        ("gateway.networking.k8s.io", "TLSRoute") => gateway_api::tls_route(reader),
        ("gateway.networking.k8s.io", "TCPRoute") => gateway_api::tcp_route(reader),
        ("gateway.networking.k8s.io", "UDPRoute") => gateway_api::unserved_route(reader),
        ("gateway.networking.k8s.io", "Gateway" | "GatewayClass" | "ListenerSet") => not_served(kind.kind),
        ("gateway.networking.k8s.io", "BackendTLSPolicy") => gateway_api::backend_tls_policy(reader),
        ("gateway.networking.x-k8s.io", "XBackendTrafficPolicy") => gateway_api::backend_traffic_policy(reader),
        ("tautline.dev", "RateLimit") => tautline::rate_limit(reader),
        ("tautline.dev", "HealthCheck") => tautline::health_check(reader),
        ("tautline.dev", "ServiceLevelObjective") => tautline::service_level_objective(reader),
        ("tautline.dev", "Incident") => tautline::incident(reader),
        ("tautline.dev", "MeshSettings") => settings::mesh_settings(reader, settings),
        ("telemetry.istio.io", "Telemetry") => telemetry::telemetry(reader),
        ("security.istio.io" | "telemetry.istio.io" | "networking.istio.io" | "gateway.networking.k8s.io" | "extensions.istio.io", _) => {
            reader.unsupported_value("kind", kind.kind, "remove the object");
            Meaning::Nothing
        }
        _ => Meaning::Nothing,
    }
}

fn not_served(kind: &str) -> Meaning {
    Meaning::Unserved(format!("{kind} is not served by this version"))
}

/// Objects read one by one, until all are there and can be put together.
#[derive(Default)]
struct Assembly<'a> {
    translation: Translation,
    found: registry::Found,
    routes: Vec<(&'a Object, Route)>,
    bound: Vec<(&'a Object, Bound)>,
    roots: Vec<(&'a Object, Root)>,
    delegates: Vec<(&'a Object, Delegate)>,
    /// VirtualServices that nobody can delegate to, and why.
    no_delegates: BTreeMap<ObjectRef, &'static str>,
    grants: Vec<Grant>,
}

impl<'a> Assembly<'a> {
    fn take(&mut self, object: &'a Object, settings: &Settings) {
        let mut reader = Reader::new(object);
        let meaning = meaning(&mut reader, settings);
        let problems = reader.finish();
        let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
        if !problems.is_empty() {
            self.translation.findings.entry(object.reference()).or_default().extend(problems);
        }
        if object.kind.kind == "VirtualService" {
            match &meaning {
                _ if refused => drop(self.no_delegates.insert(object.reference(), "is not accepted")),
                Meaning::Delegate(_) => {}
                _ => drop(self.no_delegates.insert(object.reference(), "is not for others to delegate to: it has hosts or gateways of its own")),
            }
        }
        match refused {
            true => self.fail_closed(object),
            false => self.accept(object, meaning),
        }
    }

    /// An object that is not accepted has no effect; a policy's effect is then the stricter one, and a DestinationRule's
    /// demand for TLS stays.
    fn fail_closed(&mut self, object: &Object) {
        match (object.kind.group, object.kind.kind) {
            ("security.istio.io", "PeerAuthentication") => self.authentication(object, istio::strict(object)),
            // What was not enforced before is not enforced now.
            ("security.istio.io", "AuthorizationPolicy") if istio::is_dry_run(object) => {}
            ("security.istio.io", "AuthorizationPolicy") => {
                istio::deny_everything(object).into_iter().for_each(|policy| self.authorization(object, policy));
            }
            ("security.istio.io", "RequestAuthentication") => {
                let closed = istio::no_requests(object).map(|policy| (key(&object.reference()), Arc::new(policy)));
                self.translation.tokens.extend(closed);
            }
            ("tautline.dev", "RateLimit") => {
                self.translation.limits.insert(key(&object.reference()), Arc::new(tautline::refuse_everything(object)));
            }
            ("gateway.networking.k8s.io", "BackendTLSPolicy") => self.add(object, gateway_api::guarded_backends(object)),
            ("tautline.dev", "MeshSettings") => {
                let closed = settings::closed(object).map(|settings| (key(&object.reference()), Arc::new(settings)));
                self.translation.settings.extend(closed);
            }
            ("networking.istio.io", "DestinationRule") => {
                let guarded = istio::guarded(object).map(|destination| (key(&object.reference()), Arc::new(destination)));
                self.translation.destinations.extend(guarded);
            }
            _ => {}
        }
    }

    fn add(&mut self, object: &Object, additions: Vec<Destination>) {
        let name = key(&object.reference());
        let named = additions.into_iter().enumerate().map(|(index, one)| (format!("{name}/{index}"), Arc::new(one)));
        self.translation.destinations.extend(named);
    }

    fn authentication(&mut self, object: &Object, policy: PeerAuthentication) {
        self.translation.authentications.insert(key(&object.reference()), Arc::new(policy));
    }

    fn authorization(&mut self, object: &Object, policy: AuthorizationPolicy) {
        self.translation.authorizations.insert(key(&object.reference()), Arc::new(policy));
    }

    fn accept(&mut self, object: &'a Object, meaning: Meaning) {
        match meaning {
            Meaning::Offers { offers, endpoints, additions } => {
                self.add(object, additions);
                self.found.offers.extend(offers);
                self.found.endpoints.extend(endpoints);
            }
            Meaning::Candidate(candidate) => self.found.candidates.push(candidate),
            Meaning::Slice(slice) => self.found.slices.push(slice),
            Meaning::Node(node) => drop(self.found.nodes.insert(node.name, node.locality)),
            Meaning::Route(route) => self.routes.push((object, route)),
            Meaning::Root(root) => self.roots.push((object, root)),
            Meaning::Delegate(delegate) => self.delegates.push((object, delegate)),
            Meaning::Bound(bound) => self.bound.push((object, bound)),
            Meaning::Destination(destination) => {
                self.translation.destinations.insert(key(&object.reference()), Arc::new(destination));
            }
            Meaning::Additions(additions) => self.add(object, additions),
            Meaning::RateLimit(limit) => drop(self.translation.limits.insert(key(&object.reference()), Arc::new(limit))),
            Meaning::PeerAuthentication(policy) => self.authentication(object, policy),
            Meaning::AuthorizationPolicy(policy) => self.authorization(object, policy),
            Meaning::RequestAuthentication(policy) => drop(self.translation.tokens.insert(key(&object.reference()), Arc::new(policy))),
            Meaning::MeshSettings(settings, federation) => {
                self.translation.bundle_urls.extend(federation.urls);
                self.translation.list_urls.extend(federation.list_urls);
                self.translation.lists_due.extend(federation.lists_due);
                self.translation.trust.extend(federation.bundles.into_iter().map(|bundle| (bundle.trust_domain.clone(), Arc::new(bundle))));
                self.translation.settings.insert(key(&object.reference()), Arc::new(settings));
            }
            Meaning::Telemetry(telemetry) => {
                self.translation.telemetry.insert(key(&object.reference()), Arc::new(telemetry));
            }
            Meaning::Promised(promised) => drop(self.translation.promised.insert(key(&object.reference()), Arc::new(promised))),
            Meaning::Grant(grant) => self.grants.push(grant),
            Meaning::Idle(because) => {
                self.translation.idle.insert(object.reference(), because);
            }
            Meaning::Unserved(because) => {
                self.translation.unserved.insert(object.reference());
                self.translation.idle.insert(object.reference(), because);
            }
            Meaning::Nothing => {}
        }
    }

    fn finish(self) -> Translation {
        let Self { mut translation, found, mut routes, bound, roots, delegates, no_delegates, grants } = self;
        let registry = registry::assemble(found);
        let known = gateway_api::Known::new(&registry.services, grants);
        let mut merger = istio::Merger::new(delegates, no_delegates);
        routes.extend(roots.into_iter().map(|(object, root)| (object, merger.merge(object, root))));
        let (mut problems, unused) = merger.finish();
        translation.idle.extend(unused.into_iter().map(|delegate| (delegate, "no VirtualService delegates to it".to_owned())));
        for (object, bound) in bound {
            let (route, found) = gateway_api::bind(object, bound, &known);
            problems.extend(found.into_iter().map(|problem| (object.reference(), problem)));
            routes.push((object, route));
        }
        for (object, route) in &mut routes {
            if route.dialect == Dialect::GatewayApi {
                problems.extend(gateway_api::resolve(object, route, &known).into_iter().map(|problem| (object.reference(), problem)));
            }
        }
        spread_patterns(&mut routes, registry.services.keys());
        for (object, problem) in registry.problems.into_iter().chain(problems) {
            translation.findings.entry(object).or_default().push(problem);
        }
        for (object, route) in routes {
            let halves = if route.dialect == Dialect::GatewayApi { gateway_api::halves(object, route) } else { vec![route] };
            let names = [key(&object.reference()), format!("{}~consumers", key(&object.reference()))];
            translation.routes.extend(names.into_iter().zip(halves.into_iter().map(Arc::new)));
        }
        translation.services = registry.services.into_iter().map(|(host, service)| (host, Arc::new(service))).collect();
        translation.workloads = registry.workloads.into_iter().map(|(uid, workload)| (uid, Arc::new(workload))).collect();
        translation
    }
}

/// A host pattern stands for the services it covers that no VirtualService names better for all of the same clients: the most
/// specific host wins (VirtualService.hosts), so a name before a pattern, and a longer pattern before a shorter one. Where another
/// names it better for some of the clients, both are attached, and the plan takes the one for fewer clients.
fn spread_patterns<'a>(routes: &mut [(&Object, Route)], hosts: impl Iterator<Item = &'a String> + Clone) {
    let is_pattern = |parent: &Parent| parent.host.starts_with('*');
    if !routes.iter().any(|(_, route)| route.parents.iter().any(is_pattern)) {
        return;
    }
    // Host -> clients -> length of the best pattern.
    let mut best: BTreeMap<String, BTreeMap<&[String], usize>> = BTreeMap::new();
    for (_, route) in routes.iter().filter(|(_, route)| route.dialect == Dialect::Istio) {
        for parent in &route.parents {
            let (named, strength) = match is_pattern(parent) {
                true => (hosts.clone().filter(|host| host::matches(&parent.host, host)).cloned().collect(), parent.host.len()),
                false => (vec![parent.host.clone()], usize::MAX),
            };
            for host in named {
                let best = best.entry(host).or_default().entry(&route.consumer_namespaces).or_default();
                *best = strength.max(*best);
            }
        }
    }
    let spread = |route: &Route| -> Vec<Parent> {
        let (patterns, mut parents): (Vec<Parent>, Vec<Parent>) = route.parents.iter().cloned().partition(is_pattern);
        for pattern in patterns {
            let better = |clients: &[String], strength: usize| strength > pattern.host.len() && includes(clients, &route.consumer_namespaces);
            let loses = |host: &String| best.get(host).into_iter().flatten().any(|(clients, strength)| better(clients, *strength));
            let covered = hosts.clone().filter(|host| host::matches(&pattern.host, host) && !loses(host));
            parents.extend(covered.map(|host| Parent { host: host.clone(), port: pattern.port }));
        }
        parents
    };
    let all: Vec<Vec<Parent>> = routes.iter().map(|(_, route)| spread(route)).collect();
    for ((_, route), parents) in routes.iter_mut().zip(all) {
        route.parents = parents;
    }
}

/// Whether clients of these namespaces (none: of all) are more than, or the same as, those of others.
fn includes(clients: &[String], others: &[String]) -> bool {
    clients.is_empty() || (!others.is_empty() && others.iter().all(|namespace| clients.contains(namespace)))
}
