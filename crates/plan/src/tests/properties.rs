//! What holds for any plan and any request: no panic, decide and explain agree, ejected endpoints rest.

use super::live::{balancers, dice, reviews};
use super::*;
use crate::explain;
use crate::{Live, Outcome};
use proptest::prelude::*;
use std::time::Duration;
use taut_model::destination::OutlierPolicy;
use taut_model::route::{AbortWith, Fault, FaultAbort, FaultDelay, Mirror, PathRewrite, Redirect, RedirectPort, Rewrite};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("/a".to_owned()), Just("/a/b".to_owned()), Just("jason".to_owned()), "[/a-c%.*é(){}\\\\]{0,8}"]
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![text().prop_map(TextMatch::Exact), text().prop_map(TextMatch::Prefix), text().prop_map(TextMatch::Regex), Just(TextMatch::Present)]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        text().prop_map(PathMatch::Exact),
        text().prop_map(PathMatch::Prefix),
        text().prop_map(PathMatch::Segments),
        "[ab/]{0,4}|\\(".prop_map(PathMatch::Regex),
        (proptest::option::of(text_match()), proptest::option::of(text_match())).prop_map(|(service, method)| PathMatch::Grpc { service, method })
    ]
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let named = || proptest::collection::vec((prop_oneof![Just("x"), Just("end-user"), Just("Host"), Just("\u{e9} bad")], text_match()), 0..2);
    (proptest::option::of(path_match()), any::<bool>(), proptest::option::of(text_match()), named(), named(), named()).prop_map(
        |(path, ignore_path_case, method, headers, without, query)| {
            let named = |list: Vec<(&str, TextMatch)>| list.into_iter().map(|(name, value)| NamedMatch { name: name.into(), value }).collect();
            HttpMatch {
                path,
                ignore_path_case,
                method,
                headers: named(headers),
                without_headers: named(without),
                query: named(query),
                ..HttpMatch::default()
            }
        },
    )
}

fn rewrite() -> impl Strategy<Value = PathRewrite> {
    let regex = (text(), text()).prop_map(|(pattern, substitution)| PathRewrite::Regex { pattern, substitution });
    prop_oneof![text().prop_map(PathRewrite::Full), text().prop_map(PathRewrite::Prefix), regex]
}

fn action() -> impl Strategy<Value = HttpAction> {
    let name = prop_oneof![Just("reviews"), Just("ratings"), Just("new"), Just("absent")];
    let subset = prop_oneof![Just(None), Just(Some("v1")), Just(Some("v2")), Just(Some("v8")), Just(Some("v9"))];
    let share = (name, subset, prop_oneof![0_u32..100, Just(u32::MAX)]).prop_map(|(name, subset, weight)| backend(name, subset, weight));
    let redirect = (proptest::option::of(rewrite()), proptest::option::of(text()))
        .prop_map(|(path, authority)| HttpAction::Redirect(Redirect { status: 302, scheme: None, authority, port: RedirectPort::Keep, path }));
    prop_oneof![4 => proptest::collection::vec(share, 0..4).prop_map(HttpAction::Forward), 1 => redirect]
}

fn http_rule() -> impl Strategy<Value = HttpRule> {
    let percent = || prop_oneof![0.0..100.0, Just(f64::NAN), Just(f64::INFINITY)];
    let matches = proptest::collection::vec(http_match(), 0..3);
    (matches, action(), proptest::option::of(rewrite()), proptest::option::of((percent(), percent())), proptest::option::of(percent())).prop_map(
        |(matches, action, path, fault, mirror)| HttpRule {
            rewrite: path.map(|path| Rewrite { path: Some(path), authority: None }),
            fault: fault.map(|(delay, abort)| Fault {
                origin: Origin::default(),
                delay: Some(FaultDelay { percent: delay, duration: Duration::MAX }),
                abort: Some(FaultAbort { percent: abort, with: AbortWith::Grpc(14) }),
            }),
            mirrors: mirror.map(|percent| Mirror { backend: backend("ratings", None, 1), percent }).into_iter().collect(),
            ..rule("r", matches, action)
        },
    )
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let dialect = prop_oneof![Just(Dialect::Istio), Just(Dialect::GatewayApi)];
    let one = (dialect, "[a-c]", "20[0-9]{2}", proptest::collection::vec(http_rule(), 0..4), proptest::option::of(Just("*.example.com".to_owned())));
    let one = one.prop_map(|(dialect, name, created, http, hostname)| Route {
        hostnames: hostname.into_iter().collect(),
        ..route(dialect, &name, &created, http)
    });
    proptest::collection::vec(one, 0..3)
}

fn request() -> impl Strategy<Value = Request> {
    let host = prop_oneof![4 => Just("reviews".to_owned()), 1 => text(), 1 => Just("[::1".to_owned())];
    (text(), text(), host, prop_oneof![4 => Just(9080), 1 => any::<u16>()], text(), proptest::option::of("[a-z ]{0,5}")).prop_map(
        |(path, query, host, port, authority, user)| {
            let request = Request { query, host, port, authority, ..get(&path) };
            match user {
                Some(user) => request.header("end-user", &user),
                None => request,
            }
        },
    )
}

fn rolls() -> impl Strategy<Value = Rolls> {
    any::<[u64; 5]>().prop_map(|[backend, delay, abort, mirror, cookie]| Rolls { backend, delay, abort, mirror, cookie })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn explain_says_what_decide_does(routes in routes(), request in request(), rolls in rolls()) {
        let mut snapshot = with_routes(routes);
        snapshot.absent.insert(fqdn("absent"));
        let plan = Plan::compile(&snapshot);
        let verdict = plan.decide(&request.facts(), &rolls);
        let told = plan.explain(&request.facts(), Some(&rolls));
        prop_assert_eq!(&told.outcome, &explain::outcome(&verdict));
        if let Verdict::Go(go) = &verdict && let Action::Forward(forward) = &go.action {
            let chosen = told.steps.iter().find(|step| step.text.starts_with("chosen")).expect("a chosen step");
            prop_assert_eq!(chosen.origin.as_ref(), Some(&forward.backend.origin));
        }
        let json = serde_json::to_string(&told).expect("serializes");
        prop_assert_eq!(serde_json::from_str::<crate::Explanation>(&json).expect("reads back"), told);
        // Without dice it neither panics nor hides a refusal that is certain.
        let _ = plan.explain(&request.facts(), None).to_string();
        // A rejected route says why.
        prop_assert!(plan.problems().iter().all(|(_, because)| because.contains("cannot be used")));
        // The same question has the same answer.
        prop_assert_eq!(format!("{verdict:?}"), format!("{:?}", Plan::compile(&snapshot).decide(&request.facts(), &rolls)));
    }

    #[test]
    fn whatever_the_dice_say_was_counted(routes in routes(), request in request(), rolls in rolls()) {
        let mut snapshot = with_routes(routes);
        snapshot.absent.insert(fqdn("absent"));
        let plan = Plan::compile(&snapshot);
        let found = plan.possibilities(&request.facts());
        prop_assert_eq!(found.all.iter().map(|one| one.odds).sum::<u128>(), found.whole);
        prop_assert!(found.all.iter().all(|one| one.odds > 0));
        let outcome = explain::outcome(&plan.decide(&request.facts(), &rolls));
        let counted = || found.all.iter().map(|one| explain::outcome(&one.verdict)).collect::<Vec<_>>();
        prop_assert!(counted().contains(&outcome), "{} is none of {:?}", outcome, counted());
    }

    #[test]
    fn an_ejected_endpoint_rests_while_others_can_work(seed in any::<u64>(), which in 0_usize..6, outcomes in proptest::collection::vec(0_u8..4, 1..200)) {
        let outlier = OutlierPolicy { consecutive_5xx: 2, max_ejection_percent: 70, ..OutlierPolicy::default() };
        let balancer = balancers()[which].clone();
        let (_, cluster) = reviews(|policy| (policy.outlier, policy.balancer) = (Some(outlier.clone()), Some(balancer.clone())));
        let (mut live, mut roll) = (Live::new(), dice(seed));
        for (step, outcome) in outcomes.into_iter().enumerate() {
            let now = Duration::from_secs(step as u64 * 5);
            let resting: Vec<_> = live.ejected(now).into_iter().map(|(_, uid, _)| uid).collect();
            prop_assert!(resting.len() < 3);
            let picked = live.pick(&cluster, now, None, &[], &mut roll).expect("one is not ejected");
            prop_assert!(!resting.contains(&picked.uid), "{:?}", balancer);
            let outcome = match outcome {
                0 => Outcome::Status { status: 200, latency: Duration::from_millis(1) },
                1 => Outcome::ConnectFailed,
                2 => Outcome::TimedOut,
                _ => Outcome::Status { status: 500, latency: Duration::from_millis(1) },
            };
            live.report(&cluster, &picked, now, outcome);
        }
    }
}

#[test]
fn two_thousand_requests_split_as_their_weights_say() {
    let shares = vec![backend("reviews", Some("v1"), 90), backend("reviews", Some("v3"), 10)];
    let plan = Plan::compile(&with_routes(vec![route(Dialect::Istio, "r", "", vec![rule("r", vec![], HttpAction::Forward(shares))])]));
    let mut roll = dice(42);
    let v3 = (0..2000).filter(|_| {
        let verdict = plan.decide(&get("/").facts(), &Rolls { backend: roll(), ..Rolls::default() });
        short(&verdict) == "reviews v3"
    });
    let v3 = v3.count();
    assert!((140..260).contains(&v3), "{v3}");
    let why = plan.explain(&get("/").facts(), None);
    assert!(why.outcome.starts_with("90 % reviews v1, 10 % reviews v3"), "{}", why.outcome);
}
