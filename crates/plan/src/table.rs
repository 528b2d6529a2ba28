//! The compiled forms that decisions read: the rules of one service port, in the order in which they are tried.

use crate::cluster::{Cluster, ClusterKey};
use crate::cors::CorsPolicy;
use crate::facts::HttpFacts;
use crate::index::{AnyOf, Demand, Index, Sought};
use crate::matching::{Matcher, Source};
use crate::session::Sessions;
use crate::trace::Trace;
use crate::verdict::{BackendPlan, Refusal, RulePlan};
use ipnet::IpNet;
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::destination::Persistence;
use taut_model::origin::Origin;
use taut_model::route::{Dialect, DirectResponse, Fault, Redirect};
use taut_model::service::{AppProtocol, Service};

/// One host that clients can name.
#[derive(Debug)]
pub(crate) struct HostPlan {
    pub(crate) host: Arc<str>,
    /// `None`: only routes know this host.
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) ports: BTreeMap<u16, Table>,
    /// For a host that only routes know, whatever its port.
    pub(crate) any_port: Option<Table>,
}

/// The rules of one service port.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) protocol: AppProtocol,
    /// `None`: no route is attached. The first entry that matches decides; the dialect's precedence is in the order.
    pub(crate) http: Option<Entries>,
    /// The objects the entries came from.
    pub(crate) routes: Vec<Origin>,
    pub(crate) tcp: Vec<TcpEntry>,
    /// Objects that would apply if others did not win, and why they lose.
    pub(crate) shadowed: Vec<(Origin, String)>,
    /// To the service itself.
    pub(crate) fallback: Arc<Rule>,
}

/// Looking at this many entries costs about what finding those that could match does (measured: 5 ns each where the path differs,
/// 30 where a header does, against 60).
const FEW: usize = 8;

#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) list: Vec<Entry>,
    index: Option<Index>,
}

/// One match of one rule.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) rule: Arc<Rule>,
    /// `None`: no conditions.
    pub(crate) matcher: Option<Arc<Matcher>>,
    /// HTTPRoute hostname that the request's authority must have.
    pub(crate) hostname: Option<String>,
}

impl Entries {
    pub(crate) fn new(list: Vec<Entry>) -> Self {
        let demands: Vec<Vec<AnyOf<'_>>> = list.iter().map(Entry::demands).collect();
        let index = Index::build(&demands, FEW);
        Self { list, index }
    }

    /// The first entry that `fits`. It is asked of all, in order, if somebody listens; else only of those that could fit.
    /// `host`: of the request's authority, see [`crate::path::host_name`].
    pub(crate) fn first<T: Trace>(&self, http: &HttpFacts<'_>, host: &str, mut fits: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        let Some(index) = self.index.as_ref().filter(|_| !T::LISTENS) else { return self.list.iter().find(|entry| fits(entry)) };
        let sought = Sought { path: http.path, host: Some(host), http: Some(http), identity: None };
        self.list.get(index.first(&sought, |position| self.list.get(position).is_some_and(&mut fits))?)
    }
}

impl Entry {
    fn demands(&self) -> Vec<AnyOf<'_>> {
        let mut demands = self.matcher.as_ref().map(|matcher| matcher.demands()).unwrap_or_default();
        demands.extend(self.hostname.iter().filter(|name| !name.starts_with('*')).map(|name| vec![Demand::Host(name)]));
        demands
    }
}

#[derive(Debug)]
pub(crate) struct TcpEntry {
    pub(crate) rule: Arc<Rule>,
    pub(crate) source: Source,
    /// Of the address that the client dialled; empty: any.
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) sni: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) plan: Arc<RulePlan>,
    /// A fault switched the timeout or the retries off.
    pub(crate) fault_disarms: bool,
    pub(crate) dialect: Dialect,
    pub(crate) action: RuleAction,
    pub(crate) rewrite: Option<PathChange>,
    pub(crate) authority: Option<String>,
    pub(crate) fault: Option<Fault>,
    pub(crate) mirrors: Vec<(Share, f64)>,
    pub(crate) cors: Option<CorsPolicy>,
}

#[derive(Debug)]
pub(crate) enum RuleAction {
    Forward(Vec<Share>),
    Redirect(Redirect, Option<PathChange>),
    Respond(DirectResponse),
}

#[derive(Debug)]
pub(crate) enum PathChange {
    Full(String),
    Prefix(String),
    Regex(Regex, String),
}

/// One weighted backend.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) weight: u32,
    /// `reviews v1`, for people.
    pub(crate) label: String,
    pub(crate) backend: Arc<BackendPlan>,
    pub(crate) target: Target,
    /// Authority that this backend's header changes set.
    pub(crate) authority: Option<String>,
    /// As the rule says; else the cluster's own count.
    pub(crate) sessions: Option<Arc<Sessions>>,
}

impl Share {
    pub(crate) fn keep_sessions(&mut self, persistence: &Persistence) {
        if let Target::Cluster(cluster) = &self.target {
            let uids = cluster.endpoints.iter().map(|endpoint| endpoint.workload.uid.as_str());
            self.sessions = Some(Arc::new(Sessions::new(persistence, &cluster.key.host, cluster.key.port, uids)));
        }
    }

    /// How clients that come back are known.
    pub(crate) fn sessions(&self) -> Option<&Arc<Sessions>> {
        match &self.target {
            Target::Cluster(cluster) => self.sessions.as_ref().or(cluster.sessions.as_ref()),
            Target::Passthrough | Target::Unknown(_) | Target::Refused(_) => None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Target {
    Cluster(Arc<Cluster>),
    /// Whatever the client named.
    Passthrough,
    /// The plan has not been told of this host yet.
    Unknown(String),
    Refused(Box<Refusal>),
}

/// An endpoint that clients may dial by its own address.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) key: ClusterKey,
    pub(crate) rule: Arc<Rule>,
}
