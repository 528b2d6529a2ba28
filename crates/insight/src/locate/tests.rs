//! Locating by example: small meshes in which one thing is wrong, and who is blamed.

use super::*;
use crate::change::{Change, What};
use crate::incident::{CauseKind, Signal, Unit};
use crate::tick::{Node, Part, Pressure};
use taut_model::signal::Reporter;

fn node(name: &str) -> Node {
    match name {
        "outside" => Node::outside(),
        name => Node::new("shop", name),
    }
}

const BEFORE_SECONDS: f64 = 300.0;
const NOW_SECONDS: f64 = 10.0;

/// What is reported of one link: per second, milliseconds.
#[derive(Clone)]
struct Link {
    from: &'static str,
    to: &'static str,
    rate: f64,
    now_rate: f64,
    caller_ms: (f64, f64),
    callee_ms: (f64, f64),
    /// Reasons, failures per second now: at the caller, at the callee.
    failures: Vec<(&'static str, f64, f64)>,
    in_flight: Option<(f64, f64)>,
    external: bool,
    callee_now: bool,
}

fn link(from: &'static str, to: &'static str, rate: f64, ms: f64) -> Link {
    Link {
        from,
        to,
        rate,
        now_rate: rate,
        caller_ms: (ms + 1.0, ms + 1.0),
        callee_ms: (ms, ms),
        failures: Vec::new(),
        in_flight: None,
        external: false,
        callee_now: true,
    }
}

impl Link {
    /// Requests take that much longer, at the callee.
    fn slower(mut self, ms: f64) -> Self {
        self.caller_ms.1 += ms;
        self.callee_ms.1 += ms;
        self
    }

    /// Requests take that much longer on their way.
    fn farther(mut self, ms: f64) -> Self {
        self.caller_ms.1 += ms;
        self
    }

    fn load(mut self, times: f64) -> Self {
        self.now_rate *= times;
        self
    }

    fn fails(mut self, reason: &'static str, caller: f64, callee: f64) -> Self {
        self.failures.push((reason, caller, callee));
        self
    }

    fn external(mut self) -> Self {
        self.external = true;
        self
    }

    /// The callee's proxy says nothing any more.
    fn silent(mut self) -> Self {
        self.callee_now = false;
        self
    }

    fn seen(&self, reporter: Reporter) -> Seen {
        let (ms, of) = match reporter {
            Reporter::Source => (self.caller_ms, 0),
            Reporter::Destination => (self.callee_ms, 1),
        };
        let before = Span::steady(BEFORE_SECONDS, self.rate * BEFORE_SECONDS, ms.0, ms.0 * 0.5);
        let mut now = Span::steady(NOW_SECONDS, self.now_rate * NOW_SECONDS, ms.1, ms.1 * 0.5);
        for (reason, caller, callee) in &self.failures {
            now.fail(reason, NOW_SECONDS * if of == 0 { caller } else { callee });
        }
        if let Some((_, in_flight)) = self.in_flight {
            now.in_flight = in_flight;
        }
        if of == 1 && !self.callee_now {
            now = Span { seconds: NOW_SECONDS, ..Span::default() };
        }
        Seen {
            source: node(self.from),
            destination: node(self.to),
            part: None,
            external: self.external,
            reporter,
            before,
            now,
            spread: Spread::default(),
        }
    }
}

fn situation(target: &str, signal: Signal, links: &[Link]) -> Situation {
    let mut seen = Vec::new();
    for link in links {
        if link.from != "outside" {
            seen.push(link.seen(Reporter::Source));
        }
        if !link.external {
            seen.push(link.seen(Reporter::Destination));
        }
    }
    Situation { targets: vec![Target::new(node(target), signal)], began: 10_000, seen, ..Situation::default() }
}

fn slow(links: &[Link]) -> Ranking {
    locate(&situation("front", Signal::LatencyP99, links))
}

fn failing(links: &[Link]) -> Ranking {
    locate(&situation("front", Signal::ErrorRatio, links))
}

fn service(name: &str) -> Place {
    Place::Service(node(name))
}

fn between(from: &str, to: &str) -> Place {
    Place::Link(node(from), node(to))
}

#[track_caller]
fn blames(ranking: &Ranking, place: &Place, kind: CauseKind) {
    let first = ranking.causes.first().unwrap_or_else(|| panic!("nobody is blamed: {ranking:?}"));
    assert_eq!((&first.place, first.kind), (place, kind), "{ranking:#?}");
}

#[test]
fn who_adds_the_time_is_slow_and_who_waits_is_not() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 40.0).slower(80.0),
        link("front", "cart", 50.0, 20.0).slower(80.0),
        link("front", "search", 50.0, 5.0),
        link("cart", "store", 50.0, 10.0).slower(80.0),
    ]);
    blames(&ranking, &service("store"), CauseKind::Slow);
    assert_eq!(ranking.verdict, Verdict::Found);
    assert!(ranking.causes[0].share > 0.9, "{ranking:#?}");
    assert!(ranking.causes[0].confidence > 0.7, "{ranking:#?}");
}

#[test]
fn time_that_neither_side_spent_is_the_networks() {
    let ranking = slow(&[link("outside", "front", 50.0, 40.0).slower(60.0), link("front", "cart", 50.0, 20.0).farther(60.0)]);
    blames(&ranking, &between("front", "cart"), CauseKind::Network);
    assert!(ranking.causes[0].evidence.contains(&Evidence::Gap { source: node("front"), destination: node("cart"), before: 1.0, now: 61.0 }));
}

#[test]
fn a_network_that_is_bad_for_all_who_call_is_the_callees() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 80.0).slower(120.0),
        link("front", "cart", 50.0, 20.0).farther(60.0),
        link("front", "search", 50.0, 40.0).slower(60.0),
        link("search", "cart", 50.0, 20.0).farther(60.0),
    ]);
    blames(&ranking, &service("cart"), CauseKind::Network);
}

#[test]
fn a_network_that_is_bad_to_all_that_are_called_is_the_callers() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 80.0).slower(180.0),
        link("front", "cart", 50.0, 20.0).farther(60.0),
        link("front", "search", 50.0, 20.0).farther(60.0),
        link("front", "ads", 50.0, 20.0).farther(60.0),
        link("search", "cart", 50.0, 20.0),
    ]);
    blames(&ranking, &service("front"), CauseKind::Network);
}

#[test]
fn a_network_that_is_bad_to_one_and_a_little_off_to_another_is_between_the_two() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 80.0).slower(120.0),
        link("front", "cart", 50.0, 20.0).farther(120.0),
        link("front", "search", 50.0, 20.0).farther(1.5),
    ]);
    blames(&ranking, &between("front", "cart"), CauseKind::Network);
}

#[test]
fn errors_that_were_passed_on_are_not_ones_own() {
    let ranking = failing(&[
        link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 10.0),
        link("front", "cart", 50.0, 20.0).fails("http_5xx", 10.0, 10.0),
        link("cart", "store", 50.0, 10.0).fails("grpc_13", 10.0, 10.0),
        link("cart", "search", 50.0, 10.0),
    ]);
    blames(&ranking, &service("store"), CauseKind::Failing);
    let callers = ranking.causes.iter().filter(|cause| cause.place != service("store"));
    assert_eq!(callers.count(), 0, "{ranking:#?}");
}

#[test]
fn answers_that_break_before_they_leave_their_service_are_its_own() {
    let ranking = failing(&[
        link("outside", "front", 50.0, 40.0).fails("http_502", 10.0, 10.0),
        link("front", "cart", 50.0, 20.0).fails("response_broken", 20.0, 20.0),
        link("cart", "stock", 50.0, 5.0),
    ]);
    blames(&ranking, &service("cart"), CauseKind::Failing);
}

#[test]
fn a_timeout_is_the_fault_of_whoever_was_too_slow() {
    let ranking = failing(&[
        link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 25.0),
        link("front", "cart", 50.0, 20.0).slower(900.0).fails("timeout", 25.0, 0.0),
        link("cart", "store", 50.0, 10.0).slower(900.0),
    ]);
    blames(&ranking, &service("store"), CauseKind::Slow);
}

#[test]
fn a_service_that_has_lost_patience_was_made_to() {
    let ranking = failing(&[
        link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 25.0),
        link("front", "cart", 50.0, 20.0).slower(900.0).fails("client_left", 25.0, 25.0),
    ]);
    blames(&ranking, &service("cart"), CauseKind::Slow);
}

#[test]
fn requests_that_never_end_are_seen_by_being_many() {
    let hangs = |mut link: Link, in_flight| {
        link.now_rate = 1.0;
        link.in_flight = Some((2.0, in_flight));
        link
    };
    let ranking = slow(&[
        hangs(link("outside", "front", 50.0, 40.0), 400.0),
        hangs(link("front", "cart", 50.0, 20.0), 395.0),
        hangs(link("cart", "store", 50.0, 10.0), 390.0),
    ]);
    blames(&ranking, &service("store"), CauseKind::Slow);
}

#[test]
fn a_callee_that_says_nothing_any_more_is_gone() {
    let ranking = failing(&[
        link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 50.0),
        link("front", "cart", 50.0, 20.0).slower(900.0).fails("timeout", 50.0, 0.0).silent(),
    ]);
    blames(&ranking, &service("cart"), CauseKind::Unreachable);
}

#[test]
fn nobody_reached_by_one_of_two_callers_is_between_them() {
    let links = [
        link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 20.0),
        link("front", "cart", 50.0, 20.0).fails("connect_failed", 20.0, 0.0),
        link("search", "cart", 50.0, 20.0),
    ];
    blames(&failing(&links), &between("front", "cart"), CauseKind::Unreachable);
    blames(&failing(&links[..2]), &service("cart"), CauseKind::Unreachable);
}

#[test]
fn a_policy_that_refuses_is_told_with_its_reason_and_the_change_before() {
    let mut situation = situation(
        "front",
        Signal::ErrorRatio,
        &[
            link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 50.0),
            link("front", "cart", 50.0, 20.0).fails("authorization_denied", 50.0, 50.0),
        ],
    );
    let what = What::Configuration { generation: 7, by: "ann".into(), objects: vec!["AuthorizationPolicy shop/cart".into()] };
    situation.changes.push(Change { at: 9_980, nodes: vec![node("cart")], what });
    let ranking = locate(&situation);
    blames(&ranking, &service("cart"), CauseKind::Refused);
    let evidence = &ranking.causes[0].evidence;
    assert!(evidence.iter().any(|e| matches!(e, Evidence::Reason { reason, now, .. } if reason == "authorization_denied" && *now == 50.0)));
    assert!(evidence.iter().any(|e| matches!(e, Evidence::Change { before: 20, .. })), "{evidence:?}");
}

#[test]
fn what_no_proxy_stands_beside_is_outside_the_mesh() {
    let ranking =
        slow(&[link("outside", "front", 50.0, 40.0).slower(80.0), link("front", "payments.example.com", 50.0, 20.0).slower(80.0).external()]);
    assert_eq!(ranking.verdict, Verdict::OutsideMesh);
    blames(&ranking, &Place::Outside(node("payments.example.com")), CauseKind::Slow);
}

#[test]
fn two_faults_at_once_get_their_shares() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 40.0).slower(90.0),
        link("front", "cart", 50.0, 20.0).slower(60.0),
        link("front", "search", 50.0, 20.0).slower(30.0),
    ]);
    blames(&ranking, &service("cart"), CauseKind::Slow);
    assert_eq!(ranking.causes[1].place, service("search"));
    let shares: Vec<f64> = ranking.causes.iter().map(|cause| (cause.share * 10.0).round() / 10.0).collect();
    assert_eq!(shares, [0.7, 0.3]);
}

#[test]
fn a_circle_in_the_graph_ends() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 80.0).slower(80.0),
        link("front", "cart", 50.0, 40.0).slower(80.0),
        link("cart", "store", 50.0, 20.0).slower(80.0),
        link("store", "cart", 10.0, 5.0).slower(10.0),
    ]);
    blames(&ranking, &service("store"), CauseKind::Slow);
}

fn of_part(mut seen: Seen, version: &str) -> Seen {
    seen.part = Some(Part { workload: format!("reviews-{version}").into(), version: version.into() });
    seen
}

#[test]
fn one_version_that_fails_where_others_are_well_is_that_version() {
    let mut situation = situation("front", Signal::ErrorRatio, &[link("outside", "front", 50.0, 40.0).fails("http_5xx", 0.0, 10.0)]);
    let (well, bad) = (link("front", "reviews", 40.0, 20.0), link("front", "reviews", 10.0, 20.0).fails("http_5xx", 10.0, 10.0));
    for reporter in [Reporter::Source, Reporter::Destination] {
        situation.seen.push(of_part(well.seen(reporter), "v1"));
        situation.seen.push(of_part(bad.seen(reporter), "v2"));
    }
    let part = Part { workload: "reviews-v2".into(), version: "v2".into() };
    let ranking = locate(&situation);
    blames(&ranking, &Place::Part(node("reviews"), part.clone()), CauseKind::Failing);
    let told = Evidence::Part { node: node("reviews"), part, own: 1.0, others: 0.0, unit: Unit::Share };
    assert!(ranking.causes[0].evidence.contains(&told), "{ranking:#?}");
}

#[test]
fn more_load_and_nothing_else_is_no_cause() {
    let ranking = slow(&[link("outside", "front", 50.0, 40.0).load(3.0), link("front", "cart", 50.0, 20.0).load(3.0)]);
    assert_eq!(ranking, Ranking { verdict: Verdict::NoCause, causes: Vec::new() });
}

#[test]
fn more_load_with_more_time_is_saturation() {
    let ranking = slow(&[link("outside", "front", 50.0, 40.0).load(3.0).slower(90.0), link("front", "cart", 50.0, 20.0).load(3.0).slower(90.0)]);
    blames(&ranking, &service("cart"), CauseKind::Saturated);
    assert!(ranking.causes[0].evidence.contains(&Evidence::Load { node: node("cart"), before: 50.0, now: 150.0 }));
}

#[test]
fn who_asks_much_more_than_it_is_asked_runs_others_over() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 40.0).slower(90.0),
        link("front", "cart", 50.0, 20.0).slower(90.0),
        link("report", "cart", 10.0, 20.0).load(40.0).slower(90.0),
    ]);
    blames(&ranking, &service("report"), CauseKind::Surge);
    assert_eq!((&ranking.causes[1].place, ranking.causes[1].kind), (&service("cart"), CauseKind::Saturated));
}

#[test]
fn who_tries_again_after_timeouts_runs_nobody_over() {
    for reason in ["per_try_timeout", "client_left"] {
        let ranking = slow(&[
            link("outside", "front", 50.0, 40.0).slower(2000.0),
            link("front", "cart", 50.0, 20.0).load(3.0).slower(2000.0).fails(reason, 100.0, 0.0),
        ]);
        blames(&ranking, &service("cart"), CauseKind::Slow);
        assert!(ranking.causes.iter().all(|cause| cause.kind != CauseKind::Surge), "{ranking:#?}");
    }
}

#[test]
fn who_asks_much_more_runs_others_over_though_some_of_it_fails() {
    let ranking = slow(&[
        link("outside", "front", 50.0, 40.0).slower(90.0),
        link("front", "cart", 50.0, 20.0).slower(90.0),
        link("report", "cart", 10.0, 20.0).load(40.0).slower(90.0).fails("timeout", 100.0, 0.0),
    ]);
    blames(&ranking, &service("report"), CauseKind::Surge);
}

#[test]
fn failures_that_retries_cover_begin_where_they_are_made() {
    let ranking = locate(&situation(
        "cart",
        Signal::Covered,
        &[link("outside", "front", 50.0, 40.0), link("front", "cart", 50.0, 20.0).fails("http_5xx", 0.0, 30.0)],
    ));
    blames(&ranking, &service("cart"), CauseKind::Failing);
    let covered = |evidence: &&Evidence| matches!(evidence, Evidence::Covered { now, felt, .. } if *now > 0.5 && *felt == 0.0);
    assert_eq!(ranking.causes[0].evidence.iter().filter(covered).count(), 1, "{ranking:#?}");
}

#[test]
fn pressure_is_told_and_makes_a_slow_service_a_full_one() {
    let mut situation =
        situation("front", Signal::LatencyP50, &[link("outside", "front", 50.0, 40.0).slower(80.0), link("front", "cart", 50.0, 20.0).slower(80.0)]);
    let cpu = |share| Pressure { cpu: Some(share), ..Pressure::default() };
    situation.pressures.push(Pressed { node: node("cart"), before: cpu(0.3), now: cpu(0.99), spread: None });
    let ranking = locate(&situation);
    blames(&ranking, &service("cart"), CauseKind::Saturated);
    let told = Evidence::Pressure { node: node("cart"), what: "cpu".into(), before: 0.3, now: 0.99 };
    assert!(ranking.causes[0].evidence.contains(&told), "{ranking:#?}");
}

#[test]
fn who_is_not_called_any_more_is_not_to_blame() {
    let ranking = locate(&situation(
        "store",
        Signal::Rate,
        &[link("outside", "front", 50.0, 40.0), link("front", "cart", 50.0, 20.0), link("cart", "store", 50.0, 10.0).load(0.0)],
    ));
    blames(&ranking, &service("cart"), CauseKind::Quiet);
    let ranking =
        locate(&situation("cart", Signal::Rate, &[link("outside", "front", 50.0, 40.0).load(0.0), link("front", "cart", 50.0, 20.0).load(0.0)]));
    assert_eq!(ranking.verdict, Verdict::OutsideMesh);
    blames(&ranking, &Place::Outside(Node::outside()), CauseKind::Quiet);
}

#[test]
fn too_little_says_nothing() {
    let ranking = slow(&[link("outside", "front", 0.001, 40.0).slower(900.0)]);
    assert_eq!(ranking.verdict, Verdict::TooEarly);
    assert_eq!(locate(&Situation::default()).verdict, Verdict::NoCause);
}

#[test]
fn what_is_well_is_ruled_out() {
    let ranking = slow(&[link("outside", "front", 50.0, 40.0).slower(80.0), link("front", "cart", 50.0, 20.0), link("front", "search", 50.0, 5.0)]);
    blames(&ranking, &service("front"), CauseKind::Slow);
    for name in ["cart", "search"] {
        assert!(ranking.causes[0].evidence.contains(&Evidence::Well { node: node(name) }), "{ranking:#?}");
    }
}

#[test]
fn no_figure_makes_it_panic_or_say_what_is_no_number() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e308, f64::MIN_POSITIVE];
    for value in odd {
        for field in 0..6 {
            let mut situation = situation(
                "front",
                Signal::LatencyP99,
                &[link("outside", "front", 50.0, 40.0).slower(80.0), link("front", "cart", 50.0, 20.0).slower(80.0).fails("timeout", 9.0, 1.0)],
            );
            for seen in &mut situation.seen {
                for span in [&mut seen.before, &mut seen.now] {
                    let fields = [&mut span.seconds, &mut span.requests, &mut span.timed, &mut span.time_ms, &mut span.squares, &mut span.in_flight];
                    for (at, place) in fields.into_iter().enumerate() {
                        if at == field {
                            *place = value;
                        }
                    }
                    span.fail("reset", value);
                }
                seen.spread = Spread { mean_ms: Some(value), gap_ms: Some(value), failures: Some(value) };
            }
            situation.targets[0].weight = if field == 0 { value } else { 1.0 };
            for cause in locate(&situation).causes {
                assert!((0.0..=1.0 + 1e-9).contains(&cause.share) && (0.0..=1.0).contains(&cause.confidence), "{value}: {cause:?}");
            }
        }
    }
}

#[test]
fn the_order_of_what_is_told_changes_nothing() {
    let links = [
        link("outside", "front", 50.0, 40.0).slower(90.0),
        link("front", "cart", 50.0, 20.0).slower(60.0),
        link("front", "search", 50.0, 20.0).slower(30.0).fails("reset", 3.0, 0.0),
        link("search", "cart", 5.0, 20.0).slower(60.0),
    ];
    let forth = situation("front", Signal::LatencyP99, &links);
    let mut back = forth.clone();
    back.seen.reverse();
    let places = |ranking: Ranking| ranking.causes.into_iter().map(|cause| (cause.place, cause.kind)).collect::<Vec<_>>();
    assert_eq!(places(locate(&forth)), places(locate(&back)));
}
