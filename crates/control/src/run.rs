//! The control plane as a whole: opens its state, binds its listeners, starts its tasks, and stops them again.

mod behind;
mod keys;
mod site;
mod trusted;

use crate::access::{self, Access};
use crate::api::{self, Api, External, User};
use crate::audit::Audit;
use crate::authority::limits::IssuanceLimits;
use crate::authority::{Authority, private_directory, warn_if_shared};
use crate::dashboard::assets::Assets;
use crate::fault::Fault;
use crate::https;
use crate::incidents::{self, Incidents};
use crate::issuers::{self, Issuers};
use crate::kubernetes::{Kubernetes, Reviewer};
use crate::proxies::Proxies;
use crate::publish::{Published, Publisher};
use crate::registry::Registry;
use crate::serve::tls::{Names, OwnCertificate};
use crate::serve::{self, Services};
use crate::side::{self, Side};
use crate::signals;
use crate::slices;
use crate::source::directory::Directory;
use crate::status::Board;
use crate::stopping::{Stop, Stopping, stopping};
use crate::store::{Store, StoreError};
use crate::translate::{self, Settings};
use crate::upstream::UpstreamCa;
use crate::world::World;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::agent::AgentAddress;
use taut_wire::net::Listener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the gRPC server may take to end its streams when the control plane stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// What `taut up` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of everything that must survive a restart; `None` keeps it in memory.
    pub state: Option<PathBuf>,
    /// Where proxies come to.
    pub grpc: SocketAddr,
    /// Where kubectl and `taut` come to.
    pub api: SocketAddr,
    /// Where browsers come to; `None`: there is no dashboard.
    pub dashboard: Option<SocketAddr>,
    /// Names by which browsers may call the dashboard, beside addresses and `localhost`.
    pub dashboard_names: Vec<String>,
    /// The dashboard's files.
    pub assets: Assets,
    /// `host:port` of `grpc` as join tokens name it; by default the bound address.
    pub advertised: Option<String>,
    /// DNS names of its certificate, beside `localhost`.
    pub names: Vec<String>,
    /// Directory of configuration files to load and watch.
    pub config: Option<PathBuf>,
    pub trust_domain: String,
    /// The longest life of a workload's certificate.
    pub leaf_lifetime: Duration,
    pub issuance_limits: IssuanceLimits,
    /// Who vouches for the service accounts of a cluster; `None`: nobody.
    pub kubernetes: Option<Kubernetes>,
    /// Directory of a plugged-in authority, in the layout of Istio's `cacerts`, to use and watch.
    pub ca_directory: Option<PathBuf>,
    /// Who signs for the mesh instead of the control plane; `None`: nobody.
    pub foreign: Option<Foreign>,
    /// File of revocation lists to take up and watch.
    pub revocation_lists: Option<PathBuf>,
    /// What the store of signals may use.
    pub signals: signals::Limits,
    /// Who is told of incidents: a URL that takes what Alertmanager sends to its webhooks.
    pub webhook: Option<String>,
    /// The API server of `kubernetes` is given the Events of incidents.
    pub events: bool,
}

/// Another authority in the place of the control plane's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It signs what the control plane lets through.
    Upstream(UpstreamCa),
    /// Everybody gets theirs from it, the control plane too.
    Agent(AgentAddress),
}

impl Foreign {
    /// What it is wanted by.
    fn option(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "--upstream-ca",
            Self::Agent(_) => "--identity-from",
        }
    }
}

impl Default for Options {
    /// Loopback, the usual ports, no dashboard, no state directory, trust domain `cluster.local` (Istio's default), leaves of 24 h.
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            state: None,
            grpc: loopback(15012),
            api: loopback(15443),
            dashboard: None,
            dashboard_names: Vec::new(),
            assets: &[],
            advertised: None,
            names: Vec::new(),
            config: None,
            trust_domain: "cluster.local".to_owned(),
            leaf_lifetime: Duration::from_secs(24 * 3600),
            issuance_limits: IssuanceLimits::default(),
            kubernetes: None,
            ca_directory: None,
            foreign: None,
            revocation_lists: None,
            signals: signals::Limits::default(),
            webhook: None,
            events: false,
        }
    }
}

/// A control plane that runs.
pub struct Running {
    /// Where it really listens.
    pub grpc: SocketAddr,
    pub api: SocketAddr,
    /// What to open in a browser: with a token on loopback, where it signs in.
    pub dashboard: Option<zeroize::Zeroizing<String>>,
    pub access: Access,
    /// `host:port` that join tokens name.
    pub advertised: String,
    /// Written for kubectl, when there is a state directory.
    pub kubeconfig: Option<PathBuf>,
    /// The same, as text. Holds the admin token.
    pub kubeconfig_text: zeroize::Zeroizing<String>,
    pub admin_token: zeroize::Zeroizing<String>,
    pub store: Store,
    pub authority: Arc<Authority>,
    pub proxies: Proxies,
    pub registry: Registry,
    pub board: Board,
    pub published: watch::Receiver<Arc<Published>>,
    /// What passed every edge of the mesh.
    pub signals: signals::Store,
    stop: Stop,
    serving: JoinSet<()>,
    tending: JoinSet<()>,
}

/// Runs until `shutdown` completes, then stops cleanly.
///
/// # Errors
/// See [`start`].
pub async fn run(world: World, options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Fault> {
    let running = start(world, options).await?;
    if let Some(kubeconfig) = &running.kubeconfig {
        tracing::info!(grpc = %running.grpc, api = %running.api, kubeconfig = %kubeconfig.display(), "the control plane is up");
    } else {
        tracing::info!(grpc = %running.grpc, api = %running.api, "the control plane is up; its state is in memory");
    }
    shutdown.await;
    running.stop().await;
    Ok(())
}

/// Starts a control plane; it serves when this returns.
///
/// # Errors
/// A port that is in use, a state or configuration directory that cannot be used, another control plane on the same state,
/// keys that do not fit: each as one line that says what to do.
pub async fn start(world: World, options: Options) -> Result<Running, Fault> {
    let store = open_store(&options)?;
    let (authority, signing) = trusted::open(&options, &world).await?;
    let grpc = bind(&world, options.grpc, "--grpc").await?;
    let http = bind(&world, options.api, "--api").await?;
    let (grpc_at, api_at, site) = (address(&grpc)?, address(&http)?, site::open(&world, &options).await?);
    let admin_token = keys::kept_token(options.state.as_deref(), "admin.token")?;
    let access = Access::open(options.state.as_deref(), admin_token.clone(), world.clone())?;
    let (kubeconfig, kubeconfig_text) = keys::first_kubeconfig(options.state.as_deref(), api_at, &authority, &admin_token)?;
    let directory = options.config.as_deref().map(|config| Directory::open(config, store.clone(), world.clone())).transpose()?;
    let proxies = Proxies::default();
    let registry = Registry::new(store.clone(), world.clone())?;
    let (publisher, fetching) = publisher(&store, &world, &options, &authority);
    let published = publisher.subscribe();
    let board = Board::new(store.clone(), proxies.clone(), published.clone());
    let addresses = [grpc_at.ip(), api_at.ip()].into_iter().chain(site.as_ref().map(site::Site::ip)).collect();
    let certificate = OwnCertificate::new(authority.clone(), world.clone(), Names { addresses, dns: options.names.clone() })?;
    let signals = open_signals(&options)?;
    let (stop, stopping) = stopping();
    let advertised = options.advertised.clone().unwrap_or_else(|| dialled(grpc_at).to_string());
    let trust = trusted::trust(&options, &authority, &proxies, &published, &world, signing.signing.clone())?;
    let (incidents, watching) = incidents(&signals, &store, &published, &world, &options);
    let api = api(&store, &world, &access, incidents::external(incidents.clone()))?;
    let side = Arc::new(Side {
        authority: authority.clone(),
        proxies: proxies.clone(),
        board: board.clone(),
        published: published.clone(),
        directory: directory.as_ref().map(Directory::report),
        world: world.clone(),
        advertised: advertised.clone(),
        authenticate: authenticate(&access),
        access: access.clone(),
        dashboard: site.as_ref().map(|site| site.counts.clone()),
        signals: signals.clone(),
        trust,
        audit: Audit::open(options.state.as_deref())?,
        incidents,
    });
    let router = behind::routes(side.clone(), api, &store, &signals);
    let mut serving = serve_proxies(grpc, signing.tls(&certificate)?, services(&side, &registry, &stopping, options.kubernetes.clone()));
    serving.spawn(https::serve(http, certificate.server_config(&https::ALPN)?, router.clone(), stopping.clone()));
    let dashboard = site.map(|site| site.serve(&mut serving, &options, access.clone(), &certificate, router, stopping)).transpose()?;
    let shown = slices::keep(store.clone(), published.clone(), world.clone());
    let mut tending = tend(world, publisher, registry.clone(), board.clone(), certificate, directory, shown);
    let kept = options.state.map(|state| keys::keep_kubeconfig(state, api_at, authority.clone(), admin_token.clone()));
    trusted::tend(&mut tending, &side, &store, kept, signing);
    tending.spawn(fetching);
    tending.spawn(watching);
    Ok(Running {
        grpc: grpc_at,
        api: api_at,
        dashboard,
        access,
        advertised,
        kubeconfig,
        kubeconfig_text,
        admin_token,
        store,
        authority,
        proxies,
        registry,
        board,
        published,
        signals,
        stop,
        serving,
        tending,
    })
}

/// What publishes the mesh, and what fetches the keys of issuers that are named in it.
fn publisher(store: &Store, world: &World, options: &Options, authority: &Authority) -> (Publisher, impl Future<Output = ()> + Send + use<>) {
    let known = watch::Sender::new(issuers::kept(options.state.as_deref()));
    let settings = Settings { trust_domain: options.trust_domain.clone(), ..Settings::default() };
    let publisher = Publisher::new(store.clone(), settings).trusting(authority.bundle()).with_keys(known.subscribe());
    let fetching = Issuers::new(world.clone(), publisher.subscribe(), known, options.state.clone()).run();
    (publisher, fetching)
}

/// What is found in the signals, and what follows them for it.
fn incidents(
    signals: &signals::Store,
    store: &Store,
    published: &watch::Receiver<Arc<Published>>,
    world: &World,
    options: &Options,
) -> (Incidents, impl Future<Output = ()> + Send + use<>) {
    let cluster = options.kubernetes.clone().filter(|_| options.events);
    Incidents::begin(signals.clone(), store.clone(), published.clone(), world.clone(), options.webhook.clone(), cluster)
}

/// What proxies are served from.
fn services(side: &Side, registry: &Registry, stopping: &Stopping, kubernetes: Option<Kubernetes>) -> Services {
    Services {
        authority: side.authority.clone(),
        registry: registry.clone(),
        proxies: side.proxies.clone(),
        published: side.published.clone(),
        world: side.world.clone(),
        stopping: stopping.clone(),
        signals: side.signals.clone(),
        audit: side.audit.clone(),
        signing: side.trust.signing.clone(),
        reviewer: kubernetes.map(|kubernetes| Arc::new(Reviewer::new(kubernetes, side.world.clone()))),
    }
}

/// The first of the servers.
fn serve_proxies(listener: Listener, tls: Arc<rustls::ServerConfig>, services: Services) -> JoinSet<()> {
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        if let Err(fault) = serve::serve(listener, tls, services).await {
            tracing::error!(%fault, "proxies are not served any more");
        }
    });
    serving
}

/// The tasks that run for ever beside the servers.
fn tend(
    world: World,
    publisher: Publisher,
    registry: Registry,
    board: Board,
    certificate: OwnCertificate,
    directory: Option<Directory>,
    shown: impl Future<Output = ()> + Send + 'static,
) -> JoinSet<()> {
    let mut tending = JoinSet::new();
    tending.spawn(shown);
    tending.spawn(publisher.run());
    tending.spawn(async move { registry.tend().await });
    tending.spawn(board.write(world));
    tending.spawn(async move { certificate.keep_fresh().await });
    if let Some(directory) = directory {
        tending.spawn(directory.watch());
    }
    tending
}

impl Running {
    /// Ends all streams, stops listening and all tasks. What was acknowledged is on disk.
    pub async fn stop(mut self) {
        self.stop.stop();
        let all = async { while self.serving.join_next().await.is_some() {} };
        // A client that does not close its connection is not waited for.
        let _ = tokio::time::timeout(FAREWELL, all).await;
        self.serving.shutdown().await;
        self.tending.shutdown().await;
    }
}

fn open_store(options: &Options) -> Result<Store, Fault> {
    let file = match &options.state {
        Some(state) => {
            private_directory(state)?;
            warn_if_shared(state);
            Some(state.join("mesh.redb"))
        }
        None => None,
    };
    Store::open(file.as_deref()).map_err(|error| store_fault(&error))
}

fn open_signals(options: &Options) -> Result<signals::Store, Fault> {
    let Some(state) = &options.state else { return Ok(signals::Store::in_memory(options.signals)) };
    let directory = state.join("signals");
    let unusable =
        |error| Fault::new(format!("the store of signals {} cannot be used: {error}", directory.display()), "Mend or remove that directory");
    signals::Store::open(&directory, options.signals).map_err(unusable)
}

/// The store's own words already say what to do.
fn store_fault(error: &StoreError) -> Fault {
    let text = error.to_string();
    match text.split_once("; ") {
        Some((what, help)) => Fault::new(what, help),
        None => Fault::new(text, "See the log; the state directory is named with --state"),
    }
}

/// The user behind a bearer token, for routes that need no more.
fn authenticate(access: &Access) -> side::Authenticate {
    let access = access.clone();
    Arc::new(move |bearer| access.visitor(bearer).map(|visitor| visitor.user))
}

fn api(store: &Store, world: &World, access: &Access, external: External) -> Result<Arc<Api>, Fault> {
    let access = access.clone();
    let user =
        move |visitor: access::Visitor| User { name: visitor.user, may: Arc::new(move |method, kind| access::may(visitor.role, method, kind)) };
    let (clock, dice) = (world.clone(), world.clone());
    let api = Arc::new(Api {
        store: store.clone(),
        admit: Arc::new(translate::admit),
        clock: Arc::new(move || clock.wall_text()),
        dice: Arc::new(move || dice.unique()),
        authenticate: Arc::new(move |bearer| access.visitor(bearer).map(&user)),
        external,
    });
    api::seed(&api).map_err(|error| store_fault(&error))?;
    Ok(api)
}

async fn bind(world: &World, address: SocketAddr, flag: &str) -> Result<Listener, Fault> {
    world.network.listen(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Fault::new(
            format!("{address} is in use by another program, perhaps another control plane"),
            format!("Stop that program, or listen elsewhere with {flag} HOST:PORT"),
        ),
        ErrorKind::PermissionDenied => {
            Fault::new(format!("this user may not listen on {address}"), format!("Choose a port of 1024 or above with {flag} HOST:PORT"))
        }
        _ => Fault::new(format!("cannot listen on {address}: {error}"), format!("Name an address of this machine with {flag} HOST:PORT")),
    })
}

fn address(listener: &Listener) -> Result<SocketAddr, Fault> {
    listener.local_addr().map_err(|error| Fault::new(format!("a listener does not know its address: {error}"), "Please report it"))
}

/// The address by which clients on this machine reach a listener.
fn dialled(bound: SocketAddr) -> SocketAddr {
    match bound.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port()),
        false => bound,
    }
}

#[cfg(test)]
mod tests;
