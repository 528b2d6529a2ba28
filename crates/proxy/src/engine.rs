//! What all exchanges of one worker share: the plan it pinned, the live state beside it, connections, dice, and the count of
//! connections under way. Single-threaded; nothing here is locked.

use crate::current::Current;
use crate::dial::Dialer;
use crate::doors::Doors;
use crate::flows::Flows;
use crate::hbone::Tunnels;
use crate::learned::Learned;
use crate::leash::Leashes;
use crate::metadata::{self, Introductions};
use crate::naming::Names;
use crate::options::{Options, Signals};
use crate::pool::Pool;
use crate::sink::Sink;
use crate::tls::Tls;
use crate::token::Tokens;
use crate::usage::Noted;
use crate::world::World;
use http::HeaderValue;
use std::cell::{Cell, RefCell, RefMut};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use taut_model::host;
use taut_model::workload::Workload;
use taut_observe::record::Party;
use taut_plan::verdict::{Forward, Rolls};
use taut_plan::{Cluster, Live, NoEndpoint, Outcome, Overflow, Picked, Plan, Report};
use tokio::sync::watch;

/// Of the dice that exchanges roll.
const SALT: u64 = 0x6578_6368_616e_6765;

pub struct Engine {
    pub world: World,
    pub options: Arc<Options>,
    pub current: Arc<Current>,
    pub sink: Sink,
    pub dialer: Rc<Dialer>,
    pub pool: Pool,
    pub tunnels: Tunnels,
    pub doors: Rc<Doors>,
    pub tokens: Tokens,
    /// How this workload names itself to peers.
    pub introduction: Option<HeaderValue>,
    live: Rc<RefCell<Live>>,
    /// The plan that `live` was last fitted to.
    live_version: Cell<u64>,
    /// The version of the health checks' findings that `live` has.
    judged: Cell<u64>,
    dice: RefCell<fastrand::Rng>,
    noted: RefCell<Noted>,
    introductions: RefCell<Introductions>,
    names: RefCell<Names>,
    learned: RefCell<Learned>,
    /// Exchanges and connections that there have been.
    begun: Cell<u64>,
    pub flows: Flows,
    open: watch::Sender<usize>,
    closing: watch::Sender<bool>,
    /// Held once by each mirrored copy under way.
    pub copies: Rc<()>,
    /// Held once by each response that is being compressed.
    pub presses: Rc<()>,
}

impl Engine {
    pub fn new(world: World, options: Arc<Options>, current: Arc<Current>, sink: Sink, own: Vec<SocketAddr>) -> Rc<Self> {
        let sink = match options.signals {
            Signals::On => sink.tallied(),
            Signals::Off => sink,
        };
        let dialer = Rc::new(Dialer { world: world.clone(), tls: Tls::new(world.clone()), own, leashes: Leashes::default() });
        let workers = u32::try_from(options.workers).unwrap_or(u32::MAX).max(1);
        let live = Rc::new(RefCell::new(Live::for_workers(workers)));
        let dice = RefCell::new(world.worker_dice(SALT));
        Rc::new(Self {
            introduction: metadata::introduction(current.workload()),
            tunnels: Tunnels::new(dialer.clone()),
            doors: Rc::new(Doors::new(world.clone(), sink.clone(), workers)),
            tokens: Tokens::default(),
            pool: Pool::new(dialer.clone(), live.clone(), workers),
            world,
            options,
            current,
            sink,
            dialer,
            live,
            live_version: Cell::new(0),
            judged: Cell::new(0),
            dice,
            noted: RefCell::default(),
            introductions: RefCell::default(),
            names: RefCell::default(),
            learned: RefCell::default(),
            begun: Cell::new(0),
            flows: Flows::default(),
            open: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            copies: Rc::new(()),
            presses: Rc::new(()),
        })
    }

    /// The plan of this moment, for one exchange or connection from start to end.
    pub fn pin(&self) -> Arc<Plan> {
        self.begun.set(self.begun.get() + 1);
        let plan = self.current.plan();
        if self.live_version.replace(plan.version()) != plan.version() {
            self.live.borrow_mut().retain(&plan, self.world.now());
            self.names.borrow_mut().forget();
        }
        let checks = self.current.checks();
        if self.judged.replace(checks.version()) != checks.version() {
            self.live.borrow_mut().judge(checks.unwell(), &plan, self.world.now());
        }
        plan
    }

    pub fn dice(&self) -> RefMut<'_, fastrand::Rng> {
        self.dice.borrow_mut()
    }

    pub fn rolls(&self) -> Rolls {
        let mut dice = self.dice();
        let mut roll = || dice.u64(..);
        Rolls { backend: roll(), delay: roll(), abort: roll(), mirror: roll(), cookie: roll() }
    }

    /// Notes which host the application asked for and which service that was, so that both stay known while they are in use.
    pub fn note_use(&self, named: &str, service: Option<&str>) {
        let (mut noted, now) = (self.noted.borrow_mut(), self.world.now());
        if noted.is_news(named, now) {
            self.current.note_used(host::candidates(named, &self.current.workload().namespace));
        }
        if let Some(service) = service.filter(|service| *service != named && noted.is_news(service, now)) {
            self.current.note_used([service.to_owned()]);
        }
    }

    /// A peer as records are to name it.
    pub fn believe(&self, peer: Party) -> Party {
        self.introductions.borrow_mut().believe(peer, self.world.now())
    }

    /// What ports without a declared protocol speak.
    pub fn learned(&self) -> RefMut<'_, Learned> {
        self.learned.borrow_mut()
    }

    pub fn live(&self) -> RefMut<'_, Live> {
        self.live.borrow_mut()
    }

    /// This workload, as records name it.
    pub fn party(&self, proven: bool) -> Arc<Party> {
        let identity = if proven { self.current.identity() } else { None };
        self.names.borrow_mut().own(self.current.workload(), identity.as_deref())
    }

    /// An endpoint, as records name it. `proven`: over mutual TLS, so that it is who the plan says.
    pub fn endpoint_party(&self, workload: &Arc<Workload>, proven: bool) -> Arc<Party> {
        self.names.borrow_mut().endpoint(workload, proven)
    }

    /// The names that records are made of, made once.
    pub fn names(&self) -> RefMut<'_, Names> {
        self.names.borrow_mut()
    }

    /// Runs a connection (or what became of one) beside the others. Ends it when the drain's time is over.
    pub fn spawn(self: &Rc<Self>, connection: impl Future<Output = ()> + 'static) {
        let open = OpenConnection::new(self.clone());
        let mut closing = self.closing.subscribe();
        tokio::task::spawn_local(async move {
            let _open = open;
            tokio::select! {
                biased;
                () = connection => {}
                // The sender lives in the engine, which `_open` holds.
                _ = closing.wait_for(|closing| *closing) => {}
            }
        });
    }

    /// Exchanges and connections that there have been, about.
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Whether what is left is being ended, since the drain's time is over.
    pub fn closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Connections under way.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until nothing is under way, or until `time_is_over`; then ends what is left.
    pub async fn finish(&self, time_is_over: impl Future<Output = ()>) {
        let mut open = self.open.subscribe();
        tokio::select! {
            biased;
            // The sender cannot be gone.
            _ = open.wait_for(|open| *open == 0) => return,
            () = time_is_over => {}
        }
        tracing::warn!(open = *self.open.borrow(), "drain: time is over, closing the connections that are left");
        self.closing.send_replace(true);
        // Each ends as soon as it is polled.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

struct OpenConnection(Rc<Engine>);

impl OpenConnection {
    fn new(engine: Rc<Engine>) -> Self {
        engine.open.send_modify(|open| *open += 1);
        engine.sink.connections_open(1);
        Self(engine)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
        self.0.sink.connections_open(-1);
    }
}

/// A request that counts against the limits of a cluster, until dropped.
pub struct Admitted {
    engine: Rc<Engine>,
    cluster: Arc<Cluster>,
    /// A retry of it counts against the retry budget.
    retry: bool,
}

impl Admitted {
    pub fn new(engine: &Rc<Engine>, cluster: &Arc<Cluster>) -> Result<Self, Overflow> {
        let now = engine.world.now();
        engine.live().admit(cluster, now)?;
        Ok(Self { engine: engine.clone(), cluster: cluster.clone(), retry: false })
    }

    /// Whether the budget allows one more retry; if so it is counted.
    pub fn try_retry(&mut self) -> bool {
        let mut live = self.engine.live();
        if std::mem::take(&mut self.retry) {
            live.finish_retry(&self.cluster);
        }
        self.retry = live.try_retry(&self.cluster, self.engine.world.now());
        self.retry
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut live = self.engine.live();
        if self.retry {
            live.finish_retry(&self.cluster);
        }
        live.finish_request(&self.cluster);
    }
}

/// A request (or connection) in flight on an endpoint, until dropped; then what came of it is reported.
pub struct InFlight {
    engine: Rc<Engine>,
    cluster: Arc<Cluster>,
    pub picked: Picked,
    outcome: Outcome,
}

impl InFlight {
    pub fn pick(engine: &Rc<Engine>, cluster: &Arc<Cluster>, hash: Option<u64>, tried: &[Arc<str>]) -> Result<Self, NoEndpoint> {
        let now = engine.world.now();
        let mut roll = || engine.dice().u64(..);
        let picked = engine.live().pick(cluster, now, hash, tried, &mut roll)?;
        Ok(Self { engine: engine.clone(), cluster: cluster.clone(), picked, outcome: Outcome::Cancelled })
    }

    /// The endpoint that the client has been at before, else one that the balancer picks.
    pub fn resume(engine: &Rc<Engine>, forward: &Forward, tried: &[Arc<str>]) -> Result<Self, NoEndpoint> {
        let (cluster, now) = (&forward.cluster, engine.world.now());
        let resumed = forward.resumed.and_then(|position| engine.live().resume(cluster, position, now, tried));
        match resumed {
            Some(picked) => Ok(Self { engine: engine.clone(), cluster: cluster.clone(), picked, outcome: Outcome::Cancelled }),
            None => Self::pick(engine, cluster, forward.hash, tried),
        }
    }

    pub fn ended(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// What the endpoint's proxy says of it.
    pub fn hear(&self, report: Report) {
        let now = self.engine.world.now();
        self.engine.live().hear(&self.cluster, &self.picked, now, report);
    }

    /// The end of a response has said more than its head.
    pub fn said(&mut self, status: u16) {
        if let Outcome::Status { status: known, .. } = &mut self.outcome {
            *known = status;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Cancelled);
        let now = self.engine.world.now();
        self.engine.live().report(&self.cluster, &self.picked, now, outcome);
    }
}
