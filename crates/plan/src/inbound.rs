//! What inbound decisions are made from, compiled: the mTLS modes and the policies that concern the workload beside this proxy.

use crate::authorization::Policy;
use crate::counting::Limits;
use crate::domains::Domains;
use crate::policies::Policies;
use crate::rules::bare_plan;
use crate::snapshot::Snapshot;
use crate::token::Issuers;
use crate::verdict::RulePlan;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::{AuthorizationAction, MtlsMode, PeerAuthentication, ROOT_NAMESPACE};
use taut_model::workload::Workload;

#[derive(Debug)]
pub(crate) struct InboundPlan {
    pub(crate) complete: bool,
    pub(crate) domains: Domains,
    pub(crate) mode: (MtlsMode, Origin),
    /// Where a port differs: the workload's own port.
    pub(crate) port_modes: BTreeMap<u16, (MtlsMode, Origin)>,
    pub(crate) issuers: Issuers,
    /// Policies that concern this workload, in the order of their keys.
    pub(crate) custom: Policies,
    pub(crate) deny: Policies,
    pub(crate) audit: Policies,
    pub(crate) allow: Policies,
    /// Dry runs.
    pub(crate) would_deny: Policies,
    pub(crate) would_allow: Policies,
    pub(crate) limits: Limits,
    /// The hosts that the workload serves.
    pub(crate) served: Vec<Arc<str>>,
    pub(crate) own_address: Option<IpAddr>,
    /// Addresses that belong to exactly one workload, and that has a proxy.
    pub(crate) meshed: BTreeMap<IpAddr, String>,
    /// What an exchange that no ALLOW policy concerns is recorded under.
    pub(crate) open: Arc<RulePlan>,
}

impl InboundPlan {
    pub(crate) fn compile(snapshot: &Snapshot, problems: &mut Vec<(Origin, String)>) -> Self {
        let (mode, port_modes) = modes(snapshot);
        let domains = Domains::of(snapshot);
        let concerns = |namespace: &str, own: &Workload| namespace == own.namespace || namespace == ROOT_NAMESPACE;
        let own = snapshot.own.as_deref();
        let policies = snapshot.authorizations.values();
        let policies = policies.filter(|policy| own.is_some_and(|own| concerns(&policy.namespace, own) && own.has_labels(&policy.selector)));
        let policies: Vec<Policy> = policies.map(|policy| Policy::compile(policy, &domains, problems)).collect();
        let (dry, enforced): (Vec<_>, Vec<_>) = policies.into_iter().partition(|policy| policy.dry_run);
        let [custom, deny, audit, allow] = by_action(enforced);
        // AUDIT changes nothing to begin with, and a dry run asks nobody.
        let [_, would_deny, _, would_allow] = by_action(dry);
        Self {
            complete: snapshot.policies_complete,
            mode,
            port_modes,
            issuers: Issuers::compile(snapshot),
            custom,
            deny,
            audit,
            allow,
            would_deny,
            would_allow,
            limits: Limits::compile(snapshot, &domains, problems),
            served: own.iter().flat_map(|own| &own.serves).map(|serves| serves.host.as_str().into()).collect(),
            own_address: own.and_then(|own| own.address.parse().ok()),
            meshed: meshed(snapshot),
            open: Arc::new(bare_plan(Origin::built_in("no ALLOW policy, so everybody may call"))),
            domains,
        }
    }

    pub(crate) fn header_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for policies in [&self.custom, &self.deny, &self.audit, &self.allow, &self.would_deny, &self.would_allow] {
            policies.iter().for_each(|policy| policy.header_names(&mut names));
        }
        self.limits.header_names(&mut names);
        names
    }
}

/// Those of CUSTOM, DENY, AUDIT and ALLOW.
fn by_action(policies: Vec<Policy>) -> [Policies; 4] {
    use AuthorizationAction::{Allow, Audit, Custom, Deny};
    let mut policies = policies;
    [Custom, Deny, Audit, Allow].map(|action| {
        let (of_it, others) = std::mem::take(&mut policies).into_iter().partition(|policy| policy.action == action);
        policies = others;
        Policies::new(action, of_it)
    })
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
