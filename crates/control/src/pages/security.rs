//! Who may talk to whom, held against who does; what is not protected; certificates and the authority.

use super::traffic::{Node, Places, Sum, Traffic};
use super::words;
use crate::authority::Authority;
use crate::publish::Published;
use crate::why::{Inquiry, Question};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::workload::Workload;
use taut_plan::Verdict;
use taut_plan::verdict::{Action, Reason, Rolls};

/// Pairs of nodes that are decided for one page: those that were seen first, then callers of services with policies.
const MOST_PAIRS: usize = 1000;

/// What the mesh would do with `GET /` (or a connection) from one workload to one service.
#[derive(Clone, Debug, Default)]
struct Decision {
    allowed_by: Option<Origin>,
    denied_by: Option<Origin>,
}

/// Decisions of one state of the mesh: each costs compiling two plans.
#[derive(Default)]
pub struct Decisions(Mutex<(u64, Known)>);

/// By the caller's uid and the service's host.
type Known = BTreeMap<(String, String), Decision>;

/// What the page is made of.
pub struct Scene<'a> {
    pub published: &'a Published,
    pub traffic: &'a Traffic,
    pub authority: &'a Authority,
    pub decisions: &'a Decisions,
    pub told: &'a [(String, Value)],
}

pub fn security(scene: &Scene<'_>) -> Value {
    let places = Places::new(scene.published);
    let mut seen: BTreeMap<(Node, Node), Sum> = BTreeMap::new();
    for (edge, signals) in &scene.traffic.edges {
        seen.entry((places.party(&edge.source), places.service(&edge.service.host))).or_default().add(edge, signals);
    }
    let bare = |((from, to), sum): (&(Node, Node), &Sum)| json!({"from": from.id(), "to": to.id(), "requests": sum.signals.requests.max(sum.signals.opened)});
    let plaintext: Vec<Value> = seen.iter().filter(|(_, sum)| matches!(sum.security(), "plaintext" | "mixed")).map(bare).collect();
    json!({
        "at": scene.traffic.at, "windowSeconds": scene.traffic.seconds, "flows": scene.flows(&places, &seen), "plaintext": plaintext,
        "policies": policies(scene.published), "certificates": certificates(scene.told), "authority": authority(scene.authority),
    })
}

impl Scene<'_> {
    fn flows(&self, places: &Places<'_>, seen: &BTreeMap<(Node, Node), Sum>) -> Vec<Value> {
        let mut workloads: BTreeMap<Node, &Arc<Workload>> = BTreeMap::new();
        for workload in self.published.translation.workloads.values() {
            workloads.entry(places.workload(workload)).or_insert(workload);
        }
        let hosts: BTreeMap<Node, &str> = self.published.translation.services.keys().map(|host| (places.service(host), host.as_str())).collect();
        let guarded: BTreeSet<&Node> = hosts.iter().filter(|(_, host)| self.is_guarded(places, host)).map(|(node, _)| node).collect();
        let possible =
            guarded.iter().flat_map(|to| workloads.keys().filter(move |from| **from != **to).map(move |from| (from.clone(), Node::clone(to))));
        let pairs: Vec<(Node, Node)> = seen.keys().cloned().chain(possible.filter(|pair| !seen.contains_key(pair))).take(MOST_PAIRS).collect();
        pairs
            .iter()
            .map(|pair| {
                let decision = workloads.get(&pair.0).zip(hosts.get(&pair.1)).map(|(from, host)| self.decide(from, host)).unwrap_or_default();
                flow(pair, seen.get(pair), decision)
            })
            .collect()
    }

    /// Whether a policy of authorization is about those who serve a host.
    fn is_guarded(&self, places: &Places<'_>, host: &str) -> bool {
        let policies = &self.published.translation.authorizations;
        let about = |workload: &Workload| {
            policies.values().any(|policy| {
                (policy.namespace == workload.namespace || policy.namespace == taut_model::policy::ROOT_NAMESPACE)
                    && workload.has_labels(&policy.selector)
            })
        };
        places.serving(host).iter().any(|workload| about(workload))
    }

    fn decide(&self, from: &Workload, host: &str) -> Decision {
        let key = (from.uid.clone(), host.to_owned());
        {
            let mut known = self.decisions.0.lock();
            if known.0 != self.published.version {
                *known = (self.published.version, BTreeMap::new());
            }
            if let Some(decision) = known.1.get(&key) {
                return decision.clone();
            }
        }
        let decision = decide(self.published, self.authority.trust_domain(), &key).unwrap_or_default();
        let mut known = self.decisions.0.lock();
        if known.0 == self.published.version {
            known.1.insert(key, decision.clone());
        }
        decision
    }
}

fn decide(published: &Published, trust_domain: &str, (from, to): &(String, String)) -> Option<Decision> {
    let question = Question { from: from.clone(), to: to.clone(), method: None, path: None, headers: BTreeMap::new() };
    let inquiry = Inquiry::new(published, trust_domain, &question).ok()?;
    let Verdict::Go(go) = inquiry.plan.decide(&inquiry.facts(), &Rolls { delay: u64::MAX, abort: u64::MAX, mirror: u64::MAX, ..Rolls::default() })
    else {
        return None;
    };
    let Action::Forward(forward) = go.action else { return None };
    let is_policy = |origin: &Origin| matches!(origin.object.kind.as_str(), "AuthorizationPolicy" | "PeerAuthentication");
    match inquiry.arrival(&forward)?.verdict {
        Verdict::Go(go) => Some(Decision { allowed_by: Some((*go.rule.origin).clone()).filter(is_policy), denied_by: None }),
        Verdict::Refuse(refusal) if matches!(refusal.reason, Reason::AuthorizationDenied | Reason::MutualTlsRequired) => {
            Some(Decision { allowed_by: None, denied_by: Some(refusal.origin.unwrap_or_else(|| Origin::built_in("authorization"))) })
        }
        Verdict::Refuse(_) | Verdict::Ask(_) => None,
    }
}

/// What was seen corrects what `GET /` would meet: a policy may let other requests through.
fn flow((from, to): &(Node, Node), sum: Option<&Sum>, decision: Decision) -> Value {
    let refused = |sum: &Sum| -> u64 {
        let failures = sum.signals.failures();
        ["authorization_denied", "mutual_tls_required"].iter().filter_map(|reason| failures.get(reason)).sum()
    };
    let requests = |sum: &Sum| sum.signals.requests.max(sum.signals.opened + sum.signals.errors());
    let observed = sum.map(|sum| json!({"requests": requests(sum), "refused": refused(sum)}));
    let some_got_through = sum.is_some_and(|sum| requests(sum) > refused(sum));
    let Decision { allowed_by, denied_by } = decision;
    let conditional = some_got_through && denied_by.is_some();
    let (allowed_by, denied_by) = if conditional { (denied_by, None) } else { (allowed_by, denied_by) };
    json!({
        "from": from.id(), "to": to.id(), "security": sum.map_or("unknown", Sum::security), "allowedBy": allowed_by, "deniedBy": denied_by,
        "conditional": conditional, "observed": observed,
    })
}

fn policies(published: &Published) -> Vec<Value> {
    let mesh = &published.translation;
    let row = |origin: &Origin, summary: String| json!({"origin": origin, "kind": origin.object.kind, "summary": summary});
    let authentications = mesh.authentications.values().map(|policy| row(&policy.origin, words::authentication(policy)));
    let authorizations = mesh.authorizations.values().map(|policy| row(&policy.origin, words::authorization(policy)));
    let tokens = mesh.tokens.values().map(|policy| row(&policy.origin, words::tokens(policy)));
    authentications.chain(authorizations).chain(tokens).collect()
}

fn certificates(told: &[(String, Value)]) -> Vec<Value> {
    let row = |(workload, config): &(String, Value)| {
        let certificate = config["certificate"].as_object()?;
        Some(
            json!({"workload": workload, "identity": certificate.get("identity"), "notAfter": certificate.get("notAfter"), "serial": certificate.get("serial")}),
        )
    };
    told.iter().filter_map(row).collect()
}

fn authority(authority: &Authority) -> Value {
    let standing = authority.standing();
    if standing.foreign.is_some() {
        let detail = "another authority signs for the mesh (`taut trust`)";
        return json!({"trustDomain": authority.trust_domain(), "rootNotAfter": authority.root_not_after().map(|end| end.to_string()),
            "intermediateNotAfter": null, "rotation": {"state": "steady", "detail": detail}});
    }
    let (state, detail) = match &standing.rotation {
        Some(rotation) => ("rotating", format!("{} (since {})", rotation.stage.words(), rotation.since)),
        None => ("steady", "one root; its intermediate is renewed 60 days before its end".to_owned()),
    };
    json!({
        "trustDomain": authority.trust_domain(), "rootNotAfter": authority.root_not_after().map(|end| end.to_string()),
        "intermediateNotAfter": standing.signing.not_after.to_string(), "rotation": {"state": state, "detail": detail},
    })
}
