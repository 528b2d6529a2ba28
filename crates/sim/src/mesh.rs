//! One run: a control plane, two backends and a client, each on a host of its own with its sidecar, and a schedule of trouble.
//!
//! What must hold, at every step and whatever the seed:
//! - every request ends within its deadline, with an answer of the backend or a failure that has a name;
//! - an answer is the answer to its own request, and the backend was told the client's true identity;
//! - while both backends are reachable, nothing fails, whatever happens to the control plane;
//! - when the trouble is over, requests succeed again.

use crate::application::{self, PORT};
use crate::log::Log;
use crate::network::SimulatedNetwork;
use crate::schedule::{self, Event, Trouble};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use taut_control::authority::tokens::Grant;
use taut_control::store::Write;
use taut_proxy::options::{Options, OwnPort, OwnWorkload, Secret};

const CONTROL: u16 = 15012;
const BACKENDS: [&str; 2] = ["backend-a", "backend-b"];
const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
/// A request may wait for a connection, a retry and another endpoint; nothing waits longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// Without time limits a request on a connection that went silent may wait for ever, as its user asked.
const POLICY: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: backend, namespace: default }
spec:
  hosts: [backend]
  http:
  - route: [{ destination: { host: backend } }]
    timeout: 10s
    retries: { attempts: 3, perTryTimeout: 2s, retryOn: 'connect-failure,refused-stream,reset,503,5xx' }
";
const REQUESTS: usize = 40;
const PACE: Duration = Duration::from_millis(250);
/// How long after the last trouble everything must work again: a hung connection is found by its time limit.
const RECOVERY: Duration = Duration::from_secs(15);

/// Runs one seed. The log is what happened, line by line; an error names the invariant that broke, and the log is in it.
pub fn run(seed: u64) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
    let log = Log::default();
    let result = simulate(seed, directory.path(), &log);
    let lines = log.lines();
    match result {
        Ok(()) => Ok(lines),
        Err(why) => Err(format!("seed {seed}: {why}\n{}", lines.join("\n"))),
    }
}

fn simulate(seed: u64, state: &Path, log: &Log) -> Result<(), String> {
    let mut simulation = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_millis(3))
        .tcp_capacity(4096)
        .build();
    let state = Rc::new(state.to_owned());
    let tokens = Tokens::default();
    {
        let (state, tokens) = (state.clone(), tokens.clone());
        simulation.host("control", move || control(seed, state.clone(), tokens.clone()));
    }
    for (index, name) in BACKENDS.into_iter().enumerate() {
        let tokens = tokens.clone();
        simulation.host(name, move || backend(seed.wrapping_add(1 + index as u64), name, tokens.clone()));
    }
    let events = schedule::draw(seed);
    let began = Rc::new(Cell::new(None));
    simulation.client("client", client(seed.wrapping_add(9), tokens, log.clone(), events.clone(), began.clone()));
    let mut agenda = Agenda { events, log: log.clone(), began, next: 0, active: None };
    loop {
        agenda.act(&mut simulation);
        match simulation.step() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Join tokens, handed from the control plane's host to the others as an operator would.
#[derive(Clone, Default)]
struct Tokens(Rc<RefCell<Weak<taut_control::Running>>>);

type Fails = Box<dyn std::error::Error>;

async fn control(seed: u64, state: Rc<std::path::PathBuf>, tokens: Tokens) -> Result<(), Fails> {
    let world = taut_control::World::simulated(Arc::new(SimulatedNetwork), seed, epoch());
    let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let options = taut_control::Options {
        state: Some((*state).clone()),
        grpc: any(CONTROL),
        api: any(15443),
        advertised: Some(format!("control:{CONTROL}")),
        ..taut_control::Options::default()
    };
    let running = taut_control::start(world, options).await?;
    let policy = taut_model::read::yaml(POLICY, "policy.yaml");
    for object in policy.objects {
        let write =
            Write { manager: "simulation".to_owned(), now: now().to_string(), uid_seed: [7; 16], places: None, status_only: false, author: None };
        // After a restart it is there already.
        let _ = running.store.create(object, &write);
    }
    // A crash drops this task, and with it all that the control plane holds open.
    let running = Rc::new(running);
    tokens.0.replace(Rc::downgrade(&running));
    std::future::pending().await
}

/// Every run starts at this time; what is issued in it is valid in it.
fn epoch() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365 * 56)
}

impl Tokens {
    async fn mint(&self, account: &str) -> Result<Secret, Fails> {
        loop {
            let running = self.0.borrow().upgrade();
            if let Some(running) = running {
                let grant = Grant { namespace: "default".to_owned(), service_account: Some(account.to_owned()) };
                let now = epoch() + jiff::SignedDuration::try_from(turmoil::sim_elapsed().unwrap_or_default())?;
                let (token, _) = running.authority.join_token(&running.advertised, grant, Duration::from_secs(600), now)?;
                return Ok(Secret::new(token.text().to_string()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn options(name: &str, account: &str, ports: Vec<OwnPort>) -> Options {
    let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let workload = OwnWorkload {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        service_account: account.to_owned(),
        labels: [("app".to_owned(), account.to_owned()), ("version".to_owned(), "v1".to_owned())].into(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports,
        locality: String::new(),
    };
    Options {
        service: if name == account { String::new() } else { account.to_owned() },
        outbound: Some(any(15001)),
        peer: any(15008),
        peer_advertised: Some(format!("{}:15008", turmoil::lookup(name))),
        admin: vec![],
        ..Options::new(workload, format!("control:{CONTROL}"))
    }
}

async fn backend(seed: u64, name: &'static str, tokens: Tokens) -> Result<(), Fails> {
    let world = taut_proxy::World::simulated(Arc::new(SimulatedNetwork), seed, now());
    let port = OwnPort { port: PORT, target: PORT, name: "http".to_owned(), app_protocol: String::new() };
    let mut options = options(name, "backend", vec![port]);
    options.token = Some(tokens.mint("backend").await?);
    let application = tokio::task::spawn_local(application::backend(name));
    taut_proxy::run(world, options, std::future::pending()).await?;
    application.await??;
    Ok(())
}

/// The wall clock of a host that starts now.
fn now() -> jiff::Timestamp {
    epoch() + jiff::SignedDuration::try_from(turmoil::sim_elapsed().unwrap_or_default()).unwrap_or_default()
}

async fn client(seed: u64, tokens: Tokens, log: Log, events: Vec<Event>, began: Rc<Cell<Option<Duration>>>) -> Result<(), Fails> {
    let world = taut_proxy::World::simulated(Arc::new(SimulatedNetwork), seed, now());
    let mut options = options("client", "client", vec![]);
    options.token = Some(tokens.mint("client").await?);
    tokio::task::spawn_local(taut_proxy::run(world, options, std::future::pending()));
    let outbound = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15001);
    ready(outbound).await?;
    let start = turmoil::sim_elapsed().unwrap_or_default();
    began.set(Some(start));
    let mut open = tokio::task::JoinSet::new();
    for number in 0..REQUESTS {
        let (log, events) = (log.clone(), events.clone());
        open.spawn_local(async move { request(number, outbound, start, &events, &log).await });
        tokio::time::sleep(PACE).await;
    }
    while let Some(ended) = open.join_next().await {
        ended??;
    }
    let calm = events.last().map_or(Duration::ZERO, |e| e.at + e.lasts) + RECOVERY;
    let left = (start + calm).saturating_sub(turmoil::sim_elapsed().unwrap_or_default());
    tokio::time::sleep(left).await;
    for number in REQUESTS..REQUESTS + 4 {
        request(number, outbound, start, &[], &log).await?;
    }
    Ok(())
}

/// Until both backends have answered.
async fn ready(outbound: SocketAddr) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..600 {
        if let Ok(answer) = application::get(outbound, "http://backend:9080/ready").await
            && answer.status == 200
        {
            seen.extend(answer.body.split(' ').next().map(str::to_owned));
            if seen.len() == BACKENDS.len() {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the mesh does not become ready: {seen:?}"))
}

async fn request(number: usize, outbound: SocketAddr, start: Duration, events: &[Event], log: &Log) -> Result<(), String> {
    let since = || turmoil::sim_elapsed().unwrap_or_default().saturating_sub(start);
    let sent = since();
    let answered = tokio::time::timeout(DEADLINE, application::get(outbound, &format!("http://backend:9080/{number}"))).await;
    let ended = since();
    let line = match &answered {
        Ok(Ok(seen)) => format!("{} {} {}", seen.status, seen.reason, seen.body.lines().next().unwrap_or_default()),
        Ok(Err(error)) => format!("broken: {error}"),
        Err(_) => "no answer".to_owned(),
    };
    log.write(format!("{:>7} ms request {number} sent at {} ms: {}", ended.as_millis(), sent.as_millis(), without_id(&line)));
    let Ok(Ok(seen)) = answered else { return Err(format!("request {number} has no answer: {line}")) };
    if seen.status == 200 {
        let good = BACKENDS.iter().any(|name| seen.body == format!("{name} /{number} {CLIENT}"));
        return if good { Ok(()) } else { Err(format!("request {number} got another's answer: {line}")) };
    }
    if seen.reason.is_empty() {
        return Err(format!("request {number} failed without a name: {line}"));
    }
    let touched =
        |e: &&Event| matches!(e.trouble, Trouble::RestartBackend(_) | Trouble::CutBackend(_)) && e.at <= ended && sent <= e.at + e.lasts + RECOVERY;
    match events.iter().find(touched) {
        Some(_) => Ok(()),
        None => Err(format!("request {number} failed while both backends were there: {line}")),
    }
}

/// Request ids are drawn from the seed too, but say nothing.
fn without_id(line: &str) -> String {
    line.split("request id").next().unwrap_or_default().trim_end().to_owned()
}

/// Carries out the schedule between steps.
struct Agenda {
    events: Vec<Event>,
    log: Log,
    began: Rc<Cell<Option<Duration>>>,
    next: usize,
    active: Option<Event>,
}

impl Agenda {
    fn act(&mut self, simulation: &mut turmoil::Sim<'_>) {
        let Some(began) = self.began.get() else { return };
        let since = simulation.elapsed().saturating_sub(began);
        if let Some(event) = self.active.filter(|e| since >= e.at + e.lasts) {
            self.active = None;
            self.log.write(format!("{:>7} ms over: {:?}", since.as_millis(), event.trouble));
            match event.trouble {
                Trouble::RestartControl => simulation.bounce("control"),
                Trouble::RestartBackend(n) => simulation.bounce(BACKENDS[n]),
                Trouble::CutControl => simulation.repair("client", "control"),
                Trouble::CutBackend(n) => simulation.repair("client", BACKENDS[n]),
            }
        }
        let due = self.events.get(self.next).copied().filter(|e| self.active.is_none() && since >= e.at);
        if let Some(event) = due {
            self.next += 1;
            self.active = Some(event);
            self.log.write(format!("{:>7} ms trouble: {:?} for {} ms", since.as_millis(), event.trouble, event.lasts.as_millis()));
            match event.trouble {
                Trouble::RestartControl => simulation.crash("control"),
                Trouble::RestartBackend(n) => simulation.crash(BACKENDS[n]),
                Trouble::CutControl => simulation.partition("client", "control"),
                Trouble::CutBackend(n) => simulation.partition("client", BACKENDS[n]),
            }
        }
    }
}
