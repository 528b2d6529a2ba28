//! Deciding what may reach the workload beside this proxy: its port, how the peer must prove itself, and what it may do.

use crate::authorization::{Policy, Visit};
use crate::facts::Facts;
use crate::path::normalise;
use crate::plan::Plan;
use crate::rules::bare_plan;
use crate::snapshot::Snapshot;
use crate::trace::{Mark, Trace};
use crate::verdict::{Action, Go, Reason, Refusal, RulePlan, Side, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::{AuthorizationAction, MtlsMode, PeerAuthentication, ROOT_NAMESPACE};
use taut_model::workload::Workload;

#[derive(Debug)]
pub(crate) struct InboundPlan {
    complete: bool,
    mode: (MtlsMode, Origin),
    /// Where a port differs: the workload's own port.
    port_modes: BTreeMap<u16, (MtlsMode, Origin)>,
    /// Those that concern this workload, in the order of their keys.
    policies: Vec<Policy>,
    /// Addresses that belong to exactly one workload, and that has a proxy.
    meshed: BTreeMap<IpAddr, String>,
    /// What an exchange that no ALLOW policy concerns is recorded under.
    open: Arc<RulePlan>,
}

impl InboundPlan {
    pub(crate) fn compile(snapshot: &Snapshot, problems: &mut Vec<(Origin, String)>) -> Self {
        let (mode, port_modes) = modes(snapshot);
        let concerns = |namespace: &str, own: &Workload| namespace == own.namespace || namespace == ROOT_NAMESPACE;
        let own = snapshot.own.as_deref();
        let policies = snapshot.authorizations.values();
        let policies = policies.filter(|policy| own.is_some_and(|own| concerns(&policy.namespace, own) && own.has_labels(&policy.selector)));
        Self {
            complete: snapshot.policies_complete,
            mode,
            port_modes,
            policies: policies.map(|policy| Policy::compile(policy, &snapshot.trust_domain, problems)).collect(),
            meshed: meshed(snapshot),
            open: Arc::new(bare_plan(Origin::built_in("no ALLOW policy, so everybody may call"))),
        }
    }

    pub(crate) fn header_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.policies.iter().for_each(|policy| policy.header_names(&mut names));
        names
    }
}

type Mode = (MtlsMode, Origin);

/// Workload, then namespace, then mesh; the oldest wins inside each; what it leaves unset is inherited (Istio).
fn modes(snapshot: &Snapshot) -> (Mode, BTreeMap<u16, Mode>) {
    let built_in = (MtlsMode::Permissive, Origin::built_in("mutual TLS mode PERMISSIVE"));
    let Some(own) = &snapshot.own else { return (built_in, BTreeMap::new()) };
    let oldest = |applies: &dyn Fn(&PeerAuthentication) -> bool| {
        let found = snapshot.authentications.values().filter(|policy| applies(policy));
        found.min_by_key(|policy| (&policy.created, &policy.origin.object.namespace, &policy.origin.object.name))
    };
    let workload = oldest(&|policy| policy.namespace == own.namespace && !policy.selector.is_empty() && own.has_labels(&policy.selector));
    let namespace = oldest(&|policy| policy.namespace == own.namespace && policy.selector.is_empty());
    let mesh = oldest(&|policy| policy.namespace == ROOT_NAMESPACE && policy.selector.is_empty());
    let said = [workload, namespace, mesh].into_iter().flatten().find_map(|policy| Some((policy.mode?, policy.origin.clone())));
    // Ports can only be told for selected workloads.
    let ports = workload.iter().flat_map(|policy| policy.ports.iter().map(|(port, mode)| (*port, (*mode, policy.origin.clone()))));
    (said.unwrap_or(built_in), ports.collect())
}

/// Where every workload shares one address (a laptop's loopback), an address says nothing about who calls.
fn meshed(snapshot: &Snapshot) -> BTreeMap<IpAddr, String> {
    let mut owners: BTreeMap<IpAddr, Vec<&Arc<Workload>>> = BTreeMap::new();
    for workload in snapshot.workloads.values() {
        if let Ok(address) = workload.address.parse::<IpAddr>() {
            owners.entry(address.to_canonical()).or_default().push(workload);
        }
    }
    let own = snapshot.own.as_ref().map(|own| own.uid.as_str());
    let only = owners.into_iter().filter_map(|(address, owners)| match owners[..] {
        [only] if only.peer.is_some() && !address.is_loopback() && Some(only.uid.as_str()) != own => Some((address, only.uid.clone())),
        _ => None,
    });
    only.collect()
}

impl Plan {
    pub(crate) fn inbound<T: Trace>(&self, facts: &Facts<'_>, trace: &mut T) -> Verdict {
        let refused = match self.admit(facts, trace) {
            Ok(go) => return Verdict::Go(Box::new(go)),
            Err(refused) => refused,
        };
        trace.step(Mark::Refused, "refused", || refused.detail.clone(), refused.origin.as_ref());
        Verdict::Refuse(*refused)
    }

    fn admit<T: Trace>(&self, facts: &Facts<'_>, trace: &mut T) -> Result<Go, Box<Refusal>> {
        let refusal = |side, reason, status, origin, detail: String| Box::new(Refusal { side, reason, status, origin, detail });
        let Some(own) = self.own.as_deref().filter(|_| self.inbound.complete) else {
            let detail = "the control plane has not sent every policy for this workload yet, so nothing is let in".to_owned();
            return Err(refusal(Side::Mesh, Reason::PoliciesNotReceived, 503, None, detail));
        };
        let Some(port) = own_port(own, facts) else {
            let asked = if facts.host.is_empty() { format!("port {}", facts.port) } else { format!("{}:{}", facts.host, facts.port) };
            return Err(refusal(Side::Mesh, Reason::NotServedHere, 503, Some(own.origin.clone()), format!("{} does not serve {asked}", own.uid)));
        };
        trace.step(Mark::Match, "workload", || format!("{} port {port}", own.uid), Some(&own.origin));
        self.authenticate(facts, port, trace)?;
        let path = facts.http.map_or(Default::default(), |http| normalise(http.path));
        let visit = Visit {
            identity: facts.peer.identity,
            principal: facts.peer.identity.map(|identity| identity.principal()),
            address: facts.peer.address,
            port,
            own_address: own.address.parse().ok(),
            sni: facts.sni.or(Some(facts.host)).filter(|name| !name.is_empty()),
            http: facts.http.as_ref(),
            path: &path,
        };
        let (rule, audit) = self.authorize(&visit, trace)?;
        trace.step(Mark::Chosen, "let in", || format!("to the application on port {port}"), Some(&rule.origin));
        Ok(Go { rule, action: Action::Local { port }, delay: None, service_host: service_host(own, facts, port), audit })
    }

    /// Whether plain text is good enough. Envoy would close the connection; here HTTP clients are told (403).
    /// Mutual TLS is taken in every mode, DISABLE too.
    fn authenticate<T: Trace>(&self, facts: &Facts<'_>, port: u16, trace: &mut T) -> Result<(), Box<Refusal>> {
        if let Some(identity) = facts.peer.identity {
            trace.step(Mark::Match, "mutual TLS", || format!("the peer proved to be {identity}"), None);
            return Ok(());
        }
        let (mode, origin) = self.inbound.port_modes.get(&port).unwrap_or(&self.inbound.mode);
        let refusal =
            |origin: Option<Origin>, detail| Box::new(Refusal { side: Side::Client, reason: Reason::MutualTlsRequired, status: 403, origin, detail });
        if *mode == MtlsMode::Strict {
            return Err(refusal(Some(origin.clone()), format!("port {port} takes only mutual TLS (STRICT), and the peer came in plain text")));
        }
        let known = facts.peer.address.and_then(|address| self.inbound.meshed.get(&address.to_canonical()));
        if let Some(peer) = known.filter(|_| *mode == MtlsMode::Permissive) {
            let detail = format!("plain text from the address of {peer}, which is in the mesh and could have proved itself");
            return Err(refusal(Some(Origin::built_in("PERMISSIVE takes no plain text from inside the mesh")), detail));
        }
        trace.step(Mark::Match, "plain text", || format!("allowed on port {port}"), Some(origin));
        Ok(())
    }

    /// Istio's order: a DENY that matches denies; without ALLOW policies all else is allowed; with them, one must match.
    fn authorize<T: Trace>(&self, visit: &Visit<'_>, trace: &mut T) -> Result<(Arc<RulePlan>, Vec<Origin>), Box<Refusal>> {
        let refusal = |origin, detail| Box::new(Refusal { side: Side::Client, reason: Reason::AuthorizationDenied, status: 403, origin, detail });
        let with = |action| self.inbound.policies.iter().filter(move |policy| policy.action == action);
        for policy in with(AuthorizationAction::Deny) {
            if let Some(rule) = policy.matching(visit) {
                return Err(refusal(Some(rule.origin().clone()), format!("{} denies it", policy.origin.object)));
            }
            trace.step(Mark::NoMatch, "deny", || "no rule matches".to_owned(), Some(&policy.origin));
        }
        let mut audit = Vec::new();
        for rule in with(AuthorizationAction::Audit).filter_map(|policy| policy.matching(visit)) {
            trace.step(Mark::Match, "audit", || "to be recorded".to_owned(), Some(rule.origin()));
            audit.push(rule.origin().clone());
        }
        let mut looked_at: Vec<&Origin> = Vec::new();
        for policy in with(AuthorizationAction::Allow) {
            if let Some(rule) = policy.matching(visit) {
                trace.step(Mark::Match, "allow", || "a rule matches".to_owned(), Some(rule.origin()));
                return Ok((rule.plan.clone(), audit));
            }
            trace.step(Mark::NoMatch, "allow", || "no rule matches".to_owned(), Some(&policy.origin));
            looked_at.push(&policy.origin);
        }
        if let Some(first) = looked_at.first() {
            let names = looked_at.iter().map(|origin| origin.object.to_string()).collect::<Vec<_>>().join(", ");
            return Err(refusal(Some((*first).clone()), format!("no ALLOW policy matched: {names}")));
        }
        Ok((self.inbound.open.clone(), audit))
    }
}

/// The workload's own port for what was asked; `None` if it serves no such thing.
fn own_port(own: &Workload, facts: &Facts<'_>) -> Option<u16> {
    match facts.host {
        "" => own.serves.iter().find(|serves| serves.target == facts.port).map(|serves| serves.target),
        host => own.target(host, facts.port),
    }
}

fn service_host(own: &Workload, facts: &Facts<'_>, port: u16) -> Arc<str> {
    let by_port = || own.serves.iter().find(|serves| serves.target == port).map(|serves| serves.host.as_str());
    Some(facts.host).filter(|host| !host.is_empty()).or_else(by_port).unwrap_or_default().into()
}
