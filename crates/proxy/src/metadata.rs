//! How proxies introduce their workloads to each other, for records: the headers `x-taut-source` and `x-taut-destination`
//! with `<namespace>/<workload>;<app>;<version>`. They name, they never authorize.

use crate::options::OwnWorkload;
use http::{HeaderName, HeaderValue};
use taut_model::identity::Identity;
use taut_model::workload::Workload;
use taut_observe::record::Party;

pub static SOURCE: HeaderName = HeaderName::from_static("x-taut-source");
pub static DESTINATION: HeaderName = HeaderName::from_static("x-taut-destination");
pub static REASON: HeaderName = HeaderName::from_static("x-taut-reason");
pub static CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

const LONGEST: usize = 512;

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
