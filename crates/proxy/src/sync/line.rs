//! One connection to the control plane while it stands: what comes in, what goes out, and when a new plan is made.

use super::compile::{self, Compiled};
use super::{Known, Sync, desk};
use crate::backoff::Backoff;
use crate::current::Wanted;
use crate::renewal::Holder;
use crate::status::{AtDesk, Readiness};
use std::sync::Arc;
use std::time::Duration;
use taut_model::service::{Place, Resolution};
use taut_wire::desk::desk_client::DeskClient;
use taut_wire::desk::{FromProxy, ToProxy, from_proxy, to_proxy};
use taut_wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use taut_wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use taut_wire::resource::{Resource, ResourceType};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// What belongs together arrives together, in several messages: a plan is made when none came for this long,
const QUIET: Duration = Duration::from_millis(4);
/// or, for a service that has no workload yet, for this long,
const QUIET_WITHOUT_WORKLOADS: Duration = Duration::from_millis(100);
/// but at the latest this long after the first.
const LATEST: Duration = Duration::from_millis(200);
const WELCOME_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for the control plane to have read that we are gone.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
/// How often to look for subscriptions that nothing uses any more.
const TIDY_EVERY: Duration = Duration::from_secs(15);
/// The largest message taken: some hundred thousand endpoints.
const LARGEST_MESSAGE: usize = 64 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The proxy has said that it is gone.
    Gone,
    /// It is to begin or to stop standing for its workload at the desk.
    DeskChanged,
    /// It had worked.
    Lost(String),
    /// It never worked.
    Broken(String),
}

pub(super) struct Line<'a> {
    sync: &'a Sync,
    known: &'a mut Known,
    say: mpsc::UnboundedSender<FromProxy>,
    said: Option<mpsc::UnboundedReceiver<FromProxy>>,
    /// When the first and the last message came that no plan has taken up.
    news: Option<(Instant, Instant)>,
    compiling: Option<JoinHandle<Compiled>>,
    /// The readiness that the control plane was told last.
    told: Option<Readiness>,
    /// Nothing was acknowledged on this line yet, so the first acknowledgement is of everything.
    fresh: bool,
}

impl<'a> Line<'a> {
    pub fn new(sync: &'a Sync, known: &'a mut Known) -> Self {
        let (say, said) = mpsc::unbounded_channel();
        Self { sync, known, say, said: Some(said), news: None, compiling: None, told: None, fresh: true }
    }

    pub async fn attend(mut self, channel: Channel, wanted: &mut Wanted, backoff: &mut Backoff) -> Ended {
        let mut wanted_at_desk = self.sync.status.wanted_at_desk();
        let at_desk = *wanted_at_desk.borrow_and_update();
        let mut desk = match at_desk {
            AtDesk::Away => {
                // What is said goes nowhere, rather than into a queue that nobody empties.
                self.said = None;
                None
            }
            AtDesk::Present => match self.open_desk(channel.clone()).await {
                Ok(desk) => Some(desk),
                Err(status) => return Ended::Broken(format!("the control plane refused the desk stream: {}", text(&status))),
            },
        };
        self.sync.status.set_at_desk(at_desk);
        let (ask, asked) = mpsc::unbounded_channel();
        for request in self.known.session.connect() {
            send(&ask, request);
        }
        let mut discovery = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
        let mut news = match discovery.delta_aggregated_resources(UnboundedReceiverStream::new(asked)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ended::Broken(format!("the control plane refused the discovery stream: {}", text(&status))),
        };
        backoff.reset();
        self.sync.current.set_connected(true);
        tracing::info!(address = %self.sync.control.address, "connected to the control plane");
        tokio::select! {
            biased;
            Ok(()) = wanted_at_desk.changed() => Ended::DeskChanged,
            served = self.serve(desk.as_mut(), &mut news, &ask, wanted) => match served {
                Ok(()) => Ended::Gone,
                Err(status) => Ended::Lost(text(&status)),
            },
        }
    }

    /// Says hello and waits for the welcome, after which the workload is registered.
    async fn open_desk(&mut self, channel: Channel) -> Result<Streaming<ToProxy>, Status> {
        let Some(said) = self.said.take() else { return Err(Status::internal("a line is attended once")) };
        let readiness = self.readiness();
        self.say(from_proxy::Say::Hello(desk::hello(self.sync, &readiness)));
        self.told = Some(readiness);
        let mut client = DeskClient::new(channel);
        let welcome = async {
            let mut desk = client.attend(UnboundedReceiverStream::new(said)).await?.into_inner();
            loop {
                match desk.message().await? {
                    Some(ToProxy { say: Some(to_proxy::Say::Welcome(welcome)) }) => return Ok((desk, welcome)),
                    Some(_) => {}
                    None => return Err(Status::unavailable("the stream ended before the welcome")),
                }
            }
        };
        let (desk, welcome) = timeout(WELCOME_LIMIT, welcome).await.map_err(|_| Status::deadline_exceeded("no welcome came"))??;
        self.known.trust_domain = welcome.trust_domain;
        Ok(desk)
    }

    /// Ends with `Ok` when the proxy has said that it is gone.
    async fn serve(
        &mut self,
        mut desk: Option<&mut Streaming<ToProxy>>,
        news: &mut Streaming<DeltaDiscoveryResponse>,
        ask: &mpsc::UnboundedSender<DeltaDiscoveryRequest>,
        wanted: &mut Wanted,
    ) -> Result<(), Status> {
        let (mut readiness, mut renewed) = (self.sync.status.readiness(), self.sync.current.renewed());
        let mut application = self.sync.application.svid();
        // What Hello said may be old by now, and it said nothing of the certificate.
        readiness.mark_changed();
        renewed.mark_changed();
        let mut tidy_at = Instant::now() + TIDY_EVERY;
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                Ok(()) = readiness.changed() => {
                    self.tell_readiness();
                    if self.told == Some(Readiness::Gone) {
                        return self.say_goodbye(desk).await;
                    }
                }
                Ok(()) = renewed.changed() => self.tell_certificate(),
                Ok(()) = application.changed() => self.tell_certificate(),
                message = heard(desk.as_deref_mut()) => match message? {
                    Some(message) => self.answer(message),
                    None => return Err(Status::unavailable("the control plane closed the desk stream")),
                },
                Some(hosts) = wanted.recv() => {
                    for request in self.known.ask(self.sync, hosts) {
                        self.change_subscriptions(ask, request);
                    }
                }
                response = news.message() => match response? {
                    Some(response) => self.take(response, ask),
                    None => return Err(Status::unavailable("the control plane closed the discovery stream")),
                },
                compiled = finished(&mut self.compiling) => {
                    self.compiling = None;
                    match compiled {
                        Some(compiled) => self.pin(compiled),
                        None => return Err(Status::internal("compiling the plan failed; the last plan stays")),
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.compile(),
                () = sleep_until(tidy_at) => {
                    tidy_at = Instant::now() + TIDY_EVERY;
                    if let Some(request) = self.known.tidy(self.sync) {
                        self.change_subscriptions(ask, request);
                    }
                }
            }
        }
    }

    /// An application that is ready gets no traffic before its policies are here: all of it would be refused.
    fn readiness(&self) -> Readiness {
        let now = self.sync.status.readiness().borrow().clone();
        match now {
            Readiness::Ready if !self.sync.current.snapshot().policies_complete => Readiness::NotReady("waiting for the first plan".to_owned()),
            now => now,
        }
    }

    fn tell_readiness(&mut self) {
        let now = self.readiness();
        if self.told.as_ref() != Some(&now) {
            self.say(from_proxy::Say::Readiness(desk::readiness(&now)));
            self.told = Some(now);
        }
    }

    fn tell_certificate(&self) {
        if let Some(held) = self.sync.current.identity() {
            let application = self.sync.application.held();
            self.say(from_proxy::Say::Holding(desk::holding(&held, application.as_deref())));
        }
    }

    /// When a plan is to be made of the news, if there are any and none is being made.
    fn due(&self) -> Option<Instant> {
        if self.compiling.is_some() {
            return None;
        }
        let (first, last) = self.news?;
        let quiet = if self.has_bare_service() { QUIET_WITHOUT_WORKLOADS } else { QUIET };
        Some((last + quiet).min(first + LATEST))
    }

    /// Whether a service is new and no workload serves it: those are surely on their way, or there are none.
    fn has_bare_service(&self) -> bool {
        let pinned = self.sync.current.snapshot();
        let session = &self.known.session;
        session.held(ResourceType::Service).any(|(host, _, resource)| {
            let Resource::Service(service) = resource else { return false };
            let expects = service.place == Place::Mesh && service.resolution == Resolution::Static;
            let served =
                |(_, _, resource): (&str, &str, &Resource)| matches!(resource, Resource::Workload(w) if w.serves.iter().any(|s| s.host == host));
            expects && !pinned.services.contains_key(host) && !session.held(ResourceType::Workload).any(served)
        })
    }

    fn take(&mut self, response: DeltaDiscoveryResponse, ask: &mpsc::UnboundedSender<DeltaDiscoveryRequest>) {
        if let Some(of_type) = ResourceType::from_type_url(&response.type_url) {
            self.known.answered.insert(of_type);
        }
        let received = self.known.session.response(response);
        send(ask, received.ack);
        for change in &received.changed {
            self.known.receipts.received(change);
            if change.of_type == ResourceType::Service {
                self.known.absent.remove(&change.name);
            }
        }
        for (of_type, name) in received.removed {
            self.known.receipts.removed(of_type, &name);
            if of_type == ResourceType::Service && self.known.session.subscribed().contains(&name) {
                self.known.absent.insert(name);
            }
        }
        let led_to = self.known.led_to(self.sync);
        self.subscribe(ask, led_to);
        self.note_news();
    }

    fn note_news(&mut self) {
        let now = Instant::now();
        self.news = Some((self.news.map_or(now, |(first, _)| first), now));
    }

    fn subscribe(&mut self, ask: &mpsc::UnboundedSender<DeltaDiscoveryRequest>, hosts: Vec<String>) {
        if let Some(request) = self.known.session.subscribe(hosts) {
            send(ask, request);
        }
    }

    fn change_subscriptions(&mut self, ask: &mpsc::UnboundedSender<DeltaDiscoveryRequest>, request: DeltaDiscoveryRequest) {
        if !request.resource_names_unsubscribe.is_empty() {
            // No answer comes to this, and the plan is to forget as well.
            self.note_news();
        }
        send(ask, request);
    }

    fn compile(&mut self) {
        self.news = None;
        let candidate = compile::candidate(self.known, self.sync.current.workload());
        let pinned = self.sync.current.snapshot();
        let job = move || compile::compile(candidate, &pinned);
        // A simulation must not have threads of its own timing.
        self.compiling = Some(match self.sync.world.is_simulated() {
            true => tokio::spawn(async move { job() }),
            false => tokio::task::spawn_blocking(job),
        });
    }

    fn pin(&mut self, compiled: Compiled) {
        let Compiled { snapshot, plan, trust, refused } = compiled;
        let version = snapshot.version;
        let statuses = self.known.receipts.settle(&self.known.session, &refused);
        for status in statuses.iter().filter(|status| !status.accepted) {
            tracing::warn!(kind = %status.kind, name = %status.name, why = %status.why, "a resource was refused; its last good version stays");
        }
        self.sync.status.set_resources(statuses);
        // Before the plan, by which others may be called, and before it is acknowledged, after which others may rely on it.
        if let Some(trust) = trust {
            self.sync.current.trust(Arc::new(trust));
        }
        self.sync.current.pin(Arc::new(snapshot), Arc::new(plan));
        let resources = self.known.receipts.news(std::mem::take(&mut self.fresh));
        self.say(from_proxy::Say::Acknowledge(taut_wire::desk::Acknowledge { plan: version, resources }));
        self.tell_readiness();
    }

    fn answer(&self, message: ToProxy) {
        let Some(to_proxy::Say::Ask(asked)) = message.say else { return };
        let Some(wanted) = desk::takes_long(&asked) else {
            self.say(from_proxy::Say::Answer(desk::answer(self.sync, asked)));
            return;
        };
        let say = self.say.clone();
        tokio::task::spawn_local(async move {
            let answer = desk::profile(asked.id, wanted).await;
            send(&say, FromProxy { say: Some(from_proxy::Say::Answer(answer)) });
        });
    }

    /// Waits until the control plane has closed the stream, which it does when it has read our last words.
    async fn say_goodbye(&self, desk: Option<&mut Streaming<ToProxy>>) -> Result<(), Status> {
        let Some(desk) = desk else { return Ok(()) };
        let closed = async { while let Ok(Some(_)) = desk.message().await {} };
        // A control plane that does not answer finds out by itself.
        let _ = timeout(GOODBYE_LIMIT, closed).await;
        Ok(())
    }

    fn say(&self, say: from_proxy::Say) {
        send(&self.say, FromProxy { say: Some(say) });
    }
}

/// Nothing, away from the desk.
async fn heard(desk: Option<&mut Streaming<ToProxy>>) -> Result<Option<ToProxy>, Status> {
    match desk {
        Some(desk) => desk.message().await,
        None => std::future::pending().await,
    }
}

/// When the stream is gone already, its other half reports that.
fn send<T>(to: &mpsc::UnboundedSender<T>, message: T) {
    let _ = to.send(message);
}

/// Never, when nothing is being compiled. `None`: it panicked.
async fn finished(compiling: &mut Option<JoinHandle<Compiled>>) -> Option<Compiled> {
    match compiling {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

/// A status as one reads it.
fn text(status: &Status) -> String {
    let mut text = match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    };
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
