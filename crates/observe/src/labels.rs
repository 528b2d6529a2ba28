//! Labels of an edge, as Istio names them: what every metric of requests and connections says, wherever it is read from.

use crate::names::label::*;
use crate::names::{LATEST, PASSTHROUGH, UNKNOWN};
use crate::record::{Edge, Party, Protocol, Reporter};

/// Host, name and namespace as labels say them. Names that are no service's are chosen by clients, so they make no series.
pub(crate) fn service(edge: &Edge) -> [&str; 3] {
    match (known(&edge.service_namespace), &*edge.service_name) {
        (UNKNOWN, PASSTHROUGH) => [UNKNOWN, PASSTHROUGH, UNKNOWN],
        (UNKNOWN, _) => [UNKNOWN; 3],
        (namespace, name) => [&edge.service_host, name, namespace],
    }
}

/// Calls `visit` with each name and value, in the order in which they are written. `code`: status and gRPC status of an exchange; `None`
/// for a connection.
pub fn of_edge(edge: &Edge, code: Option<(u16, Option<u16>)>, flags: &str, visit: &mut dyn FnMut(&'static str, &str)) {
    visit(REPORTER, reporter_name(edge.reporter));
    party(visit, &SOURCE, &edge.source);
    party(visit, &DESTINATION, &edge.destination);
    for (name, value) in [DESTINATION_SERVICE, DESTINATION_SERVICE_NAME, DESTINATION_SERVICE_NAMESPACE].into_iter().zip(service(edge)) {
        visit(name, known(value));
    }
    visit(REQUEST_PROTOCOL, protocol_name(edge.protocol));
    if let Some((status, grpc)) = code {
        visit(RESPONSE_CODE, &status.to_string());
        visit(GRPC_RESPONSE_STATUS, &grpc.map(|code| code.to_string()).unwrap_or_default());
    }
    visit(RESPONSE_FLAGS, flags);
    visit(CONNECTION_SECURITY_POLICY, security(edge));
}

pub(crate) const SOURCE: [&str; 7] =
    [SOURCE_WORKLOAD, SOURCE_WORKLOAD_NAMESPACE, SOURCE_PRINCIPAL, SOURCE_APP, SOURCE_VERSION, SOURCE_CANONICAL_SERVICE, SOURCE_CANONICAL_REVISION];
pub(crate) const DESTINATION: [&str; 7] = [
    DESTINATION_WORKLOAD,
    DESTINATION_WORKLOAD_NAMESPACE,
    DESTINATION_PRINCIPAL,
    DESTINATION_APP,
    DESTINATION_VERSION,
    DESTINATION_CANONICAL_SERVICE,
    DESTINATION_CANONICAL_REVISION,
];

fn party(visit: &mut dyn FnMut(&'static str, &str), names: &[&'static str; 7], party: &Party) {
    let revision = if known(&party.version) == UNKNOWN { LATEST } else { &party.version };
    let values = [&party.workload, &party.namespace, &party.principal, &party.app, &party.version, &party.app, revision];
    for (name, value) in names.iter().zip(values) {
        visit(name, known(value));
    }
}

pub(crate) fn known(value: &str) -> &str {
    if value.is_empty() { UNKNOWN } else { value }
}

pub(crate) fn reporter_name(reporter: Reporter) -> &'static str {
    match reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    }
}

pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    }
}

/// Istio's `connection_security_policy`: told by the destination only.
fn security(edge: &Edge) -> &'static str {
    match (edge.reporter, edge.mutual_tls) {
        (Reporter::Source, _) => UNKNOWN,
        (Reporter::Destination, true) => "mutual_tls",
        (Reporter::Destination, false) => "none",
    }
}
