//! Bytes in both directions: TCP connections, tunnels and upgraded exchanges. One side may end while the other goes on.

mod copying;
mod moving;

use copying::{Ended, Joined, copy};
pub use moving::adopt;

use crate::capture::first_word;
use crate::capture::late::FirstLine;
use crate::capture::socks5;
use crate::dial::Target;
use crate::engine::{Admitted, Engine, InFlight};
use crate::evidence::{Evidence, OwnedFacts};
use crate::facts::{Arrival, name_asked};
use crate::fault::{Fault, Kind};
use crate::forward::{self, Hold};
use crate::hbone::Asked;
use crate::io::Io;
use crate::learn::{learn, not_learned};
use crate::learned::Destination;
use crate::limiter;
use crate::proxy_protocol::Ends;
use crate::record::{Open, OpenConnection};
use crate::tls::Spoken;
use crate::upgrade::Upgrade;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::service::AppProtocol;
use taut_observe::record::Protocol;
use taut_plan::cluster::{Dial, Transport};
use taut_plan::retry;
use taut_plan::verdict::{Action, Forward, Go, Permission, Question, Reason, Refusal, Rolls, Side, Verdict};
use taut_plan::{Direction, Outcome, Plan};
use tokio::time::Instant;

/// A client's connection, and what the client waits for before it speaks.
pub enum Client {
    Ready(Io),
    /// The outcome of its SOCKS5 request.
    Socks5(Io),
    /// The answer to CONNECT from a peer's proxy.
    Connect(Asked),
}

impl Client {
    /// Tells the client whether it may go on; its connection, if it may. A client that is already gone is found out by who copies.
    pub async fn answered(self, fault: Option<&Fault>) -> Option<Io> {
        match (self, fault) {
            (Self::Ready(io), None) => Some(io),
            (Self::Ready(_), Some(_)) => None,
            (Self::Socks5(mut io), _) => {
                let _ = socks5::reply(&mut io, fault).await;
                fault.is_none().then_some(io)
            }
            (Self::Connect(asked), None) => Some(asked.accept()),
            (Self::Connect(asked), Some(fault)) => {
                asked.refuse(fault);
                None
            }
        }
    }

    /// Resolves when the client does not wait any more, where that can be told.
    async fn left(&mut self) {
        match self {
            Self::Ready(_) | Self::Socks5(_) => std::future::pending().await,
            Self::Connect(asked) => asked.left().await,
        }
    }
}

/// Carries one TCP connection from a decision to its end, and records it.
pub async fn carry(engine: Rc<Engine>, arrival: Rc<Arrival>, mut client: Client) {
    let edge = arrival.edge(&engine, Protocol::Tcp);
    let plan = engine.pin();
    let mut open = OpenConnection::new(&engine, edge, plan.version());
    let connected = async {
        let go = decide(&engine, &arrival, plan, &mut open).await?;
        limiter::admit(&engine, &go)?;
        connect(&engine, &mut open, &go, arrival.ends).await
    };
    let outcome = tokio::select! {
        biased;
        outcome = connected => outcome,
        () = client.left() => Err(client_left()),
    };
    let client = client.answered(outcome.as_ref().err()).await;
    match outcome.and_then(|connected| Ok((connected, client.ok_or_else(client_left)?))) {
        Ok((Connected { mut upstream, mut hold, idle, until }, mut client)) => {
            open.reached(true);
            let first_line = watched(&engine, &arrival).then(FirstLine::default);
            let facts = OwnedFacts::copy(&arrival.facts(), &engine.current.plan());
            tokio::select! {
                biased;
                fault = revoked(&engine, &facts) => return open.close(Some(&fault)),
                () = learn_who_speaks(&engine, &arrival, &mut client, &mut upstream) => {}
            }
            moving::go_on(&engine, &arrival, open, Joined { client, upstream, idle, until, first_line }).await;
            if let Some(in_flight) = &mut hold.in_flight {
                // A connection that was opened and carried is a success, however it was closed.
                in_flight.ended(Outcome::Status { status: 200, latency: Duration::ZERO });
            }
        }
        Err(fault) => open.close(Some(&fault)),
    }
}

fn client_left() -> Fault {
    Fault::new(Kind::ClientLeft, "the client closed the connection before it was carried on")
}

/// Whether the client may still turn out to speak HTTP, with headers that nobody has taken away: inbound, where the port declares
/// nothing.
fn watched(engine: &Engine, arrival: &Arrival) -> bool {
    let (host, port) = arrival.destination.as_ref().map_or(("", 0), |(host, port)| (&**host, *port));
    arrival.direction == Direction::Inbound && engine.pin().inbound_protocol(host, port) == AppProtocol::Unknown
}

/// On a port that declares no protocol, whose client has said nothing yet: notes who speaks first.
async fn learn_who_speaks(engine: &Engine, arrival: &Arrival, client: &mut Io, upstream: &mut Io) {
    let Some((host, port)) = arrival.destination.as_ref().filter(|_| client.ahead().is_empty()) else { return };
    let plan = engine.pin();
    let declared = match arrival.direction {
        Direction::Outbound => plan.protocol(host, *port).unwrap_or(AppProtocol::Unknown),
        Direction::Inbound => plan.inbound_protocol(host, *port),
    };
    if declared == AppProtocol::Unknown {
        let word = first_word::listen(client, upstream).await;
        engine.learned().note(Destination::new(arrival.direction, arrival.destination.as_ref()), word, engine.world.now());
    }
}

/// Asks the plan, and the mesh as long as the plan does not know enough.
async fn decide(engine: &Rc<Engine>, arrival: &Arrival, mut plan: Arc<Plan>, open: &mut OpenConnection) -> Result<Box<Go>, Fault> {
    let rolls = engine.rolls();
    for _ in 0..=2 {
        let facts = arrival.facts();
        open.record.plan = plan.version();
        open.evidence = Some(Evidence { plan: plan.clone(), facts: OwnedFacts::copy(&facts, &plan), rolls });
        let verdict = match plan.decide(&facts, &rolls) {
            Verdict::Ask(Question::Services(hosts)) => learn(engine, &plan, &facts, &hosts).await?.map(Verdict::Go),
            verdict => Some(verdict),
        };
        if let Some(verdict) = verdict {
            if facts.direction == Direction::Outbound {
                engine.note_use(facts.host, verdict.service_host());
            }
            name_asked(engine, &mut open.record.edge, &plan, &facts, &verdict);
            match verdict {
                Verdict::Go(go) => {
                    open.record.rule = Some(go.rule.origin.clone());
                    return Ok(go);
                }
                Verdict::Refuse(refusal) => return Err(Fault::refused(refusal)),
                Verdict::Ask(_) => {}
            }
        }
        plan = engine.pin();
    }
    Err(not_learned(arrival.facts().host))
}

struct Connected {
    upstream: Io,
    hold: Hold,
    idle: Duration,
    /// The end of its longest life.
    until: Option<Instant>,
}

async fn connect(engine: &Rc<Engine>, open: &mut OpenConnection, go: &Go, ends: Ends) -> Result<Connected, Fault> {
    match &go.action {
        Action::Forward(forward) => to_cluster(engine, open, go, forward, ends).await,
        Action::Local { port, .. } => {
            let own = engine.current.workload();
            let address = SocketAddr::new(own.address, *port);
            open.record.edge.service_namespace = own.namespace.as_str().into();
            direct(engine, open, Dial::Address(address))
                .await
                .map_err(|fault| Fault::new(Kind::AppUnreachable, format!("the application does not answer at {address}: {}", fault.detail)))
        }
        Action::Passthrough { host, port } => direct(engine, open, forward::named(host, *port)).await,
        Action::Redirect { .. } | Action::Respond { .. } | Action::Abort { .. } => {
            Err(Fault::new(Kind::BadRequest, format!("{} answers HTTP requests, and this connection is not HTTP", go.rule.origin)))
        }
    }
}

async fn direct(engine: &Rc<Engine>, open: &mut OpenConnection, address: Dial) -> Result<Connected, Fault> {
    open.record.endpoint = engine.names().address(&address);
    let upstream = engine.dialer.dial(&forward::plain(address, Spoken::Tcp), None).await?;
    Ok(Connected { upstream, hold: Hold::default(), idle: forward::IDLE_TIMEOUT, until: None })
}

/// Tries endpoints until one takes the connection. Nothing has been sent yet, so trying another is always safe.
async fn to_cluster(engine: &Rc<Engine>, open: &mut OpenConnection, go: &Go, forward: &Forward, ends: Ends) -> Result<Connected, Fault> {
    let cluster = &forward.cluster;
    engine.names().service(&mut open.record.edge, &go.service_host, &cluster.service_namespace);
    let mut admitted = Admitted::new(engine, cluster).map_err(|overflow| Fault::new(Kind::Overflow, overflow.to_string()))?;
    let mut tried: Vec<Arc<str>> = Vec::new();
    loop {
        let picked = InFlight::pick(engine, cluster, forward.hash, &tried);
        let mut in_flight = picked.map_err(|none| Fault::new(Kind::NoEndpoint, none.to_string()))?;
        tried.push(in_flight.picked.uid.clone());
        let endpoint = in_flight.picked.endpoint.clone();
        let mesh = matches!(endpoint.transport, Transport::Mesh { .. });
        open.record.edge.destination = engine.endpoint_party(&endpoint.workload, mesh);
        open.record.edge.mutual_tls = mesh;
        if mesh {
            open.record.edge.source = engine.party(true);
        }
        open.record.endpoint = engine.names().address(&endpoint.address);
        let target = Target::of(&endpoint, cluster, Spoken::Tcp, ends);
        match engine.tunnels.open(&target, engine.current.identity()).await {
            Ok(upstream) => {
                let hold = Hold { in_flight: Some(in_flight), admitted: Some(admitted) };
                let until = cluster.limits.max_connection_age.map(|age| Instant::now() + age);
                return Ok(Connected { upstream, hold, idle: cluster.tcp_idle_timeout, until });
            }
            Err(fault) => {
                // A proxy that takes no connection of ours works, and the others of its kind would say the same.
                let denied = match fault.kind {
                    Kind::PeerRefused { status, .. } => (400..500).contains(&status).then_some(status),
                    _ => None,
                };
                in_flight.ended(denied.map_or(Outcome::ConnectFailed, |status| Outcome::Status { status, latency: Duration::ZERO }));
                let retries = u32::try_from(tried.len()).unwrap_or(u32::MAX);
                if denied.is_some() || retries > go.rule.retry.attempts || !admitted.try_retry() {
                    return Err(fault);
                }
                drop(in_flight);
                engine.sink.retried();
                let roll = engine.dice().u64(..);
                tokio::time::sleep(retry::backoff(&go.rule.retry, retries, roll)).await;
            }
        }
    }
}

/// Joins the two sides of an exchange that has switched protocols. Its record ends with the tunnel.
pub async fn join(engine: Rc<Engine>, client: Upgrade, upstream: Io, mut open: Open, hold: Hold, facts: Option<OwnedFacts>) {
    match client.connection().await {
        Some(client) => {
            let carried = open.tunnel();
            let upgraded = Joined { client, upstream, idle: forward::IDLE_TIMEOUT, until: None, first_line: None };
            let revoked = async {
                match &facts {
                    Some(facts) => revoked(&engine, facts).await,
                    None => std::future::pending().await,
                }
            };
            let fault = tokio::select! {
                biased;
                fault = revoked => Some(fault),
                ended = copy(upgraded, &carried, std::future::pending()) => match ended {
                    Ended::Here(fault) => fault,
                    Ended::Quiet(_) => None,
                },
            };
            if let Some(fault) = &fault {
                open.fail(fault);
            }
        }
        None => open.fail(&Fault::new(Kind::ClientLeft, "the client closed the connection before it had changed its protocol")),
    }
    open.close();
    drop(hold);
}

/// What began before an authorizer was to be asked about it cannot be shown to it any more.
fn no_permission(permission: &Permission) -> Fault {
    let detail = format!("the authorizer {:?} was not asked about it when it began", permission.name);
    let (reason, origin) = (Reason::AuthorizationDenied, Some(permission.rule.clone()));
    Fault::refused(Refusal { side: Side::Client, reason, status: 403, origin, detail })
}

/// Resolves when a new plan would not let this inbound connection in any more: what a policy takes away is taken from connections that
/// stand, too, as ztunnel does. A service or route that goes away cuts nobody off.
pub async fn revoked(engine: &Engine, facts: &OwnedFacts) -> Fault {
    if facts.direction == Direction::Outbound {
        return std::future::pending().await;
    }
    let mut pinned = engine.current.pinned();
    loop {
        // The first look is for a plan that came since the connection was let in.
        match engine.current.plan().decide(&facts.as_facts(), &Rolls::default()) {
            Verdict::Refuse(refusal) if refusal.side == Side::Client => return Fault::refused(refusal),
            Verdict::Ask(Question::Permission(permission)) => return no_permission(&permission),
            Verdict::Refuse(_) | Verdict::Ask(Question::Services(_)) | Verdict::Go(_) => {}
        }
        // The sender lives as long as `engine`.
        if pinned.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
