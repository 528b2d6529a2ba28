//! One exchange, steps 3 to 7: gather the facts, decide, transform, forward, respond.

use crate::authorizer;
use crate::compress;
use crate::engine::Engine;
use crate::facts::{self, Arrival, Exchange};
use crate::fault::{Fault, Kind};
use crate::forward::{self, Answer, switches_protocol};
use crate::incoming::Incoming;
use crate::learn::{learn, not_learned};
use crate::limiter;
use crate::mirror;
use crate::respond::{self, ResponseBody};
use crate::trace;
use crate::transform;
use crate::translate;
use crate::tunnel;
use crate::upgrade::Upgrade;
use futures_util::FutureExt;
use http::header::ACCEPT;
use http::request::Parts;
use http::{Method, Response};
use std::rc::Rc;
use taut_plan::verdict::{Go, Question, Verdict};

/// Serves one request. `upgrade` is the client's connection, should it become another protocol's.
pub async fn serve(engine: &Rc<Engine>, arrival: &Rc<Arrival>, head: Parts, body: Incoming, upgrade: Option<Upgrade>) -> Response<ResponseBody> {
    let mut exchange = facts::gather(engine, arrival, head, body, upgrade);
    let outcome = carry(engine, &mut exchange).await;
    respond::finish(engine, exchange, outcome)
}

async fn carry(engine: &Rc<Engine>, exchange: &mut Exchange) -> Result<Answer, Fault> {
    let mut go = decide(engine, exchange).await?;
    exchange.cors = go.cors.take();
    if let Some(percent) = go.rule.sampling {
        sample_as_the_route_says(exchange, percent);
    }
    limiter::admit(engine, &go)?;
    limiter::bound(exchange, &go)?;
    if let Some(delay) = go.delay {
        tokio::time::sleep(delay).await;
    }
    translate::request(engine, exchange, &go);
    transform::request(engine, exchange, &go)?;
    let answer = match awaits_stream(exchange) {
        true => unless_revoked(engine, exchange, &go).boxed_local().await,
        false => forward::attempts(engine, exchange, &go).await,
    };
    mirror::send(engine, exchange, &go);
    let mut answer = answer.map_err(|fault| limiter::blame(exchange, &go, fault))?;
    limiter::measure(&answer.response, &go)?;
    let switching = switches_protocol(&answer.response);
    let from_mesh = answer.from_mesh;
    transform::response(engine, exchange, &go, answer.response.headers_mut(), switching, from_mesh);
    answer.response.headers_mut().extend(std::mem::take(&mut exchange.added));
    if let Some(compression) = exchange.plan.compression().filter(|_| exchange.inbound() && !switching) {
        answer.response = compress::response(engine, &exchange.head, answer.response, compression);
    }
    Ok(answer)
}

/// Whether it may stand for as long as the client likes, before its response has begun too: a call of gRPC, or a page that waits for events.
fn awaits_stream(exchange: &Exchange) -> bool {
    let wants_events = || exchange.head.headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    exchange.inbound() && (exchange.grpc || wants_events())
}

/// What a policy takes away while nothing was answered yet ends at once. (From the response's head on, its body sees to that.)
async fn unless_revoked(engine: &Rc<Engine>, exchange: &mut Exchange, go: &Go) -> Result<Answer, Fault> {
    let mut facts = exchange.open.evidence.as_ref().map(|evidence| evidence.facts.clone());
    if let Some(http) = facts.as_mut().and_then(|facts| facts.http.as_mut()) {
        // A later plan may ask about any.
        http.headers = exchange.head.headers.clone();
    }
    let revoked = async {
        match &facts {
            Some(facts) => tunnel::revoked(engine, facts).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        answer = forward::attempts(engine, exchange, go) => answer,
        fault = revoked => Err(fault),
    }
}

fn sample_as_the_route_says(exchange: &mut Exchange, percent: f64) {
    let tracing = exchange.plan.telemetry().of(exchange.arrival.direction).tracing.as_deref();
    trace::resample(&mut exchange.head.headers, &mut exchange.open.trail, tracing, percent);
}

/// Asks the plan, and the mesh as long as the plan does not know enough: at most twice.
async fn decide(engine: &Rc<Engine>, exchange: &mut Exchange) -> Result<Box<Go>, Fault> {
    acceptable(exchange)?;
    if exchange.inbound() && !exchange.plan.issuers().is_empty() {
        read_token(engine, exchange);
    }
    for _ in 0..=2 {
        let verdict = match exchange.plan.decide(&exchange.facts(), &exchange.rolls) {
            Verdict::Ask(Question::Permission(permission)) => {
                authorizer::ask(engine, exchange, &permission).boxed_local().await?;
                exchange.permitted_by = Some(permission.name.clone());
                // Policies see what the authorizer has made of the request.
                exchange.pin(exchange.plan.clone());
                continue;
            }
            Verdict::Ask(Question::Services(hosts)) => learn(engine, &exchange.plan, &exchange.facts(), &hosts).boxed_local().await?.map(Verdict::Go),
            verdict => Some(verdict),
        };
        if let Some(verdict) = verdict {
            if !exchange.inbound() {
                engine.note_use(exchange.facts().host, verdict.service_host());
            }
            let mut edge = exchange.open.record.edge.clone();
            facts::name_asked(engine, &mut edge, &exchange.plan, &exchange.facts(), &verdict);
            exchange.open.record().edge = edge;
            match verdict {
                Verdict::Go(go) => {
                    let record = exchange.open.record();
                    record.rule = Some(go.rule.origin.clone());
                    record.route.clone_from(&go.rule.name);
                    record.would_deny.clone_from(&go.would_deny);
                    return Ok(go);
                }
                Verdict::Refuse(refusal) => {
                    exchange.cors = exchange.plan.cors_of_refusal(&exchange.facts());
                    return Err(Fault::refused(refusal));
                }
                Verdict::Ask(_) => {}
            }
        }
        exchange.pin(engine.pin());
    }
    Err(not_learned(exchange.facts().host))
}

/// Who vouches for the request. Policies see what the application will see of it.
fn read_token(engine: &Engine, exchange: &mut Exchange) {
    let plan = exchange.plan.clone();
    let now = engine.world.wall().as_duration().as_secs_f64();
    let service = plan.service_served(&exchange.facts()).map(str::to_owned);
    exchange.token = engine.tokens.read(&plan, service.as_deref(), &mut exchange.head, now);
    exchange.pin(plan);
}

/// What no plan needs to be asked about.
fn acceptable(exchange: &Exchange) -> Result<(), Fault> {
    if exchange.head.method == Method::CONNECT {
        return Err(Fault::new(Kind::MethodNotAllowed, "CONNECT is taken from the application beside this proxy only"));
    }
    if !exchange.inbound() && exchange.facts().host.is_empty() {
        let why = "the request names no valid destination: send a Host header (or an absolute target, or :authority)";
        return Err(Fault::new(Kind::BadRequest, why));
    }
    Ok(())
}
