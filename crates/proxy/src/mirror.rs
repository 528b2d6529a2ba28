//! Copies of requests to other clusters (mirroring): sent without waiting, their responses dropped.

use crate::body::Source;
use crate::dial::Target;
use crate::engine::{Admitted, Engine, InFlight};
use crate::facts::{Exchange, split_authority};
use crate::forward::spoken_to;
use crate::proxy_protocol::Ends;
use http::request::Parts;
use http::{HeaderValue, Version, header};
use http_body_util::BodyExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_plan::Cluster;
use taut_plan::Outcome;
use taut_plan::verdict::{Action, Go};
use tokio::time::Instant;

/// Copies under way in one worker: a mirror that does not answer costs no more than this.
const MOST: usize = 256;
/// Longest that a copy may take, so that a dead mirror holds nothing for ever.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends the copies that the plan wants. Not mirrored, and counted, is a request whose body did not end before the response or is larger
/// than what is kept for retries, one too many under way, and one beyond the limits of the mirror's cluster.
pub fn send(engine: &Rc<Engine>, exchange: &Exchange, go: &Go) {
    let Action::Forward(forward) = &go.action else { return };
    for cluster in &forward.mirrors {
        let place = Some(engine.copies.clone()).filter(|copies| Rc::strong_count(copies) <= MOST + 1);
        let (Some(place), Some(body), Ok(admitted)) = (place, Source::copy(&exchange.body), Admitted::new(engine, cluster)) else {
            engine.sink.mirror_dropped();
            continue;
        };
        let mut head = exchange.head.clone();
        shadow(&mut head, &exchange.authority);
        let sending = tokio::time::timeout(LIMIT, copy(engine.clone(), cluster.clone(), head, body, exchange.arrival.ends));
        tokio::task::spawn_local(async move {
            // What takes longer than the limit is given up.
            let _ = sending.await;
            drop((admitted, place));
        });
    }
}

/// Marks the copy by its host, as Envoy does: `reviews:9080` becomes `reviews-shadow:9080`.
fn shadow(head: &mut Parts, authority: &str) {
    let (host, _) = split_authority(authority, 0);
    let shadowed = match authority.strip_prefix(host.as_str()) {
        Some(port) if !host.is_empty() => format!("{host}-shadow{port}"),
        _ => format!("{authority}-shadow"),
    };
    if head.version == Version::HTTP_2 {
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.authority = shadowed.parse().ok().or(parts.authority);
        head.uri = http::Uri::from_parts(parts).unwrap_or_default();
    } else if let Ok(host) = HeaderValue::from_str(&shadowed) {
        head.headers.insert(header::HOST, host);
    }
}

async fn copy(engine: Rc<Engine>, cluster: Arc<Cluster>, head: Parts, body: Source, ends: Ends) {
    let Ok(mut in_flight) = InFlight::pick(&engine, &cluster, None, &[]) else { return };
    let endpoint = in_flight.picked.endpoint.clone();
    let target = Target::of(&endpoint, &cluster, spoken_to(&cluster, &endpoint.transport, head.version, false), ends);
    let started = Instant::now();
    // Nobody waits for a copy: what fails here shows at the mirror's own proxy, or in its endpoint's health.
    match engine.pool.send(&target, engine.current.identity(), &head, &body, Some(&cluster)).await {
        Ok(response) => {
            in_flight.ended(Outcome::Status { status: response.status().as_u16(), latency: started.elapsed() });
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
        Err(_) => in_flight.ended(Outcome::ConnectFailed),
    }
}
