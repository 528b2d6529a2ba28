//! Small meshes that live, fall ill and recover, second by second.

use super::*;
use crate::incident::{CauseKind, Evidence, Happening, Place, Signal};
use crate::tick::{Flow, Part};
use taut_model::signal::{Protocol, Reporter, Security, Signals};

const START: Second = 1_767_225_600;

/// What one service answers another in a second.
#[derive(Clone, Copy)]
struct Answers {
    requests: u64,
    failures: u64,
    micros: u64,
    in_flight: u64,
}

const WELL: Answers = Answers { requests: 20, failures: 0, micros: 5_000, in_flight: 1 };

fn flow(source: &str, destination: &str, answers: Answers) -> Flow {
    let node = |name: &str| if name == "users" { Node::outside() } else { Node::new("shop", name) };
    let mut signals = Signals { requests: answers.requests, in_flight: answers.in_flight, ..Signals::default() };
    signals.outcomes.count(200, None, None, answers.requests - answers.failures);
    if answers.failures > 0 {
        signals.outcomes.count(500, None, None, answers.failures);
    }
    // Not all alike, and the same in every run.
    (0..answers.requests).for_each(|number| signals.latency.record(answers.micros * (90 + number * 7 % 21) / 100));
    let part = Part { workload: destination.into(), version: "v1".into() };
    let (source, destination) = (node(source), node(destination));
    let (protocol, reporter, security) = (Protocol::Http, Reporter::Source, Security::MutualTls);
    Flow { source, destination, part, external: false, protocol, reporter, security, signals }
}

fn tick(at: Second, flows: Vec<Flow>) -> Tick {
    Tick { at, span: 1, incomplete: false, flows, pressures: Vec::new() }
}

/// web calls cart, cart calls stock; `stock` says how stock does, and what it does to those above is up to the test.
fn shop(web: Answers, cart: Answers, stock: Answers) -> Vec<Flow> {
    vec![flow("users", "web", web), flow("web", "cart", cart), flow("cart", "stock", stock)]
}

/// Runs seconds, and tells what happened, with the second counted from the first.
fn run(engine: &mut Engine, seconds: std::ops::Range<Second>, flows: &dyn Fn(Second) -> Vec<Flow>) -> Vec<(Second, Event)> {
    let step = |second| {
        let events = engine.step(&tick(START + second, flows(second)), &[]);
        events.into_iter().map(move |event| (second, event)).collect::<Vec<_>>()
    };
    seconds.flat_map(step).collect()
}

fn opened(events: &[(Second, Event)]) -> Vec<(Second, &Incident)> {
    events.iter().filter_map(|(at, event)| if let Event::Opened(incident) = event { Some((*at, incident)) } else { None }).collect()
}

fn closed(events: &[(Second, Event)]) -> Vec<(Second, &Incident)> {
    events.iter().filter_map(|(at, event)| if let Event::Closed(incident) = event { Some((*at, incident)) } else { None }).collect()
}

#[test]
fn failures_open_one_incident_that_closes_itself() {
    let ill = Answers { failures: 12, ..WELL };
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..240, &|second| if (90..150).contains(&second) { shop(ill, ill, ill) } else { shop(WELL, WELL, WELL) });
    let [(at, incident)] = opened(&events)[..] else { panic!("{events:#?}") };
    assert!((90..95).contains(&at), "{at}");
    assert!(incident.began >= START + 90);
    let [(over, whole)] = closed(&events)[..] else { panic!("{events:#?}") };
    assert!((160..190).contains(&over), "{over}");
    assert_eq!(whole.subject, Node::new("shop", "web"));
    assert_eq!(whole.users, [Node::new("shop", "web")], "only web is called from outside");
    assert!(whole.symptoms.iter().all(|symptom| symptom.signal == Signal::ErrorRatio && symptom.until.is_some()));
    assert_eq!(whole.symptoms.len(), 3);
    assert!(whole.hurt >= 55 * 12, "{}", whole.hurt);
    assert!(matches!(whole.timeline.first().map(|entry| &entry.what), Some(Happening::Began)));
    assert_eq!(engine.open().count(), 0);
}

#[test]
fn slowness_and_standstill_are_felt() {
    let slow = Answers { micros: 400_000, ..WELL };
    let stuck = Answers { requests: 0, in_flight: 60, ..WELL };
    for (ill, signal) in [(slow, Signal::LatencyP50), (stuck, Signal::Saturation)] {
        let mut engine = Engine::default();
        let events = run(&mut engine, 0..160, &|second| if (90..130).contains(&second) { shop(ill, ill, ill) } else { shop(WELL, WELL, WELL) });
        let opened = opened(&events);
        let [(at, _)] = opened[..] else { panic!("{signal:?} {events:#?}") };
        assert!((90..98).contains(&at), "{at}");
        let [(_, whole)] = closed(&events)[..] else { panic!("{signal:?} {events:#?}") };
        assert!(whole.symptoms.iter().any(|symptom| symptom.signal == signal), "{whole:#?}");
    }
}

#[test]
fn what_comes_and_goes_is_one_incident() {
    let ill = Answers { failures: 15, ..WELL };
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..600, &|second| if second > 90 && second % 60 < 20 { shop(ill, ill, ill) } else { shop(WELL, WELL, WELL) });
    assert_eq!(opened(&events).len(), 1);
    assert!(closed(&events).len() <= 2, "{:?}", closed(&events).iter().map(|(at, _)| at).collect::<Vec<_>>());
}

#[test]
fn what_retries_cover_is_named_when_it_is_much_and_lasts() {
    // Callers feel nothing; the proxy of the service sees each try.
    let tried = |second: Second, ill: &dyn Fn(Second) -> bool| {
        let failures = if ill(second) { 30 } else { 0 };
        let answers = Answers { requests: 20 + failures, failures, ..WELL };
        let seen = Flow { reporter: Reporter::Destination, ..flow("web", "cart", answers) };
        [flow("users", "web", WELL), flow("web", "cart", WELL), seen].to_vec()
    };
    let events = run(&mut Engine::default(), 0..200, &|second| tried(second, &|second| (90..130).contains(&second)));
    let [(at, _)] = opened(&events)[..] else { panic!("{events:#?}") };
    assert!((93..102).contains(&at), "{at}");
    let [(over, whole)] = closed(&events)[..] else { panic!("{events:#?}") };
    assert!((145..155).contains(&over), "{over}");
    assert_eq!(whole.symptoms.iter().map(|symptom| &symptom.signal).collect::<Vec<_>>(), [&Signal::Covered]);
    let cause = whole.causes.first().unwrap();
    assert_eq!((&cause.place, cause.kind), (&Place::Service(Node::new("shop", "cart")), CauseKind::Failing));
    assert!(cause.evidence.iter().any(|evidence| matches!(evidence, Evidence::Covered { .. })), "{cause:#?}");
    let events = run(&mut Engine::default(), 0..200, &|second| tried(second, &|second| second > 90 && second % 30 < 2));
    assert_eq!(events, [], "what is well again in two seconds");
}

#[test]
fn another_cause_soon_after_is_no_relapse() {
    let mut engine = Engine::default();
    let ill = Answers { failures: 15, ..WELL };
    let events = run(&mut engine, 0..300, &|second| match second {
        90..110 => shop(ill, ill, ill),
        140..160 => vec![flow("users", "web", ill), flow("web", "cart", WELL), flow("cart", "stock", WELL)],
        _ => shop(WELL, WELL, WELL),
    });
    let over: Vec<Second> = closed(&events).iter().map(|(at, _)| *at).collect();
    assert!(matches!(over[..], [125..130, 175..180]), "{over:?}");
}

#[test]
fn more_and_less_load_is_no_incident() {
    let mut engine = Engine::default();
    let load = |second: Second| Answers { requests: [20, 80, 2, 0, 40][(second / 120) as usize % 5], ..WELL };
    let events = run(&mut engine, 0..1200, &|second| shop(load(second), load(second), load(second)));
    assert_eq!(events, []);
}

#[test]
fn a_stranger_who_is_refused_is_no_incident() {
    let mut engine = Engine::default();
    let refused = Answers { requests: 30, failures: 30, ..WELL };
    let events = run(&mut engine, 0..200, &|second| {
        let mut flows = shop(WELL, WELL, WELL);
        flows.extend((second > 90).then(|| flow("probe", "stock", refused)));
        // The proxy of the service sees the same.
        let calls: Vec<Flow> = flows.iter().filter(|flow| !flow.source.is_outside()).cloned().collect();
        flows.extend(calls.into_iter().map(|flow| Flow { reporter: Reporter::Destination, ..flow }));
        flows
    });
    assert_eq!(events, []);
}

#[test]
fn two_faults_in_two_places_are_two_incidents() {
    let ill = Answers { failures: 15, ..WELL };
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..200, &|second| {
        let state = if (90..120).contains(&second) { ill } else { WELL };
        vec![flow("one", "left", state), flow("two", "right", state)]
    });
    assert_eq!(opened(&events).len(), 2);
}

#[test]
fn ten_thousand_that_jump_at_once_and_ticks_of_any_order_are_borne() {
    let mut engine = Engine::default();
    let flows = |ill: bool| {
        (0..2000)
            .map(|number| flow(&format!("c{number}"), &format!("s{number}"), Answers { failures: if ill { 20 } else { 0 }, ..WELL }))
            .collect::<Vec<_>>()
    };
    for second in 0..20 {
        engine.step(&tick(START + second, flows(second > 15)), &[]);
    }
    assert_eq!(engine.open().count(), 25);
    for at in [0, START, u64::MAX, 5, u64::MAX - 1] {
        engine.step(&Tick { at, span: 0, ..tick(at, flows(false).into_iter().take(3).collect()) }, &[]);
    }
}

#[test]
fn the_same_ticks_tell_the_same_byte_for_byte() {
    let ill = Answers { failures: 12, ..WELL };
    let told = || {
        let mut engine = Engine::default();
        let events = run(&mut engine, 0..200, &|second| if (90..130).contains(&second) { shop(ill, ill, ill) } else { shop(WELL, WELL, WELL) });
        serde_json::to_string(&events.into_iter().map(|(_, event)| event).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(told(), told());
}

#[test]
fn a_quiet_service_that_fails_at_once_is_noticed() {
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..200, &|second| {
        let requests = 1 + second % 3;
        let well = Answers { requests, ..WELL };
        let ill = Answers { failures: if second >= 100 { requests } else { 0 }, ..well };
        let mut flows = shop(well, well, ill);
        if second >= 100 {
            let last = flows.last_mut().unwrap();
            (last.security, last.part) = (Security::Unknown, Part { workload: "unknown".into(), version: "unknown".into() });
        }
        flows
    });
    let [(at, _)] = opened(&events)[..] else { panic!("{events:#?}") };
    assert!((100..106).contains(&at), "{at}");
}

#[test]
fn what_is_over_does_not_come_back_by_itself() {
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..400, &|second| {
        let requests = 2 + second % 2;
        let ill = Answers { requests, failures: if (100..140).contains(&second) { requests } else { 0 }, ..WELL };
        shop(Answers { requests, ..WELL }, Answers { requests, ..WELL }, ill)
    });
    let [(over, whole)] = closed(&events)[..] else { panic!("{events:#?}") };
    assert!((155..165).contains(&over), "{over}");
    assert_eq!(whole.timeline.iter().filter(|entry| matches!(entry.what, Happening::Symptom { .. })).count(), 1, "{whole:#?}");
    assert_eq!(opened(&events).len(), 1);
}

/// So many more requests, which take this long.
fn and_slow(flow: Flow, requests: u64, micros: u64) -> Flow {
    let mut flow = flow;
    flow.signals.requests += requests;
    flow.signals.outcomes.count(200, None, None, requests);
    flow.signals.latency.record_many(micros, requests);
    flow
}

#[test]
fn what_only_a_few_feel_is_found_where_it_is() {
    let few = Answers { requests: 8, ..WELL };
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..200, &|second| {
        // One request a second is slow, of those that come by way of cart; web and cart only wait for it.
        let slow = u64::from((120..140).contains(&second));
        let took = if slow > 0 { [520_000, 510_000, 505_000] } else { [5_000; 3] };
        let flows = shop(few, Answers { requests: 5, ..WELL }, Answers { requests: 2, ..WELL });
        flows.into_iter().zip(took).map(|(flow, micros)| and_slow(flow, 1, micros)).collect()
    });
    let [(at, _)] = opened(&events)[..] else { panic!("{events:#?}") };
    assert!((120..130).contains(&at), "{at}");
    let [(_, whole)] = closed(&events)[..] else { panic!("{events:#?}") };
    let cause = whole.causes.first().expect("a cause");
    assert_eq!((&cause.place, cause.kind), (&Place::Service(Node::new("shop", "stock")), CauseKind::Slow), "{whole:#?}");
}

#[test]
fn what_was_wrong_is_not_taken_for_usual_when_it_was_short() {
    let slow = Answers { micros: 900_000, ..WELL };
    let mut engine = Engine::default();
    let events = run(&mut engine, 0..260, &|second| match second {
        120..132 => shop(slow, slow, slow),
        // Long enough after it that what came then is half a minute old.
        190..202 => {
            let took = [120_000, 115_000, 5_000].map(|micros| Answers { micros, ..WELL });
            shop(took[0], took[1], took[2])
        }
        _ => shop(WELL, WELL, WELL),
    });
    let causes: Vec<_> = closed(&events).iter().map(|(_, incident)| incident.causes.first().map(|cause| cause.place.clone())).collect();
    let service = |name: &str| Some(Place::Service(Node::new("shop", name)));
    assert_eq!(causes, [service("stock"), service("cart")]);
}

#[test]
fn a_mesh_that_was_ill_since_it_is_known_has_causes_too() {
    let ill = Answers { failures: 15, ..WELL };
    let mut engine = Engine::default();
    // Ill once in its first minute, well for a while, and ill again: nothing is half a minute old that was well.
    let events = run(&mut engine, 0..120, &|second| match second {
        15..45 | 80..100 => shop(ill, ill, ill),
        _ => shop(WELL, WELL, WELL),
    });
    let over = closed(&events);
    let last = over.last().expect("an incident");
    let cause = last.1.causes.first().expect("a cause");
    assert_eq!((&cause.place, cause.kind), (&Place::Service(Node::new("shop", "stock")), CauseKind::Failing));
}
