//! Starts a proxy, lets it run, and stops it so that nobody notices: first it says that it leaves, then it waits for clients
//! to move away, then it finishes what it has.

use crate::admin::{self, Admin};
use crate::agent;
use crate::bequest::Bequest;
use crate::channel::Control;
use crate::current::{Current, Stage, Wanted};
use crate::handover::{self, Door, Estate, Inheritance, Listening, NotReplaced, Predecessor, Replaced};
use crate::listen::Listeners;
use crate::options::{AccessLog, AccessLogFormat, Handover, Options, Start};
use crate::pages;
use crate::ready;
use crate::renewal;
use crate::signer::{ControlSigner, Proof};
use crate::sink::{Sink, expire_series};
use crate::sockets::{Sockets, share, take_up};
use crate::status::{AtDesk, Readiness, Status};
use crate::sync::{self, Sync};
use crate::telemetry::{self, Source};
use crate::worker;
use crate::workload_api::{Application, Socket, WorkloadApi};
use crate::world::World;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use taut_observe::access_log::{self, AccessLog as Log};
use taut_observe::metrics::Registry;
use taut_wire::net::Listener;
use taut_wire::token::JoinToken;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

/// How long clients get to hear that this workload leaves, before it stops taking connections.
const MOVE_AWAY: Duration = Duration::from_secs(1);
/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the control plane may hear nothing of a workload whose proxy is replaced; it waits somewhat longer before it worries.
const FIRST_LOOK: Duration = Duration::from_millis(2500);
/// How long connections that move may take to come here: somewhat more than they are given to become quiet. A proxy that were replaced
/// in that time could end before they have come.
const SETTLE: Duration = Duration::from_millis(1500);

/// Why a proxy did not start: what is wrong, and what to do.
#[derive(Debug)]
pub struct Fault {
    what: String,
    help: String,
}

impl Fault {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }

    /// A port that this workload's own proxy holds can be had.
    fn or_replace(mut self, options: &Options) -> Self {
        let taken = |handover: &Handover| handover.start == Start::Afresh && UnixStream::connect(&handover.place).is_ok();
        if options.handover.as_ref().is_some_and(taken) {
            self.help += "; the proxy that runs here already is replaced with --replace";
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.help)
    }
}
impl std::error::Error for Fault {}

/// Binds, then runs until `shutdown` and the drain after it. Everything is on the calling thread, but for the further workers
/// that `options.workers` asks for outside a simulation.
///
/// # Errors
/// The proxy could not start: a port in use, an unusable token or access log. Once it runs, it runs.
pub async fn run(world: World, options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Fault> {
    Proxy::start(world, options).await?.run(shutdown).await
}

/// A proxy that has bound its ports and serves nothing yet.
pub struct Proxy {
    world: World,
    options: Arc<Options>,
    proof: Option<Proof>,
    control: Control,
    current: Arc<Current>,
    /// Taken when it runs.
    wanted: Option<Wanted>,
    status: Arc<Status>,
    sink: Sink,
    listeners: Listeners,
    admin: Vec<Listener>,
    /// Where a successor asks.
    door: Option<UnixListener>,
    inheritance: Option<Inheritance>,
    /// What the application holds for itself.
    application: Arc<Application>,
    /// Where it asks for it, if it may.
    socket: Option<Socket>,
}

/// The task that speaks to the control plane.
type Desk = tokio::task::JoinHandle<()>;

impl Proxy {
    /// # Errors
    /// See [`run`].
    pub async fn start(world: World, options: Options) -> Result<Self, Fault> {
        let token = options.token.as_ref().map(|text| JoinToken::parse(text.reveal())).transpose();
        let token = token.map_err(|error| Fault::new("the join token cannot be used", error.to_string()))?;
        let address: Arc<str> = match (&token, options.control.is_empty()) {
            (Some(token), true) => token.control.as_str().into(),
            _ => options.control.as_str().into(),
        };
        let proof = token.map(Proof::Token).or_else(|| options.pod.clone().map(Proof::ServiceAccount));
        agent::may_be_followed(&options).map_err(|(what, help)| Fault::new(what, help))?;
        if address.is_empty() {
            return Err(Fault::new("no control plane is named", "give --control HOST:PORT, or a join token, which names it"));
        }
        if let Some(open) = options.admin.iter().find(|address| !address.ip().is_loopback()) {
            return Err(Fault::new(
                format!("the admin server would listen on {open}"),
                "it shows configuration and records, so it listens on loopback only",
            ));
        }
        let mut inheritance = inherit(&options).await?;
        let mut ports = Ports { world: &world, inherited: inheritance.as_mut() };
        let listeners = bind(&mut ports, &options).await.map_err(|fault| fault.or_replace(&options))?;
        let admin = ports.all("admin", "--admin", &options.admin).await.map_err(|fault| fault.or_replace(&options))?;
        let door = open_door(&options, inheritance.as_mut()).await;
        if let Some(inheritance) = &mut inheritance {
            inheritance.close_the_rest();
        }
        let socket = Socket::open(&options).await.map_err(|(what, help)| Fault::new(what, help))?;
        let log = open_log(&options.access_log)?;
        let (current, wanted) = Current::new(options.workload.clone());
        let sink = Sink::new(Arc::new(Registry::default()), log, options.records);
        let status = Status::new(world.clone(), current.clone(), address.clone());
        let control = Control { world: world.clone(), address };
        let (options, wanted) = (Arc::new(options), Some(wanted));
        let application = Arc::default();
        Ok(Self { world, options, proof, control, current, wanted, status, sink, listeners, admin, door, inheritance, application, socket })
    }

    /// Where the admin servers listen.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.admin.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Until `shutdown` and the drain after it, or until a successor has taken over and what is left here has ended.
    ///
    /// # Errors
    /// It was to take over from another proxy, and could not. That one goes on.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Fault> {
        let local = LocalSet::new();
        local.run_until(self.run_here(shutdown)).await
    }

    async fn run_here(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Fault> {
        let mut shutdown = std::pin::pin!(shutdown);
        let (mut tasks, mut front) = (JoinSet::new(), JoinSet::new());
        let (wanted, inheritance) = (self.wanted.take(), self.inheritance.take());
        let (desk, before) = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            prepared = self.prepare(&mut tasks, wanted, inheritance) => prepared?,
        };
        let (replaced, mut successor) = oneshot::channel();
        self.await_successor(&mut tasks, replaced, before.is_some());
        self.serve_application(&mut tasks);
        for listener in std::mem::take(&mut self.admin) {
            front.spawn(admin::serve(listener, Admin { world: self.world.clone(), status: self.status.clone(), sink: self.sink.clone() }));
        }
        if self.options.handover.is_some() {
            handover::tell_service_manager();
        }
        let (threads, mut adopters) = self.further_workers();
        let (adopter, bequests) = mpsc::unbounded_channel();
        adopters.push(adopter);
        if let Some(line) = before {
            tasks.spawn_local(handover::adopt_each(line, adopters));
        }
        let Self { world, options, current, status, sink, listeners, .. } = self;
        let own_worker = worker::serve(world, options.clone(), current.clone(), sink.clone(), listeners, bequests);
        let mut working = std::pin::pin!(async {
            own_worker.await;
            for thread in threads {
                // One that panicked has said so.
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        });
        let replaced = tokio::select! {
            biased;
            () = &mut shutdown => None,
            // It ends by a drain only, and nobody has asked for one.
            () = &mut working => None,
            Ok(replaced) = &mut successor => Some(replaced),
        };
        match replaced {
            Some(replaced) => {
                // The successor answers there now.
                front.abort_all();
                tokio::select! {
                    biased;
                    () = &mut working => {}
                    () = linger(&options, &current, &status, replaced, shutdown) => working.await,
                }
            }
            None => {
                tokio::select! {
                    biased;
                    () = &mut working => {}
                    () = move_away(&current, &status) => working.await,
                }
                remove_sockets(&options);
            }
        }
        say_goodbye(&status, desk).await;
        sink.telemetry().close().await;
        Ok(())
    }

    /// Starts what works in the background. With an inheritance, also waits until this proxy can serve, and takes over; gives the line
    /// to the proxy before this one.
    async fn prepare(
        &self,
        tasks: &mut JoinSet<()>,
        wanted: Option<Wanted>,
        inheritance: Option<Inheritance>,
    ) -> Result<(Option<Desk>, Option<handover::Line>), Fault> {
        let Some(mut inheritance) = inheritance else { return Ok((self.background(tasks, wanted), None)) };
        let refused = |error: NotReplaced| Fault::new("did not take over", error.to_string());
        self.status.attend(AtDesk::Away);
        let (desk, vouched) = if self.options.identity_from.is_some() {
            // The agent gives the successor what it gave the proxy before; the take-over waits for it.
            (self.background(tasks, wanted), true)
        } else {
            let held = inheritance.certificate(&self.world, &self.current).await.map_err(refused)?;
            let vouched = held.map(|held| self.current.hold(held)).is_some();
            (self.background(tasks, wanted), vouched)
        };
        let linger = self.options.handover.as_ref().map_or(Duration::ZERO, |handover| handover.linger);
        let before = match vouched {
            true => inheritance.take_over(&self.status, linger).await.map_err(refused)?,
            false => None,
        };
        let status = self.status.clone();
        tasks.spawn_local(async move {
            // What is said first at the desk must not be that nothing is known of the application yet: it would get no more requests.
            let _ = timeout(FIRST_LOOK, status.looked()).await;
            status.attend(AtDesk::Present);
        });
        Ok((desk, before))
    }

    /// Certificates, readiness, what the control plane says. Gives the task that speaks to the control plane.
    fn background(&self, tasks: &mut JoinSet<()>, wanted: Option<Wanted>) -> Option<Desk> {
        let (world, current) = (self.world.clone(), self.current.clone());
        match self.options.identity_from.clone() {
            Some(address) => tasks.spawn_local(async move { agent::keep(&world, &current, &address).await }),
            None => {
                let signer = ControlSigner { control: self.control.clone(), current: current.clone(), proof: self.proof.clone() };
                tasks.spawn_local(async move { renewal::keep(&world, &current, &signer).await })
            }
        };
        let (world, status, probe) = (self.world.clone(), self.status.clone(), self.options.probe.clone());
        tasks.spawn_local(async move { ready::watch(&world, &status, &probe).await });
        tasks.spawn_local(expire_series(self.world.clone(), self.sink.registry().clone()));
        let source = Source::new(self.world.clone(), self.current.clone(), self.sink.registry().clone());
        let (telemetry, sink) = (self.sink.telemetry().clone(), self.sink.clone());
        tasks.spawn_local(telemetry::keep(telemetry, source, move || sink.open_access_log()));
        tasks.spawn_local(pages::settle_down(self.world.clone()));
        let sync = Sync {
            world: self.world.clone(),
            options: self.options.clone(),
            current: self.current.clone(),
            status: self.status.clone(),
            sink: self.sink.clone(),
            control: self.control.clone(),
            application: self.application.clone(),
            peer: self.peer_advertised(),
            admin: self.admin_addresses().first().map(ToString::to_string).unwrap_or_default(),
        };
        // There is always somebody to hear what is wanted.
        wanted.map(|wanted| tokio::task::spawn_local(sync::run(sync, wanted)))
    }

    /// Serves the Workload API, if it is wanted; after a takeover in the place of the proxy before.
    fn serve_application(&mut self, tasks: &mut JoinSet<()>) {
        let (Some(mut socket), Some(wanted)) = (self.socket.take(), &self.options.workload_api) else { return };
        if let Err(error) = socket.publish() {
            tracing::error!(%error, place = %wanted.place.display(), "the Workload API is not served");
            return;
        }
        let users = [handover::own_user()].into_iter().chain(wanted.users.iter().copied()).collect();
        // Never the join token: what the application gets is what the proxy's certificate proves.
        let signer = Arc::new(ControlSigner { control: self.control.clone(), current: self.current.clone(), proof: None });
        let (world, application, sink) = (self.world.clone(), self.application.clone(), self.sink.clone());
        tasks.spawn_local(WorkloadApi { world, signer, application, sink, users }.run(socket.listener()));
    }

    /// Answers at the handover socket, if there is one; after a takeover only when all has moved here that can.
    fn await_successor(&mut self, tasks: &mut JoinSet<()>, replaced: oneshot::Sender<Replaced>, after_takeover: bool) {
        let Some(listener) = self.door.take() else { return };
        match self.estate() {
            Ok(estate) => {
                // The certificate that is held vouches for the successor's, nothing else.
                let signer = ControlSigner { control: self.control.clone(), current: self.current.clone(), proof: None };
                let started = self.options.handover.as_ref().and_then(|handover| handover.started.clone());
                let predecessor = Predecessor { listener, estate, status: self.status.clone(), signer, user: handover::own_user(), started };
                let settle = if after_takeover { SETTLE } else { Duration::ZERO };
                tasks.spawn_local(async move {
                    tokio::time::sleep(settle).await;
                    predecessor.serve(replaced).await;
                });
            }
            Err(error) => tracing::warn!(%error, "the listening sockets cannot be shared: this proxy cannot be replaced while it runs"),
        }
    }

    /// The listening sockets, under the addresses that were asked for.
    fn estate(&self) -> io::Result<Estate> {
        let (options, own) = (&self.options, &self.listeners);
        let mut all = vec![("peer".to_owned(), options.peer, &own.peer)];
        all.extend(options.outbound.zip(own.outbound.as_ref()).map(|(address, listener)| ("outbound".to_owned(), address, listener)));
        all.extend(options.exposed.zip(own.exposed.as_ref()).map(|(address, listener)| ("exposed".to_owned(), address, listener)));
        let upstreams = options.upstreams.iter().zip(&own.upstreams);
        all.extend(upstreams.map(|(asked, (listener, ..))| (format!("upstream {}:{}", asked.host, asked.port), asked.listen, listener)));
        all.extend(options.admin.iter().zip(&self.admin).map(|(address, listener)| ("admin".to_owned(), *address, listener)));
        let listeners = all.into_iter().map(|(what, address, listener)| Ok((Listening { what, at: Door::Tcp(address) }, share(listener)?)));
        Ok(Estate { listeners: listeners.collect::<io::Result<_>>()? })
    }

    /// One thread each for the workers beyond the first, with the same sockets; and where to send them connections.
    fn further_workers(&self) -> (Vec<JoinHandle<()>>, Vec<mpsc::UnboundedSender<Bequest>>) {
        if self.world.is_simulated() {
            return Default::default();
        }
        let started = (1..self.options.workers).filter_map(|number| {
            let (adopter, bequests) = mpsc::unbounded_channel();
            let thread = self.further_worker(number, bequests).map_err(|error| tracing::error!(number, %error, "a worker did not start"));
            Some((thread.ok()?, adopter))
        });
        started.unzip()
    }

    fn further_worker(&self, number: usize, bequests: mpsc::UnboundedReceiver<Bequest>) -> io::Result<JoinHandle<()>> {
        let Self { world, options, current, sink, .. } = self;
        let (world, options, current, sink) = (world.clone(), options.clone(), current.clone(), sink.clone());
        let sockets = Sockets::share(&self.listeners)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                match sockets.listeners() {
                    Ok(listeners) => worker::serve(world, options, current, sink, listeners, bequests).await,
                    Err(error) => tracing::error!(number, %error, "a worker cannot use the listening sockets"),
                }
            });
        })
    }

    fn peer_advertised(&self) -> String {
        let bound = self.listeners.peer.local_addr().unwrap_or(self.options.peer);
        match &self.options.peer_advertised {
            Some(said) => said.clone(),
            None if bound.ip().is_unspecified() => SocketAddr::new(self.options.workload.address, bound.port()).to_string(),
            None => bound.to_string(),
        }
    }
}

/// Clients can hear of it only while there is a control plane to tell them.
async fn move_away(current: &Current, status: &Status) {
    tracing::info!("stopping: clients are told to move, then exchanges in flight are finished");
    status.say(Readiness::Draining);
    if current.connected() {
        tokio::time::sleep(MOVE_AWAY).await;
    }
    current.start_draining();
}

/// What is done by a proxy that was replaced, beside finishing what it has: connections are first given the time to end well, then idle
/// ones are closed, and the others may stay as long as the successor allows or until a stop is asked for.
async fn linger(options: &Options, current: &Current, status: &Status, replaced: Replaced, stop: Pin<&mut impl Future<Output = ()>>) {
    tracing::info!(linger = ?replaced.linger, "a successor has taken over: what is under way here is finished, then this process ends");
    status.say(Readiness::Draining);
    current.replace(replaced.heir, replaced.linger);
    let close_idle = async {
        tokio::time::sleep(options.drain).await;
        current.advance(Stage::Closing);
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = stop => current.start_draining(),
        () = close_idle => {}
    }
}

async fn say_goodbye(status: &Status, desk: Option<Desk>) {
    status.say(Readiness::Gone);
    if let Some(mut desk) = desk {
        // A control plane that is away finds out by itself.
        let _ = timeout(GOODBYE, &mut desk).await;
        desk.abort();
    }
    tracing::info!("stopped");
}

/// Nobody answers there any more.
fn remove_sockets(options: &Options) {
    let door = options.handover.as_ref().map(|handover| &handover.place);
    for place in door.into_iter().chain(options.workload_api.as_ref().map(|api| &api.place)) {
        // What is left behind is replaced by the next proxy.
        let _ = std::fs::remove_file(place);
    }
}

/// The socket where a successor may ask, if there is to be one.
async fn open_door(options: &Options, inherited: Option<&mut Inheritance>) -> Option<UnixListener> {
    let handover = options.handover.as_ref()?;
    let opened = match inherited.and_then(Inheritance::take_handover) {
        Some(listener) => UnixListener::from_std(listener),
        None => handover::open(&handover.place).await,
    };
    let place = handover.place.display();
    opened.map_err(|error| tracing::warn!("this proxy cannot be replaced while it runs: {place}: {error}; choose another place with --handover")).ok()
}

/// What the proxy that runs hands over, if this one is to take its place and it is there.
async fn inherit(options: &Options) -> Result<Option<Inheritance>, Fault> {
    let Some(Handover { place, start: Start::Replace, .. }) = &options.handover else { return Ok(None) };
    if cfg!(not(target_os = "linux")) {
        return Err(Fault::new("a running proxy can be replaced on Linux only", "stop it, then start this one without --replace"));
    }
    let asked = Inheritance::ask(place, &options.workload).await;
    let inheritance = asked.map_err(|error| Fault::new("did not take over", error.to_string()))?;
    if inheritance.is_none() {
        tracing::info!("no proxy answers at {}: starting as the first", place.display());
    }
    Ok(inheritance)
}

/// Whoever reaches these listeners speaks as this workload, so only its own machine may (a simulated host has no other programs).
fn only_for_own(world: &World, options: &Options) -> Result<(), Fault> {
    let outbound = options.outbound.map(|address| ("--outbound", address));
    let all = outbound.into_iter().chain(options.upstreams.iter().map(|upstream| ("--upstream", upstream.listen)));
    match all.into_iter().find(|(_, address)| !world.is_simulated() && !address.ip().is_loopback()) {
        Some((option, open)) => Err(Fault::new(
            format!("{option} would listen on {open}"),
            "whoever connects there speaks with this workload's identity, so it listens on loopback only (127.0.0.1:PORT or [::1]:PORT)",
        )),
        None => Ok(()),
    }
}

async fn bind(ports: &mut Ports<'_>, options: &Options) -> Result<Listeners, Fault> {
    only_for_own(ports.world, options)?;
    let outbound = match options.outbound {
        Some(address) => Some(ports.one("outbound", "--outbound", address).await?),
        None => None,
    };
    let mut upstreams = Vec::new();
    for upstream in &options.upstreams {
        let listener = ports.one(&format!("upstream {}:{}", upstream.host, upstream.port), "--upstream", upstream.listen).await?;
        upstreams.push((listener, upstream.host.clone(), upstream.port));
    }
    let peer = ports.one("peer", "--peer", options.peer).await?;
    let exposed = match options.exposed {
        Some(address) => Some(ports.one("exposed", "--expose", address).await?),
        None => None,
    };
    Ok(Listeners { outbound, upstreams, peer, exposed })
}

/// Where listening sockets come from: the proxy before this one, or else the system.
struct Ports<'a> {
    world: &'a World,
    inherited: Option<&'a mut Inheritance>,
}

impl Ports<'_> {
    async fn all(&mut self, what: &str, option: &str, addresses: &[SocketAddr]) -> Result<Vec<Listener>, Fault> {
        let mut listeners = Vec::new();
        for address in addresses {
            listeners.push(self.one(what, option, *address).await?);
        }
        Ok(listeners)
    }

    async fn one(&mut self, what: &str, option: &str, address: SocketAddr) -> Result<Listener, Fault> {
        let inherited = self.inherited.as_mut().and_then(|inheritance| inheritance.take(address));
        let listener = match inherited {
            Some(socket) => take_up(socket),
            None => self.world.network.listen(address).await,
        };
        listener.map_err(|error| cannot_listen(what, option, address, &error))
    }
}

fn cannot_listen(what: &str, option: &str, address: SocketAddr, error: &io::Error) -> Fault {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => Fault::new(
            format!("port {port} ({what}, {address}) is in use"),
            format!("stop what holds it (`ss -ltnp 'sport = :{port}'` shows it), or choose another with {option}"),
        ),
        ErrorKind::PermissionDenied => {
            Fault::new(format!("port {port} ({what}) may not be bound by this user"), format!("choose one from 1024 up with {option}"))
        }
        ErrorKind::AddrNotAvailable => {
            Fault::new(format!("{address} ({what}) is not an address of this machine"), format!("choose one that `ip addr` shows with {option}"))
        }
        _ => Fault::new(format!("cannot listen on {address} ({what})"), error.to_string()),
    }
}

fn open_log(wanted: &AccessLog) -> Result<Option<Log>, Fault> {
    let format = match wanted.format {
        AccessLogFormat::Off => return Ok(None),
        AccessLogFormat::Text => access_log::Format::Text,
        AccessLogFormat::Json => access_log::Format::Json,
    };
    let log = match &wanted.file {
        None => Log::start(format, io::stdout()),
        Some(file) => {
            let cannot = |error: io::Error| {
                Fault::new(format!("cannot write the access log {}", file.display()), format!("{error}; choose another file with --access-log-file"))
            };
            Log::start(format, std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(cannot)?)
        }
    };
    log.map(Some).map_err(|error| Fault::new("cannot start the access log", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{OwnWorkload, Upstream};
    use std::collections::BTreeMap;
    use taut_wire::net::OsNetwork;

    fn options(outbound: &str, upstream: &str) -> Options {
        let own = OwnWorkload {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            service_account: "web".to_owned(),
            labels: BTreeMap::new(),
            address: [127, 0, 0, 1].into(),
            ports: vec![],
            locality: String::new(),
        };
        let upstreams = vec![Upstream { host: "reviews".to_owned(), port: 9080, listen: upstream.parse().unwrap() }];
        Options { outbound: Some(outbound.parse().unwrap()), upstreams, ..Options::new(own, "127.0.0.1:1") }
    }

    #[tokio::test]
    async fn nobody_else_may_speak_as_this_workload() {
        let simulated = World::simulated(Arc::new(OsNetwork), 7, jiff::Timestamp::UNIX_EPOCH);
        let (here, everywhere) = ("127.0.0.1:0", "0.0.0.0:0");
        for (outbound, upstream, said) in [
            (here, here, None),
            ("[::1]:0", here, None),
            (everywhere, here, Some("--outbound would listen on 0.0.0.0:0")),
            (here, "[::]:0", Some("--upstream would listen on [::]:0")),
        ] {
            let refused = only_for_own(&World::os(), &options(outbound, upstream)).err();
            assert_eq!(refused.map(|fault| fault.what).as_deref(), said, "{outbound} {upstream}");
            assert!(only_for_own(&simulated, &options(outbound, upstream)).is_ok());
        }
        assert!(bind(&mut Ports { world: &World::os(), inherited: None }, &options(everywhere, here)).await.is_err());
    }
}
