//! A view holds all that its viewer can reach, and nothing else.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use taut_model::destination::TrafficPolicy;
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::policy::PeerAuthentication;
use taut_model::route::{Dialect, HeaderChange, HttpRule, Mirror, Parent};
use taut_model::service::{Place, Resolution, Service};
use taut_model::workload::{Health, Serves, Workload};

fn service(mesh: &mut Translation, host: &str, namespace: &str) {
    let service = Service {
        origin: Origin::default(),
        host: host.to_owned(),
        name: host.to_owned(),
        namespace: namespace.to_owned(),
        ports: Vec::new(),
        place: Place::Mesh,
        resolution: Resolution::Static,
        addresses: Vec::new(),
        distribution: Default::default(),
        affinity: Default::default(),
    };
    mesh.services.insert(host.to_owned(), Arc::new(service));
}

fn workload(mesh: &mut Translation, uid: &str, hosts: &[&str]) {
    let (namespace, name) = uid.split_once('/').unwrap();
    let workload = Workload {
        origin: Origin::default(),
        uid: uid.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        identity: Identity::new("mesh.local", namespace, "default"),
        labels: BTreeMap::new(),
        address: "127.0.0.1".to_owned(),
        serves: hosts.iter().map(|host| Serves { host: (*host).to_owned(), port: 80, target: 8080 }).collect(),
        peer: None,
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    };
    mesh.workloads.insert(uid.to_owned(), Arc::new(workload));
}

fn backend(host: &str) -> Backend {
    Backend {
        origin: Origin::default(),
        host: host.to_owned(),
        port: None,
        subset: None,
        weight: 1,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved: None,
    }
}

fn route(mesh: &mut Translation, name: &str, parent: &str, to: &[&str], mirror: &[&str], consumer: Option<&str>) {
    let rule = HttpRule {
        origin: Origin::default(),
        name: String::new(),
        matches: Vec::new(),
        action: HttpAction::Forward(to.iter().map(|host| backend(host)).collect()),
        rewrite: None,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        timeout: None,
        retry: None,
        fault: None,
        mirrors: mirror.iter().map(|host| Mirror { backend: backend(host), percent: 1.0 }).collect(),
        cors: None,
        persistence: None,
        hedging: None,
    };
    let route = Route {
        origin: Origin::default(),
        dialect: Dialect::Istio,
        protocol: taut_model::route::RouteProtocol::Http,
        parents: vec![Parent { host: parent.to_owned(), port: None }],
        consumer_namespaces: consumer.map(str::to_owned).into_iter().collect(),
        hostnames: Vec::new(),
        created: String::new(),
        http: vec![rule],
        tcp: Vec::new(),
        sampling: None,
    };
    mesh.routes.insert(name.to_owned(), Arc::new(route));
}

fn destination(mesh: &mut Translation, name: &str, host: &str, namespace: &str) {
    let rule = Destination {
        origin: Origin::default(),
        host: host.to_owned(),
        namespace: namespace.to_owned(),
        role: Default::default(),
        clients: Default::default(),
        policy: TrafficPolicy::default(),
        subsets: Vec::new(),
    };
    mesh.destinations.insert(name.to_owned(), Arc::new(rule));
}

fn policy(mesh: &mut Translation, name: &str, namespace: &str) {
    let policy = PeerAuthentication {
        origin: Origin::default(),
        namespace: namespace.to_owned(),
        selector: BTreeMap::new(),
        mode: None,
        ports: BTreeMap::new(),
        created: String::new(),
    };
    mesh.authentications.insert(name.to_owned(), Arc::new(policy));
}

fn viewer(uid: &str, hosts: &[&str]) -> Viewer {
    let namespace = uid.split('/').next().unwrap_or_default().to_owned();
    Viewer { uid: uid.to_owned(), namespace, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() }
}

fn names(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

fn bookstore() -> Translation {
    let mut mesh = Translation::default();
    for host in ["page", "reviews", "reviews-v2", "shadow", "ratings", "bank"] {
        service(&mut mesh, host, if host == "bank" { "vault" } else { "shop" });
    }
    workload(&mut mesh, "shop/page-1", &["page"]);
    workload(&mut mesh, "shop/reviews-1", &["reviews"]);
    workload(&mut mesh, "shop/reviews-2", &["reviews", "reviews-v2"]);
    workload(&mut mesh, "shop/shadow-1", &["shadow"]);
    workload(&mut mesh, "shop/ratings-1", &["ratings"]);
    workload(&mut mesh, "vault/bank-1", &["bank"]);
    route(&mut mesh, "to-v2", "reviews", &["reviews", "reviews-v2"], &["shadow"], None);
    route(&mut mesh, "other-consumer", "reviews", &["bank"], &[], Some("vault"));
    destination(&mut mesh, "reviews-rule", "reviews", "shop");
    destination(&mut mesh, "wide-rule", "*", "istio-system");
    destination(&mut mesh, "stranger", "reviews", "elsewhere");
    policy(&mut mesh, "mesh-wide", "istio-system");
    policy(&mut mesh, "shop-wide", "shop");
    policy(&mut mesh, "vault-wide", "vault");
    mesh
}

#[test]
fn a_view_follows_routes_to_backends_and_mirrors() {
    let mesh = bookstore();
    let index = Index::new(&mesh);
    let view = view(&mesh, &index, &viewer("shop/page-1", &["reviews", "nowhere"]));
    assert_eq!(names(&view.services), ["page", "reviews", "reviews-v2", "shadow"]);
    assert_eq!(names(&view.workloads), ["shop/page-1", "shop/reviews-1", "shop/reviews-2", "shop/shadow-1"]);
    assert_eq!(names(&view.routes), ["to-v2"]);
    assert_eq!(names(&view.destinations), ["reviews-rule", "wide-rule"]);
    assert_eq!(names(&view.authentications), ["mesh-wide", "shop-wide"]);
}

#[test]
fn a_consumer_route_is_seen_from_its_own_namespace_only() {
    let mesh = bookstore();
    let index = Index::new(&mesh);
    let seen = |uid: &str| view(&mesh, &index, &viewer(uid, &["reviews"]));
    assert_eq!(names(&seen("vault/bank-1").routes), ["other-consumer", "to-v2"]);
    assert!(!seen("shop/page-1").services.contains("bank"));
    // Own namespace wins for destination rules: this one is for clients there.
    assert!(seen("elsewhere/x").destinations.contains("stranger"));
}

#[test]
fn a_rule_is_seen_by_the_clients_it_chooses() {
    let mut mesh = Translation::default();
    service(&mut mesh, "reviews", "a");
    for uid in ["a/web", "a/other", "b/web"] {
        workload(&mut mesh, uid, &[]);
    }
    Arc::make_mut(mesh.workloads.get_mut("a/web").unwrap()).labels.insert("app".to_owned(), "web".to_owned());
    destination(&mut mesh, "all", "reviews", "a");
    destination(&mut mesh, "pattern", "*views", "a");
    for (name, namespaces, labels) in [("exported", &["b"][..], &[][..]), ("nobody", &["~"], &[]), ("chosen", &[], &[("app", "web")])] {
        destination(&mut mesh, name, "reviews", "a");
        let clients = &mut Arc::make_mut(mesh.destinations.get_mut(name).unwrap()).clients;
        clients.namespaces = namespaces.iter().map(|one| (*one).to_owned()).collect();
        clients.labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }
    let index = Index::new(&mesh);
    for (uid, want) in [("a/web", &["all", "chosen", "pattern"][..]), ("a/other", &["all", "pattern"]), ("b/web", &["all", "exported", "pattern"])] {
        let seen = view(&mesh, &index, &viewer(uid, &["reviews"]));
        assert_eq!(names(&seen.destinations), want, "{uid}");
    }
}

#[test]
fn a_workload_that_serves_nothing_and_asks_for_nothing_gets_itself_and_policies() {
    let mut mesh = bookstore();
    workload(&mut mesh, "shop/idle", &[]);
    let view = view(&mesh, &Index::new(&mesh), &viewer("shop/idle", &[]));
    assert_eq!((names(&view.workloads), names(&view.services)), (vec!["shop/idle"], vec![]));
    assert_eq!(names(&view.authentications), ["mesh-wide", "shop-wide"]);
}

proptest! {
    /// Whatever the references (cycles too): everything that a member of the view leads to is in the view, and nothing is
    /// there that neither the viewer nor a member leads to.
    #[test]
    fn a_view_is_the_transitive_closure(edges in prop::collection::vec((0_u8..8, 0_u8..8, any::<bool>()), 0..16), asked in prop::collection::btree_set(0_u8..8, 0..3)) {
        let mut mesh = Translation::default();
        for host in 0..8 {
            service(&mut mesh, &format!("s{host}"), "shop");
            workload(&mut mesh, &format!("shop/w{host}"), &[&format!("s{host}")]);
        }
        for (number, (from, to, mirrored)) in edges.iter().enumerate() {
            let to = format!("s{to}");
            let (forward, mirror): (&[&str], &[&str]) = if *mirrored { (&[], &[&to]) } else { (&[&to], &[]) };
            route(&mut mesh, &format!("r{number}"), &format!("s{from}"), forward, mirror, None);
        }
        let viewer = Viewer { uid: "shop/none".into(), namespace: "shop".into(), hosts: asked.iter().map(|host| format!("s{host}")).collect() };
        let view = view(&mesh, &Index::new(&mesh), &viewer);
        let mut reached: BTreeSet<u8> = asked.clone();
        while let Some((_, to, _)) = edges.iter().find(|(from, to, _)| reached.contains(from) && !reached.contains(to)) {
            reached.insert(*to);
        }
        prop_assert_eq!(view.services, reached.iter().map(|host| format!("s{host}")).collect::<BTreeSet<_>>());
        prop_assert_eq!(view.workloads, reached.iter().map(|host| format!("shop/w{host}")).collect::<BTreeSet<_>>());
        let routes = edges.iter().enumerate().filter(|(_, (from, ..))| reached.contains(from)).map(|(number, _)| format!("r{number}"));
        prop_assert_eq!(view.routes, routes.collect::<BTreeSet<_>>());
    }
}
