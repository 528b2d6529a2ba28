//! What is said at the desk: hello, readiness, and the answers to what the control plane asks.

use super::Sync;
use crate::status::Readiness;
use serde_json::Value;
use taut_wire::desk::{self, Answer, Ask, Hello, Port, ask, readiness};

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

/// JSON; empty when there is nothing to say.
pub(super) fn answer(sync: &Sync, asked: Ask) -> Answer {
    let json = match asked.what {
        Some(ask::What::Exchange(request_id)) => exchanges(sync, &request_id).map(|found| found.to_string()),
        Some(ask::What::Config(_)) => Some(sync.status.config().to_string()),
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
