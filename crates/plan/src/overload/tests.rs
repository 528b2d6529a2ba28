//! Applications that are healthy, whatever their latencies do, lose no request; those that are overloaded get what they can do.

use super::entrance::{Arrival, Caller, Entrance, Shed};
use crate::dice::{below, mix};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

/// What an application is like.
struct Application {
    /// Requests per second at a time (seconds).
    rate: fn(f64) -> f64,
    /// How long an answer takes that begins at a time, for a number between 0 and 1 that chance gives.
    takes: fn(f64, f64) -> f64,
    /// It works on no more at a time; the others wait in it.
    cores: usize,
}

#[derive(Debug, Default)]
struct Outcome {
    asked: u64,
    shed: BTreeMap<&'static str, u64>,
    answered: u64,
    /// With the application, at most.
    most: u32,
    /// Seconds: before the application, and altogether.
    longest_wait: f64,
    slowest: f64,
}

impl Outcome {
    fn shed(&self) -> u64 {
        self.shed.values().sum()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    WaitIsOver(u64),
    Done(usize),
}

/// Runs for `seconds`; counts from `from` on. Events in order of time.
struct Run<'a> {
    application: &'a Application,
    entrance: Entrance,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    order: u64,
    /// When each request came, and when it went to the application.
    requests: Vec<(Duration, Duration)>,
    tickets: BTreeMap<u64, usize>,
    /// Those that the application works on, and those that wait in it.
    working: usize,
    queue: std::collections::VecDeque<usize>,
    from: Duration,
    outcome: Outcome,
    rolls: u64,
}

fn run(application: &Application, from: f64, seconds: f64, seed: u64) -> Outcome {
    until(application, from, seconds, seed, Duration::MAX).outcome
}

/// Stops at a time, with all that is under way.
fn until(application: &Application, from: f64, seconds: f64, seed: u64, stop: Duration) -> Run<'_> {
    let mut run = Run {
        application,
        entrance: Entrance::new(Duration::ZERO),
        events: BinaryHeap::new(),
        order: 0,
        requests: Vec::new(),
        tickets: BTreeMap::new(),
        working: 0,
        queue: Default::default(),
        from: Duration::from_secs_f64(from),
        outcome: Outcome::default(),
        rolls: seed << 32,
    };
    run.at(Duration::ZERO, Event::Ask);
    let end = Duration::from_secs_f64(seconds);
    while let Some(Reverse((now, _, event))) = run.events.pop() {
        if now > stop {
            return run;
        }
        match event {
            Event::Ask if now > end => {}
            Event::Ask => run.ask(now),
            Event::WaitIsOver(ticket) => {
                if let Some(fate) = run.entrance.wait_is_over(now, ticket) {
                    run.tell(now, ticket, fate);
                }
            }
            Event::Done(request) => run.done(now, request),
        }
    }
    run
}

impl Run<'_> {
    fn at(&mut self, time: Duration, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    /// Between 0 and 1.
    fn roll(&mut self) -> f64 {
        self.rolls += 1;
        (below(mix(self.rolls), 1 << 53) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn ask(&mut self, now: Duration) {
        let gap = -self.roll().ln() / (self.application.rate)(now.as_secs_f64());
        self.at(now + Duration::from_secs_f64(gap), Event::Ask);
        self.outcome.asked += u64::from(now >= self.from);
        let request = self.requests.len();
        self.requests.push((now, now));
        match self.entrance.arrive(now, Caller::default()) {
            Arrival::Go => self.begin(now, request),
            Arrival::Wait { ticket, until } => {
                self.tickets.insert(ticket, request);
                self.at(until, Event::WaitIsOver(ticket));
            }
            Arrival::Shed(shed) => self.shed(now, shed),
        }
        self.call_in(now);
    }

    fn call_in(&mut self, now: Duration) {
        while let Some((ticket, fate)) = self.entrance.next(now) {
            self.tell(now, ticket, fate);
        }
    }

    fn tell(&mut self, now: Duration, ticket: u64, fate: Result<(), Shed>) {
        let Some(request) = self.tickets.remove(&ticket) else { return };
        match fate {
            Ok(()) => self.begin(now, request),
            Err(shed) => self.shed(now, shed),
        }
    }

    fn shed(&mut self, now: Duration, shed: Shed) {
        let why = match shed {
            Shed::Waited => "waited",
            Shed::Full => "full",
            Shed::Outranked => "outranked",
            Shed::Deadline => "deadline",
        };
        *self.outcome.shed.entry(why).or_default() += u64::from(now >= self.from);
    }

    fn begin(&mut self, now: Duration, request: usize) {
        self.requests[request].1 = now;
        let waited = (now - self.requests[request].0).as_secs_f64();
        if now >= self.from {
            self.outcome.longest_wait = self.outcome.longest_wait.max(waited);
            self.outcome.most = self.outcome.most.max(self.entrance.load().0);
        }
        self.queue.push_back(request);
        self.work(now);
    }

    fn work(&mut self, now: Duration) {
        while self.working < self.application.cores {
            let Some(request) = self.queue.pop_front() else { return };
            self.working += 1;
            let takes = (self.application.takes)(now.as_secs_f64(), self.roll());
            self.at(now + Duration::from_secs_f64(takes), Event::Done(request));
        }
    }

    fn done(&mut self, now: Duration, request: usize) {
        self.working -= 1;
        let (came, went) = self.requests[request];
        if now >= self.from {
            self.outcome.answered += 1;
            self.outcome.slowest = self.outcome.slowest.max((now - came).as_secs_f64());
        }
        self.work(now);
        self.entrance.leave(now, Some(now - went));
        self.call_in(now);
    }
}

/// As many as come.
const ALL: usize = usize::MAX;

#[test]
fn a_healthy_application_loses_no_request_whatever_its_latencies_do() {
    let cases: [(&str, Application); 9] = [
        ("constant", Application { rate: |_| 300.0, takes: |_, _| 0.02, cores: ALL }),
        ("exponential", Application { rate: |_| 300.0, takes: |_, chance| -0.02 * chance.ln(), cores: ALL }),
        ("two kinds of answers", Application { rate: |_| 300.0, takes: |_, chance| if chance < 0.3 { 0.5 } else { 0.002 }, cores: ALL }),
        (
            "two kinds whose shares change",
            Application { rate: |_| 300.0, takes: |now, chance| if (chance < 0.2) == (now % 10.0 < 5.0) { 0.3 } else { 0.005 }, cores: ALL },
        ),
        ("slowly slower, to ten times", Application { rate: |_| 200.0, takes: |now, chance| -0.02 * (1.0 + 0.3 * now) * chance.ln(), cores: ALL }),
        (
            "a dependency that becomes twenty times slower",
            Application { rate: |_| 200.0, takes: |now, _| if now < 10.0 { 0.01 } else { 0.2 }, cores: ALL },
        ),
        (
            "the load that triples",
            Application { rate: |now| if now < 10.0 { 200.0 } else { 600.0 }, takes: |_, chance| -0.02 * chance.ln(), cores: ALL },
        ),
        ("few requests, long answers", Application { rate: |_| 3.0, takes: |_, chance| -4.0 * chance.ln(), cores: ALL }),
        ("cores that are half used", Application { rate: |_| 200.0, takes: |_, chance| -0.02 * chance.ln(), cores: 8 }),
    ];
    for (name, application) in cases {
        for seed in 1..6 {
            let outcome = run(&application, 0.0, 30.0, seed);
            assert_eq!(outcome.shed(), 0, "{name}, seed {seed}: {outcome:?}");
            assert!(outcome.longest_wait <= 2.0, "{name}, seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn an_overloaded_application_is_given_what_it_can_do() {
    // 4 cores, 20 ms: 200 per second.
    for (name, rate) in [
        ("a little", (|_| 240.0) as fn(f64) -> f64),
        ("much", |_| 400.0),
        ("from one moment to the next", |now| if now < 4.0 { 100.0 } else { 600.0 }),
    ] {
        for seed in 1..6 {
            let application = Application { rate, takes: |_, chance| -0.02 * chance.ln(), cores: 4 };
            let outcome = run(&application, 12.0, 32.0, seed);
            assert!(outcome.answered as f64 / 20.0 > 180.0, "{name}, seed {seed}: {outcome:?}");
            assert!(outcome.slowest < 2.5 && outcome.most < 300, "{name}, seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn the_limit_goes_with_the_overload_and_a_burst_costs_nothing() {
    let rate = |now: f64| match now {
        10.0..20.0 => 400.0,
        _ => 100.0,
    };
    let application = Application { rate, takes: |_, chance| -0.02 * chance.ln(), cores: 4 };
    let outcome = run(&application, 23.0, 60.0, 3);
    assert!(outcome.shed() == 0 && outcome.longest_wait < 0.1, "{outcome:?}");
    // Five times of what it can do, for a fifth of a second.
    let burst = |now: f64| if now % 10.0 < 0.2 { 1000.0 } else { 100.0 };
    let outcome = run(&Application { rate: burst, takes: |_, _| 0.02, cores: 4 }, 0.0, 60.0, 3);
    assert_eq!(outcome.shed(), 0, "{outcome:?}");
}

/// An entrance that limits, with nobody waiting, and the time.
fn guarding() -> (Entrance, Duration) {
    let now = Duration::from_secs(10);
    let application = Application { rate: |_| 400.0, takes: |_, chance| -0.02 * chance.ln(), cores: 4 };
    let run = until(&application, 0.0, 30.0, 1, now);
    let mut entrance = run.entrance;
    for ticket in run.tickets.into_keys() {
        entrance.give_up(ticket);
    }
    let (working, waiting) = entrance.load();
    assert!(waiting == 0 && entrance.limit().is_some_and(|limit| working >= limit), "{working} of {:?}", entrance.limit());
    (entrance, now)
}

fn waits(arrival: Arrival) -> u64 {
    match arrival {
        Arrival::Wait { ticket, .. } => ticket,
        Arrival::Go | Arrival::Shed(_) => panic!("{arrival:?}"),
    }
}

/// Who is let in when one place after the other becomes free.
fn order(entrance: &mut Entrance, now: Duration) -> Vec<u64> {
    let mut order = Vec::new();
    while entrance.load().1 > 0 {
        entrance.leave(now, None);
        order.extend(std::iter::from_fn(|| entrance.next(now)).filter_map(|(ticket, fate)| fate.is_ok().then_some(ticket)));
    }
    order
}

#[test]
fn the_most_urgent_goes_first_and_retries_after_first_tries() {
    let (mut entrance, now) = guarding();
    let caller = |urgency, retry| Caller { urgency, retry, ..Caller::default() };
    let callers = [caller(6, false), caller(3, true), caller(3, false), caller(3, false), caller(0, false), caller(7, true)];
    let tickets = callers.map(|caller| waits(entrance.arrive(now, caller)));
    let in_order = [4, 2, 3, 1, 0, 5].map(|position| tickets[position]);
    assert_eq!(order(&mut entrance, now), in_order);
}

#[test]
fn the_last_to_come_goes_first_when_the_queue_stands() {
    let (mut entrance, now) = guarding();
    let tickets = [0, 50, 400].map(|ms| waits(entrance.arrive(now + Duration::from_millis(ms), Caller::default())));
    // The first two have waited for longer than one may.
    assert_eq!(order(&mut entrance, now + Duration::from_millis(401)), tickets[2..]);
}

#[test]
fn when_no_more_may_wait_the_least_urgent_has_to_leave() {
    let (mut entrance, now) = guarding();
    let least = Caller { urgency: 6, ..Caller::default() };
    let first = waits(entrance.arrive(now, least));
    let full = std::iter::from_fn(|| match entrance.arrive(now, least) {
        Arrival::Wait { .. } => Some(()),
        Arrival::Shed(Shed::Full) => None,
        arrival => panic!("{arrival:?}"),
    });
    assert!(full.count() > 10);
    waits(entrance.arrive(now, Caller::default()));
    assert_eq!(entrance.next(now), Some((first, Err(Shed::Outranked))));
    assert_eq!(entrance.wait_is_over(now, first), None);
}

#[test]
fn probes_pass_and_what_comes_too_late_does_not_wait() {
    let (mut entrance, now) = guarding();
    let limit = entrance.limit().unwrap();
    assert!(entrance.proven_limit().is_some_and(|proven| proven >= limit), "{:?} of {limit}", entrance.proven_limit());
    while entrance.load().0 > limit {
        entrance.leave(now, None);
    }
    let probe = Caller { probe: true, ..Caller::default() };
    assert_eq!([entrance.arrive(now, probe), entrance.arrive(now, probe)], [Arrival::Go; 2]);
    // Not without end.
    waits(entrance.arrive(now, probe));
    let due = |ms| Caller { deadline: Some(now + Duration::from_millis(ms)), ..Caller::default() };
    assert_eq!(entrance.arrive(now, due(0)), Arrival::Shed(Shed::Deadline));
    assert_eq!(entrance.arrive(now, due(1)), Arrival::Shed(Shed::Deadline));
    let Arrival::Wait { until, ticket } = entrance.arrive(now, due(60)) else { panic!() };
    assert!(until < now + Duration::from_millis(60));
    assert!(entrance.give_up(ticket) && !entrance.give_up(ticket));
}

#[test]
fn a_waiter_that_nobody_calls_is_told_when_its_time_is_over() {
    let (mut entrance, now) = guarding();
    let Arrival::Wait { ticket, until } = entrance.arrive(now, Caller::default()) else { panic!() };
    assert!(until <= now + Duration::from_secs(1));
    assert_eq!(entrance.wait_is_over(until, ticket), Some(Err(Shed::Waited)));
    assert_eq!(entrance.load().1, 0);
}

#[test]
fn clients_that_ask_again_at_once_wait_a_little_and_are_never_sent_away() {
    // First two clients in a closed loop, then 64; the application answers one request after the other, whatever it is given.
    let mut entrance = Entrance::new(Duration::ZERO);
    let (mut now, mut with_app, mut idle, mut waiting) = (Duration::ZERO, VecDeque::new(), 2_u32, 0_u32);
    let mut limited = false;
    for turn in 0..600_000 {
        idle += if turn == 100_000 { 62 } else { 0 };
        limited |= entrance.limit().is_some();
        while idle > 0 {
            idle -= 1;
            match entrance.arrive(now, Caller::default()) {
                Arrival::Go => with_app.push_back(now),
                Arrival::Wait { .. } => waiting += 1,
                Arrival::Shed(why) => panic!("{why:?} at {now:?}"),
            }
        }
        now += Duration::from_micros(25);
        if let Some(begun) = with_app.pop_front() {
            idle += 1;
            entrance.leave(now, Some(now - begun));
        }
        while let Some((_, fate)) = entrance.next(now) {
            waiting -= 1;
            fate.unwrap_or_else(|why| panic!("{why:?} at {now:?}"));
            with_app.push_back(now);
        }
    }
    assert!(limited, "latency grew with load");
    assert_eq!(idle + waiting + u32::try_from(with_app.len()).unwrap(), 64);
}
