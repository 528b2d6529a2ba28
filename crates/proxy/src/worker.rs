//! One worker of the data plane: everything it does, on one thread, from its listeners to the end of its drain.

use crate::bequest::Bequest;
use crate::current::{Current, Stage};
use crate::engine::Engine;
use crate::listen::{Listeners, listen};
use crate::options::Options;
use crate::pages;
use crate::probe;
use crate::quiet::{self, Quiet};
use crate::sink::Sink;
use crate::tunnel;
use crate::world::World;
use futures_util::future::join_all;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often ejections are reported for `/config`.
const REPORT: Duration = Duration::from_secs(1);
/// Idle upstream connections are looked at with every so many reports.
const SWEEP_EVERY: u64 = 10;

/// Serves until `current` says to leave and what was under way has ended (at most `options.drain` later, or what a successor allows).
/// Goes on with the connections that come over `bequests`. Must run inside a `LocalSet`: its connections are local tasks.
pub async fn serve(
    world: World,
    options: Arc<Options>,
    current: Arc<Current>,
    sink: Sink,
    listeners: Listeners,
    bequests: mpsc::UnboundedReceiver<Bequest>,
) {
    let limit = options.drain;
    let engine = Engine::new(world, options, current, sink, listeners.own());
    let accepting = join_all(listeners.entries().into_iter().map(|(listener, entry)| listen(engine.clone(), listener, entry)));
    let number = engine.current.enroll();
    let working = async {
        accepting.await;
        tokio::select! {
            biased;
            () = engine.finish(engine.current.time_is_over(limit)) => {}
            () = tell_what_stays(&engine) => {}
        }
    };
    tokio::select! {
        biased;
        () = working => {}
        () = sweep(&engine, number) => {}
        () = judge(&engine) => {}
        () = probe::run(&engine, number) => {}
        () = adopt(&engine, bequests) => {}
    }
}

/// Why a proxy that was replaced is still there. Never ends.
async fn tell_what_stays(engine: &Engine) {
    engine.current.reached(Stage::Closing).await;
    if engine.current.stage() == Stage::Closing {
        tracing::info!(open = engine.open(), "idle connections are closed now; those that are in use and cannot move stay until they end");
    }
    std::future::pending().await
}

/// Never ends.
async fn adopt(engine: &Rc<Engine>, mut bequests: mpsc::UnboundedReceiver<Bequest>) {
    while let Some(bequest) = bequests.recv().await {
        engine.spawn(tunnel::adopt(engine.clone(), bequest));
    }
    std::future::pending().await
}

/// Ends the connections to peers that are not believed any more, at once when that is learned. Never ends.
async fn judge(engine: &Engine) {
    let mut renewed = engine.current.renewed();
    loop {
        if let Some(held) = engine.current.identity() {
            let ended = engine.dialer.leashes.judge(&held);
            if ended > 0 {
                tracing::info!(ended, "connections to peers were ended that are not believed any more");
            }
        }
        // The sender lives as long as `engine`.
        if renewed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Never ends.
async fn sweep(engine: &Rc<Engine>, number: usize) {
    let mut quiet = Quiet::default();
    for turn in 1u64.. {
        tokio::time::sleep(REPORT).await;
        if quiet.look(engine.begun()) && !engine.world.is_simulated() {
            quiet::give_back();
            pages::let_go();
        }
        if let Some(tally) = engine.sink.tally() {
            engine.flows.tell(tally);
        }
        engine.current.set_ejected(number, engine.live().ejected(engine.world.now()));
        let to_check = engine.live().take_to_check();
        engine.current.checks().note_used(to_check, engine.world.now());
        if turn.is_multiple_of(SWEEP_EVERY) {
            let serial = engine.current.identity().map(|held| held.serial);
            engine.pool.sweep(serial);
            engine.tunnels.sweep(serial);
        }
    }
}
