//! How proxies introduce their workloads to each other, for records: the headers `x-taut-source` and `x-taut-destination`
//! with `<namespace>/<workload>;<app>;<version>`. They name, they never authorize.

use crate::options::OwnWorkload;
use http::{HeaderName, HeaderValue};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::workload::Workload;
use taut_observe::names::{OTHER, UNKNOWN};
use taut_observe::record::Party;

pub static SOURCE: HeaderName = HeaderName::from_static("x-taut-source");
pub static DESTINATION: HeaderName = HeaderName::from_static("x-taut-destination");
pub static REASON: HeaderName = HeaderName::from_static("x-taut-reason");
pub static CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

const LONGEST: usize = 512;
/// How many names of one identity each worker believes: its instances, and those of the last rollouts.
const MOST_NAMES: usize = 64;
const MOST_IDENTITIES: usize = 4096;
/// A name that was not heard for this long makes room for another.
const NAME_AGE: Duration = Duration::from_secs(600);

/// `None` when a name cannot stand in a header, which the control plane would not have accepted either.
pub fn introduction(own: &OwnWorkload) -> Option<HeaderValue> {
    let party = own_party(own, None);
    HeaderValue::from_str(&format!("{}/{};{};{}", party.namespace, party.workload, party.app, party.version)).ok()
}

pub fn own_party(own: &OwnWorkload, principal: Option<String>) -> Party {
    // As `Workload::app`.
    let app = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"].iter().find_map(|label| own.labels.get(*label));
    Party {
        workload: own.name.clone(),
        namespace: own.namespace.clone(),
        app: app.unwrap_or(&own.name).clone(),
        version: known(own.labels.get("version").map_or("", String::as_str)),
        principal: known(principal.as_deref().unwrap_or_default()),
    }
}

/// An endpoint that is dialled. `proven`: over mutual TLS, so that it is who the plan says.
pub fn endpoint_party(workload: &Workload, proven: bool) -> Party {
    Party {
        workload: workload.name.clone(),
        namespace: workload.namespace.clone(),
        app: workload.app().to_owned(),
        version: known(workload.version()),
        principal: if proven { workload.identity.to_string() } else { known("") },
    }
}

/// A peer: proven by its identity, and as it introduced itself when that agrees with its namespace.
pub fn peer_party(identity: Option<&Identity>, introduced: Option<&HeaderValue>) -> Party {
    let Some(identity) = identity else { return Party::unknown() };
    let proven = Party { namespace: identity.namespace.clone(), principal: identity.to_string(), ..Party::unknown() };
    let introduced = introduced.and_then(|value| value.to_str().ok()).and_then(parse);
    match introduced {
        Some(named) if named.namespace == identity.namespace => Party { principal: proven.principal, ..named },
        _ => proven,
    }
}

/// Under how many names each identity has introduced itself. Each name makes metric series, so they are bounded.
#[derive(Debug, Default)]
pub struct Introductions {
    hasher: RandomState,
    /// By principal: the hash of a name, and when it was last heard.
    heard: HashMap<String, HashMap<u64, Duration>>,
}

impl Introductions {
    /// The peer as it says it is, or with the name `other` when its identity has used too many names lately.
    pub fn believe(&mut self, peer: Party, now: Duration) -> Party {
        if peer.workload == UNKNOWN {
            return peer;
        }
        let name = self.hasher.hash_one((&peer.workload, &peer.app, &peer.version));
        if let Some(last) = self.heard.get_mut(&peer.principal).and_then(|names| names.get_mut(&name)) {
            *last = now;
            return peer;
        }
        let recent = |_: &u64, last: &mut Duration| now < *last + NAME_AGE;
        if self.heard.len() >= MOST_IDENTITIES {
            self.heard.retain(|_, names| {
                names.retain(recent);
                !names.is_empty()
            });
        }
        let full = self.heard.len() >= MOST_IDENTITIES && !self.heard.contains_key(&peer.principal);
        if full {
            return nameless(peer);
        }
        let names = self.heard.entry(peer.principal.clone()).or_default();
        if names.len() >= MOST_NAMES {
            names.retain(recent);
        }
        if names.len() >= MOST_NAMES {
            return nameless(peer);
        }
        names.insert(name, now);
        peer
    }
}

fn nameless(peer: Party) -> Party {
    let other = || OTHER.to_owned();
    Party { workload: other(), app: other(), version: other(), ..peer }
}

/// Reads an introduction. What is empty is unknown.
pub fn parse(introduction: &str) -> Option<Party> {
    if introduction.len() > LONGEST {
        return None;
    }
    let (namespace, rest) = introduction.split_once('/')?;
    let mut rest = rest.split(';');
    let (workload, app, version) = (rest.next()?, rest.next()?, rest.next()?);
    Some(Party { workload: known(workload), namespace: known(namespace), app: known(app), version: known(version), principal: known("") })
}

fn known(name: &str) -> String {
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_believed_only_so_many_names_at_a_time() {
        let mut introductions = Introductions::default();
        let peer = |account: &str, name: usize| {
            let identity = Identity::new("mesh.local", "default", account);
            peer_party(Some(&identity), HeaderValue::from_str(&format!("default/web-{name};web;v1")).ok().as_ref())
        };
        let mut names = std::collections::BTreeSet::new();
        for name in 0..1000 {
            names.insert(introductions.believe(peer("web", name), Duration::from_secs(1)).workload);
        }
        assert_eq!(names.len(), MOST_NAMES + 1);
        let other = introductions.believe(peer("web", 999), Duration::from_secs(2));
        assert_eq!((other.workload.as_str(), other.app.as_str(), other.namespace.as_str()), ("other", "other", "default"));
        assert_eq!(other.principal, "spiffe://mesh.local/ns/default/sa/web");
        // Names that were heard before stay believed; other identities are not concerned; unused names make room.
        assert_eq!(introductions.believe(peer("web", 0), Duration::from_secs(500)).workload, "web-0");
        assert_eq!(introductions.believe(peer("api", 999), Duration::from_secs(2)).workload, "web-999");
        assert_eq!(introductions.believe(peer("web", 999), Duration::from_secs(700)).workload, "web-999");
        assert_eq!(introductions.heard["spiffe://mesh.local/ns/default/sa/web"].len(), 2);
    }

    #[test]
    fn a_peer_is_believed_about_its_name_only_within_its_proven_namespace() {
        let identity = Identity::new("mesh.local", "default", "web");
        let said = |text| peer_party(Some(&identity), Some(&HeaderValue::from_static(text)));
        assert_eq!((said("default/web-1;web;v1").workload.as_str(), said("default/web-1;web;v1").version.as_str()), ("web-1", "v1"));
        assert_eq!(said("prod/web-1;web;v1").workload, "unknown");
        assert_eq!(said("default").workload, "unknown");
        assert_eq!(said("prod/web-1;web;v1").principal, "spiffe://mesh.local/ns/default/sa/web");
        assert_eq!(peer_party(None, Some(&HeaderValue::from_static("default/web-1;web;v1"))), Party::unknown());
    }
}
