//! Sends one attempt, and a second copy of it to another endpoint where the mesh allows that, the request is safe to send twice, and
//! the first takes longer than nearly all others. The first answer wins; the other copy is dropped.

use crate::call::mark_again;
use crate::dial::Target;
use crate::engine::{Engine, InFlight};
use crate::facts::Exchange;
use crate::fault::Fault;
use crate::incoming::Incoming;
use crate::record::attempt;
use futures_util::FutureExt;
use http::{Method, Response};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::Balancer;
use taut_observe::text::Came;
use taut_plan::cluster::{Cluster, Transport};
use tokio::time::Instant;

pub type Sent = Result<Response<Incoming>, Fault>;

/// Whether a request like this may be sent twice.
fn allowed(exchange: &Exchange, cluster: &Cluster) -> bool {
    let safe = matches!(exchange.head.method, Method::GET | Method::HEAD) && exchange.body.is_none() && exchange.upgrade.is_none();
    // Where a key says which endpoint, another one is the wrong one.
    let any = !matches!(cluster.balancer, Balancer::RingHash { .. } | Balancer::Maglev { .. });
    safe && any && cluster.endpoints.len() > 1
}

/// Sends to the endpoint that was picked. If a copy wins, `in_flight` is the copy's afterwards. `most`: percent of copies that are allowed.
pub async fn send(
    engine: &Rc<Engine>,
    exchange: &mut Exchange,
    cluster: &Arc<Cluster>,
    in_flight: &mut InFlight,
    target: &Target,
    most: Option<f64>,
) -> Sent {
    let Some(percent) = most.filter(|_| allowed(exchange, cluster)) else {
        return engine.pool.send(target, engine.current.identity(), &exchange.head, &exchange.body, Some(cluster)).await;
    };
    let started = Instant::now();
    let delay = engine.live().hedge(cluster).delay();
    let sent = match delay {
        // Rare, and large.
        Some(delay) => race(engine, exchange, cluster, in_flight, target, delay).boxed_local().await,
        None => engine.pool.send(target, engine.current.identity(), &exchange.head, &exchange.body, Some(cluster)).await,
    };
    if sent.is_ok() {
        engine.live().hedge(cluster).answered(started.elapsed(), percent);
    }
    sent
}

async fn race(
    engine: &Rc<Engine>,
    exchange: &mut Exchange,
    cluster: &Arc<Cluster>,
    in_flight: &mut InFlight,
    target: &Target,
    delay: Duration,
) -> Sent {
    let (started, head) = (Instant::now(), exchange.head.clone());
    let body = exchange.body.clone();
    let mut first = pin!(engine.pool.send(target, engine.current.identity(), &head, &body, Some(cluster)));
    tokio::select! {
        biased;
        sent = &mut first => return sent,
        () = tokio::time::sleep(delay) => {}
    }
    let Some(mut copy) = other(engine, cluster, in_flight) else { return first.await };
    engine.sink.hedged();
    let to = Target::of(&copy.picked.endpoint, cluster, target.spoken, exchange.arrival.ends);
    let mut copied = head.clone();
    // Where not all can be served, copies go after first tries.
    mark_again(&mut copied.headers);
    let mut second = pin!(engine.pool.send(&to, engine.current.identity(), &copied, &body, Some(cluster)));
    let (sent, won) = tokio::select! {
        biased;
        sent = &mut first => if sent.is_ok() { (sent, false) } else { (second.await, true) },
        sent = &mut second => if sent.is_ok() { (sent, true) } else { (first.await, false) },
    };
    let loser = match won {
        true => {
            std::mem::swap(in_flight, &mut copy);
            target
        }
        false => &to,
    };
    let took = if won { started.elapsed() } else { started.elapsed().saturating_sub(delay) };
    let lost = attempt(copy.picked.uid.clone(), engine.names().address(&loser.address), Came::Failed("hedged".into()), took);
    exchange.open.record().attempts.push(lost);
    sent
}

/// Another endpoint of the mesh, if the budget has a copy left.
fn other(engine: &Rc<Engine>, cluster: &Arc<Cluster>, first: &InFlight) -> Option<InFlight> {
    let copy = InFlight::pick(engine, cluster, None, std::slice::from_ref(&first.picked.uid)).ok()?;
    let meshed = |one: &InFlight| matches!(one.picked.endpoint.transport, Transport::Mesh { .. });
    let fits = copy.picked.uid != first.picked.uid && meshed(&copy) && meshed(first);
    (fits && engine.live().hedge(cluster).spend()).then_some(copy)
}
