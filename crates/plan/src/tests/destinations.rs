//! What destinations say about endpoints: which are near, new, well, or the client's own from before.

use super::live::{dice, reviews};
use super::*;
use crate::cluster::{Cluster, ClusterKey, Transport};
use crate::health::Unwell;
use crate::{Live, Outcome};
use std::time::Duration;
use taut_model::destination::{
    Balancer, ClientTls, Distribute, HealthCheck, LocalityPolicy, OutlierPolicy, Persistence, Probe, RetryBudget, Role, SessionMark, WarmUp,
};
use taut_model::service::{Affinity, Distribution};
use taut_model::settings::MeshSettings;

const NOW: Duration = Duration::from_secs(1000);

/// productpage in eu/a; reviews v1 beside it, v2 in another zone, v3 in another region.
fn spread(snapshot: &mut Snapshot) {
    for (uid, locality) in [("productpage-v1", "eu/a"), ("reviews-v1", "eu/a"), ("reviews-v2", "eu/b"), ("reviews-v3", "us/a")] {
        let workload = snapshot.workloads.get_mut(&format!("default/{uid}")).unwrap();
        Arc::make_mut(workload).locality = locality.to_owned();
    }
    snapshot.own = snapshot.workloads.get("default/productpage-v1").cloned();
}

fn with_policy(snapshot: &mut Snapshot, change: impl Fn(&mut TrafficPolicy)) {
    let destination = snapshot.destinations.get_mut("DestinationRule/default/reviews").unwrap();
    change(&mut Arc::make_mut(destination).policy);
}

fn add(snapshot: &mut Snapshot, name: &str, policy: TrafficPolicy) {
    let addition = Destination::addition(origin("HealthCheck", name, ""), fqdn("reviews"), policy);
    assert_eq!(addition.role, Role::Addition);
    snapshot.destinations.insert(name.to_owned(), Arc::new(addition));
}

fn cluster(plan: &Plan, subset: Option<&str>) -> Arc<Cluster> {
    let key = ClusterKey { host: fqdn("reviews").into(), port: 9080, subset: subset.map(Into::into) };
    plan.cluster(&key).unwrap().clone()
}

/// How many of `count` requests each version of reviews gets, when all are answered at once.
fn shares(live: &mut Live, cluster: &Cluster, now: Duration, count: usize) -> [usize; 3] {
    let (mut roll, mut got) = (dice(7), [0; 3]);
    for _ in 0..count {
        let Ok(picked) = live.pick(cluster, now, None, &[], &mut roll) else { continue };
        let version = ["default/reviews-v1", "default/reviews-v2", "default/reviews-v3"].iter().position(|uid| **uid == *picked.uid).unwrap();
        got[version] += 1;
        live.report(cluster, &picked, now, Outcome::Status { status: 200, latency: Duration::ZERO });
    }
    got
}

fn judged() -> Option<OutlierPolicy> {
    Some(OutlierPolicy { consecutive_5xx: 1, max_ejection_percent: 100, ..OutlierPolicy::default() })
}

fn eject(live: &mut Live, cluster: &Cluster, uid: &str) {
    let position = cluster.endpoints.iter().position(|endpoint| endpoint.workload.uid == uid).unwrap();
    let picked = live.resume(cluster, position, NOW, &[]).unwrap();
    live.report(cluster, &picked, NOW, Outcome::Reset);
}

#[test]
fn traffic_stays_near_and_leaves_what_fails() {
    let mut snapshot = bookstore();
    spread(&mut snapshot);
    // Without a judge of health Istio keeps nothing near.
    let far = cluster(&Plan::compile(&snapshot), None);
    assert!(shares(&mut Live::new(), &far, NOW, 300).iter().all(|share| *share > 50));
    with_policy(&mut snapshot, |policy| policy.outlier = judged());
    let near = cluster(&Plan::compile(&snapshot), None);
    let mut live = Live::new();
    assert_eq!(shares(&mut live, &near, NOW, 100), [100, 0, 0]);
    eject(&mut live, &near, "default/reviews-v1");
    assert_eq!(shares(&mut live, &near, NOW, 100), [0, 100, 0]);
    eject(&mut live, &near, "default/reviews-v2");
    assert_eq!(shares(&mut live, &near, NOW, 100), [0, 0, 100]);
    // Ejections end, and traffic comes home.
    assert_eq!(shares(&mut live, &near, NOW + Duration::from_secs(31), 100), [100, 0, 0]);
    // A retry goes to another place rather than to the same endpoint.
    let again = live.pick(&near, NOW + Duration::from_secs(31), None, &["default/reviews-v1".into()], &mut dice(1)).unwrap();
    assert_eq!(&*again.uid, "default/reviews-v2");
}

#[test]
fn a_service_may_wish_its_traffic_near() {
    let mut snapshot = bookstore();
    spread(&mut snapshot);
    Arc::make_mut(snapshot.services.get_mut(&fqdn("reviews")).unwrap()).distribution = Distribution::SameZone;
    let wished = cluster(&Plan::compile(&snapshot), None);
    let mut live = Live::new();
    assert_eq!(shares(&mut live, &wished, NOW, 100), [100, 0, 0]);
    // One that takes no connections is left alone for a moment, without any policy.
    let picked = live.pick(&wished, NOW, None, &[], &mut dice(1)).unwrap();
    live.report(&wished, &picked, NOW, Outcome::ConnectFailed);
    assert_eq!(shares(&mut live, &wished, NOW, 100), [0, 100, 0]);
    let told = Plan::compile(&snapshot).explain(&get("/").facts(), None).to_string();
    assert!(told.contains("locality     nearest first: 1 in the same zone, 1 in the same region, 1 in other regions"), "{told}");
    // A rule that switches locality off has the last word.
    with_policy(&mut snapshot, |policy| policy.locality = Some(LocalityPolicy { disabled: true, ..LocalityPolicy::default() }));
    let alike = cluster(&Plan::compile(&snapshot), None);
    assert!(shares(&mut Live::new(), &alike, NOW, 300).iter().all(|share| *share > 50));
}

#[test]
fn traffic_is_shared_out_to_localities_by_weight() {
    let distribute = |to: &[(&str, u32)]| {
        let to = to.iter().map(|(locality, weight)| ((*locality).to_owned(), *weight)).collect();
        LocalityPolicy { distribute: vec![Distribute { from: "eu/*".to_owned(), to }], ..LocalityPolicy::default() }
    };
    let mut snapshot = bookstore();
    spread(&mut snapshot);
    for balancer in super::live::balancers() {
        with_policy(&mut snapshot, |policy| {
            (policy.balancer, policy.locality) = (Some(balancer.clone()), Some(distribute(&[("eu/a/*", 80), ("us/*", 20)])));
        });
        let [v1, v2, v3] = shares(&mut Live::new(), &cluster(&Plan::compile(&snapshot), None), NOW, 5000);
        assert!((3800..4200).contains(&v1) && v2 == 0 && v1 + v3 == 5000, "{balancer:?} {v1} {v2} {v3}");
    }
    with_policy(&mut snapshot, |policy| policy.locality = Some(distribute(&[("asia/*", 100)])));
    let none = Live::new().pick(&cluster(&Plan::compile(&snapshot), None), NOW, None, &[], &mut dice(1)).unwrap_err();
    assert!(none.elsewhere == 3 && none.to_string().contains("gives no weight"), "{none}");
}

#[test]
fn a_key_keeps_its_locality_and_its_endpoint() {
    let mut snapshot = bookstore();
    spread(&mut snapshot);
    let key = taut_model::destination::HashKey::SourceIp;
    let to = vec![("eu/*".to_owned(), 50), ("us/*".to_owned(), 50)];
    with_policy(&mut snapshot, |policy| {
        let distribute = vec![Distribute { from: "*".to_owned(), to: to.clone() }];
        policy.locality = Some(LocalityPolicy { distribute, ..LocalityPolicy::default() });
        policy.balancer = Some(Balancer::Maglev { key: key.clone(), table_size: 251 });
    });
    let cluster = cluster(&Plan::compile(&snapshot), None);
    let (mut live, mut roll) = (Live::new(), dice(3));
    let mut seen = std::collections::BTreeSet::new();
    for hash in (0..200).map(crate::dice::mix) {
        let mut pick = || live.pick(&cluster, NOW, Some(hash), &[], &mut roll).unwrap().uid;
        let first = pick();
        assert!((0..5).all(|_| pick() == first));
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_new_endpoint_warms_up() {
    let warm_up = WarmUp { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression: 1.0 };
    for balancer in [Balancer::RoundRobin, Balancer::Random] {
        let mut snapshot = bookstore();
        with_policy(&mut snapshot, |policy| (policy.balancer, policy.warm_up) = (Some(balancer.clone()), Some(warm_up.clone())));
        let newcomer = snapshot.workloads.remove("default/reviews-v3").unwrap();
        let mut live = Live::new();
        live.retain(&Plan::compile(&snapshot), NOW - Duration::from_secs(500));
        snapshot.workloads.insert(newcomer.uid.clone(), newcomer);
        let plan = Plan::compile(&snapshot);
        live.retain(&plan, NOW);
        let cluster = cluster(&plan, None);
        // Of three shares of which two are whole: 0.1/2.1, 0.5/2.5, 1/3.
        for (age, want) in [(0, 60..130), (50, 340..460), (100, 600..730)] {
            let [.., v3] = shares(&mut live, &cluster, NOW + Duration::from_secs(age), 2000);
            assert!(want.contains(&v3), "{balancer:?} after {age} s: {v3} of 2000");
        }
    }
}

#[test]
fn what_fails_its_checks_is_left_out_for_all_subsets_and_never_everything() {
    let check = HealthCheck {
        origin: origin("HealthCheck", "reviews", ""),
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        unhealthy_after: 1,
        healthy_after: 1,
    };
    let mut snapshot = bookstore();
    add(&mut snapshot, "check", TrafficPolicy { health_check: Some(check), ..TrafficPolicy::default() });
    let plan = Plan::compile(&snapshot);
    let (all, v1) = (cluster(&plan, None), cluster(&plan, Some("v1")));
    assert!(v1.health_check.is_some());
    let mut live = Live::new();
    assert!(shares(&mut live, &all, NOW, 300).iter().all(|share| *share > 50));
    assert_eq!(live.take_to_check(), std::slice::from_ref(&all.key));
    assert!(live.take_to_check().is_empty());
    let failing = |uids: &[&str]| {
        let mut unwell = Unwell::default();
        uids.iter().for_each(|uid| unwell.insert(&all.key, (*uid).into()));
        Arc::new(unwell)
    };
    live.judge(failing(&["default/reviews-v1"]), &plan, NOW);
    assert_eq!(shares(&mut live, &all, NOW, 100)[0], 0);
    // Where nothing passes, the checks may be what is broken.
    assert_eq!(shares(&mut live, &v1, NOW, 10), [10, 0, 0]);
    live.judge(failing(&["default/reviews-v1", "default/reviews-v2", "default/reviews-v3"]), &plan, NOW);
    assert!(shares(&mut live, &all, NOW, 300).iter().all(|share| *share > 50));
    live.judge(failing(&[]), &plan, NOW);
    assert!(shares(&mut live, &all, NOW, 300).iter().all(|share| *share > 50));
    let told = plan.explain(&get("/").facts(), None).to_string();
    assert!(told.contains("checked      by a TCP connection every 1s; left out after 1 failures  HealthCheck default/reviews"), "{told}");
}

fn sessions(by: SessionMark) -> TrafficPolicy {
    TrafficPolicy { persistence: Some(Persistence { origin: origin("XBackendTrafficPolicy", "s", ""), by }), ..TrafficPolicy::default() }
}

/// What the request is told, and where a mark that it shows leads.
fn session(plan: &Plan, request: &Request) -> (Option<usize>, Vec<String>) {
    let Verdict::Go(go) = plan.decide(&request.facts(), &Rolls::default()) else { panic!("not carried") };
    let Action::Forward(forward) = go.action else { panic!("not forwarded") };
    let marks = forward.cluster.endpoints.iter().filter_map(|endpoint| forward.session_mark(&endpoint.workload.uid));
    (forward.resumed, marks.map(|(name, value)| format!("{name}: {value}")).collect())
}

#[test]
fn a_client_comes_back_to_its_endpoint_and_a_forged_mark_is_harmless() {
    let mut snapshot = bookstore();
    let ttl = Some(Duration::from_secs(60));
    add(&mut snapshot, "sessions", sessions(SessionMark::Cookie { name: "s".into(), path: String::new(), ttl }));
    let plan = Plan::compile(&snapshot);
    let (resumed, marks) = session(&plan, &get("/"));
    assert!(resumed.is_none() && marks.len() == 3, "{marks:?}");
    for (position, mark) in marks.iter().enumerate() {
        assert!(mark.starts_with("set-cookie: s=") && mark.ends_with("; Path=/; Max-Age=60; HttpOnly"), "{mark}");
        let cookie = mark.trim_start_matches("set-cookie: ").split(';').next().unwrap().to_owned();
        let (resumed, told) = session(&plan, &get("/").header("cookie", &format!("a=b; {cookie}")));
        assert_eq!((resumed, told.len()), (Some(position), 2));
    }
    let oversized = format!("s={}", "a".repeat(1 << 20));
    for forged in ["s=", "s=ffffffffffffffff", "s=10.0.0.1:8080", "s=+fffffffffffffff", "s=\u{7f}", &oversized, "t=1"] {
        let Ok(value) = forged.parse::<http::HeaderValue>() else { continue };
        let mut request = get("/");
        request.headers.insert("cookie", value);
        assert_eq!(session(&plan, &request).0, None, "{}", &forged[..forged.len().min(40)]);
    }
    // The mark of an endpoint that has gone, and of another service's, is none.
    let cookie = marks[0].trim_start_matches("set-cookie: ").split(';').next().unwrap().to_owned();
    snapshot.workloads.remove("default/reviews-v1");
    assert_eq!(session(&Plan::compile(&snapshot), &get("/").header("cookie", &cookie)).0, None);
}

#[test]
fn a_session_holds_however_traffic_is_split_while_its_share_gets_any() {
    let split = |weights: [u32; 2]| {
        let shares = vec![backend("reviews", Some("v1"), weights[0]), backend("reviews", Some("v2"), weights[1])];
        let mut snapshot = with_routes(vec![route(Dialect::Istio, "reviews", "", vec![rule("split", vec![], HttpAction::Forward(shares))])]);
        add(&mut snapshot, "sessions", sessions(SessionMark::Header("X-Session".into())));
        Plan::compile(&snapshot)
    };
    let plan = split([50, 50]);
    let (_, marks) = session(&plan, &get("/"));
    let mark = marks[0].strip_prefix("x-session: ").unwrap().to_owned();
    let request = get("/").header("x-session", &mark);
    for roll in (0..50).map(crate::dice::mix) {
        let verdict = plan.decide(&request.facts(), &Rolls { backend: roll, ..Rolls::default() });
        assert_eq!(short(&verdict), "reviews v1");
    }
    let told = plan.explain(&request.facts(), None).to_string();
    assert!(
        told.contains("session      the header \"X-Session\" of reviews v1 says default/reviews-v1, which it goes to while that is well"),
        "{told}"
    );
    let drained = split([0, 100]);
    assert_eq!(outcome(&drained, &request), "reviews v2");
}

#[test]
fn a_session_leaves_an_endpoint_that_is_not_well() {
    let mut snapshot = bookstore();
    with_policy(&mut snapshot, |policy| policy.outlier = judged());
    add(&mut snapshot, "sessions", sessions(SessionMark::Header("s".into())));
    let cluster = cluster(&Plan::compile(&snapshot), None);
    let mut live = Live::new();
    eject(&mut live, &cluster, "default/reviews-v1");
    assert!(live.resume(&cluster, 0, NOW, &[]).is_none());
    assert!(live.resume(&cluster, 1, NOW, &["default/reviews-v2".into()]).is_none());
    assert_eq!(live.resume(&cluster, 1, NOW, &[]).map(|picked| picked.uid).as_deref(), Some("default/reviews-v2"));
    assert!(live.resume(&cluster, 99, NOW, &[]).is_none());
}

#[test]
fn overlapping_subsets_share_endpoints_and_nothing_else() {
    let mut snapshot = bookstore();
    let destination = Arc::make_mut(snapshot.destinations.get_mut("DestinationRule/default/reviews").unwrap());
    let everything = Subset { name: "any".into(), labels: labels(&[("app", "reviews")]), ..destination.subsets[0].clone() };
    destination.subsets.push(everything);
    destination.policy.outlier = judged();
    let plan = Plan::compile(&snapshot);
    let (v1, any) = (cluster(&plan, Some("v1")), cluster(&plan, Some("any")));
    assert_eq!((v1.endpoints.len(), any.endpoints.len()), (1, 3));
    let mut live = Live::new();
    eject(&mut live, &any, "default/reviews-v1");
    assert_eq!(shares(&mut live, &any, NOW, 50)[0], 0);
    assert_eq!(shares(&mut live, &v1, NOW, 50), [50, 0, 0]);
}

#[test]
fn a_load_balancer_is_said_as_a_whole() {
    let mut snapshot = bookstore();
    let warm_up = WarmUp { duration: Duration::from_secs(1), minimum_percent: 10.0, aggression: 1.0 };
    let destination = Arc::make_mut(snapshot.destinations.get_mut("DestinationRule/default/reviews").unwrap());
    (destination.policy.balancer, destination.policy.warm_up) = (Some(Balancer::RoundRobin), Some(warm_up));
    destination.subsets[0].policy.locality = Some(LocalityPolicy::default());
    let plan = Plan::compile(&snapshot);
    let (v1, v2) = (cluster(&plan, Some("v1")), cluster(&plan, Some("v2")));
    assert_eq!((&v1.balancer, v1.warm_up.is_some()), (&Balancer::LoadAware, false));
    assert_eq!((&v2.balancer, v2.warm_up.is_some()), (&Balancer::RoundRobin, true));
}

#[test]
fn additions_fill_in_and_never_take_tls_away() {
    let mut snapshot = bookstore();
    with_policy(&mut snapshot, |policy| policy.tls = Some(ClientTls::Disable));
    add(&mut snapshot, "tls", TrafficPolicy { tls: Some(ClientTls::Simple(Default::default())), ..TrafficPolicy::default() });
    let endpoint = cluster(&Plan::compile(&snapshot), None).endpoints[0].clone();
    assert!(matches!(endpoint.transport, Transport::Tls { .. }), "{endpoint:?}");
    with_policy(&mut snapshot, |policy| policy.tls = Some(ClientTls::Mesh));
    let endpoint = cluster(&Plan::compile(&snapshot), None).endpoints[0].clone();
    assert!(matches!(endpoint.transport, Transport::Mesh { .. }), "{endpoint:?}");
    // Additions of another namespace than the service's are nobody's.
    let mut foreign = Destination::addition(origin("HealthCheck", "x", ""), fqdn("reviews"), sessions(SessionMark::Header("s".into())));
    foreign.namespace = "elsewhere".to_owned();
    snapshot.destinations.insert("foreign".to_owned(), Arc::new(foreign));
    assert!(cluster(&Plan::compile(&snapshot), None).sessions.is_none());
}

#[test]
fn a_rule_for_chosen_workloads_wins_over_one_for_all() {
    let mut snapshot = bookstore();
    let mut chosen = (*snapshot.destinations["DestinationRule/default/reviews"]).clone();
    chosen.origin.object.name = "z-chosen".to_owned();
    chosen.clients.labels = labels(&[("app", "productpage")]);
    chosen.policy.balancer = Some(Balancer::Random);
    snapshot.destinations.insert("z".to_owned(), Arc::new(chosen));
    assert_eq!(cluster(&Plan::compile(&snapshot), None).balancer, Balancer::Random);
}

#[test]
fn client_address_affinity_is_a_default() {
    let mut snapshot = bookstore();
    Arc::make_mut(snapshot.services.get_mut(&fqdn("reviews")).unwrap()).affinity = Affinity::ClientAddress;
    assert!(matches!(cluster(&Plan::compile(&snapshot), None).balancer, Balancer::RingHash { .. }));
    with_policy(&mut snapshot, |policy| policy.balancer = Some(Balancer::Random));
    assert_eq!(cluster(&Plan::compile(&snapshot), None).balancer, Balancer::Random);
}

#[test]
fn a_status_list_replaces_5xx_for_ejection() {
    let outlier = OutlierPolicy { error_statuses: vec![429], ..judged().unwrap() };
    let (_, cluster) = reviews(|policy| policy.outlier = Some(outlier.clone()));
    for (status, ejected) in [(500, 0), (503, 0), (429, 1)] {
        let mut live = Live::new();
        let picked = live.pick(&cluster, NOW, None, &[], &mut dice(1)).unwrap();
        live.report(&cluster, &picked, NOW, Outcome::Status { status, latency: Duration::ZERO });
        assert_eq!(live.ejected(NOW).len(), ejected, "{status}");
    }
}

#[test]
fn a_rule_keeps_sessions_among_all_its_backends() {
    let shares = vec![backend("reviews", Some("v1"), 1), backend("reviews", Some("v2"), 1)];
    let persistence = Persistence { origin: origin("HTTPRoute", "r", "spec.rules[0].sessionPersistence"), by: SessionMark::Header("x-rule".into()) };
    let keeping = HttpRule { persistence: Some(persistence), ..rule("r", vec![], HttpAction::Forward(shares)) };
    let mut snapshot = with_routes(vec![route(Dialect::GatewayApi, "r", "", vec![keeping])]);
    // What is said of the backends does not count where a rule says something itself.
    add(&mut snapshot, "sessions", sessions(SessionMark::Header("x-service".into())));
    let plan = Plan::compile(&snapshot);
    assert!(plan.headers_used().contains("x-rule"));
    let mark = |roll| {
        let Verdict::Go(go) = plan.decide(&get("/").facts(), &Rolls { backend: roll, ..Rolls::default() }) else { panic!() };
        let Action::Forward(forward) = go.action else { panic!() };
        let uid = forward.cluster.endpoints[0].workload.uid.clone();
        (forward.session_mark(&uid).unwrap(), forward.cluster.key.subset.clone().unwrap())
    };
    for roll in [0, u64::MAX] {
        let ((name, value), subset) = mark(roll);
        assert_eq!(name, "x-rule");
        let request = get("/").header("x-rule", &value);
        for roll in (0..20).map(crate::dice::mix) {
            let verdict = plan.decide(&request.facts(), &Rolls { backend: roll, ..Rolls::default() });
            assert_eq!(short(&verdict), format!("reviews {subset}"));
        }
        assert!(plan.explain(&request.facts(), None).to_string().contains("sessions     kept by the header \"x-rule\""));
    }
}

#[test]
fn what_chose_the_balancer_is_named() {
    let line = |plan: &Plan| {
        let told = plan.explain(&get("/").facts(), None);
        let step = told.steps.into_iter().find(|step| step.text.starts_with("endpoints")).unwrap();
        (step.text.split(" by ").nth(1).unwrap().to_owned(), step.origin.map(|origin| origin.object.kind))
    };
    let mut snapshot = bookstore();
    let settings = |balancer| MeshSettings { origin: origin("MeshSettings", "mesh", ""), balancer, ..MeshSettings::default() };
    assert_eq!(line(&Plan::compile(&snapshot)), ("reported load (hot ones avoided)".to_owned(), None));
    snapshot.settings.insert("mesh".into(), Arc::new(settings(Balancer::LoadAware)));
    assert_eq!(line(&Plan::compile(&snapshot)).1, None, "settings that say nothing of it have not chosen");
    snapshot.settings.insert("mesh".into(), Arc::new(settings(Balancer::PeakEwma)));
    assert_eq!(line(&Plan::compile(&snapshot)), ("peak EWMA latency (two choices)".to_owned(), Some("MeshSettings".to_owned())));
    with_policy(&mut snapshot, |policy| policy.balancer = Some(Balancer::RoundRobin));
    assert_eq!(line(&Plan::compile(&snapshot)), ("round robin".to_owned(), Some("DestinationRule".to_owned())));
}

#[test]
fn budgets_of_the_mesh_hold_where_nobody_says_more() {
    let budget = |percent| RetryBudget { percent, ..RetryBudget::default() };
    let mut snapshot = bookstore();
    snapshot.settings.insert("mesh".into(), Arc::new(MeshSettings { retry_budget: budget(5.0), ..MeshSettings::default() }));
    let told = |snapshot: &Snapshot| {
        let steps = Plan::compile(snapshot).explain(&get("/").facts(), None).steps;
        steps.into_iter().find(|step| step.text.starts_with("budget")).map(|step| (step.text, step.origin.unwrap().object.kind))
    };
    let says = |percent, kind: &str| {
        Some((format!("budget       retries are at most {percent} % of the requests in flight, 3 at a time in any case"), kind.to_owned()))
    };
    assert_eq!((cluster(&Plan::compile(&snapshot), Some("v1")).retry_budget.clone(), told(&snapshot)), (budget(5.0), says(5, "MeshSettings")));
    add(&mut snapshot, "constraint", TrafficPolicy { retry_budget: Some(budget(7.0)), ..TrafficPolicy::default() });
    assert_eq!((cluster(&Plan::compile(&snapshot), Some("v1")).retry_budget.clone(), told(&snapshot)), (budget(7.0), says(7, "HealthCheck")));
    with_policy(&mut snapshot, |policy| policy.retry_budget = Some(budget(9.0)));
    assert_eq!((cluster(&Plan::compile(&snapshot), None).retry_budget.clone(), told(&snapshot)), (budget(9.0), says(9, "DestinationRule")));
    assert_eq!(told(&bookstore()), None);
}
