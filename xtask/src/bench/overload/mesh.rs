//! The simulation: clients' proxies and applications' proxies with the very state machines that the data plane runs, on a network
//! and a clock of events. The same scenario gives the same figures.

use super::application::Application;
use super::scenario::{
    ANTAGONISED, BACKENDS, CORES, Class, Figures, HICCUP, LEFT_ALONE, NETWORK, Protection, SLOWER, Scenario, TIMEOUT, WARM_UP, WORK,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;
use taut_plan::overload::{Arrival, Caller, Entrance};
use taut_plan::{Cluster, Live, Outcome, Picked, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    /// An attempt reaches the other proxy.
    Reach(usize),
    /// Something may be done at a backend, unless it has changed since.
    Work(usize, u64),
    WaitIsOver(usize, u64),
    /// The answer to an attempt reaches the client's proxy.
    Answer(usize),
    GiveUp(usize),
    /// A copy is sent if there is no answer yet.
    Hedge(usize),
    Antagonise(usize, bool),
}

struct Request {
    client: usize,
    asked: f64,
    work: f64,
    class: usize,
    done: bool,
    attempts: Vec<usize>,
    retried: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    OnItsWay,
    Waiting(u64),
    /// Since then.
    Working(f64),
    Answered {
        shed: bool,
    },
    /// Nobody waits for it any more; the application may work on it all the same.
    Left,
}

struct Attempt {
    request: usize,
    backend: usize,
    picked: Picked,
    sent: f64,
    /// At the other proxy.
    reached: f64,
    retry: bool,
    state: State,
    report: Option<Report>,
}

struct Backend {
    application: Application,
    entrance: Entrance,
    /// With the application, for static limits.
    in_flight: u32,
    /// Exponentially weighted, seconds: what is reported.
    latency: f64,
    tickets: BTreeMap<u64, usize>,
}

pub struct Mesh<'s> {
    scenario: &'s Scenario,
    cluster: Arc<Cluster>,
    dice: Dice,
    now: f64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    requests: Vec<Request>,
    attempts: Vec<Attempt>,
    backends: Vec<Backend>,
    clients: Vec<Live>,
    figures: Figures,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.roll() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Log-normal with a standard deviation as large as the mean, as answers of web applications have (Box and Muller, 1958).
    fn work(&mut self) -> f64 {
        let variance = 2.0_f64.ln();
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        WORK * (variance.sqrt() * normal - variance / 2.0).exp()
    }
}

pub fn run(scenario: &Scenario) -> Result<Figures, String> {
    let cluster = scenario.cluster()?;
    let backend = |_| Backend {
        application: Application::new(CORES),
        entrance: Entrance::new(Duration::ZERO),
        in_flight: 0,
        latency: WORK,
        tickets: BTreeMap::new(),
    };
    let mut mesh = Mesh {
        scenario,
        cluster,
        dice: Dice(scenario.seed),
        now: 0.0,
        order: 0,
        events: BinaryHeap::new(),
        requests: Vec::new(),
        attempts: Vec::new(),
        backends: (0..BACKENDS).map(backend).collect(),
        clients: (0..scenario.clients).map(|_| Live::new()).collect(),
        figures: Figures::default(),
    };
    mesh.go();
    let mut figures = mesh.figures;
    figures.seconds = scenario.seconds;
    figures.latencies.sort_by(f64::total_cmp);
    Ok(figures)
}

impl Mesh<'_> {
    fn go(&mut self) {
        self.at(0.0, Event::Ask);
        for backend in 0..if self.scenario.antagonists { BACKENDS } else { 0 } {
            let first = self.dice.exponential(LEFT_ALONE);
            self.at(first, Event::Antagonise(backend, true));
        }
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = f64::from_bits(at);
            match event {
                Event::Ask => self.ask(),
                Event::Reach(attempt) => self.reach(attempt),
                Event::Work(backend, change) => self.work(backend, change),
                Event::WaitIsOver(backend, ticket) => self.wait_is_over(backend, ticket),
                Event::Answer(attempt) => self.answer(attempt),
                Event::GiveUp(request) => self.give_up(request),
                Event::Hedge(request) => self.hedge(request),
                Event::Antagonise(backend, begins) => self.antagonise(backend, begins),
            }
        }
    }

    fn at(&mut self, time: f64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time.max(0.0).to_bits(), self.order, event)));
    }

    fn clock(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }

    /// A request comes to one of the clients' proxies.
    fn ask(&mut self) {
        let end = WARM_UP + self.scenario.seconds;
        let next = self.now + self.dice.exponential(1.0 / self.scenario.rate(self.now));
        if next < end {
            self.at(next, Event::Ask);
        }
        // A tenth is urgent, a fifth can wait.
        let class = match self.dice.unit() {
            share if share < 0.1 => 0,
            share if share < 0.8 => 1,
            _ => 2,
        };
        let client = (self.dice.roll() % self.scenario.clients as u64) as usize;
        let request = Request { client, asked: self.now, work: self.dice.work(), class, done: false, attempts: Vec::new(), retried: false };
        let number = self.requests.len();
        self.requests.push(request);
        if self.clients[client].admit(&self.cluster, Duration::from_secs_f64(self.now)).is_err() {
            return self.end(number, true);
        }
        self.send(number, false);
        self.at(self.now + TIMEOUT, Event::GiveUp(number));
        let delay = self.clients[client].hedge(&self.cluster).delay().filter(|_| self.scenario.hedging > 0.0);
        if let Some(delay) = delay {
            self.at(self.now + delay.as_secs_f64(), Event::Hedge(number));
        }
    }

    fn send(&mut self, number: usize, retry: bool) {
        let now = self.clock();
        let request = &self.requests[number];
        let tried: Vec<Arc<str>> = request.attempts.iter().map(|attempt| self.attempts[*attempt].picked.uid.clone()).collect();
        let (dice, live) = (&mut self.dice, &mut self.clients[request.client]);
        let Ok(picked) = live.pick(&self.cluster, now, None, &tried, &mut || dice.roll()) else { return self.end(number, true) };
        let backend = self.cluster.endpoints.iter().position(|endpoint| endpoint.workload.uid == picked.endpoint.workload.uid).unwrap_or(0);
        let attempt =
            Attempt { request: number, backend, picked, sent: self.now, reached: self.now + NETWORK, retry, state: State::OnItsWay, report: None };
        self.requests[number].attempts.push(self.attempts.len());
        self.at(self.now + NETWORK, Event::Reach(self.attempts.len()));
        self.attempts.push(attempt);
    }

    /// At the application's proxy.
    fn reach(&mut self, number: usize) {
        let (now, attempt) = (self.clock(), &self.attempts[number]);
        if attempt.state == State::Left {
            return;
        }
        let (request, backend) = (&self.requests[attempt.request], attempt.backend);
        let arrival = match self.scenario.protection {
            Protection::None => Arrival::Go,
            Protection::Static(limit) if self.backends[backend].in_flight < limit => Arrival::Go,
            Protection::Static(_) => Arrival::Shed(taut_plan::overload::Shed::Full),
            Protection::Adaptive => {
                let deadline = Some(Duration::from_secs_f64(request.asked + TIMEOUT));
                let caller = Caller { urgency: [0, 3, 6][request.class], probe: false, retry: attempt.retry, deadline };
                self.backends[backend].entrance.arrive(now, caller)
            }
        };
        match arrival {
            Arrival::Go => self.begin(number),
            Arrival::Wait { ticket, until } => {
                self.attempts[number].state = State::Waiting(ticket);
                self.backends[backend].tickets.insert(ticket, number);
                self.at(until.as_secs_f64(), Event::WaitIsOver(backend, ticket));
            }
            Arrival::Shed(_) => self.reply(number, true),
        }
        self.call_in(backend);
    }

    fn begin(&mut self, number: usize) {
        let (now, attempt) = (self.now, &mut self.attempts[number]);
        attempt.state = State::Working(now);
        let backend = &mut self.backends[attempt.backend];
        backend.in_flight += 1;
        backend.application.start(now, number, self.requests[attempt.request].work);
        let index = attempt.backend;
        self.figures.worked_on += u64::from(now >= WARM_UP);
        self.reschedule(index);
    }

    fn reschedule(&mut self, backend: usize) {
        if let Some((at, change)) = self.backends[backend].application.next() {
            self.at(at, Event::Work(backend, change));
        }
    }

    fn work(&mut self, backend: usize, change: u64) {
        if self.backends[backend].application.changes != change {
            return;
        }
        while let Some(number) = self.backends[backend].application.done(self.now) {
            if let State::Working(since) = self.attempts[number].state {
                let took = self.now - since;
                let there = &mut self.backends[backend];
                there.latency += (self.now - self.attempts[number].reached - there.latency) * 0.1;
                self.leave(number, Some(took));
                self.reply(number, false);
            }
        }
        self.call_in(backend);
        self.reschedule(backend);
    }

    /// An attempt is no longer with the application, as its proxy sees it.
    fn leave(&mut self, number: usize, took: Option<f64>) {
        let now = self.clock();
        let backend = &mut self.backends[self.attempts[number].backend];
        backend.in_flight = backend.in_flight.saturating_sub(1);
        if self.scenario.protection == Protection::Adaptive {
            backend.entrance.leave(now, took.map(Duration::from_secs_f64));
        }
    }

    /// Those who waited and whose fate is decided.
    fn call_in(&mut self, backend: usize) {
        let now = self.clock();
        while let Some((ticket, fate)) = self.backends[backend].entrance.next(now) {
            if let Some(number) = self.backends[backend].tickets.remove(&ticket) {
                match fate {
                    Ok(()) => self.begin(number),
                    Err(_) => self.reply(number, true),
                }
            }
        }
    }

    fn wait_is_over(&mut self, backend: usize, ticket: u64) {
        let now = self.clock();
        let Some(fate) = self.backends[backend].entrance.wait_is_over(now, ticket) else { return };
        let Some(number) = self.backends[backend].tickets.remove(&ticket) else { return };
        match fate {
            Ok(()) => self.begin(number),
            Err(_) => self.reply(number, true),
        }
    }

    fn reply(&mut self, number: usize, shed: bool) {
        let attempt = &mut self.attempts[number];
        let backend = &self.backends[attempt.backend];
        let waiting = backend.entrance.load().1 as u32;
        attempt.report = Some(Report { in_flight: backend.in_flight + waiting, latency: Duration::from_secs_f64(backend.latency) });
        attempt.state = State::Answered { shed };
        let late = !shed && self.dice.unit() * 100.0 <= self.scenario.hiccups;
        self.at(self.now + NETWORK + if late { HICCUP } else { 0.0 }, Event::Answer(number));
    }

    /// Back at the client's proxy.
    fn answer(&mut self, number: usize) {
        let now = self.clock();
        let attempt = &self.attempts[number];
        let State::Answered { shed } = attempt.state else { return };
        let latency = Duration::from_secs_f64(self.now - attempt.sent);
        let outcome = if shed { Outcome::Shed } else { Outcome::Status { status: 200, latency } };
        let live = &mut self.clients[self.requests[attempt.request].client];
        if let Some(report) = attempt.report {
            live.hear(&self.cluster, &attempt.picked, now, report);
        }
        live.report(&self.cluster, &attempt.picked, now, outcome);
        let (request, retry) = (attempt.request, attempt.retry);
        if self.requests[request].done {
            return;
        }
        if !shed {
            let latency = Duration::from_secs_f64(self.now - self.requests[request].asked);
            live.hedge(&self.cluster).answered(latency, self.scenario.hedging);
            return self.end(request, false);
        }
        // What was sent again and was sent away again is not sent a third time.
        let again = !retry && !self.requests[request].retried && self.clients[self.requests[request].client].try_retry(&self.cluster, now);
        if again {
            self.requests[request].retried = true;
            return self.send(request, true);
        }
        let open = self.requests[request].attempts.iter().any(|other| !matches!(self.attempts[*other].state, State::Answered { .. }));
        if !open {
            self.end(request, true);
        }
    }

    fn hedge(&mut self, number: usize) {
        let request = &self.requests[number];
        if !request.done && request.attempts.len() == 1 && self.clients[request.client].hedge(&self.cluster).spend() {
            self.send(number, false);
        }
    }

    fn give_up(&mut self, number: usize) {
        if !self.requests[number].done {
            self.end(number, true);
        }
    }

    /// The client has its answer, or has none. What else was under way for it is dropped by the proxies; the applications know
    /// nothing of it and go on.
    fn end(&mut self, number: usize, failed: bool) {
        let now = self.clock();
        let request = &mut self.requests[number];
        request.done = true;
        let (client, attempts, retried, late) = (request.client, request.attempts.clone(), request.retried, self.now - request.asked >= TIMEOUT);
        for other in attempts {
            let (state, backend) = (self.attempts[other].state, self.attempts[other].backend);
            match state {
                State::Answered { .. } | State::Left => continue,
                State::OnItsWay => {}
                State::Waiting(ticket) => {
                    self.backends[backend].entrance.give_up(ticket);
                    self.backends[backend].tickets.remove(&ticket);
                }
                State::Working(since) => {
                    let took = self.now - since;
                    self.leave(other, Some(took).filter(|_| late));
                }
            }
            self.attempts[other].state = State::Left;
            let outcome = if late { Outcome::TimedOut } else { Outcome::Cancelled };
            self.clients[client].report(&self.cluster, &self.attempts[other].picked, now, outcome);
            self.call_in(backend);
        }
        self.clients[client].finish_request(&self.cluster);
        if retried {
            self.clients[client].finish_retry(&self.cluster);
        }
        self.note(number, failed);
    }

    fn note(&mut self, number: usize, failed: bool) {
        let request = &self.requests[number];
        if request.asked < WARM_UP {
            return;
        }
        let Class { asked, failed: failures } = &mut self.figures.classes[request.class];
        *asked += 1;
        *failures += u64::from(failed);
        if !failed {
            self.figures.latencies.push(self.now - request.asked);
        }
    }

    fn antagonise(&mut self, backend: usize, begins: bool) {
        if self.now > WARM_UP + self.scenario.seconds {
            return;
        }
        self.backends[backend].application.set_speed(self.now, if begins { 1.0 / SLOWER } else { 1.0 });
        self.reschedule(backend);
        let lasts = self.dice.exponential(if begins { ANTAGONISED } else { LEFT_ALONE });
        self.at(self.now + lasts, Event::Antagonise(backend, !begins));
    }
}
