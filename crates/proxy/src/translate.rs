//! Between steps 4 and 5: a request in a form that its upstream does not speak becomes one that it does.

use crate::engine::Engine;
use crate::facts::Exchange;
use crate::grpc_web::{self, Asked, Decoded, Format};
use crate::incoming::Incoming;
use crate::upgrade::Upgrade;
use crate::websocket;
use http::{Method, Version};
use taut_model::service::AppProtocol;
use taut_observe::record::Protocol;
use taut_plan::verdict::{Action, Go};

/// Does what there is to do, which mostly is nothing.
pub fn request(engine: &Engine, exchange: &mut Exchange, go: &Go) {
    from_grpc_web(exchange, go);
    if exchange.upgrade.as_ref().is_some_and(Upgrade::is_over_http2) {
        match protocol(exchange, go) {
            AppProtocol::Http2 | AppProtocol::Grpc => websocket::to_http2(&mut exchange.head),
            _ => websocket::to_http1(&mut exchange.head, engine.dice().u128(..).to_be_bytes()),
        }
    }
}

/// gRPC-Web for a port that speaks gRPC becomes gRPC, as Envoy's `grpc_web` filter has it. Where something else is declared, the
/// application may speak gRPC-Web itself.
fn from_grpc_web(exchange: &mut Exchange, go: &Go) {
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
