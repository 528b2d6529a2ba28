//! RateLimit, HealthCheck and what is attached to Services, and where workloads are.

use super::*;
use std::time::Duration;
use taut_model::destination::{ClientTls, Origination, Probe, RetryBudget, RetryRate, Role, SessionMark};
use taut_model::policy::ConditionKey;
use taut_model::rate_limit::Per;
use taut_model::service::{Affinity, Distribution};

#[test]
fn a_rate_limit_in_full_and_by_default() {
    let spec = json!({"selector": {"matchLabels": {"app": "reviews"}}, "limits": [
        {"requests": 10},
        {"name": "free", "requests": 5, "interval": "1m", "burst": 2, "per": "Header", "header": "X-User",
         "from": [{"source": {"namespaces": ["shop"]}}], "to": [{"operation": {"paths": ["/a*"], "ports": ["8080"]}}],
         "when": [{"key": "request.headers[x-plan]", "values": ["free"]}]},
        {"name": "each", "requests": 1, "per": "Client"},
    ]});
    let translation = translated(vec![named("RateLimit", "r", spec)]);
    let limit = &translation.limits["RateLimit/default/r"];
    assert_eq!((limit.namespace.as_str(), limit.selector["app"].as_str()), ("default", "reviews"));
    let [plain, free, each] = &limit.limits[..] else { panic!("three limits") };
    assert_eq!(
        (plain.name.as_str(), plain.requests, plain.interval, plain.burst, &plain.per),
        ("limit 0", 10, Duration::from_secs(1), 10, &Per::Workload)
    );
    assert!(plain.matching.from.is_empty() && plain.matching.to.is_empty() && plain.matching.when.is_empty());
    assert_eq!((free.requests, free.interval, free.burst, &free.per), (5, Duration::from_secs(60), 2, &Per::Header("x-user".to_owned())));
    assert_eq!((&free.matching.from[0].namespaces[..], &free.matching.to[0].paths[..]), (&["shop".to_owned()][..], &["/a*".to_owned()][..]));
    assert_eq!(free.matching.when[0].key, ConditionKey::RequestHeader("x-plan".to_owned()));
    assert_eq!((&each.per, each.origin.path.as_str()), (&Per::Client, "spec.limits[2]"));
    let sizes = json!({"sizes": [{"maxRequest": "1Mi"}, {"name": "down", "maxResponse": 10, "to": [{"operation": {"methods": ["GET"]}}]}]});
    let translation = translated(vec![named("RateLimit", "s", sizes)]);
    let [up, down] = &translation.limits["RateLimit/default/s"].sizes[..] else { panic!("two sizes") };
    assert_eq!((up.name.as_str(), up.max_request, up.max_response), ("size 0", Some(1 << 20), None));
    assert_eq!((down.max_request, down.max_response, &down.matching.to[0].methods[..]), (None, Some(10), &["GET".to_owned()][..]));
}

#[test]
fn a_limit_of_nothing_is_told_and_one_that_is_wrong_lets_nothing_in() {
    let zero = named("RateLimit", "r", json!({"limits": [{"requests": 0}]}));
    let problems = admit(&zero);
    assert_eq!((problems.len(), problems[0].code, problems[0].severity), (1, "RefusesAll", Severity::Warning));
    let mut wrong = named("RateLimit", "r", json!({"selector": {"matchLabels": {"app": "a"}}, "limits": [{"requests": 5, "per": "Moon"}]}));
    wrong.kind = taut_model::kinds::named("RateLimit").unwrap();
    let refused = |object: &Object| {
        let limit = translated(vec![object.clone()]).limits["RateLimit/default/r"].clone();
        assert_eq!((limit.limits.len(), limit.limits[0].requests, limit.selector["app"].as_str()), (1, 0, "a"));
    };
    refused(&wrong);
    let stored = super::super::stand_in(&wrong, "a.yaml:3:1: this is wrong").unwrap();
    assert!(errors(&admit(&stored))[0].message.contains("a.yaml:3:1: this is wrong"));
    refused(&stored);
}

#[test]
fn a_health_check_has_kumas_defaults_and_is_added_to_each_service() {
    let spec = |probe: Value| {
        let mut spec = json!({"targetRefs": [{"name": "a"}, {"group": "", "kind": "Service", "name": "b"}]});
        spec.as_object_mut().unwrap().extend(probe.as_object().unwrap().clone());
        named("HealthCheck", "c", spec)
    };
    let check = |probe: Value| {
        let translation = translated(vec![spec(probe)]);
        let [a, b] = ["HealthCheck/default/c/0", "HealthCheck/default/c/1"].map(|name| translation.destinations[name].clone());
        assert_eq!((a.host.as_str(), b.host.as_str()), ("a.default.svc.cluster.local", "b.default.svc.cluster.local"));
        assert!(a.role == Role::Addition && a.policy == b.policy);
        a.policy.health_check.clone().unwrap()
    };
    let tcp = check(json!({"tcp": {}}));
    let seconds = (tcp.interval.as_secs(), tcp.timeout.as_secs());
    assert_eq!((seconds, tcp.unhealthy_after, tcp.healthy_after, &tcp.probe), ((60, 15), 5, 1, &Probe::Tcp));
    for (written, want) in [
        (json!({"http": {}}), Probe::Http { path: "/".to_owned(), statuses: vec![(200, 299)] }),
        (
            json!({"http": {"path": "/h?x=y", "expectedStatuses": ["200", "300-301"]}}),
            Probe::Http { path: "/h?x=y".to_owned(), statuses: vec![(200, 200), (300, 301)] },
        ),
        (json!({"grpc": {"serviceName": "shop"}}), Probe::Grpc { service: "shop".to_owned() }),
        (json!({"grpc": {}}), Probe::Grpc { service: String::new() }),
    ] {
        assert_eq!(check(written.clone()).probe, want, "{written}");
    }
    let often = check(json!({"tcp": {}, "interval": "1s", "timeout": "500ms", "unhealthyThreshold": 2, "healthyThreshold": 3}));
    assert_eq!(
        (often.interval, often.timeout, often.unhealthy_after, often.healthy_after),
        (Duration::from_secs(1), Duration::from_millis(500), 2, 3)
    );
}

#[test]
fn policies_of_gateway_api_are_added_to_services() {
    let targets = || json!([{"group": "", "kind": "Service", "name": "a"}]);
    let session = |written: Value| {
        let policy = named("XBackendTrafficPolicy", "p", json!({"targetRefs": targets(), "sessionPersistence": written}));
        translated(vec![policy]).destinations["XBackendTrafficPolicy/default/p/0"].policy.persistence.clone().unwrap().by
    };
    let cookie = |name: &str, path: &str, ttl: Option<u64>| SessionMark::Cookie {
        name: name.to_owned(),
        path: path.to_owned(),
        ttl: ttl.map(Duration::from_secs),
    };
    assert_eq!(session(json!({})), cookie("taut-session", "", None));
    assert_eq!(session(json!({"type": "Cookie", "cookie": {"name": "s", "path": "/a"}})), cookie("s", "/a", None));
    assert_eq!(session(json!({"absoluteTimeout": "1h", "cookie": {"lifetimeType": "Permanent"}})), cookie("taut-session", "", Some(3600)));
    assert_eq!(session(json!({"type": "Header", "header": {"name": "X-S"}})), SessionMark::Header("x-s".to_owned()));
    let validation = json!({"hostname": "a.b", "wellKnownCACertificates": "System", "subjectAltNames": [{"type": "Hostname", "hostname": "c.d"}]});
    let policy = named("BackendTLSPolicy", "t", json!({"targetRefs": targets(), "validation": validation}));
    let tls = translated(vec![policy]).destinations["BackendTLSPolicy/default/t/0"].policy.tls.clone();
    let want = Origination { sni: Some("a.b".to_owned()), subject_alt_names: vec!["c.d".to_owned()], ..Origination::default() };
    assert_eq!(tls, Some(ClientTls::Simple(want)));
}

#[test]
fn retries_are_constrained_by_share_and_by_rate() {
    let constraint = |written: Value| {
        let spec = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}], "retryConstraint": written});
        let translation = translated(vec![named("XBackendTrafficPolicy", "p", spec)]);
        translation.destinations["XBackendTrafficPolicy/default/p/0"].policy.retry_budget.clone().unwrap()
    };
    let budget = |percent, seconds, count, rate_seconds| {
        let min_rate = Some(RetryRate { count, interval: Duration::from_secs(rate_seconds) });
        RetryBudget { percent, min_concurrency: 0, interval: Duration::from_secs(seconds), min_rate }
    };
    assert_eq!(constraint(json!({})), budget(20.0, 10, 10, 1));
    let said = json!({"budget": {"percent": 50, "interval": "1m"}, "minRetryRate": {"count": 3, "interval": "2s"}});
    assert_eq!(constraint(said), budget(50.0, 60, 3, 2));
}

#[test]
fn a_rule_may_keep_sessions_whatever_its_backends_say() {
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let rule = json!({"backendRefs": [{"name": "reviews", "port": 9080}], "sessionPersistence": {"type": "Header", "header": {"name": "X-S"}}});
        let route = named(kind, "r", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": [rule]}));
        let persistence = route_of(route).http[0].persistence.clone().unwrap();
        assert_eq!((persistence.by, persistence.origin.path.as_str()), (SessionMark::Header("x-s".to_owned()), "spec.rules[0].sessionPersistence"));
    }
    // As earlier versions of the API have it.
    let rule = json!({"sessionPersistence": {"sessionName": "s", "absoluteTimeout": "1h", "cookieConfig": {"lifetimeType": "Permanent"}}});
    let route = named("HTTPRoute", "r", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": [rule]}));
    let want = SessionMark::Cookie { name: "s".to_owned(), path: String::new(), ttl: Some(Duration::from_secs(3600)) };
    assert_eq!(route_of(route).http[0].persistence.clone().unwrap().by, want);
}

#[test]
fn a_refused_tls_policy_never_means_plain_text() {
    let spec = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}], "validation": {"hostname": "a.b", "caCertificateRefs": [{"name": "x"}]}});
    let mut refused = named("BackendTLSPolicy", "t", spec);
    refused.kind = taut_model::kinds::named("BackendTLSPolicy").unwrap();
    let guarded = |object: &Object| {
        let translation = translated(vec![object.clone()]);
        assert!(!errors(findings(&translation, "BackendTLSPolicy", "t")).is_empty());
        let addition = &translation.destinations["BackendTLSPolicy/default/t/0"];
        assert_eq!((addition.host.as_str(), addition.policy.tls.as_ref()), ("a.default.svc.cluster.local", Some(&ClientTls::Mesh)));
    };
    guarded(&refused);
    guarded(&super::super::stand_in(&refused, "a.yaml:3:1: this is wrong").unwrap());
}

#[test]
fn two_that_say_the_same_of_one_service_are_told() {
    let check = |name: &str| named("HealthCheck", name, json!({"targetRefs": [{"name": "reviews"}], "tcp": {}}));
    let translation = translated(vec![service("reviews"), check("a"), check("b")]);
    assert_eq!(found(&translation, "HealthCheck", "a"), []);
    assert_eq!(found(&translation, "HealthCheck", "b"), [("Conflicted", "spec.targetRefs".to_owned())]);
    let nowhere = translated(vec![check("a")]);
    assert_eq!(found(&nowhere, "HealthCheck", "a"), [("UnknownReference", "spec.targetRefs".to_owned())]);
}

#[test]
fn services_say_which_endpoints_they_prefer() {
    let said = |spec: Value, annotations: Value| {
        let translation = translated(vec![with(named("Service", "reviews", spec), "annotations", annotations)]);
        let service = &translation.services[REVIEWS];
        (service.distribution, service.affinity)
    };
    let istio = |value: &str| json!({"networking.istio.io/traffic-distribution": value});
    assert_eq!(said(json!({}), json!({})), (Distribution::Any, Affinity::None));
    assert_eq!(
        said(json!({"trafficDistribution": "PreferClose", "sessionAffinity": "ClientIP"}), json!({})),
        (Distribution::SameZone, Affinity::ClientAddress)
    );
    assert_eq!(
        said(json!({"trafficDistribution": "PreferSameNode", "sessionAffinity": "None"}), json!({})),
        (Distribution::SameNode, Affinity::None)
    );
    assert_eq!(said(json!({}), istio("PreferSameZone")).0, Distribution::SameZone);
    let sessions = |labels: Value| {
        let translation = translated(vec![with(named("Service", "reviews", json!({})), "labels", labels)]);
        translation.destinations.get("Service/default/reviews/0").map(|addition| addition.policy.persistence.clone().unwrap().by)
    };
    let cookie = |name: &str, path: &str| Some(SessionMark::Cookie { name: name.to_owned(), path: path.to_owned(), ttl: None });
    assert_eq!(sessions(json!({})), None);
    assert_eq!(sessions(json!({"istio.io/persistent-session": "s"})), cookie("s", ""));
    assert_eq!(sessions(json!({"istio.io/persistent-session": "s:/shop"})), cookie("s", "/shop"));
    assert_eq!(sessions(json!({"istio.io/persistent-session-header": "X-S"})), Some(SessionMark::Header("x-s".to_owned())));
    let strange = named("Service", "reviews", json!({"trafficDistribution": "PreferMoon"}));
    assert_eq!(admit(&strange)[0].code, "NoEffect");
}

#[test]
fn localities_come_from_entries_labels_slices_and_nodes() {
    let entry = |name: &str, fields: Value| {
        let mut spec = json!({"address": "10.0.0.1"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        named("WorkloadEntry", name, spec)
    };
    let topology = json!({"labels": {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "a"}});
    let node = with(named("Node", "n1", json!({})), "labels", topology["labels"].clone());
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "reviews-1", "labels": {"kubernetes.io/service-name": "reviews"}}, "ports": [{"name": "http", "port": 80}],
        "endpoints": [{"addresses": ["10.0.0.2"], "zone": "a", "nodeName": "n1"}, {"addresses": ["10.0.0.3"], "zone": "b", "nodeName": "n2"}],
    });
    let plain = named("Service", "reviews", json!({"ports": [{"name": "http", "port": 80}]}));
    let translation = translated(vec![
        entry("said", json!({"locality": "us/x/1", "labels": topology["labels"]})),
        entry("labelled", topology.clone()),
        entry("istio", json!({"labels": {"istio-locality": "eu.b.2"}})),
        entry("nothing", json!({})),
        node,
        plain,
        object(slice),
    ]);
    let locality = |uid: &str| translation.workloads[&format!("default/{uid}")].locality.as_str();
    assert_eq!(["said", "labelled", "istio", "nothing"].map(locality), ["us/x/1", "eu/a", "eu/b/2", ""]);
    assert_eq!(["reviews-1~0", "reviews-1~1"].map(locality), ["eu/a", "/b"]);
}

#[test]
fn objectives_are_checked_and_incidents_are_the_meshs_own() {
    let wrong =
        |spec: serde_json::Value| admit(&named("ServiceLevelObjective", "o", spec)).into_iter().map(|problem| problem.path).collect::<Vec<_>>();
    let service = json!([{"name": "reviews"}]);
    assert_eq!(wrong(json!({"targetRefs": service, "target": 99.9, "window": "7d"})), Vec::<String>::new());
    assert_eq!(wrong(json!({"targetRefs": [], "target": 100.0, "window": "90d"})), ["spec.target", "spec.window", "spec.targetRefs"]);
    assert_eq!(wrong(json!({"targetRefs": service, "target": 99, "latency": {"threshold": "0s"}})), ["spec.latency.threshold"]);
    let incident = named("Incident", "i", json!({}));
    assert_eq!(admit(&incident)[0].path, "kind");
    let labelled = with(incident.clone(), "labels", json!({"tautline.dev/subject": "cart"}));
    assert_eq!(admit(&labelled)[0].path, "kind", "a label lets nobody write one");
}
