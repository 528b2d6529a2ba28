//! Signals on their way in: what proxies report, second by second, and what they may forget of it.

use crate::authority::Authority;
use crate::signals::Store;
use crate::stopping::Stopping;
use crate::world::World;
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::signal::{Batch, Second, UNKNOWN};
use taut_wire::desk::{Kept, Report};
use taut_wire::signals::Listener;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// How far the second of a report may be from where its age puts it: clocks of hosts differ, and messages take their time.
const CLOCKS_DIFFER: Second = 5;

pub(super) type Outgoing = mpsc::Sender<Result<Kept, Status>>;

/// One proxy's stream of reports.
pub(super) struct Reports {
    pub store: Store,
    pub world: World,
    pub stopping: Stopping,
    /// Whom the proxy's certificate proves it to be.
    pub identity: Identity,
    pub authority: Arc<Authority>,
}

impl Reports {
    /// Takes reports until the proxy ends the stream.
    pub async fn take(mut self, mut incoming: Streaming<Report>, outgoing: &Outgoing) -> Result<(), Status> {
        let mut listener = Listener::default();
        let mut sealed = self.store.sealed();
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                () = self.stopping.wait() => return Err(Status::unavailable("the control plane is stopping")),
                Ok(_) = sealed.changed() => {}
                report = incoming.message() => match report? {
                    Some(report) => told = Some((self.hear(&mut listener, report)?, told.map_or(0, |(_, sequence)| sequence))),
                    None => return Ok(()),
                },
            }
            let Some((epoch, before)) = told else { continue };
            let sequence = self.store.kept(listener.proxy(), epoch);
            if sequence > before {
                let kept = Kept { epoch, sequence };
                outgoing.send(Ok(kept)).await.map_err(|_| Status::cancelled("the proxy closed its stream"))?;
                told = Some((epoch, sequence));
            }
        }
    }

    /// Takes one report; its epoch.
    fn hear(&self, listener: &mut Listener, report: Report) -> Result<u64, Status> {
        let (epoch, age_ms, limit, last) = (report.epoch, report.age_ms, report.concurrency_limit, report.last);
        let mut batch = listener.hear(report).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let namespace = batch.proxy.split_once('/').map(|(namespace, _)| namespace);
        if namespace != Some(self.identity.namespace.as_str()) {
            let why = format!("reports of {} cannot come from {}", batch.proxy, self.identity);
            return Err(Status::permission_denied(why));
        }
        let foreign = self.drop_foreign(&mut batch);
        let wall_ms = self.world.wall().as_millisecond().unsigned_abs();
        let expected = wall_ms.saturating_sub(age_ms) / 1000;
        if batch.second.abs_diff(expected) > CLOCKS_DIFFER {
            batch.second = expected.saturating_sub(1);
            self.store.note_misdated();
        }
        self.store.note_foreign(foreign);
        self.store.ceilings().hear(&batch.proxy, epoch, limit, last, wall_ms / 1000);
        self.store.add(batch, wall_ms / 1000);
        Ok(epoch)
    }

    /// A proxy reports what passed its own workload, under its own identity. How many entries of a report are another's.
    fn drop_foreign(&self, batch: &mut Batch) -> u64 {
        let before = batch.entries.len();
        // Under whichever name the mesh had when the one or the other was issued.
        let member = self.authority.renamed(self.identity.clone());
        let is_own = |principal: &str| Identity::parse(principal).is_ok_and(|found| self.authority.renamed(found) == member);
        batch.entries.retain(|(edge, _)| {
            let own = edge.own();
            let is_here = own.namespace == self.identity.namespace || own.namespace == UNKNOWN;
            let is_itself = own.principal == UNKNOWN || is_own(&own.principal);
            (is_here && is_itself) || edge.is_other()
        });
        (before - batch.entries.len()) as u64
    }
}
