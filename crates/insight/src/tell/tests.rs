//! Incidents and the sentences that tell them.

use super::*;
use crate::change::{Change, What};
use crate::incident::{CauseKind, Signal, Unit};
use crate::tick::{Node, Part};

fn node(name: &str) -> Node {
    Node::new("shop", name)
}

fn symptom(signal: Signal, baseline: f64, now: f64) -> Symptom {
    Symptom { node: node("front"), signal, since: 43_390, until: None, baseline, worst: now, now, surprise: 9.0 }
}

fn incident(verdict: Verdict, causes: Vec<Cause>) -> Incident {
    Incident {
        id: "7a".into(),
        revision: 1,
        opened: 43_405,
        began: 43_390,
        closed: None,
        subject: node("front"),
        users: vec![node("front")],
        symptoms: vec![symptom(Signal::ErrorRatio, 0.001, 0.125)],
        verdict,
        causes,
        timeline: Vec::new(),
        hurt: 12_345,
    }
}

fn cause(place: Place, kind: CauseKind, evidence: Vec<Evidence>) -> Cause {
    Cause { place, kind, share: 0.934, confidence: 0.87, evidence }
}

#[test]
fn a_story_says_who_is_hurt_why_and_what_to_look_at() {
    let what = What::Configuration { generation: 7, by: "ann".into(), objects: vec!["VirtualService shop/ratings".into()] };
    let evidence = vec![
        Evidence::OwnFailures { node: node("ratings"), per_second: 6.25, share: 0.934, surprise: 12.3 },
        Evidence::Reason { source: node("front"), destination: node("ratings"), reason: "http_5xx".into(), before: 0.0, now: 6.25 },
        Evidence::Change { change: Change { at: 43_370, nodes: vec![node("ratings")], what }, before: 20 },
        Evidence::Well { node: node("store") },
    ];
    let story = tell(&incident(Verdict::Found, vec![cause(Place::Service(node("ratings")), CauseKind::Failing, evidence)]));
    assert_eq!(story.title, "shop/front fails requests: shop/ratings fails requests");
    assert_eq!(
        story.summary,
        "12,345 requests were hurt since 12:03:10 UTC. 12.5 % of the requests to shop/front fail, 0.1 % before, 12.5 % at worst. \
         Likeliest cause: shop/ratings fails requests."
    );
    let lines: Vec<(&str, &[usize])> = story.lines.iter().map(|line| (line.text.as_str(), line.evidence.as_slice())).collect();
    let expected: [(&str, &[usize]); 8] = [
        ("12.5 % of the requests to shop/front fail, 0.1 % before, 12.5 % at worst.", &[]),
        ("1. shop/ratings fails requests: that explains 93.4 % of the hurt; causes that looked like this were right 87 times in 100.", &[1, 2, 3, 4]),
        (
            "6.25 failures per second begin at shop/ratings, what it only passes on taken off: 93.4 % of the hurt; \
             chance alone does that less than once in 1,000,000,000,000.",
            &[1],
        ),
        ("6.25 requests per second from shop/front to shop/ratings end with http_5xx, 0 before.", &[2]),
        ("ann changed VirtualService shop/ratings (generation 7) 20 s before it began.", &[3]),
        ("shop/store is as well as ever: it is not that one.", &[4]),
        ("Next: `taut changes 7` shows what was changed, `taut rollback 7` takes it back", &[]),
        ("Next: `taut tap --destination shop/ratings --status 5xx` shows such requests as they happen", &[]),
    ];
    assert_eq!(lines[..8], expected);
    assert_eq!(lines[8].0, "Next: `taut edges --service ratings.shop` shows its calls now, with `--at 43390` as they were");
}

#[test]
fn titles_name_the_place_and_what_is_wrong_there() {
    let part = Part { workload: "reviews-v2".into(), version: "v2".into() };
    let link = Place::Link(node("front"), node("cart"));
    for (place, kind, title) in [
        (Place::Service(node("front")), CauseKind::Slow, "shop/front is slow"),
        (Place::Service(node("cart")), CauseKind::Saturated, "shop/front fails requests: shop/cart has more to do than it can"),
        (Place::Part(node("reviews"), part), CauseKind::Failing, "shop/front fails requests: version v2 of shop/reviews (reviews-v2) fails requests"),
        (link.clone(), CauseKind::Network, "shop/front fails requests: the network between shop/front and shop/cart is bad"),
        (link.clone(), CauseKind::Refused, "shop/front fails requests: the mesh refuses requests from shop/front to shop/cart"),
        (link, CauseKind::Unreachable, "shop/front fails requests: shop/front cannot reach shop/cart"),
        (Place::Outside(node("pay.example.com")), CauseKind::Slow, "shop/front fails requests: pay.example.com, outside the mesh, is slow"),
        (Place::Outside(Node::outside()), CauseKind::Quiet, "shop/front fails requests: whoever calls the mesh calls others less than before"),
    ] {
        assert_eq!(tell(&incident(Verdict::Found, vec![cause(place, kind, Vec::new())])).title, title);
    }
    assert_eq!(tell(&incident(Verdict::NoCause, Vec::new())).title, "shop/front fails requests; nothing in the mesh explains it");
    assert_eq!(tell(&incident(Verdict::TooEarly, Vec::new())).title, "shop/front fails requests; it is too early to say why");
}

#[test]
fn each_kind_of_evidence_has_its_sentence() {
    let part = Part { workload: "cart-v2".into(), version: "v2".into() };
    let version = Change { at: 1, nodes: vec![node("cart")], what: What::Version { version: "v2".into() } };
    let endpoints = Change { at: 1, nodes: vec![node("cart")], what: What::Endpoints { before: 3, after: 1 } };
    for (evidence, told) in [
        (
            Evidence::OwnTime { node: node("cart"), per_second: 22.43, share: 0.5, surprise: 0.5 },
            "shop/cart adds 22.4 request-seconds per second by itself, what it waits for taken off: 50 % of the hurt.",
        ),
        (
            Evidence::Gap { source: node("front"), destination: node("cart"), before: 1.0, now: 251.0 },
            "shop/front waits 251 ms longer for shop/cart than that one takes, 1 ms before: the time is spent between them.",
        ),
        (
            Evidence::Part { node: node("cart"), part, own: 0.31, others: 0.0, unit: Unit::Share },
            "cart-v2 (version v2) of shop/cart fails 31 %, the others of it 0 %.",
        ),
        (
            Evidence::Covered { source: node("front"), destination: node("cart"), before: 0.001, now: 0.6, felt: 0.01 },
            "60 % of what shop/front tries at shop/cart fails, 0.1 % before; after retries it is 1 %.",
        ),
        (Evidence::Pressure { node: node("cart"), what: "cpu".into(), before: 0.2, now: 0.99 }, "The CPU of shop/cart is 99 % full, 20 % before."),
        (Evidence::Load { node: node("cart"), before: 50.0, now: 12_000.0 }, "shop/cart gets 12,000 requests per second, 50 before."),
        (Evidence::Change { change: version, before: 0 }, "Version v2 of shop/cart began to serve in the second it began."),
        (Evidence::Change { change: endpoints, before: -61 }, "shop/cart went from 3 to 1 endpoints 1 min 1 s after it began."),
        (Evidence::Well { node: node("cart") }, "shop/cart is as well as ever."),
    ] {
        assert_eq!(sentence(&evidence), told);
    }
}

#[test]
fn each_symptom_has_its_sentence() {
    for (signal, before, now, told) in [
        (Signal::LatencyP99, 40.0, 12_000.0, "One request in 100 to shop/front takes 12 s or more, 40 ms before, 12 s at worst."),
        (Signal::LatencyP50, 4.5, 40.0, "Half of the requests to shop/front take 40 ms or more, 4.5 ms before, 40 ms at worst."),
        (Signal::Rate, 50.0, 0.0, "shop/front gets 0 requests per second, 50 before."),
        (Signal::Covered, 0.0, 0.6, "60 % of the tries at shop/front fail and are covered by retries, 0 % before, 60 % at worst."),
        (Signal::Saturation, 0.2, 0.97, "shop/front is 97 % full, 20 % before, 97 % at worst."),
        (
            Signal::Objective("shop/fast".into()),
            1.0,
            14.4,
            "shop/front spends the error budget of shop/fast at 14.4 times what it lasts for, 14.4 at worst.",
        ),
    ] {
        assert_eq!(symptom::sentence(&symptom(signal, before, now)), told);
    }
}

#[test]
fn numbers_of_evidence_go_on_over_causes() {
    let well = |name| Evidence::Well { node: node(name) };
    let causes = vec![
        cause(Place::Service(node("a")), CauseKind::Slow, vec![well("b"), well("c")]),
        cause(Place::Service(node("d")), CauseKind::Slow, vec![well("e")]),
    ];
    let incident = incident(Verdict::Found, causes);
    let numbers: Vec<(usize, String)> = numbered(&incident).map(|(number, _, evidence)| (number, sentence(evidence))).collect();
    assert_eq!(numbers[2], (3, "shop/e is as well as ever.".to_owned()));
    let story = tell(&incident);
    let linked = story.lines.iter().find(|line| line.text.contains("shop/e is")).map(|line| line.evidence.clone());
    assert_eq!(linked, Some(vec![3]));
}

#[test]
fn no_figure_makes_it_panic() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, 1e-300] {
        let evidence = vec![
            Evidence::OwnTime { node: node("cart"), per_second: value, share: value, surprise: value },
            Evidence::Gap { source: node("front"), destination: node("cart"), before: value, now: value },
            Evidence::Change { change: Change { at: 0, nodes: Vec::new(), what: What::Version { version: String::new() } }, before: i64::MIN },
        ];
        let mut incident = incident(Verdict::Found, vec![cause(Place::Service(node("cart")), CauseKind::Slow, evidence)]);
        incident.causes[0].confidence = value;
        incident.symptoms.push(symptom(Signal::LatencyP99, value, value));
        incident.closed = Some(0);
        assert!(!tell(&incident).lines.is_empty());
    }
}
