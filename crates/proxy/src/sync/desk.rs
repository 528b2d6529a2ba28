//! What is said at the desk: hello, readiness, and the answers to what the control plane asks.

use super::Sync;
use crate::identity::{HeldIdentity, fingerprint};
use crate::ring::{Record, Tapped};
use crate::status::Readiness;
use serde_json::{Value, json};
use taut_observe::record::{Edge, Party};
use taut_wire::desk::{self, Answer, Ask, Hello, Holding, Port, Tap, ask, readiness};

pub(super) fn hello(sync: &Sync, now: &Readiness) -> Hello {
    let own = sync.current.workload();
    let port = |port: &crate::options::OwnPort| Port {
        port: port.port.into(),
        target: port.target.into(),
        name: port.name.clone(),
        app_protocol: port.app_protocol.clone(),
    };
    Hello {
        namespace: own.namespace.clone(),
        name: own.name.clone(),
        service_account: own.service_account.clone(),
        labels: own.labels.clone().into_iter().collect(),
        address: own.address.to_string(),
        ports: own.ports.iter().map(port).collect(),
        peer: sync.peer.clone(),
        proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
        service: sync.options.service.clone(),
        readiness: Some(self::readiness(now)),
        locality: own.locality.clone(),
        admin: sync.admin.clone(),
    }
}

pub(super) fn holding(held: &HeldIdentity) -> Holding {
    let leaf = held.chain.first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
    Holding {
        serial: leaf.map(|leaf| leaf.serial().to_vec()).unwrap_or_default(),
        not_before: held.not_before.as_second(),
        not_after: held.not_after.as_second(),
        signer: held.signer().map(Vec::from).unwrap_or_default(),
        roots: held.roots.iter().map(|root| fingerprint(root).to_vec()).collect(),
    }
}

pub(super) fn readiness(now: &Readiness) -> desk::Readiness {
    let (state, why) = match now {
        Readiness::NotReady(why) => (readiness::State::NotReady, why.as_str()),
        Readiness::Ready => (readiness::State::Ready, ""),
        Readiness::Draining => (readiness::State::Draining, ""),
        Readiness::Gone => (readiness::State::Gone, ""),
    };
    desk::Readiness { state: state.into(), why: why.to_owned() }
}

/// JSON; empty when there is nothing to say.
pub(super) fn answer(sync: &Sync, asked: Ask) -> Answer {
    let json = match asked.what {
        Some(ask::What::Exchange(request_id)) => exchanges(sync, &request_id).map(|found| found.to_string()),
        Some(ask::What::Config(_)) => Some(sync.status.config().to_string()),
        Some(ask::What::Tap(wanted)) => Some(tap(sync, &wanted).to_string()),
        // A newer control plane may ask what this proxy does not know.
        None => None,
    };
    Answer { id: asked.id, json: json.unwrap_or_default() }
}

/// Every exchange with this request id that passed here, newest first: a request that came in and went on has two.
fn exchanges(sync: &Sync, request_id: &str) -> Option<Value> {
    let found: Vec<Value> = sync.sink.find(request_id).iter().map(|kept| kept.to_json()).collect();
    (!found.is_empty()).then_some(Value::Array(found))
}

/// The most records of one answer, whatever is asked for: what is told must not hurt who tells it.
const MOST_TAPPED: usize = 200;

/// What came since the last time and fits, evenly thinned. The ring keeps it anyway: tapping costs the path of an exchange nothing.
fn tap(sync: &Sync, wanted: &Tap) -> Value {
    let Tapped { next, mut records, missed } = sync.sink.since(wanted.after);
    records.retain(|record| fits(wanted, record));
    let most = usize::try_from(wanted.most).unwrap_or(MOST_TAPPED).clamp(1, MOST_TAPPED);
    let fitting = records.len();
    let step = fitting.div_ceil(most).max(1);
    let told: Vec<Value> = records.iter().step_by(step).map(Record::to_json).collect();
    json!({"next": next, "leftOut": fitting - told.len(), "missed": missed, "records": told})
}

fn fits(wanted: &Tap, record: &Record) -> bool {
    let (edge, http) = match record {
        Record::Exchange(record) => (&record.edge, Some(record)),
        Record::Connection(record) => (&record.edge, None),
    };
    let of_http = wanted.method.is_empty() && wanted.path.is_empty() && wanted.status.is_empty();
    let http_fits = http.map_or(of_http, |record| {
        (wanted.method.is_empty() || record.method.eq_ignore_ascii_case(&wanted.method))
            && record.path.starts_with(&wanted.path)
            && is_status(&wanted.status, record.status)
    });
    http_fits && is_party(&wanted.source, &edge.source) && (is_party(&wanted.destination, &edge.destination) || is_service(&wanted.destination, edge))
}

/// `503`, or `5xx`.
fn is_status(wanted: &str, status: u16) -> bool {
    let digit = |(wanted, digit): (u8, u8)| wanted == digit || wanted.eq_ignore_ascii_case(&b'x');
    wanted.is_empty() || (wanted.len() == 3 && wanted.bytes().zip(format!("{status:03}").bytes()).all(digit))
}

fn is_party(wanted: &str, party: &Party) -> bool {
    match wanted.split_once('/') {
        Some((namespace, workload)) => party.namespace == namespace && (workload.is_empty() || party.workload == workload),
        None => wanted.is_empty() || party.workload == wanted || party.app == wanted,
    }
}

fn is_service(wanted: &str, edge: &Edge) -> bool {
    match wanted.split_once('/') {
        Some((namespace, name)) => *edge.service_namespace == *namespace && *edge.service_name == *name,
        None => *edge.service_name == *wanted || *edge.service_host == *wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_asked_for_by_number_or_class() {
        for (wanted, status, fits) in
            [("", 200, true), ("503", 503, true), ("503", 500, false), ("5xx", 503, true), ("5xx", 404, false), ("5", 503, false)]
        {
            assert_eq!(is_status(wanted, status), fits, "{wanted} {status}");
        }
    }

    #[test]
    fn parties_are_asked_for_by_name_or_with_their_namespace() {
        let party = Party { workload: "web-v1".into(), namespace: "shop".into(), app: "web".into(), ..Party::unknown() };
        for (wanted, fits) in
            [("", true), ("web-v1", true), ("web", true), ("shop/web-v1", true), ("shop/", true), ("other/web-v1", false), ("cart", false)]
        {
            assert_eq!(is_party(wanted, &party), fits, "{wanted}");
        }
    }
}
