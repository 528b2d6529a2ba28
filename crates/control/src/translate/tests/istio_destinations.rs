//! DestinationRule, field by field.

use super::*;
use std::time::Duration;
use taut_model::destination::*;

#[test]
fn balancers_have_istio_s_defaults() {
    let header = || HashKey::Header("x-user".to_owned());
    let session = HashKey::Cookie { name: "c".to_owned(), path: "/".to_owned(), ttl: Some(Duration::ZERO), attributes: vec![] };
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
        tcp_idle_timeout: Some(Duration::from_secs(3600)),
        ..Limits::default()
    };
    let outlier = OutlierPolicy {
        consecutive_5xx: 7,
        consecutive_gateway_errors: 2,
        interval: Duration::from_secs(1),
        base_ejection: Duration::from_secs(180),
        max_ejection_percent: 100,
        min_health_percent: 50,
        local_origin_failures: None,
        error_statuses: vec![],
    };
    let tls = ClientTls::Simple(Origination { sni: Some("a.b".to_owned()), subject_alt_names: vec!["c.d".to_owned()], ..Origination::default() });
    let want = TrafficPolicy {
        balancer: None,
        limits: Some(limits),
        outlier: Some(outlier),
        tls: Some(tls),
        retry_budget: Some(RetryBudget { percent: 25.5, min_concurrency: 4, ..RetryBudget::default() }),
        proxy_protocol: Some(ProxyProtocol::V2),
        ..TrafficPolicy::default()
    };
    assert_eq!(destination.policy, want);
    let defaults = destination_of(json!({"host": "reviews", "trafficPolicy": {"outlierDetection": {}, "retryBudget": {}}}));
    let over_time = destination_of(json!({"host": "reviews", "trafficPolicy": {"retryBudget": {"budgetInterval": "30s"}}}));
    assert_eq!(over_time.policy.retry_budget.unwrap().interval, Duration::from_secs(30));
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
    let simple = || Some(ClientTls::Simple(Origination::default()));
    let of_port = |tls| TrafficPolicy { tls, ..TrafficPolicy::default() };
    let names = || Origination { sni: Some("a.b".to_owned()), subject_alt_names: vec!["c.d".to_owned()], ..Origination::default() };
    let named_simple = || ClientTls::Simple(names());
    let read = "only its TLS holds";
    let unread = "its TLS cannot be read";
    let outlier = || json!({"consecutiveErrors": 1});
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
        (json!({"tls": {"mode": "SIMPLE", "credentialName": "x"}}), Some(ClientTls::Mesh), vec![], unread),
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

#[test]
fn locality_and_warm_up() {
    let policy =
        |written: Value| destination_of(json!({"host": "reviews", "trafficPolicy": {"outlierDetection": {}, "loadBalancer": written}})).policy;
    let distribute = json!([{"from": "eu/a/*", "to": {"eu/a/*": 80, "eu/b/*": 20}}]);
    let distributed = policy(json!({"localityLbSetting": {"distribute": distribute}}));
    let to = vec![("eu/a/*".to_owned(), 80), ("eu/b/*".to_owned(), 20)];
    let want = LocalityPolicy { distribute: vec![Distribute { from: "eu/a/*".to_owned(), to }], ..LocalityPolicy::default() };
    assert_eq!(distributed.locality, Some(want));
    let failover = policy(json!({"localityLbSetting": {"enabled": true, "failover": [{"from": "eu", "to": "us"}]}}));
    assert_eq!(failover.locality.map(|locality| locality.failover), Some(vec![("eu".to_owned(), "us".to_owned())]));
    let priority = policy(json!({"localityLbSetting": {"failoverPriority": ["topology.kubernetes.io/zone", "version=v1"]}}));
    let label = |name: &str, value: Option<&str>| LabelMatch { name: name.to_owned(), value: value.map(str::to_owned) };
    let labels = vec![label("topology.kubernetes.io/zone", None), label("version", Some("v1"))];
    assert_eq!(priority.locality.map(|locality| locality.failover_priority), Some(labels));
    assert!(policy(json!({"localityLbSetting": {"enabled": false}})).locality.is_some_and(|locality| locality.disabled));
    for (written, want) in [
        (json!({"warmupDurationSecs": "30s"}), (30, 10.0, 1.0)),
        (json!({"warmup": {"duration": "1m"}}), (60, 10.0, 1.0)),
        (json!({"simple": "ROUND_ROBIN", "warmup": {"duration": "1m", "minimumPercent": 0, "aggression": 2.5}}), (60, 0.0, 2.5)),
    ] {
        let warm_up = policy(written.clone()).warm_up.unwrap();
        assert_eq!((warm_up.duration.as_secs(), warm_up.minimum_percent, warm_up.aggression), want, "{written}");
    }
}

#[test]
fn what_judges_nobody_is_told_to_keep_nothing_near() {
    let rule = named("DestinationRule", "reviews", json!({"host": "reviews", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {}}}}));
    let problems = admit(&rule);
    assert!(errors(&problems).is_empty() && problems[0].code == "NoEffect", "{problems:?}");
}

#[test]
fn pools_and_outliers_in_full() {
    let policy = destination_of(json!({"host": "reviews", "trafficPolicy": {
        "connectionPool": {
            "tcp": {"idleTimeout": "1s", "maxConnectionDuration": "5m", "tcpKeepalive": {"time": "7200s", "interval": "75s", "probes": 9}},
            "http": {"idleTimeout": "2s", "maxConcurrentStreams": 100, "h2UpgradePolicy": "DO_NOT_UPGRADE", "useClientProtocol": true}},
        "outlierDetection": {"splitExternalLocalOriginErrors": true, "outlierDetectionHttpErrorCodes": [429, 503]},
        "tls": {"mode": "MUTUAL", "clientCertificate": "/c", "privateKey": "/k", "caCertificates": "/r", "sni": "a.b"},
    }}))
    .policy;
    let limits = policy.limits.unwrap();
    let second = Duration::from_secs(1);
    assert_eq!((limits.tcp_idle_timeout, limits.idle_timeout, limits.max_streams), (Some(second), Some(2 * second), Some(100)));
    let keepalive = Keepalive { time: Some(7200 * second), interval: Some(75 * second), probes: Some(9) };
    assert_eq!((limits.max_connection_age, limits.keepalive), (Some(300 * second), Some(keepalive)));
    let outlier = policy.outlier.unwrap();
    assert_eq!((outlier.local_origin_failures, outlier.error_statuses), (Some(5), vec![429, 503]));
    let files = CertificateFiles { chain: "/c".to_owned(), key: "/k".to_owned() };
    let origination = Origination { sni: Some("a.b".to_owned()), roots: Some("/r".to_owned()), certificate: Some(files), ..Origination::default() };
    assert_eq!(policy.tls, Some(ClientTls::Simple(origination)));
}

#[test]
fn a_rule_may_choose_its_clients_and_cover_a_pattern() {
    let clients = |fields: Value| {
        let mut spec = json!({"host": "*.default.svc.cluster.local"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        destination_of(spec).clients
    };
    assert_eq!(clients(json!({"exportTo": ["*", "x"]})), Clients::default());
    assert_eq!(clients(json!({"exportTo": [".", "x"]})).namespaces, ["default", "x"]);
    assert_eq!(clients(json!({"workloadSelector": {"matchLabels": {"app": "a"}}})).labels["app"], "a");
}
