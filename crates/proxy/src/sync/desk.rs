//! What is said at the desk: hello, readiness, and the answers to what the control plane asks.

use super::Sync;
use crate::identity::{HeldIdentity, fingerprint};
use crate::ring::{Kept, Record, Tapped};
use crate::status::Readiness;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taut_model::signal::Outcome;
use taut_observe::profile::{self, NoProfile};
use taut_observe::record::{Edge, Party};
use taut_observe::secrets::is_secret;
use taut_observe::text::Id;
use taut_wire::desk::{self, Answer, Ask, Failed, Hello, Holding, Leaf, Port, Profile, Tap, ask, readiness};

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

fn serial(held: &HeldIdentity) -> Vec<u8> {
    let leaf = held.chain.first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
    leaf.map(|leaf| leaf.serial().to_vec()).unwrap_or_default()
}

/// `application`: what the application holds for itself.
pub(super) fn holding(held: &HeldIdentity, application: Option<&HeldIdentity>) -> Holding {
    let signer = |held: &HeldIdentity| held.signer().map(Vec::from).unwrap_or_default();
    Holding {
        serial: serial(held),
        not_before: held.not_before.as_second(),
        not_after: held.not_after.as_second(),
        signer: signer(held),
        roots: held.roots.iter().map(|root| fingerprint(root).to_vec()).collect(),
        application: application.map(|held| Leaf { serial: serial(held), signer: signer(held) }),
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

/// What takes its time to be answered.
pub(super) fn takes_long(asked: &Ask) -> Option<Profile> {
    match asked.what {
        Some(ask::What::Profile(wanted)) => Some(wanted),
        _ => None,
    }
}

/// Where this proxy's CPU time or memory goes. One at a time; the threads that serve go on meanwhile.
pub(super) async fn profile(id: u64, wanted: Profile) -> Answer {
    let told = match wanted.seconds {
        0 => Ok(json!({"heap": profile::memory()})),
        seconds => sampled(seconds).await,
    };
    let json = told.unwrap_or_else(|error| json!({"error": error.to_string()}));
    Answer { id, json: json.to_string() }
}

async fn sampled(seconds: u32) -> Result<Value, NoProfile> {
    let sampling = profile::sample(seconds)?;
    tokio::time::sleep(sampling.length()).await;
    let cpu = tokio::task::spawn_blocking(|| sampling.finish()).await.map_err(|error| NoProfile::Refused(error.to_string()))??;
    Ok(json!({"pprof": STANDARD.encode(&cpu.pprof), "text": cpu.text}))
}

/// JSON; empty when there is nothing to say.
pub(super) fn answer(sync: &Sync, asked: Ask) -> Answer {
    let json = match asked.what {
        Some(ask::What::Exchange(request_id)) => exchanges(sync, &request_id).map(|found| found.to_string()),
        Some(ask::What::Config(_)) => Some(sync.status.config().to_string()),
        Some(ask::What::Tap(wanted)) => Some(tap(sync, &wanted).to_string()),
        Some(ask::What::Failed(wanted)) => Some(failed(sync.sink.since(OLDEST).records.iter().map(|kept| &kept.record), &wanted).to_string()),
        // A newer control plane may ask what this proxy does not know. Profiles are not answered here: they take long.
        Some(ask::What::Profile(_)) | None => None,
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
    let (headers, shown) = match wanted_headers(sync, wanted) {
        Ok(headers) => headers,
        Err(why) => return json!({"next": wanted.after, "leftOut": 0, "missed": 0, "records": [], "refused": why}),
    };
    let Tapped { next, mut records, missed } = sync.sink.since(wanted.after);
    records.retain(|kept| fits(wanted, &kept.record) && headers.iter().all(|(name, value)| has(kept, name, *value)));
    let most = usize::try_from(wanted.most).unwrap_or(MOST_TAPPED).clamp(1, MOST_TAPPED);
    let fitting = records.len();
    let step = fitting.div_ceil(most).max(1);
    let told: Vec<Value> = records.iter().step_by(step).map(|kept| with_headers(kept, &shown)).collect();
    json!({"next": next, "leftOut": fitting - told.len(), "missed": missed, "records": told})
}

/// Headers by which a tap chooses, with their values, and those that it wants to see.
type Headers<'a> = (Vec<(HeaderName, Option<&'a str>)>, Vec<HeaderName>);

/// Has headers kept from now on that a tap asks for; the control plane may be of another mind about which hold secrets.
fn wanted_headers<'a>(sync: &Sync, wanted: &'a Tap) -> Result<Headers<'a>, String> {
    let name = |text: &str| {
        let name = HeaderName::try_from(text).map_err(|_| format!("{text:?} is no name of a header"))?;
        if is_secret(name.as_str()) {
            return Err(format!("{name} may hold a secret"));
        }
        match sync.sink.watched().ask(&name, sync.world.now()) {
            true => Ok(name),
            false => Err(format!("too many headers are asked for by other taps to look at {name} too")),
        }
    };
    let chosen = wanted.headers.iter().map(|header| Ok((name(&header.name)?, header.value.as_deref()))).collect::<Result<_, String>>()?;
    let shown = wanted.show.iter().map(|text| name(text)).collect::<Result<_, String>>()?;
    Ok((chosen, shown))
}

fn has(kept: &Kept, name: &HeaderName, value: Option<&str>) -> bool {
    kept.header(name).any(|own| value.is_none_or(|value| own.as_bytes() == value.as_bytes()))
}

fn with_headers(kept: &Kept, shown: &[HeaderName]) -> Value {
    let mut value = kept.record_json();
    for name in shown {
        let values: Vec<_> = kept.header(name).map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        if !values.is_empty() {
            value["headers"][name.as_str()] = values.join(", ").into();
        }
    }
    value
}

/// The position of all that is remembered.
const OLDEST: u64 = 1;
/// The most failures of one reason, and the most reasons, of one answer.
const MOST_FAILED: usize = 20;
const MOST_REASONS: usize = 64;

/// The newest failures of a service by reason. Those without a request id cannot be asked about further and are left out.
fn failed<'a>(records: impl DoubleEndedIterator<Item = &'a Record>, wanted: &Failed) -> Value {
    let most = usize::try_from(wanted.most).unwrap_or(MOST_FAILED).clamp(1, MOST_FAILED);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut told = Vec::new();
    for record in records.rev() {
        let Record::Exchange(record) = record else { continue };
        if *record.edge.service_host != *wanted.host || record.request_id == Id::None {
            continue;
        }
        let outcome = Outcome {
            status: record.status,
            grpc: record.grpc_status,
            reason: record.failure.as_ref().map(|failure| failure.reason.as_str().into()),
        };
        let Some(reason) = outcome.failure() else { continue };
        if found.len() >= MOST_REASONS && !found.contains_key(reason) {
            continue;
        }
        let count = found.entry(reason.to_owned()).or_default();
        *count += 1;
        if *count > most {
            continue;
        }
        told.push(json!({
            "requestId": record.request_id.to_string(), "at": record.started.0.to_string(), "reason": reason,
            "from": format!("{}/{}", record.edge.source.namespace, record.edge.source.workload),
            "method": record.method, "path": &*record.path, "status": record.status,
            "side": record.failure.as_ref().map(|failure| failure.side.as_str()),
        }));
    }
    json!({"exchanges": told})
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

    fn exchange(host: &str, id: u128, status: u16, reason: Option<&str>) -> Record {
        let none = taut_observe::text::Text::default();
        let failure = |reason: &str| taut_observe::record::Failure {
            side: "mesh".into(),
            reason: reason.into(),
            retry_safe: true,
            detail: String::new(),
            origin: None,
        };
        Record::Exchange(std::sync::Arc::new(taut_observe::record::ExchangeRecord {
            edge: Edge {
                reporter: taut_observe::record::Reporter::Source,
                source: std::sync::Arc::new(Party { workload: "web-v1".into(), namespace: "shop".into(), ..Party::unknown() }),
                destination: Party::nobody(),
                service_host: host.into(),
                service_name: none.clone(),
                service_namespace: none.clone(),
                mutual_tls: true,
                protocol: taut_observe::record::Protocol::Http,
            },
            started: taut_observe::text::Moment(jiff::Timestamp::UNIX_EPOCH),
            request_id: if id == 0 { Id::None } else { Id::Trace(id) },
            trace_id: Id::None,
            method: "GET".into(),
            authority: none.clone(),
            path: "/a \"b\"\n".into(),
            status,
            grpc_status: None,
            failure: reason.map(failure),
            would_deny: None,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 1,
            waited_us: 0,
            upstream_us: 0,
            attempts: Default::default(),
            plan: 1,
            rule: None,
            route: none,
        }))
    }

    #[test]
    fn failures_of_a_service_are_told_by_reason_the_newest_first() {
        let host = "cart.shop.svc.cluster.local";
        let mut records = vec![
            exchange(host, 1, 200, None),
            exchange("other.shop.svc.cluster.local", 2, 503, Some("no_endpoint")),
            exchange(host, 0, 503, Some("no_endpoint")),
        ];
        records.extend((10..20).map(|id| exchange(host, id, 503, Some("no_endpoint"))));
        records.push(exchange(host, 30, 500, None));
        let told = failed(records.iter(), &Failed { host: host.into(), most: 3 });
        let said: Vec<_> = told["exchanges"].as_array().unwrap().iter().map(|one| (one["requestId"].as_str().unwrap(), &one["reason"])).collect();
        let id = |number: u128| format!("{number:032x}");
        let unavailable = json!("no_endpoint");
        assert_eq!(said, [(id(30).as_str(), &json!("http_5xx")), (&id(19), &unavailable), (&id(18), &unavailable), (&id(17), &unavailable)]);
        assert_eq!((&told["exchanges"][1]["from"], &told["exchanges"][1]["path"]), (&json!("shop/web-v1"), &json!("/a \"b\"\n")));
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
