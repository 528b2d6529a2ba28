//! One worker of the data plane: everything it does, on one thread, from its listeners to the end of its drain.

use crate::current::Current;
use crate::engine::Engine;
use crate::listen::{Listeners, listen};
use crate::options::Options;
use crate::sink::Sink;
use crate::world::World;
use futures_util::future::join_all;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often ejections are reported for `/config`.
const REPORT: Duration = Duration::from_secs(1);
/// Idle upstream connections are looked at with every so many reports.
const SWEEP_EVERY: u64 = 10;

/// Serves until `current` says to drain and what was under way has ended (at most `options.drain` later). Must run inside a
/// `LocalSet`: its connections are local tasks.
pub async fn serve(world: World, options: Arc<Options>, current: Arc<Current>, sink: Sink, listeners: Listeners) {
    let limit = options.drain;
    let engine = Engine::new(world, options, current, sink, listeners.own());
    let accepting = join_all(listeners.entries().into_iter().map(|(listener, entry)| listen(engine.clone(), listener, entry)));
    let working = async {
        accepting.await;
        engine.finish(limit).await;
    };
    tokio::select! {
        biased;
        () = working => {}
        () = sweep(&engine) => {}
    }
}

/// Never ends.
async fn sweep(engine: &Rc<Engine>) {
    let number = engine.current.enroll();
    for turn in 1u64.. {
        tokio::time::sleep(REPORT).await;
        engine.current.set_ejected(number, engine.live().ejected(engine.world.now()));
        if turn.is_multiple_of(SWEEP_EVERY) {
            engine.pool.sweep(engine.current.identity().map(|held| held.serial));
        }
    }
}
