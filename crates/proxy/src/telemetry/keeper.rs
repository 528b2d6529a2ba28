//! Follows the plan: opens an outlet for each collector that it names, closes the others, and has the metrics and the access log be as
//! Telemetry wants them. Outlets work on a thread of their own, which there is only once somebody wants telemetry.

use super::Telemetry;
use super::outlet::{Outlet, Source, outlet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use taut_plan::Direction;
use taut_plan::Plan;
use taut_plan::telemetry::FileLog;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long the last exports of a proxy that stops may take.
const GOODBYE: Duration = Duration::from_secs(2);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Never ends. To be called once.
pub async fn keep(telemetry: Telemetry, source: Source, open_access_log: impl Fn()) {
    let mut pinned = source.current.pinned();
    let mut workshop = Workshop::None;
    loop {
        let plan = source.current.plan();
        fit(&telemetry, &source, &plan, &mut workshop, &open_access_log);
        if pinned.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn fit(telemetry: &Telemetry, source: &Source, plan: &Plan, workshop: &mut Workshop, open_access_log: &impl Fn()) {
    source.registry.override_text(plan.telemetry().prometheus.clone());
    let wants_file = |direction| matches!(plan.telemetry().of(direction).file, Some(FileLog::All | FileLog::Filtered(_)));
    if wants_file(Direction::Outbound) || wants_file(Direction::Inbound) {
        open_access_log();
    }
    let (before, wanted) = (telemetry.shared.outlets.load_full(), plan.telemetry().collectors());
    let same = before.len() == wanted.len() && before.iter().all(|outlet| wanted.contains(&outlet.collector));
    if same {
        return;
    }
    let outlets = wanted.into_iter().filter_map(|collector| {
        if let Some(known) = before.iter().find(|outlet| outlet.collector == collector) {
            return Some(Outlet { collector, queue: known.queue.clone() });
        }
        let (outlet, sender) = outlet(collector, source.clone(), telemetry.clone());
        let working = telemetry.clone();
        working.shared.working.send_modify(|count| *count += 1);
        let work = async move {
            sender.run().await;
            working.shared.working.send_modify(|count| *count -= 1);
        };
        let started = workshop.take(Box::pin(work), source.world.is_simulated());
        if let Err(error) = &started {
            telemetry.shared.working.send_modify(|count| *count -= 1);
            tracing::error!(%error, "no thread for telemetry: nothing is exported");
        }
        started.ok().map(|()| outlet)
    });
    let outlets = outlets.collect();
    telemetry.shared.outlets.store(Arc::new(outlets));
}

impl Telemetry {
    /// Takes nothing more, and gives what waits a moment to be sent.
    pub async fn close(&self) {
        self.shared.outlets.store(Arc::default());
        let mut working = self.shared.working.subscribe();
        // The sender lives as long as `self`; a collector that is away is not waited for.
        let _ = timeout(GOODBYE, working.wait_for(|working| *working == 0)).await;
    }
}

/// Where outlets work.
enum Workshop {
    None,
    Thread(mpsc::UnboundedSender<Work>),
}

impl Workshop {
    fn take(&mut self, work: Work, simulated: bool) -> io::Result<()> {
        if simulated {
            tokio::spawn(work);
            return Ok(());
        }
        let queue = match self {
            Self::Thread(queue) => queue,
            Self::None => {
                *self = Self::Thread(thread()?);
                return self.take(work, simulated);
            }
        };
        queue.send(work).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

fn thread() -> io::Result<mpsc::UnboundedSender<Work>> {
    let (queue, mut works) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut working = tokio::task::JoinSet::new();
            while let Some(work) = works.recv().await {
                working.spawn(work);
            }
            // The keeper is gone: the outlets end when the last entrance has.
            while working.join_next().await.is_some() {}
        });
    })?;
    Ok(queue)
}
