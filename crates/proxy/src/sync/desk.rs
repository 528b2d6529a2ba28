//! What is said at the desk: hello, readiness, and the answers to what the control plane asks.

use super::Sync;
use crate::ring::{Kept, Record, Tapped};
use crate::status::Readiness;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use serde_json::{Value, json};
use taut_observe::profile::{self, NoProfile};
use taut_observe::record::{Edge, Party};
use taut_observe::secrets::is_secret;
use taut_wire::desk::{self, Answer, Ask, Hello, Port, Profile, Tap, ask, readiness};

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
