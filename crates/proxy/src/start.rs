//! Starts a proxy, lets it run, and stops it so that nobody notices: first it says that it leaves, then it waits for clients
//! to move away, then it finishes what it has.

use crate::admin::{self, Admin};
use crate::channel::Control;
use crate::current::{Current, Wanted};
use crate::listen::Listeners;
use crate::options::{AccessLog, AccessLogFormat, Options};
use crate::ready;
use crate::renewal;
use crate::signer::ControlSigner;
use crate::sink::Sink;
use crate::status::{Readiness, Status};
use crate::sync::{self, Sync};
use crate::worker;
use crate::world::World;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use taut_observe::access_log::{self, AccessLog as Log};
use taut_observe::metrics::Registry;
use taut_wire::net::Listener;
use taut_wire::token::JoinToken;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// How long clients get to hear that this workload leaves, before it stops taking connections.
const MOVE_AWAY: Duration = Duration::from_secs(1);
/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often metric series are looked through for those that nothing changes.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

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
    Proxy::start(world, options).await?.run(shutdown).await;
    Ok(())
}

/// A proxy that has bound its ports and serves nothing yet.
pub struct Proxy {
    world: World,
    options: Arc<Options>,
    token: Option<JoinToken>,
    control: Control,
    current: Arc<Current>,
    wanted: Wanted,
    status: Arc<Status>,
    sink: Sink,
    listeners: Listeners,
    admin: Vec<Listener>,
}

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
        if address.is_empty() {
            return Err(Fault::new("no control plane is named", "give --control HOST:PORT, or a join token, which names it"));
        }
        if let Some(open) = options.admin.iter().find(|address| !address.ip().is_loopback()) {
            return Err(Fault::new(
                format!("the admin server would listen on {open}"),
                "it shows configuration and records, so it listens on loopback only",
            ));
        }
        let listeners = bind(&world, &options).await?;
        let admin = bind_all(&world, "admin", "--admin", &options.admin).await?;
        let log = open_log(&options.access_log)?;
        let (current, wanted) = Current::new(options.workload.clone());
        let sink = Sink::new(Arc::new(Registry::default()), log, options.records);
        let status = Status::new(world.clone(), current.clone(), address.clone());
        let control = Control { world: world.clone(), address };
        Ok(Self { world, options: Arc::new(options), token, control, current, wanted, status, sink, listeners, admin })
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

    /// Until `shutdown` and the drain after it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let threads = self.further_workers();
        let local = LocalSet::new();
        local.run_until(self.run_here(shutdown)).await;
        for thread in threads {
            // Its drain began with ours and has the same limit; one that panicked has said so.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn run_here(self, shutdown: impl Future<Output = ()>) {
        let peer = self.peer_advertised();
        let admin_address = self.admin_addresses().first().map(ToString::to_string).unwrap_or_default();
        let Self { world, options, token, control, current, wanted, status, sink, listeners, admin } = self;
        let mut tasks = tokio::task::JoinSet::new();
        for listener in admin {
            tasks.spawn(admin::serve(listener, Admin { world: world.clone(), status: status.clone(), sink: sink.clone() }));
        }
        let signer = ControlSigner { control: control.clone(), current: current.clone(), token };
        let (its_world, its_current) = (world.clone(), current.clone());
        tasks.spawn_local(async move { renewal::keep(&its_world, &its_current, &signer).await });
        let (its_world, its_status, probe) = (world.clone(), status.clone(), options.probe.clone());
        tasks.spawn_local(async move { ready::watch(&its_world, &its_status, &probe).await });
        let sync = Sync {
            world: world.clone(),
            options: options.clone(),
            current: current.clone(),
            status: status.clone(),
            sink: sink.clone(),
            control,
            peer,
            admin: admin_address,
        };
        let (its_world, registry) = (world.clone(), sink.registry().clone());
        tasks.spawn_local(async move { expire_series(&its_world, &registry).await });
        let mut sync = tokio::task::spawn_local(sync::run(sync, wanted));
        let mut working = std::pin::pin!(worker::serve(world, options, current.clone(), sink, listeners));
        tokio::select! {
            biased;
            () = shutdown => {}
            // It ends by a drain only, and nobody has asked for one.
            () = &mut working => {}
        }
        tracing::info!("stopping: clients are told to move, then exchanges in flight are finished");
        status.say(Readiness::Draining);
        tokio::select! {
            biased;
            () = &mut working => {}
            () = move_away(&current) => {}
        }
        current.start_draining();
        working.await;
        status.say(Readiness::Gone);
        // A control plane that is away finds out by itself.
        let _ = timeout(GOODBYE, &mut sync).await;
        sync.abort();
        tracing::info!("stopped");
    }

    /// One thread each for the workers beyond the first, with the same sockets.
    fn further_workers(&self) -> Vec<JoinHandle<()>> {
        if self.world.is_simulated() {
            return Vec::new();
        }
        (1..self.options.workers)
            .filter_map(|number| self.further_worker(number).map_err(|error| tracing::error!(number, %error, "a worker did not start")).ok())
            .collect()
    }

    fn further_worker(&self, number: usize) -> io::Result<JoinHandle<()>> {
        let Self { world, options, current, sink, .. } = self;
        let (world, options, current, sink) = (world.clone(), options.clone(), current.clone(), sink.clone());
        let sockets = Sockets::share(&self.listeners)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                match sockets.listeners() {
                    Ok(listeners) => worker::serve(world, options, current, sink, listeners).await,
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

async fn expire_series(world: &World, registry: &Registry) {
    loop {
        registry.expire(world.now());
        tokio::time::sleep(EXPIRE_EVERY).await;
    }
}

/// Clients can hear of it only while there is a control plane to tell them.
async fn move_away(current: &Current) {
    if current.connected() {
        tokio::time::sleep(MOVE_AWAY).await;
    }
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

async fn bind(world: &World, options: &Options) -> Result<Listeners, Fault> {
    only_for_own(world, options)?;
    let outbound = match options.outbound {
        Some(address) => Some(bind_one(world, "outbound", "--outbound", address).await?),
        None => None,
    };
    let mut upstreams = Vec::new();
    for upstream in &options.upstreams {
        let listener = bind_one(world, &format!("upstream {}:{}", upstream.host, upstream.port), "--upstream", upstream.listen).await?;
        upstreams.push((listener, upstream.host.clone(), upstream.port));
    }
    let peer = bind_one(world, "peer", "--peer", options.peer).await?;
    let exposed = match options.exposed {
        Some(address) => Some(bind_one(world, "exposed", "--expose", address).await?),
        None => None,
    };
    Ok(Listeners { outbound, upstreams, peer, exposed })
}

async fn bind_all(world: &World, what: &str, option: &str, addresses: &[SocketAddr]) -> Result<Vec<Listener>, Fault> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(bind_one(world, what, option, *address).await?);
    }
    Ok(listeners)
}

async fn bind_one(world: &World, what: &str, option: &str, address: SocketAddr) -> Result<Listener, Fault> {
    let port = address.port();
    world.network.listen(address).await.map_err(|error| match error.kind() {
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
    })
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

/// Listening sockets on their way to another thread, whose runtime must take them up itself.
struct Sockets {
    outbound: Option<std::net::TcpListener>,
    upstreams: Vec<(std::net::TcpListener, String, u16)>,
    peer: std::net::TcpListener,
    exposed: Option<std::net::TcpListener>,
}

impl Sockets {
    fn share(of: &Listeners) -> io::Result<Self> {
        let upstreams = of.upstreams.iter().map(|(listener, host, port)| Ok((share(listener)?, host.clone(), *port)));
        Ok(Self {
            outbound: of.outbound.as_ref().map(share).transpose()?,
            upstreams: upstreams.collect::<io::Result<_>>()?,
            peer: share(&of.peer)?,
            exposed: of.exposed.as_ref().map(share).transpose()?,
        })
    }

    fn listeners(self) -> io::Result<Listeners> {
        let upstreams = self.upstreams.into_iter().map(|(socket, host, port)| Ok((take_up(socket)?, host, port)));
        Ok(Listeners {
            upstreams: upstreams.collect::<io::Result<_>>()?,
            outbound: self.outbound.map(take_up).transpose()?,
            peer: take_up(self.peer)?,
            exposed: self.exposed.map(take_up).transpose()?,
        })
    }
}

fn share(listener: &Listener) -> io::Result<std::net::TcpListener> {
    match listener {
        Listener::Tcp(listener) => Ok(listener.as_fd().try_clone_to_owned()?.into()),
        Listener::Other(_) => Err(io::Error::new(ErrorKind::Unsupported, "only TCP sockets can be shared between threads")),
    }
}

fn take_up(socket: std::net::TcpListener) -> io::Result<Listener> {
    tokio::net::TcpListener::from_std(socket).map(Listener::Tcp)
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
        assert!(bind(&World::os(), &options(everywhere, here)).await.is_err());
    }
}
