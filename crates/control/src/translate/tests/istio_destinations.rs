//! DestinationRule, field by field.

use super::*;
use std::time::Duration;
use taut_model::destination::*;

#[test]
fn balancers_have_istio_s_defaults() {
    let header = || HashKey::Header("x-user".to_owned());
    let session = HashKey::Cookie { name: "c".to_owned(), path: "/".to_owned(), ttl: Some(Duration::ZERO) };
    for (written, want) in [
        (json!({"simple": "LEAST_REQUEST"}), Some(Balancer::LeastRequest)),
        (json!({"simple": "LEAST_CONN"}), Some(Balancer::LeastRequest)),
        (json!({"simple": "ROUND_ROBIN"}), Some(Balancer::RoundRobin)),
        (json!({"simple": "RANDOM"}), Some(Balancer::Random)),
        (json!({"simple": "UNSPECIFIED"}), None),
        (json!({"consistentHash": {"httpHeaderName": "X-User"}}), Some(Balancer::RingHash { key: header(), min_size: 1024 })),
        (json!({"consistentHash": {"httpHeaderName": "X-User", "minimumRingSize": 9}}), Some(Balancer::RingHash { key: header(), min_size: 9 })),
        (
            json!({"consistentHash": {"useSourceIp": true, "ringHash": {"minimumRingSize": 8}}}),
            Some(Balancer::RingHash { key: HashKey::SourceIp, min_size: 8 }),
        ),
        (
            json!({"consistentHash": {"httpQueryParameterName": "q", "maglev": {}}}),
            Some(Balancer::Maglev { key: HashKey::Query("q".to_owned()), table_size: 65_537 }),
        ),
        (
            json!({"consistentHash": {"httpCookie": {"name": "c", "path": "/", "ttl": "0s"}, "maglev": {"tableSize": 251}}}),
            Some(Balancer::Maglev { key: session, table_size: 251 }),
        ),
    ] {
        let destination = destination_of(json!({"host": "reviews", "trafficPolicy": {"loadBalancer": written}}));
        assert_eq!(destination.policy.balancer, want, "{written}");
    }
    let annotated =
        with(named("DestinationRule", "reviews", json!({"host": "reviews"})), "annotations", json!({"tautline.dev/balancer": "PEAK_EWMA"}));
    assert_eq!(translated(vec![annotated]).destinations["DestinationRule/default/reviews"].policy.balancer, Some(Balancer::PeakEwma));
}

#[test]
fn limits_ejection_budget_and_tls() {
    let destination = destination_of(json!({"host": "reviews", "trafficPolicy": {
        "connectionPool": {
            "tcp": {"maxConnections": 10, "connectTimeout": "30ms", "idleTimeout": "1h"},
            "http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 1000, "maxRequestsPerConnection": 0, "maxRetries": 3, "h2UpgradePolicy": "DEFAULT"}},
        "outlierDetection": {"consecutive5xxErrors": 7, "consecutiveGatewayErrors": 2, "interval": "1s", "baseEjectionTime": "3m", "maxEjectionPercent": 100, "minHealthPercent": 50},
        "retryBudget": {"percent": 25.5, "minRetryConcurrency": 4, "budgetInterval": "0s"},
        "tls": {"mode": "SIMPLE", "sni": "a.b", "subjectAltNames": ["c.d"], "insecureSkipVerify": false},
        "proxyProtocol": {"version": "V2"},
    }}));
    let limits = Limits {
        max_connections: Some(10),
        max_pending: Some(1),
        max_requests: Some(1000),
        max_retries: Some(3),
        max_requests_per_connection: None,
        connect_timeout: Some(Duration::from_millis(30)),
        idle_timeout: Some(Duration::from_secs(3600)),
    };
    let outlier = OutlierPolicy {
        consecutive_5xx: 7,
        consecutive_gateway_errors: 2,
        interval: Duration::from_secs(1),
        base_ejection: Duration::from_secs(180),
        max_ejection_percent: 100,
        min_health_percent: 50,
    };
    let tls = ClientTls::Simple { sni: Some("a.b".to_owned()), subject_alt_names: vec!["c.d".to_owned()] };
    let want = TrafficPolicy {
        balancer: None,
        limits: Some(limits),
        outlier: Some(outlier),
        tls: Some(tls),
        retry_budget: Some(RetryBudget { percent: 25.5, min_concurrency: 4 }),
        proxy_protocol: Some(ProxyProtocol::V2),
        ports: Vec::new(),
    };
    assert_eq!(destination.policy, want);
    let defaults = destination_of(json!({"host": "reviews", "trafficPolicy": {"outlierDetection": {}, "retryBudget": {}}}));
    assert_eq!((defaults.policy.outlier, defaults.policy.retry_budget), (Some(OutlierPolicy::default()), Some(RetryBudget::default())));
}

#[test]
fn subsets_and_ports_have_policies_of_their_own() {
    let destination = destination_of(json!({"host": "reviews", "subsets": [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
    ], "trafficPolicy": {"portLevelSettings": [{"port": {"number": 443}, "tls": {"mode": "ISTIO_MUTUAL"}}]}}));
    assert_eq!(destination.host, REVIEWS);
    assert_eq!(destination.subsets[0].labels["version"], "v1");
    assert_eq!(destination.subsets[1].origin.path, "spec.subsets[1]");
    assert_eq!(destination.subsets[1].policy.balancer, Some(Balancer::Random));
    assert_eq!(destination.policy.ports, [(443, TrafficPolicy { tls: Some(ClientTls::Mesh), ..TrafficPolicy::default() })]);
}

#[test]
fn a_refused_rule_keeps_its_demand_for_tls() {
    let simple = || Some(ClientTls::Simple { sni: None, subject_alt_names: vec![] });
    let of_port = |tls| TrafficPolicy { tls, ..TrafficPolicy::default() };
    let named_simple = || ClientTls::Simple { sni: Some("a.b".to_owned()), subject_alt_names: vec!["c.d".to_owned()] };
    let read = "only its TLS holds";
    let unread = "its TLS cannot be read";
    let outlier = || json!({"splitExternalLocalOriginErrors": true});
    for (policy, tls, ports, says) in [
        (json!({"outlierDetection": outlier(), "tls": {"mode": "SIMPLE"}}), simple(), vec![], read),
        (
            json!({"outlierDetection": outlier(), "tls": {"mode": "SIMPLE", "sni": "a.b", "subjectAltNames": ["c.d"]}}),
            Some(named_simple()),
            vec![],
            read,
        ),
        (json!({"tunnel": {}, "tls": {"mode": "ISTIO_MUTUAL"}}), Some(ClientTls::Mesh), vec![], read),
        (
            json!({"tunnel": {}, "portLevelSettings": [
                {"port": {"number": 443}, "tls": {"mode": "SIMPLE"}}, {"port": {"number": 80}, "tls": {"mode": "DISABLE"}},
            ]}),
            None,
            vec![(443, of_port(simple())), (80, of_port(None))],
            read,
        ),
        // What is not understood is not guessed at.
        (json!({"tls": {"mode": "MUTUAL", "clientCertificate": "/x"}}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"tls": {"mode": "SIMPLE", "caCertificates": "/x"}}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"tls": {"mode": "SIMPEL"}}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"tls": {"mode": "SIMPLE", "subjectAltNames": "c.d"}}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"tls": "SIMPLE"}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"tsl": {"mode": "SIMPLE"}}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"portLevelSettings": [{"port": {"number": 0}, "tls": {"mode": "SIMPLE"}}]}), Some(ClientTls::Mesh), vec![], unread),
        (json!({"portLevelSettings": [{"port": {}, "tls": {"mode": "SIMPLE"}}]}), Some(ClientTls::Mesh), vec![], unread),
        (
            json!({"portLevelSettings": [{"port": {"number": 443}}, {"port": {"number": 443}, "tls": {"mode": "SIMPLE"}}]}),
            Some(ClientTls::Mesh),
            vec![],
            unread,
        ),
        (json!(5), Some(ClientTls::Mesh), vec![], unread),
    ] {
        let translation = translated(vec![named("DestinationRule", "reviews", json!({"host": "reviews", "trafficPolicy": policy}))]);
        assert!(!errors(findings(&translation, "DestinationRule", "reviews")).is_empty(), "{policy}");
        let destination = &translation.destinations["DestinationRule/default/reviews"];
        assert_eq!(destination.policy, TrafficPolicy { tls, ports, ..TrafficPolicy::default() }, "{policy}");
        assert!(destination.host == REVIEWS && destination.origin.path.contains(says), "{policy}: {}", destination.origin);
    }
}

#[test]
fn a_refused_rule_that_demands_no_tls_has_no_effect() {
    for spec in [
        json!({"host": "reviews", "trafficPolicy": {"tunnel": {}}}),
        json!({"host": "reviews", "trafficPolicy": {"tunnel": {}, "tls": {"mode": "DISABLE"}}}),
        json!({"trafficPolicy": {"tls": {"mode": "SIMPLE"}}}),
        json!(5),
    ] {
        assert_eq!(translated(vec![named("DestinationRule", "reviews", spec.clone())]).destinations.len(), 0, "{spec}");
    }
}

#[test]
fn what_is_stored_for_a_refused_rule_says_the_same() {
    let ports = json!([{"port": {"number": 443}, "tls": {"mode": "SIMPLE", "sni": "a.b"}}, {"port": {"number": 80}}]);
    for policy in [
        json!({"tunnel": {}, "tls": {"mode": "SIMPLE", "subjectAltNames": ["c.d"]}, "portLevelSettings": ports}),
        json!({"tls": {"mode": "ISTIO_MUTUAL"}, "loadBalancer": {"simple": "PASSTHROUGH"}}),
        json!({"tls": {"mode": "MUTUAL"}}),
    ] {
        let mut refused = named("DestinationRule", "reviews", json!({"host": "reviews", "trafficPolicy": policy}));
        refused.kind = taut_model::kinds::named("DestinationRule").unwrap();
        let stored = super::super::stand_in(&refused, "a.yaml:3:1: this is wrong").unwrap();
        assert!(errors(&admit(&stored))[0].message.contains("a.yaml:3:1: this is wrong"));
        let policy_of = |object: &Object| translated(vec![object.clone()]).destinations["DestinationRule/default/reviews"].policy.clone();
        assert_eq!(policy_of(&stored), policy_of(&refused), "{policy}");
    }
    let mut harmless = named("DestinationRule", "reviews", json!({"host": "reviews"}));
    harmless.kind = taut_model::kinds::named("DestinationRule").unwrap();
    assert!(super::super::stand_in(&harmless, "").is_none());
}
