//! Services and workloads: who serves what.

use super::*;
use taut_model::service::{AppProtocol, Place, Resolution};
use taut_model::workload::{Health, Workload};

fn entry(name: &str, labels: Value, ports: Value) -> Object {
    named("WorkloadEntry", name, json!({"address": "127.0.10.1", "labels": labels, "ports": ports}))
}

fn serves(workload: &Workload) -> Vec<(&str, u16, u16)> {
    workload.serves.iter().map(|serves| (serves.host.as_str(), serves.port, serves.target)).collect()
}

#[test]
fn a_service_says_its_ports_and_addresses() {
    let translation = translated(vec![named(
        "Service",
        "reviews",
        json!({
            "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "sessionAffinity": "None",
            "ports": [{"name": "http-web", "port": 80}, {"name": "db", "port": 3306, "appProtocol": "tcp"}, {"port": 53, "protocol": "UDP"}],
        }),
    )]);
    let service = &translation.services[REVIEWS];
    assert_eq!(
        (service.name.as_str(), service.namespace.as_str(), service.place, service.resolution),
        ("reviews", "default", Place::Mesh, Resolution::Static)
    );
    let ports: Vec<_> = service.ports.iter().map(|port| (port.number, port.name.as_str(), port.protocol)).collect();
    assert_eq!(ports, [(80, "http-web", AppProtocol::Http), (3306, "db", AppProtocol::Tcp)]);
    assert_eq!(service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    assert_eq!(found(&translation, "Service", "reviews"), [("NoEffect", "spec.ports[2]".to_owned())]);
}

#[test]
fn workloads_are_selected_by_label_and_find_their_port() {
    let reviews = named(
        "Service",
        "reviews",
        json!({"selector": {"app": "reviews"}, "ports": [
            {"name": "http", "port": 80}, {"name": "num", "port": 81, "targetPort": 8081}, {"name": "named", "port": 82, "targetPort": "web"}, {"name": "same", "port": 83},
        ]}),
    );
    let translation = translated(vec![
        reviews,
        entry("v1", json!({"app": "reviews", "version": "v1"}), json!({"http": 9080, "web": 9082})),
        entry("other", json!({"app": "ratings"}), json!({})),
        with(entry("far", json!({"app": "reviews"}), json!({})), "namespace", json!("prod")),
    ]);
    assert_eq!(serves(&translation.workloads["default/v1"]), [(REVIEWS, 80, 9080), (REVIEWS, 81, 8081), (REVIEWS, 82, 9082), (REVIEWS, 83, 83)]);
    assert!(translation.workloads["default/other"].serves.is_empty());
    assert!(translation.workloads["prod/far"].serves.is_empty());
}

#[test]
fn a_workload_entry_says_who_it_is_and_how_it_fares() {
    let plain = translated(vec![entry("v1", json!({}), json!({}))]).workloads["default/v1"].as_ref().clone();
    assert_eq!(plain.identity.to_string(), "spiffe://mesh.local/ns/default/sa/default");
    assert_eq!((plain.peer, plain.health, plain.weight), (None, Health::Ready, 1));
    let spec = json!({"address": "db.example", "serviceAccount": "bookinfo-db", "weight": 5, "locality": "r/z/s"});
    let full = with(named("WorkloadEntry", "db", spec), "annotations", json!({"tautline.dev/peer": "127.0.10.3:15008"}));
    for (condition, want) in [
        (json!({"type": "Healthy", "status": "True"}), Health::Ready),
        (json!({"type": "Healthy", "status": "False"}), Health::NotReady),
        (json!({"type": "Healthy", "status": "False", "reason": "Draining"}), Health::Draining),
        (json!({"type": "Other", "status": "False"}), Health::Ready),
    ] {
        let mut object = full.clone();
        object.value["status"] = json!({"conditions": [condition], "other": 1});
        let workload = translated(vec![object]).workloads["default/db"].as_ref().clone();
        assert_eq!(workload.health, want);
        assert_eq!(workload.peer.map(|peer| peer.to_string()).as_deref(), Some("127.0.10.3:15008"));
        assert_eq!((workload.identity.service_account.as_str(), workload.weight, workload.locality.as_str()), ("bookinfo-db", 5, "r/z/s"));
    }
}

#[test]
fn a_workload_that_registered_itself_takes_nothing_until_its_proxy_is_known_and_it_said_that_it_is_ready() {
    let of = |annotations: serde_json::Value, status: serde_json::Value| {
        let mut object = with(entry("v1", json!({}), json!({})), "annotations", annotations);
        object.value["status"] = status;
        let workload = translated(vec![object]).workloads["default/v1"].as_ref().clone();
        (workload.health, workload.peer.is_some())
    };
    let well = json!({"conditions": [{"type": "Healthy", "status": "True"}]});
    let known = json!({"tautline.dev/auto-registered": "true", "tautline.dev/peer": "127.0.10.3:15008"});
    assert_eq!(of(json!({"tautline.dev/auto-registered": "true"}), well.clone()), (Health::NotReady, false));
    assert_eq!(of(known.clone(), json!({})), (Health::NotReady, true), "its word comes a moment after its entry");
    assert_eq!(of(known, well), (Health::Ready, true));
    assert_eq!(of(json!({}), json!({})), (Health::Ready, false), "outside the mesh, as its user wrote it");
}

#[test]
fn a_service_entry_brings_services_and_endpoints() {
    let translation = translated(vec![
        named(
            "ServiceEntry",
            "google",
            json!({"hosts": ["www.googleapis.com"], "resolution": "DNS",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 443, "name": "x", "protocol": "HTTPS"}]}),
        ),
        named(
            "ServiceEntry",
            "db",
            json!({"hosts": ["db.local", "mysql.local"], "location": "MESH_INTERNAL", "resolution": "STATIC", "addresses": ["10.9.0.1"],
            "ports": [{"number": 3306, "name": "tcp", "protocol": "TCP", "targetPort": 3307}],
            "endpoints": [{"address": "10.0.0.1", "ports": {"tcp": 3308}, "labels": {"version": "v1"}}, {"address": "10.0.0.2"}]}),
        ),
        named(
            "ServiceEntry",
            "vm",
            json!({"hosts": ["vm.local"], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http"}], "workloadSelector": {"labels": {"app": "vm"}}}),
        ),
        entry("vm-1", json!({"app": "vm"}), json!({"http": 8080})),
    ]);
    let google = &translation.services["www.googleapis.com"];
    assert_eq!((google.place, google.resolution, google.ports[1].protocol), (Place::External, Resolution::Dns, AppProtocol::Tls));
    let db = &translation.services["mysql.local"];
    assert_eq!((db.place, db.resolution, db.addresses.len()), (Place::Mesh, Resolution::Static, 1));
    assert_eq!(serves(&translation.workloads["default/db~0"]), [("db.local", 3306, 3308), ("mysql.local", 3306, 3308)]);
    assert_eq!(serves(&translation.workloads["default/db~1"])[0].2, 3307);
    assert_eq!(serves(&translation.workloads["default/vm-1"]), [("vm.local", 80, 8080)]);
}

#[test]
fn slices_serve_services_that_select_nothing() {
    let slice = |service: &str| {
        object(
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"], "zone": "a"}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}}]}),
        )
    };
    let bare = named("Service", "old", json!({"ports": [{"name": "http", "port": 80}]}));
    let translation = translated(vec![bare, service("reviews"), slice("old"), slice("reviews")]);
    let health: Vec<_> = translation.workloads.values().map(|workload| (workload.uid.as_str(), workload.health, workload.peer)).collect();
    assert_eq!(
        health,
        [("default/old-1~0", Health::Ready, None), ("default/old-1~1", Health::NotReady, None), ("default/old-1~2", Health::Draining, None)]
    );
    assert_eq!(serves(&translation.workloads["default/old-1~0"]), [("old.default.svc.cluster.local", 80, 8080)]);
}

#[test]
fn an_external_name_is_one_workload_outside() {
    let translation =
        translated(vec![named("Service", "out", json!({"type": "ExternalName", "externalName": "db.example.", "ports": [{"port": 80}]}))]);
    let service = &translation.services["out.default.svc.cluster.local"];
    assert_eq!((service.place, service.resolution), (Place::External, Resolution::Dns));
    assert_eq!(translation.workloads["default/out~external"].address, "db.example");
}

#[test]
fn of_two_entries_for_one_host_the_oldest_wins_and_the_other_is_told() {
    let entry = |name: &str, created: &str| {
        with(named("ServiceEntry", name, json!({"hosts": ["a.b"], "ports": [{"number": 80, "name": "http"}]})), "creationTimestamp", json!(created))
    };
    let translation = translated(vec![entry("a", "2026-02-02T00:00:00Z"), entry("b", "2026-01-01T00:00:00Z")]);
    assert_eq!(translation.services["a.b"].origin.object.name, "b");
    assert_eq!(found(&translation, "ServiceEntry", "a"), [("Conflicted", String::new())]);
    assert!(found(&translation, "ServiceEntry", "b").is_empty());
}
