//! Which of a workload's ports calls may have come to. The signals tell services apart, and protocols, but not ports: where that leaves
//! several, it is all of these.

use crate::publish::Published;
use std::collections::BTreeSet;
use std::sync::Arc;
use taut_model::service::AppProtocol;
use taut_model::signal::Protocol;
use taut_model::workload::Workload;

/// The workloads' own ports for a host that could have carried a protocol.
pub fn ports(published: &Published, workloads: &[&Arc<Workload>], host: &str, protocol: Protocol) -> BTreeSet<u16> {
    let serves = || workloads.iter().flat_map(|workload| &workload.serves).filter(|serves| serves.host == host);
    let declared = |port: u16| published.translation.services.get(host).and_then(|service| service.port(port)).map(|port| port.protocol);
    let fitting = serves().filter(|serves| declared(serves.port).is_none_or(|declared| could_carry(declared, protocol)));
    let fitting: BTreeSet<u16> = fitting.map(|serves| serves.target).collect();
    // A tunnel may come by any.
    if fitting.is_empty() { serves().map(|serves| serves.target).collect() } else { fitting }
}

fn could_carry(declared: AppProtocol, seen: Protocol) -> bool {
    match (declared, seen) {
        (AppProtocol::Unknown, _) => true,
        (AppProtocol::Tcp | AppProtocol::Tls, seen) => seen == Protocol::Tcp,
        (AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc, seen) => seen != Protocol::Tcp,
    }
}
