//! Compiling one rule of a route: its backends resolved to clusters, its patterns compiled, its defaults filled in.

use crate::cluster::{Cluster, ClusterKey};
use crate::clusters::Clusters;
use crate::cors::CorsPolicy;
use crate::matching::Matcher;
use crate::pattern;
use crate::retry;
use crate::snapshot::Snapshot;
use crate::table::{PathChange, Rule, RuleAction, Share, Target};
use crate::verdict::{BackendPlan, Reason, Refusal, RulePlan, Side};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::host;
use taut_model::origin::Origin;
use taut_model::route::{Backend, Dialect, HeaderChange, HttpAction, HttpMatch, HttpRule, PathRewrite, Route, TcpRule};

/// The patterns of a route, compiled once for all services it is attached to.
pub(crate) struct Matchers(Vec<Vec<Arc<Matcher>>>);

impl Matchers {
    /// # Errors
    /// The field whose pattern cannot be used, and why: the whole route is then not accepted.
    pub(crate) fn compile(route: &Route) -> Result<Self, String> {
        let at = |origin: &Origin, because: String| if origin.path.is_empty() { because } else { format!("{}: {because}", origin.path) };
        let mut rules = Vec::with_capacity(route.http.len());
        for rule in &route.http {
            let compile = |said: &HttpMatch| Matcher::compile(said).map(Arc::new).map_err(|because| at(&said.origin, because));
            rules.push(rule.matches.iter().map(compile).collect::<Result<Vec<_>, _>>()?);
            let redirect = match &rule.action {
                HttpAction::Redirect(redirect) => redirect.path.as_ref(),
                _ => None,
            };
            for rewrite in rule.rewrite.iter().filter_map(|rewrite| rewrite.path.as_ref()).chain(redirect) {
                path_change(rewrite).map_err(|because| at(&rule.origin, because))?;
            }
            if let Some(cors) = &rule.cors {
                CorsPolicy::compile(cors).map_err(|because| at(&cors.origin, because))?;
            }
        }
        for rule in &route.tcp {
            subnets(rule).map_err(|because| at(&rule.origin, because))?;
        }
        Ok(Self(rules))
    }

    pub(crate) fn of(&self, rule: usize) -> &[Arc<Matcher>] {
        self.0.get(rule).map_or(&[], Vec::as_slice)
    }
}

/// What backends are resolved against.
pub(crate) struct Scope<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) clusters: &'a Clusters,
    /// The port the client called.
    pub(crate) port: u16,
}

impl Scope<'_> {
    /// A fault on a rule switches its timeout and its retries off, as Istio says for faults injected by the client's side.
    /// `sampling`: of the traces that begin with it.
    pub(crate) fn http_rule(&self, dialect: Dialect, rule: &HttpRule, sampling: Option<f64>) -> Rule {
        let faulty = rule.fault.is_some();
        let (request_headers, set_authority) = without_authority(&rule.request_headers);
        let action = match &rule.action {
            HttpAction::Forward(backends) => {
                let mut shares = self.shares(dialect, backends);
                if let Some(persistence) = &rule.persistence {
                    shares.iter_mut().for_each(|share| share.keep_sessions(persistence));
                }
                RuleAction::Forward(shares)
            }
            HttpAction::Redirect(redirect) => RuleAction::Redirect(redirect.clone(), redirect.path.as_ref().and_then(|path| path_change(path).ok())),
            HttpAction::Respond(response) => RuleAction::Respond(response.clone()),
        };
        let rewrite = rule.rewrite.as_ref();
        let plan = RulePlan {
            origin: Arc::new(rule.origin.clone()),
            name: rule.name.as_str().into(),
            timeout: rule.timeout.filter(|_| !faulty),
            retry: if faulty { retry::never() } else { rule.retry.clone().unwrap_or_else(retry::default_retry) },
            default_retry: rule.retry.is_none() && !faulty,
            request_headers,
            response_headers: rule.response_headers.clone(),
            sampling,
            hedging: rule.hedging.clone(),
        };
        Rule {
            plan: Arc::new(plan),
            fault_disarms: faulty,
            dialect,
            action,
            rewrite: rewrite.and_then(|rewrite| rewrite.path.as_ref()).and_then(|path| path_change(path).ok()),
            authority: rewrite.and_then(|rewrite| rewrite.authority.clone()).or(set_authority),
            fault: rule.fault.clone(),
            mirrors: rule.mirrors.iter().map(|mirror| (self.share(dialect, &mirror.backend), mirror.percent)).collect(),
            cors: rule.cors.as_ref().and_then(|cors| CorsPolicy::compile(cors).ok()),
        }
    }

    pub(crate) fn tcp_rule(&self, dialect: Dialect, rule: &TcpRule) -> Rule {
        plain_rule(rule.origin.clone(), dialect, self.shares(dialect, &rule.backends))
    }

    /// The route that every service port has when users gave it none: to the service itself, with Istio's default retries.
    pub(crate) fn default_rule(&self, service_host: &str) -> Rule {
        let origin = Origin::built_in("route to the service itself");
        let backend = Backend {
            origin: origin.clone(),
            host: service_host.to_owned(),
            port: Some(self.port),
            subset: None,
            weight: 1,
            request_headers: HeaderChange::default(),
            response_headers: HeaderChange::default(),
            unresolved: None,
        };
        let mut rule = plain_rule(origin, Dialect::Istio, self.shares(Dialect::Istio, &[backend]));
        rule.plan = Arc::new(RulePlan { retry: retry::default_retry(), default_retry: true, ..(*rule.plan).clone() });
        rule
    }

    /// To one endpoint that the client dialled by its address.
    pub(crate) fn direct_rule(&self, cluster: Arc<Cluster>) -> Rule {
        let mut rule = self.default_rule(&cluster.key.host);
        if let RuleAction::Forward(shares) = &mut rule.action {
            for share in shares {
                share.target = Target::Cluster(cluster.clone());
            }
        }
        rule
    }

    fn shares(&self, dialect: Dialect, backends: &[Backend]) -> Vec<Share> {
        let mut shares: Vec<Share> = backends.iter().map(|backend| self.share(dialect, backend)).collect();
        // A VirtualService with one destination need not say its weight (`HTTPRouteDestination.weight`).
        if let ([only], Dialect::Istio) = (&mut shares[..], dialect) {
            only.weight = only.weight.max(1);
        }
        shares
    }

    fn share(&self, dialect: Dialect, backend: &Backend) -> Share {
        let (request_headers, authority) = without_authority(&backend.request_headers);
        let short = host::short(&backend.host);
        let label = match (&backend.subset, backend.port.filter(|port| *port != self.port)) {
            (Some(subset), None) => format!("{short} {subset}"),
            (Some(subset), Some(port)) => format!("{short}:{port} {subset}"),
            (None, Some(port)) => format!("{short}:{port}"),
            (None, None) => short.to_owned(),
        };
        let response_headers = backend.response_headers.clone();
        Share {
            weight: backend.weight,
            label,
            backend: Arc::new(BackendPlan { origin: backend.origin.clone(), request_headers, response_headers }),
            target: self.target(dialect, backend),
            authority,
            sessions: None,
        }
    }

    fn target(&self, dialect: Dialect, backend: &Backend) -> Target {
        let refuse =
            |side, reason, status, detail| Target::Refused(Box::new(Refusal { side, reason, status, origin: Some(backend.origin.clone()), detail }));
        if let Some(because) = &backend.unresolved {
            return refuse(Side::Mesh, Reason::BackendUnresolved, 500, format!("the backend {} cannot be used: {because}", backend.host));
        }
        let Some(service) = self.snapshot.services.get(&backend.host) else {
            if !self.snapshot.absent.contains(&backend.host) {
                return Target::Unknown(backend.host.clone());
            }
            // Gateway API answers 500 for a backend that does not exist, Istio (Envoy's NC) 503.
            let status = if dialect == Dialect::GatewayApi { 500 } else { 503 };
            return refuse(
                Side::Mesh,
                Reason::BackendUnresolved,
                status,
                format!("the route sends to {}, and there is no such service", backend.host),
            );
        };
        let port = match (backend.port, &service.ports[..]) {
            (Some(port), _) => port,
            (None, [only]) => only.number,
            (None, _) => self.port,
        };
        if service.port(port).is_none() {
            let known = service.ports.iter().map(|port| port.number.to_string()).collect::<Vec<_>>().join(", ");
            return refuse(Side::Mesh, Reason::UnknownPort, 503, format!("{} has no port {port}; it has {known}", backend.host));
        }
        let key = ClusterKey { host: service.host.as_str().into(), port, subset: backend.subset.as_deref().map(Into::into) };
        match self.clusters.get(&key) {
            None => {
                let subset = backend.subset.as_deref().unwrap_or_default();
                let detail = format!("no DestinationRule that this client sees defines subset {subset:?} of {}", backend.host);
                refuse(Side::Mesh, Reason::SubsetUndefined, 503, detail)
            }
            // Bytes that are passed on as they come cannot be given TLS, and are not sent without it.
            Some(built) if built.passthrough && built.demands_tls => {
                let detail =
                    format!("TLS to {} is demanded, and requests to it go to whatever address the client named, as they are", cluster_name(&key));
                let origin = built.cluster.origin.clone();
                Target::Refused(Box::new(Refusal { side: Side::Mesh, reason: Reason::MutualTlsRequired, status: 503, origin, detail }))
            }
            Some(built) if built.passthrough => Target::Passthrough,
            Some(built) if !built.cluster.endpoints.is_empty() => Target::Cluster(built.cluster.clone()),
            Some(built) if built.without_peer > 0 => {
                let detail =
                    format!("{} ready endpoints of {} have no proxy, and mutual TLS to them is demanded", built.without_peer, cluster_name(&key));
                let origin = built.cluster.origin.clone();
                Target::Refused(Box::new(Refusal { side: Side::Mesh, reason: Reason::MutualTlsRequired, status: 503, origin, detail }))
            }
            Some(_) => refuse(Side::Upstream, Reason::NoEndpoint, 503, format!("no workload that is ready serves {}", cluster_name(&key))),
        }
    }
}

/// `reviews.default.svc.cluster.local:9080 subset v2`
pub(crate) fn cluster_name(key: &ClusterKey) -> String {
    match &key.subset {
        Some(subset) => format!("{}:{} subset {subset}", key.host, key.port),
        None => format!("{}:{}", key.host, key.port),
    }
}

/// A rule that only forwards, without retries or a timeout.
fn plain_rule(origin: Origin, dialect: Dialect, shares: Vec<Share>) -> Rule {
    Rule {
        plan: Arc::new(bare_plan(origin)),
        fault_disarms: false,
        dialect,
        action: RuleAction::Forward(shares),
        rewrite: None,
        authority: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
    }
}

/// The addresses that a rule for connections is about.
pub(crate) fn subnets(rule: &TcpRule) -> Result<Vec<IpNet>, String> {
    let read = |text: &String| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| format!("the destination subnet {text:?} cannot be used: it is neither an address nor a CIDR block"))
    };
    rule.destination_subnets.iter().map(read).collect()
}

pub(crate) fn bare_plan(origin: Origin) -> RulePlan {
    let (request_headers, response_headers) = Default::default();
    RulePlan {
        origin: Arc::new(origin),
        name: Arc::default(),
        timeout: None,
        retry: retry::never(),
        default_retry: false,
        request_headers,
        response_headers,
        sampling: None,
        hedging: None,
    }
}

/// Setting `Host` (or `:authority`) by a header change rewrites the authority, as in Istio; it is not a header to set.
fn without_authority(change: &HeaderChange) -> (HeaderChange, Option<String>) {
    let names_authority = |name: &str| name.eq_ignore_ascii_case("host") || name == ":authority";
    let authority = change.set.iter().find(|(name, _)| names_authority(name)).map(|(_, value)| value.clone());
    let mut change = change.clone();
    change.set.retain(|(name, _)| !names_authority(name));
    change.add.retain(|(name, _)| !names_authority(name));
    change.remove.retain(|name| !names_authority(name));
    (change, authority)
}

fn path_change(said: &PathRewrite) -> Result<PathChange, String> {
    Ok(match said {
        PathRewrite::Full(path) => PathChange::Full(path.clone()),
        PathRewrite::Prefix(prefix) => PathChange::Prefix(prefix.clone()),
        PathRewrite::Regex { pattern, substitution } => PathChange::Regex(pattern::part(pattern)?, replacement(substitution)),
    })
}

/// RE2's `\1` in the syntax of the regex crate, where `$` is special and must be doubled.
fn replacement(substitution: &str) -> String {
    let mut out = String::with_capacity(substitution.len());
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            ('$', _) => out.push_str("$$"),
            (_, true) => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => out.push_str(&format!("${{{digit}}}")),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_keep_their_groups_and_their_dollars() {
        let regex = pattern::part("^/bookinfo/([a-z]+)/([a-z]+)").unwrap();
        for (substitution, want) in [("/\\2/\\1", "/list/books?"), ("/$1", "/$1?"), ("/\\\\x", "/\\x?"), ("/\\0!", "//bookinfo/books/list!?")] {
            assert_eq!(regex.replace_all("/bookinfo/books/list?", replacement(substitution)), want);
        }
    }

    #[test]
    fn setting_the_host_header_is_a_rewrite_of_the_authority() {
        let change = HeaderChange { set: vec![("Host".into(), "b".into()), ("x".into(), "y".into())], ..HeaderChange::default() };
        let (left, authority) = without_authority(&change);
        assert_eq!((left.set, authority.as_deref()), (vec![("x".into(), "y".into())], Some("b")));
    }
}
