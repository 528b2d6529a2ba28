//! Between steps 4 and 5: a request in a form that its upstream does not speak becomes one that it does.

use crate::facts::Exchange;
use crate::grpc_web::{self, Asked, Decoded, Format};
use crate::incoming::Incoming;
use http::{Method, Version};
use taut_model::service::AppProtocol;
use taut_observe::record::Protocol;
use taut_plan::verdict::{Action, Go};

/// gRPC-Web for a port that speaks gRPC becomes gRPC, as Envoy's `grpc_web` filter has it. Where something else is declared, the
/// application may speak gRPC-Web itself.
pub fn request(exchange: &mut Exchange, go: &Go) {
    if exchange.head.method != Method::POST {
        return;
    }
    let Some(Asked { sent, wanted }) = grpc_web::asked(&exchange.head.headers) else { return };
    if protocol(exchange, go) != AppProtocol::Grpc {
        return;
    }
    grpc_web::request_head(&mut exchange.head.headers);
    exchange.head.version = Version::HTTP_2;
    if sent == Format::Text {
        exchange.body.translate(|body| Incoming::WebText(Box::new(Decoded::new(body))));
    }
    (exchange.grpc, exchange.web) = (true, Some(wanted));
    exchange.open.record().edge.protocol = Protocol::Grpc;
}

/// What the upstream speaks.
fn protocol(exchange: &Exchange, go: &Go) -> AppProtocol {
    let facts = exchange.facts();
    match &go.action {
        Action::Forward(forward) => forward.cluster.protocol,
        Action::Local { .. } => exchange.plan.inbound_protocol(facts.host, facts.port),
        // Answers of the mesh itself are told to clients of gRPC in its own terms.
        Action::Redirect { .. } | Action::Respond { .. } | Action::Abort { .. } => {
            exchange.plan.protocol(facts.host, facts.port).unwrap_or(AppProtocol::Unknown)
        }
        Action::Passthrough { .. } => AppProtocol::Unknown,
    }
}
