//! Connections that outlive the process that carries them: gives them to a successor, and takes them up from the proxy before.

use super::copying::{Ended, Joined, copy};
use super::{decide, revoked};
use crate::bequest::{Bequest, Story};
use crate::capture::late::FirstLine;
use crate::current::Stage;
use crate::engine::Engine;
use crate::evidence::OwnedFacts;
use crate::facts::{Arrival, Seen};
use crate::fault::{Fault, Kind};
use crate::io::Io;
use crate::record::{OpenConnection, micros};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use taut_observe::record::Protocol;
use taut_plan::Direction;
use taut_wire::net::Stream;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Goes on with a connection that the proxy before this one carried.
pub async fn adopt(engine: Rc<Engine>, bequest: Bequest) {
    let Bequest { client, upstream, story } = bequest;
    let (Ok(client), Ok(upstream)) = (take_up(client), take_up(upstream)) else { return };
    let arrival = Arrival {
        direction: if story.inbound { Direction::Inbound } else { Direction::Outbound },
        destination: story.destination.clone().map(|(host, port)| (host.into(), port)),
        peer: None,
        from: story.from,
        ends: story.ends,
        sni: story.sni.clone().map(Into::into),
        seen: Seen::default(),
    };
    let plan = engine.pin();
    let mut open = OpenConnection::resume(&engine, arrival.edge(&engine, Protocol::Tcp), plan.version(), &story);
    // Names the service, and ends what this proxy's plan refuses.
    match decide(&engine, &arrival, plan, &mut open).await {
        Ok(_) => {
            open.reached(false);
            let until = story.left_ms.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
            let idle = Duration::from_millis(story.idle_ms);
            go_on(&engine, &arrival, open, Joined { client, upstream, idle, until, first_line: story.first_line.map(FirstLine::resume) }).await
        }
        Err(fault) => open.close(Some(&fault)),
    }
}

fn take_up(socket: std::net::TcpStream) -> io::Result<Io> {
    Ok(Io::from(Stream::Tcp(TcpStream::from_std(socket)?)))
}

/// Copies until the connection ends, here or by moving to a successor.
pub(super) async fn go_on(engine: &Rc<Engine>, arrival: &Arrival, mut open: OpenConnection, mut joined: Joined) {
    let carried = open.carried.counts();
    let facts = OwnedFacts::copy(&arrival.facts(), &engine.current.plan());
    let mut may_move = true;
    loop {
        let may_move_now = may_move && joined_plainly(&joined);
        let moves = async {
            match may_move_now {
                true => engine.current.reached(Stage::Replaced).await,
                false => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            fault = revoked(engine, &facts) => Ended::Here(Some(fault)),
            ended = copy(joined, &carried, moves) => ended,
        };
        joined = match ended {
            Ended::Here(fault) => return open.close(fault.as_ref()),
            Ended::Quiet(joined) => match give(engine, arrival, &open, joined).await {
                Ok(()) => return open.moved(),
                Err(Some(joined)) => joined,
                Err(None) => return open.close(Some(&Fault::new(Kind::Closed, "the connection was lost on its way to the proxy's successor"))),
            },
        };
        may_move = false;
    }
}

fn joined_plainly(joined: &Joined) -> bool {
    joined.client.is_socket() && joined.upstream.is_socket()
}

/// Gives a quiet connection to the successor; here it is again if that does not take it.
async fn give(engine: &Engine, arrival: &Arrival, open: &OpenConnection, joined: Joined) -> Result<(), Option<Joined>> {
    let Joined { client, upstream, idle, until, first_line } = joined;
    let Some(heir) = engine.current.heir() else { return Err(Some(Joined { client, upstream, idle, until, first_line })) };
    let (client, upstream) = match (client.into_plain(), upstream.into_plain()) {
        (Ok(client), Ok(upstream)) => (client.into_std(), upstream.into_std()),
        (client, upstream) => {
            let whole = |io: Result<TcpStream, Io>| io.map_or_else(|io| io, |stream| Stream::Tcp(stream).into());
            return Err(Some(Joined { client: whole(client), upstream: whole(upstream), idle, until, first_line }));
        }
    };
    let (Ok(client), Ok(upstream)) = (client, upstream) else { return Err(None) };
    let story = Story {
        inbound: arrival.direction == Direction::Inbound,
        destination: arrival.destination.as_ref().map(|(host, port)| (host.to_string(), *port)),
        from: arrival.from,
        ends: arrival.ends,
        sni: arrival.sni.as_deref().map(str::to_owned),
        endpoint: open.record.endpoint.to_string(),
        connection_id: open.record.connection_id.to_string(),
        started: open.record.started.to_string(),
        age_us: micros(open.age()),
        received_bytes: open.carried.received(),
        sent_bytes: open.carried.sent(),
        idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
        left_ms: until.map(|until| u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX)),
        first_line: first_line.as_ref().and_then(FirstLine::unended),
    };
    heir.give(Bequest { client, upstream, story }).await.map_err(|back| {
        let Bequest { client, upstream, .. } = back?;
        Some(Joined { client: take_up(client).ok()?, upstream: take_up(upstream).ok()?, idle, until, first_line })
    })
}
