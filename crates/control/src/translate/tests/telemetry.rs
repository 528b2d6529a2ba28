//! Telemetry and the mesh's providers: what becomes of them, and what is refused by name.

use super::*;
use taut_model::telemetry::{Mode, OtlpProtocol, ProviderKind, Tag, TagChange};

fn mesh(spec: Value) -> Object {
    object(json!({"apiVersion": "tautline.dev/v1alpha1", "kind": "MeshSettings", "metadata": {"name": "mesh"}, "spec": spec}))
}

#[test]
fn telemetry_is_carried() {
    let said = named(
        "Telemetry",
        "all",
        json!({
            "selector": {"matchLabels": {"app": "reviews"}},
            "tracing": [{
                "match": {"mode": "SERVER"}, "providers": [{"name": "otel"}], "randomSamplingPercentage": 12.5, "disableSpanReporting": false,
                "enableIstioTags": false,
                "customTags": {
                    "team": {"literal": {"value": "books"}},
                    "zone": {"environment": {"name": "ZONE", "defaultValue": "a"}},
                    "user": {"header": {"name": "End-User", "defaultValue": "-"}},
                },
            }],
            "accessLogging": [{"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}}, {"disabled": true}],
            "metrics": [{
                "providers": [{"name": "prometheus"}],
                "overrides": [
                    {"match": {"metric": "REQUEST_COUNT", "mode": "CLIENT"}, "disabled": true},
                    {"tagOverrides": {"source_principal": {"operation": "REMOVE"}, "cluster": {"value": "'one'"}}},
                ],
            }],
        }),
    );
    let translation = translated(vec![said]);
    assert!(translation.findings.is_empty(), "{:?}", translation.findings);
    let telemetry = translation.telemetry.values().next().unwrap();
    let tracing = &telemetry.tracing[0];
    assert_eq!((tracing.mode, tracing.provider.as_deref(), tracing.sampling), (Mode::Server, Some("otel"), Some(12.5)));
    assert_eq!(tracing.tags["team"], Tag::Literal("books".into()));
    assert_eq!(tracing.tags["zone"], Tag::Environment { name: "ZONE".into(), default: "a".into() });
    assert_eq!(tracing.tags["user"], Tag::Header { name: "end-user".into(), default: "-".into() });
    assert_eq!(telemetry.logging[0].filter.as_ref().unwrap().text(), "response.code >= 400");
    assert!(telemetry.logging[1].disabled && telemetry.logging[1].providers.is_empty());
    let overrides = &telemetry.metrics[0].overrides;
    assert_eq!((overrides[0].metric.as_deref(), overrides[0].mode, overrides[0].disabled), (Some("istio_requests_total"), Mode::Client, Some(true)));
    assert_eq!((&overrides[1].tags["source_principal"], &overrides[1].tags["cluster"]), (&TagChange::Remove, &TagChange::Set("one".into())));
}

#[test]
fn what_telemetry_cannot_do_is_refused_by_name() {
    let tracing = |spec| json!({ "tracing": [spec] });
    let over = |spec| json!({"metrics": [{"overrides": [spec]}]});
    for (spec, path) in [
        (json!({"targetRefs": [{"kind": "Service", "name": "a"}]}), "spec.targetRefs"),
        (tracing(json!({"providers": [{"name": "a"}, {"name": "b"}]})), "spec.tracing[0].providers"),
        (tracing(json!({"randomSamplingPercentage": 101})), "spec.tracing[0].randomSamplingPercentage"),
        (tracing(json!({"disableContextPropagation": true})), "spec.tracing[0].disableContextPropagation"),
        (tracing(json!({"enableIstioTags": true})), "spec.tracing[0].enableIstioTags"),
        (tracing(json!({"useRequestIdForTraceSampling": true})), "spec.tracing[0].useRequestIdForTraceSampling"),
        (tracing(json!({"customTags": {"a": {"formatter": {"value": "%PATH%"}}}})), "spec.tracing[0].customTags.a.formatter"),
        (json!({"accessLogging": [{"filter": {"expression": "request.headers['a'] == 'b'"}}]}), "spec.accessLogging[0].filter.expression"),
        (json!({"accessLogging": [{"match": {"mode": "SOMETIMES"}}]}), "spec.accessLogging[0].match.mode"),
        (json!({"metrics": [{"reportingInterval": "5s"}]}), "spec.metrics[0].reportingInterval"),
        (over(json!({"match": {"metric": "GRPC_REQUEST_MESSAGES"}})), "spec.metrics[0].overrides[0].match.metric"),
        (over(json!({"match": {"customMetric": "mine"}})), "spec.metrics[0].overrides[0].match.customMetric"),
        (over(json!({"tagOverrides": {"a": {"value": "request.host"}}})), "spec.metrics[0].overrides[0].tagOverrides.a.value"),
        (over(json!({"tagOverrides": {"le": {"operation": "REMOVE"}}})), "spec.metrics[0].overrides[0].tagOverrides.le"),
    ] {
        let found = errors(&admit(&named("Telemetry", "a", spec.clone()))).iter().map(|problem| problem.path.clone()).collect::<Vec<_>>();
        assert!(found.contains(&path.to_owned()), "{spec}: {found:?}");
        assert!(translated(vec![named("Telemetry", "a", spec)]).telemetry.is_empty());
    }
}

#[test]
fn providers_are_carried() {
    let translation = translated(vec![mesh(json!({
        "extensionProviders": [
            {"name": "otel", "opentelemetry": {"service": "observability/127.0.0.1", "port": 4317, "metricsInterval": "5s"}},
            {"name": "web", "opentelemetry": {
                "service": "collector.example.com", "port": 4318,
                "http": {"path": "/otlp/v1/traces", "timeout": "3s", "headers": [{"name": "X-Key", "value": "k"}]},
            }},
            {"name": "file", "envoyFileAccessLog": {"path": "/dev/stdout"}},
        ],
        "defaultProviders": {"tracing": ["otel"], "accessLogging": ["file", "web"], "metrics": ["prometheus", "otel"]},
        "tracing": {"randomSamplingPercentage": 10, "failures": "Ignore", "slowerThan": "250ms"},
    }))]);
    assert!(translation.findings.is_empty(), "{:?}", translation.findings);
    let settings = translation.settings.values().next().unwrap();
    let hosts = settings.providers.iter().filter_map(|one| match &one.kind {
        ProviderKind::Otlp(collector) => Some((collector.host.as_str(), collector.port, collector.timeout.as_secs(), collector.protocol.clone())),
        ProviderKind::File | ProviderKind::Prometheus | ProviderKind::Authorizer(_) => None,
    });
    let hosts: Vec<_> = hosts.collect();
    assert_eq!(hosts[0], ("127.0.0.1", 4317, 10, OtlpProtocol::Grpc { headers: vec![] }));
    let web = OtlpProtocol::Http { base: "/otlp".into(), headers: vec![("x-key".into(), "k".into())] };
    assert_eq!(hosts[1], ("collector.example.com", 4318, 3, web));
    assert_eq!(settings.default_providers.tracing.as_deref(), Some("otel"));
    assert_eq!((settings.tracing.sampling, settings.tracing.failures), (10.0, false));
    assert_eq!(settings.tracing.slower_than.unwrap().as_millis(), 250);
}

#[test]
fn providers_that_cannot_be_are_refused_by_name() {
    let providers = |list| json!({ "extensionProviders": list });
    let otel = |spec| providers(json!([{"name": "otel", "opentelemetry": spec}]));
    for (spec, path) in [
        (providers(json!([{"name": "zipkin", "zipkin": {"service": "a", "port": 1}}])), "spec.extensionProviders[0].zipkin"),
        (providers(json!([{"name": "envoy", "prometheus": {}}])), "spec.extensionProviders[0].name"),
        (providers(json!([{"name": "a", "prometheus": {}}, {"name": "a", "prometheus": {}}])), "spec.extensionProviders[1].name"),
        (providers(json!([{"name": "a", "envoyFileAccessLog": {"path": "/tmp/a"}}])), "spec.extensionProviders[0].envoyFileAccessLog.path"),
        (otel(json!({"service": "a:4317", "port": 4317})), "spec.extensionProviders[0].opentelemetry.service"),
        (otel(json!({"service": "a"})), "spec.extensionProviders[0].opentelemetry.port"),
        (otel(json!({"service": "a", "port": 1, "maxTagLength": 5})), "spec.extensionProviders[0].opentelemetry.maxTagLength"),
        (otel(json!({"service": "a", "port": 1, "metricsInterval": "1ms"})), "spec.extensionProviders[0].opentelemetry.metricsInterval"),
        (otel(json!({"service": "a", "port": 1, "http": {"path": "v1"}})), "spec.extensionProviders[0].opentelemetry.http.path"),
        (json!({"defaultProviders": {"tracing": ["envoy"]}}), "spec.defaultProviders.tracing"),
        (json!({"defaultProviders": {"metrics": ["nobody"]}}), "spec.defaultProviders.metrics"),
        (json!({"tracing": {"failures": "Maybe"}}), "spec.tracing.failures"),
        (json!({"tracing": {"randomSamplingPercentage": -1}}), "spec.tracing.randomSamplingPercentage"),
    ] {
        let found = errors(&admit(&mesh(spec.clone()))).iter().map(|problem| problem.path.clone()).collect::<Vec<_>>();
        assert!(found.contains(&path.to_owned()), "{spec}: {found:?}");
    }
}

#[test]
fn a_route_says_how_many_of_its_traces_are_sampled() {
    let route = |percent: &str| {
        let mut route =
            named("VirtualService", "reviews", json!({"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}));
        route.value["metadata"]["annotations"] = json!({"tautline.dev/trace-sampling": percent});
        translated(vec![route]).routes.values().next().and_then(|route| route.sampling)
    };
    assert_eq!((route("100"), route("0.1"), route("often"), route("101")), (Some(100.0), Some(0.1), None, None));
}
