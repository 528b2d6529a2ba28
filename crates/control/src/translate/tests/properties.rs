//! What holds for every input: no panic, the same answer whatever the order, and real manifests are understood.

use super::*;
use proptest::prelude::*;
use taut_model::destination::TrafficPolicy;
use taut_model::read;

const KINDS: &[&str] = &[
    "Service",
    "EndpointSlice",
    "VirtualService",
    "DestinationRule",
    "ServiceEntry",
    "WorkloadEntry",
    "PeerAuthentication",
    "AuthorizationPolicy",
    "RequestAuthentication",
    "HTTPRoute",
    "GRPCRoute",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "Deployment",
    "Node",
    "BackendTLSPolicy",
    "XBackendTrafficPolicy",
    "RateLimit",
    "HealthCheck",
];

/// Field names of the APIs, so that what is generated gets past the first field.
const FIELDS: &[&str] = &[
    "hosts",
    "delegate",
    "corsPolicy",
    "allowOrigins",
    "cors",
    "sectionName",
    "hostnames",
    "destinationSubnets",
    "http",
    "match",
    "uri",
    "exact",
    "regex",
    "route",
    "destination",
    "host",
    "port",
    "number",
    "weight",
    "fault",
    "delay",
    "fixedDelay",
    "retries",
    "retryOn",
    "attempts",
    "headers",
    "request",
    "set",
    "trafficPolicy",
    "loadBalancer",
    "simple",
    "consistentHash",
    "maglev",
    "tableSize",
    "subsets",
    "name",
    "labels",
    "ports",
    "endpoints",
    "address",
    "addresses",
    "rules",
    "from",
    "source",
    "principals",
    "when",
    "key",
    "values",
    "parentRefs",
    "kind",
    "group",
    "backendRefs",
    "filters",
    "type",
    "matches",
    "path",
    "value",
    "selector",
    "matchLabels",
    "mtls",
    "mode",
    "portLevelMtls",
    "targetPort",
    "tcp",
    "tls",
    "sniHosts",
    "limits",
    "requests",
    "interval",
    "burst",
    "per",
    "header",
    "to",
    "operation",
    "targetRefs",
    "expectedStatuses",
    "sessionPersistence",
    "cookie",
    "validation",
    "hostname",
    "localityLbSetting",
    "distribute",
    "failover",
    "failoverPriority",
    "warmup",
    "duration",
    "outlierDetection",
    "connectionPool",
    "portLevelSettings",
    "exportTo",
];

fn any_json() -> impl Strategy<Value = Value> {
    let texts = prop::sample::select(vec!["", "/", "*", "reviews", "Service", "7s", "5xx", "(", "a*b", "100", "URLRewrite", "é", "%x%"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3..70_000_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 80, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(FIELDS), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_is_json_makes_it_panic(kind in prop::sample::select(KINDS), spec in any_json(), other in any_json()) {
        let mut object = named(kind, "x", spec);
        object.value["ports"] = other.clone();
        object.value["endpoints"] = other.clone();
        object.value["status"] = other.clone();
        object.value["metadata"]["annotations"] = other;
        let refused = !errors(&admit(&object)).is_empty();
        let translation = translated(vec![service("reviews"), object]);
        // Of what is refused a demand for TLS may stay, and a limit of nothing.
        let is_guard = |rule: &TrafficPolicy| *rule == TrafficPolicy { tls: rule.tls.clone(), ports: rule.ports.clone(), ..TrafficPolicy::default() };
        let guards = translation.destinations.values().all(|one| is_guard(&one.policy) && one.subsets.is_empty());
        let limits = translation.limits.values().flat_map(|limit| &limit.limits).all(|limit| limit.requests == 0);
        prop_assert!(!refused || (translation.routes.is_empty() && guards && limits));
    }
}

fn manifests() -> Vec<(String, Vec<Object>)> {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/manifests"))];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let reading = read::yaml(&std::fs::read_to_string(&path).unwrap(), &path.display().to_string());
                found.push((path.display().to_string(), reading.objects));
            }
        }
    }
    assert!(found.len() > 20, "the manifests are there");
    found
}

#[test]
fn every_published_manifest_is_accepted() {
    for (file, objects) in manifests() {
        for object in objects {
            let problems = admit(&object);
            assert_eq!(errors(&problems), Vec::<&Problem>::new(), "{file}");
        }
    }
}

#[test]
fn the_order_of_objects_does_not_matter() {
    let mut objects: Vec<Arc<Object>> = manifests().into_iter().flat_map(|(_, objects)| objects).map(Arc::new).collect();
    // Many files define the same object; one of each is a mesh.
    objects.sort_by_key(|object| object.reference());
    objects.dedup_by_key(|object| object.reference());
    let forwards = translate(&objects, &settings());
    assert!(forwards.services.len() > 5 && forwards.routes.len() > 5 && forwards.destinations.len() > 3);
    objects.reverse();
    assert!(forwards == translate(&objects, &settings()));
}

#[test]
fn a_thousand_objects_are_put_together() {
    let mut objects = Vec::new();
    for index in 0..250 {
        let name = format!("svc-{index}");
        let labels = json!({"app": name, "all": "yes"});
        objects.push(service(&name));
        objects.push(named("WorkloadEntry", &name, json!({"address": "127.0.0.1", "labels": labels})));
        objects.push(named("DestinationRule", &name, json!({"host": name, "subsets": [{"name": "v1", "labels": {"app": name}}]})));
        objects.push(named(
            "VirtualService",
            &name,
            json!({"hosts": [name], "http": [{"route": [{"destination": {"host": name, "subset": "v1"}}]}]}),
        ));
    }
    let translation = translated(objects);
    assert!(translation.findings.is_empty(), "{:?}", translation.findings);
    assert!(translation.workloads.values().all(|workload| workload.serves.len() == 1));
}
