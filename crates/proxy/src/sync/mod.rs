//! Keeps the proxy told: one connection to the control plane carries the desk and the discovery stream; what arrives becomes
//! a snapshot, a plan, and an acknowledgement. While the control plane is away, everything stays as it was.

mod compile;
mod desk;
mod line;
mod report;
#[cfg(test)]
mod tests;

use crate::backoff::Backoff;
use crate::channel::Control;
use crate::current::{Current, Wanted, backends};
use crate::options::Options;
use crate::sink::Sink;
use crate::status::{AtDesk, Status};
use crate::usage::{Subscriptions, Usage};
use crate::workload_api::Application;
use crate::world::World;
use compile::Receipts;
use line::{Ended, Line};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::discovery::DeltaDiscoveryRequest;
use taut_wire::resource::{Resource, ResourceType};
use taut_wire::session::ClientSession;
use tokio::sync::watch;
use tonic::transport::Channel;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What the sync task is given.
pub struct Sync {
    pub world: World,
    pub options: Arc<Options>,
    pub current: Arc<Current>,
    pub status: Arc<Status>,
    pub sink: Sink,
    pub control: Control,
    pub application: Arc<Application>,
    /// What other proxies dial: `host:port`.
    pub peer: String,
    /// `host:port` of the first admin listener, or empty.
    pub admin: String,
}

/// What is known, across connections.
struct Known {
    session: ClientSession,
    /// Subscribed hosts of which the control plane said that there is no such service.
    absent: BTreeSet<String>,
    usage: Usage,
    /// Hosts that the options name.
    upstreams: BTreeSet<String>,
    /// Types that any stream has answered for.
    answered: BTreeSet<ResourceType>,
    trust_domain: String,
    receipts: Receipts,
    /// Of the last snapshot that was made.
    version: u64,
}

impl Known {
    fn new(sync: &Sync) -> Self {
        let own = sync.current.workload();
        let upstreams = sync.options.upstreams.iter();
        Self {
            session: ClientSession::new(format!("{}/{}", own.namespace, own.name)),
            absent: BTreeSet::new(),
            usage: Usage::default(),
            upstreams: upstreams.flat_map(|upstream| taut_model::host::candidates(&upstream.host, &own.namespace)).collect(),
            answered: BTreeSet::new(),
            trust_domain: String::new(),
            receipts: Receipts::default(),
            version: 0,
        }
    }

    /// Subscribes to what the data path asks for, and forgets the oldest of the hosts that are no service when they are too many.
    /// What is to be said, if a stream is open: when none is, the opening of the next says it.
    fn ask(&mut self, sync: &Sync, hosts: Vec<String>) -> Vec<DeltaDiscoveryRequest> {
        self.usage.used(hosts.iter().map(String::as_str), sync.world.now());
        let asked = self.session.subscribe(hosts);
        let (session, needed) = (&self.session, self.needed(sync));
        let is_service = |host: &str| session.holds(ResourceType::Service, host);
        let gone = self.usage.too_many(&Subscriptions { hosts: session.subscribed(), is_service: &is_service, needed: &needed });
        asked.into_iter().chain(self.forget(gone)).collect()
    }

    /// Forgets what was not used for long. Only to be called while the control plane is there to be asked again.
    fn tidy(&mut self, sync: &Sync) -> Option<DeltaDiscoveryRequest> {
        let (used, now) = (sync.current.take_used(), sync.world.now());
        self.usage.used(used.iter().map(String::as_str), now);
        let (session, needed) = (&self.session, self.needed(sync));
        let is_service = |host: &str| session.holds(ResourceType::Service, host);
        let stale = self.usage.stale(&Subscriptions { hosts: session.subscribed(), is_service: &is_service, needed: &needed }, now);
        self.forget(stale)
    }

    /// Forgotten hosts leave the next snapshot, so that the next use asks for them again.
    fn forget(&mut self, hosts: Vec<String>) -> Option<DeltaDiscoveryRequest> {
        for host in &hosts {
            self.absent.remove(host);
            self.receipts.forgotten(ResourceType::Service, host);
        }
        self.usage.forget(&hosts);
        self.session.unsubscribe(hosts)
    }

    /// Hosts that are wanted even when nobody asks for them by name.
    fn needed(&self, sync: &Sync) -> BTreeSet<String> {
        self.upstreams.iter().cloned().chain(self.led_to(sync)).collect()
    }

    /// Hosts that nobody asked for by name and that are needed all the same: those that the own workload serves, and those
    /// that routes send traffic to.
    fn led_to(&self, sync: &Sync) -> Vec<String> {
        let mut hosts = Vec::new();
        if let Some(own) = compile::own(&self.session, sync.current.workload()) {
            hosts.extend(own.serves.iter().map(|serves| serves.host.clone()));
        }
        for (_, _, resource) in self.session.held(ResourceType::Route) {
            let Resource::Route(route) = resource else { continue };
            hosts.extend(backends(route).map(str::to_owned));
        }
        hosts
    }
}

/// Runs until the proxy has said that it is gone.
pub async fn run(sync: Sync, wanted: Wanted) {
    let line = watch::Sender::new(None);
    let lines = line.subscribe();
    tokio::join!(stay_told(&sync, wanted, &line), report::run(&sync, lines));
}

async fn stay_told(sync: &Sync, mut wanted: Wanted, line: &watch::Sender<Option<Channel>>) {
    let mut known = Known::new(sync);
    // A stream is not open yet: what is subscribed to now is said when it opens.
    drop(known.session.subscribe(known.upstreams.clone()));

    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, sync.world.dice(0x5c));
    let mut outage: Option<Duration> = None;
    loop {
        let ended = connect(sync, &mut known, &mut wanted, &mut backoff, line).await;
        line.send_replace(None);
        sync.status.set_at_desk(AtDesk::Away);
        if ended == Ended::DeskChanged {
            // Connected again in a moment: nobody is to take this for an outage.
            continue;
        }
        sync.current.set_connected(false);
        if ended == Ended::Gone {
            return;
        }
        tell(sync, &ended, &mut outage);
        let wait = tokio::time::sleep(backoff.next());
        note_until(sync, &mut known, &mut wanted, wait).await;
    }
}

/// One connection, from its making to its end.
async fn connect(sync: &Sync, known: &mut Known, wanted: &mut Wanted, backoff: &mut Backoff, line: &watch::Sender<Option<Channel>>) -> Ended {
    let mut renewed = sync.current.renewed();
    let mut readiness = sync.status.readiness();
    // Without a certificate there is nothing to say, and nobody to say good-bye to.
    let certificate = async {
        tokio::select! {
            biased;
            _ = readiness.wait_for(|readiness| *readiness == crate::status::Readiness::Gone) => {}
            _ = renewed.wait_for(|serial| *serial > 0) => {}
        }
    };
    note_until(sync, known, wanted, certificate).await;
    let Some(held) = sync.current.identity() else { return Ended::Gone };
    if known.trust_domain.is_empty() {
        known.trust_domain = held.identity.trust_domain.clone();
    }
    let channel = note_until(sync, known, wanted, sync.control.live(&held)).await;
    match channel {
        Ok(channel) => {
            line.send_replace(Some(channel.clone()));
            Line::new(sync, known).attend(channel, wanted, backoff).await
        }
        Err(error) if *sync.status.readiness().borrow() == crate::status::Readiness::Gone => {
            tracing::debug!(%error, "nobody to say good-bye to");
            Ended::Gone
        }
        Err(error) => Ended::Broken(error.to_string()),
    }
}

/// Waits for `until`, and subscribes meanwhile to what the data path asks for.
async fn note_until<T>(sync: &Sync, known: &mut Known, wanted: &mut Wanted, until: impl Future<Output = T>) -> T {
    let mut until = std::pin::pin!(until);
    loop {
        tokio::select! {
            biased;
            done = &mut until => return done,
            Some(hosts) = wanted.recv() => drop(known.ask(sync, hosts)),
        }
    }
}

/// Once when an outage begins, then every 30 s.
fn tell(sync: &Sync, ended: &Ended, outage: &mut Option<Duration>) {
    let now = sync.world.now();
    match ended {
        Ended::Gone | Ended::DeskChanged => {}
        // It had worked, so this is the start of a new outage.
        Ended::Lost(why) => {
            tracing::warn!(%why, "lost the control plane; traffic goes on with what is known, connecting again");
            *outage = Some(now);
        }
        Ended::Broken(why) if outage.is_none_or(|told| now >= told + TELL_EVERY) => {
            tracing::warn!(%why, "the control plane cannot be reached; trying until it can");
            *outage = Some(now);
        }
        Ended::Broken(_) => {}
    }
}
