//! A whole proxy against a fake control plane on loopback.

use crate::fake::FakeControl;
use crate::options::{Options, OwnWorkload, Secret};
use crate::start::Proxy;
use crate::status::Status;
use crate::tests::{LOCAL, eventually, run};
use crate::world::World;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use taut_model::host::service_host;
use taut_model::identity::Identity;
use taut_model::origin::{ObjectRef, Origin};
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy};
use taut_model::route::{Dialect, HeaderChange, HttpAction, HttpMatch, HttpRule, Parent, PathMatch, Route};
use taut_model::service::{AppProtocol, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};
use taut_wire::desk::{ask, readiness::State};
use taut_wire::resource::{Resource, ResourceType};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(20);

fn workload() -> OwnWorkload {
    OwnWorkload {
        namespace: "default".into(),
        name: "reviews-1".into(),
        service_account: "reviews".into(),
        labels: [("version".to_owned(), "v1".to_owned())].into(),
        address: [127, 0, 0, 1].into(),
        ports: Vec::new(),
        locality: String::new(),
    }
}

struct Running {
    status: Arc<Status>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(control: &FakeControl, at: SocketAddr) -> Self {
        let options = Options {
            outbound: None,
            peer: LOCAL,
            admin: vec![LOCAL],
            token: Some(Secret::new(control.token(at))),
            drain: Duration::from_secs(1),
            ..Options::new(workload(), "")
        };
        let proxy = Proxy::start(World::os(), options).await.unwrap();
        let status = proxy.status().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_local(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            proxy.run(stopped).await.unwrap();
        });
        Self { status, stop: Some(stop), task }
    }

    async fn ready(&self) {
        eventually(|| self.status.ready().ok().filter(|()| self.status.current().connected())).await;
    }

    async fn learn(&self, host: &str, limit: Duration) -> bool {
        self.status.current().learn(&[host.to_owned()], limit).await
    }
}

fn origin(kind: &str, name: &str) -> Origin {
    Origin { object: ObjectRef::new(kind, "default", name), generation: 1, ..Origin::default() }
}

fn service(name: &str) -> Resource {
    service_at(name, service_host(name, "default"))
}

fn service_at(name: &str, host: String) -> Resource {
    Resource::Service(Arc::new(Service {
        origin: origin("Service", name),
        host,
        name: name.into(),
        namespace: "default".into(),
        ports: vec![ServicePort { number: 80, name: "http".into(), protocol: AppProtocol::Http }],
        place: Place::Mesh,
        resolution: Resolution::Static,
        addresses: Vec::new(),
        distribution: Default::default(),
        affinity: Default::default(),
    }))
}

fn instance(name: &str, of: &str) -> Resource {
    Resource::Workload(Arc::new(Workload {
        origin: origin("WorkloadEntry", name),
        uid: format!("default/{name}"),
        name: name.into(),
        namespace: "default".into(),
        identity: Identity::new("mesh.local", "default", of),
        labels: Default::default(),
        address: "127.0.0.1".into(),
        serves: vec![Serves { host: service_host(of, "default"), port: 80, target: 8080 }],
        peer: None,
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    }))
}

fn route(name: &str, path: PathMatch) -> Resource {
    let rule = HttpRule {
        origin: origin("VirtualService", name),
        name: String::new(),
        matches: vec![HttpMatch { origin: origin("VirtualService", name), path: Some(path), ..HttpMatch::default() }],
        action: HttpAction::Forward(Vec::new()),
        rewrite: None,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        timeout: None,
        retry: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        persistence: None,
        hedging: None,
    };
    Resource::Route(Arc::new(Route {
        origin: origin("VirtualService", name),
        dialect: Dialect::Istio,
        protocol: taut_model::route::RouteProtocol::Http,
        parents: vec![Parent { host: service_host("ratings", "default"), port: None }],
        consumer_namespaces: vec![],
        hostnames: Vec::new(),
        created: String::new(),
        http: vec![rule],
        tcp: Vec::new(),
        sampling: None,
    }))
}

/// The own workload, its service, and another service with one instance.
fn mesh() -> FakeControl {
    let control = FakeControl::new();
    control.put(&service_host("reviews", "default"), service("reviews"));
    control.put("default/reviews-1", instance("reviews-1", "reviews"));
    control.put(&service_host("ratings", "default"), service("ratings"));
    control.put("default/ratings-1", instance("ratings-1", "ratings"));
    control
}

#[test]
fn a_proxy_joins_learns_and_leaves() {
    run(async {
        let control = mesh();
        let server = control.start(LOCAL).await;
        let mut proxy = Running::start(&control, server.address).await;
        proxy.ready().await;
        assert!(control.seen.lock().bearers[0].as_ref().is_some_and(|bearer| bearer.starts_with("Bearer taut1.")));
        {
            let seen = control.seen.lock();
            let hello = &seen.hellos[0];
            assert_eq!((hello.name.as_str(), hello.service_account.as_str()), ("reviews-1", "reviews"));
            assert!(hello.peer.starts_with("127.0.0.1:"));
        }
        let current = proxy.status.current().clone();
        assert_eq!(current.identity().unwrap().identity.to_string(), "spiffe://mesh.local/ns/default/sa/reviews");
        eventually(|| current.snapshot().policies_complete.then_some(())).await;
        // Its own service came without being asked for; the other one did not.
        eventually(|| current.snapshot().services.contains_key(&service_host("reviews", "default")).then_some(())).await;
        assert!(!current.snapshot().services.contains_key(&service_host("ratings", "default")));

        assert!(proxy.learn(&service_host("ratings", "default"), LONG).await);
        assert!(current.snapshot().services.contains_key(&service_host("ratings", "default")));
        assert!(proxy.learn("nowhere.default.svc.cluster.local", LONG).await);
        assert!(current.snapshot().absent.contains("nowhere.default.svc.cluster.local"));
        eventually(|| control.ack(&service_host("ratings", "default")).filter(|(plan, accepted, _)| *plan > 0 && *accepted)).await;
        eventually(|| control.states().contains(&State::Ready).then_some(())).await;

        proxy.stop.take().unwrap().send(()).unwrap();
        (&mut proxy.task).await.unwrap();
        let states = control.states();
        assert_eq!(states[states.len() - 2..], [State::Draining, State::Gone]);
    });
}

#[test]
fn an_outage_changes_nothing_and_ends_by_itself() {
    run(async {
        let control = mesh();
        let server = control.start(LOCAL).await;
        let address = server.address;
        let proxy = Running::start(&control, address).await;
        proxy.ready().await;
        assert!(proxy.learn(&service_host("ratings", "default"), LONG).await);
        let current = proxy.status.current().clone();
        let plan = current.plan_version();

        drop(server);
        eventually(|| (!current.connected()).then_some(())).await;
        assert_eq!(current.plan_version(), plan);
        assert!(proxy.learn(&service_host("ratings", "default"), LONG).await);
        assert!(!proxy.learn(&service_host("details", "default"), Duration::from_millis(1)).await);
        assert!(proxy.status.ready().is_ok());

        control.put(&service_host("details", "default"), service("details"));
        control.put("default/details-1", instance("details-1", "details"));
        control.seen.lock().acknowledged.clear();
        let _server = control.start(address).await;
        // What was asked for during the outage comes without being asked again, and all that runs is acknowledged anew.
        eventually(|| current.snapshot().services.contains_key(&service_host("details", "default")).then_some(())).await;
        for name in ["ratings", "details"] {
            eventually(|| control.ack(&service_host(name, "default")).filter(|(_, accepted, _)| *accepted)).await;
        }
    });
}

#[test]
fn a_proxy_may_start_before_the_control_plane() {
    run(async {
        let control = mesh();
        let address = control.start(LOCAL).await.address;
        let proxy = Running::start(&control, address).await;
        assert!(!proxy.learn(&service_host("ratings", "default"), Duration::from_millis(1)).await);
        let _server = eventually_start(&control, address).await;
        proxy.ready().await;
        eventually(|| proxy.status.current().snapshot().services.contains_key(&service_host("ratings", "default")).then_some(())).await;
    });
}

/// The port is free as soon as the server that was dropped has been cleared away.
async fn eventually_start(control: &FakeControl, at: SocketAddr) -> crate::fake::Running {
    eventually(|| std::net::TcpListener::bind(at).ok().map(drop)).await;
    control.start(at).await
}

#[test]
fn one_bad_resource_is_refused_and_its_last_good_version_stays() {
    run(async {
        let control = mesh();
        let good = route("ratings", PathMatch::Prefix("/v1".into()));
        control.put("VirtualService/default/ratings", good.clone());
        let server = control.start(LOCAL).await;
        let proxy = Running::start(&control, server.address).await;
        eventually(|| control.ack("VirtualService/default/ratings").filter(|(_, accepted, _)| *accepted)).await;

        control.put("VirtualService/default/ratings", route("ratings", PathMatch::Regex("(unclosed".into())));
        control.put("VirtualService/default/other", route("other", PathMatch::Prefix("/other".into())));
        let (_, _, why) = eventually(|| control.ack("VirtualService/default/ratings").filter(|(_, accepted, _)| !accepted)).await;
        assert!(!why.is_empty());
        eventually(|| control.ack("VirtualService/default/other").filter(|(_, accepted, _)| *accepted)).await;
        let snapshot = proxy.status.current().snapshot();
        let Resource::Route(good) = good else { unreachable!() };
        assert_eq!(snapshot.routes["VirtualService/default/ratings"], good);
        let config = proxy.status.config().to_string();
        assert!(config.contains("\"accepted\":false"), "{config}");

        // A resource that cannot be read at all is refused in the same way.
        control.put_bytes(ResourceType::Route, "VirtualService/default/other", vec![0xff; 9]);
        eventually(|| control.ack("VirtualService/default/other").filter(|(_, accepted, _)| !accepted)).await;
        assert!(proxy.status.current().snapshot().routes.contains_key("VirtualService/default/other"));
    });
}

#[test]
fn inbound_stays_closed_until_every_policy_is_known() {
    run(async {
        let mut control = mesh();
        control.silent = &[ResourceType::AuthorizationPolicy];
        let server = control.start(LOCAL).await;
        let proxy = Running::start(&control, server.address).await;
        proxy.ready().await;
        assert!(proxy.learn(&service_host("ratings", "default"), LONG).await);
        assert!(!proxy.status.current().snapshot().policies_complete);
        assert!(!control.states().contains(&State::Ready));
    });
}

#[test]
fn a_policy_that_cannot_be_read_closes_inbound_until_it_can() {
    run(async {
        let control = mesh();
        control.put_bytes(ResourceType::AuthorizationPolicy, "AuthorizationPolicy/default/deny", vec![0xff; 9]);
        let server = control.start(LOCAL).await;
        let proxy = Running::start(&control, server.address).await;
        let (_, accepted, _) = eventually(|| control.ack("AuthorizationPolicy/default/deny")).await;
        assert!(!accepted && !proxy.status.current().snapshot().policies_complete);

        let policy = AuthorizationPolicy {
            origin: origin("AuthorizationPolicy", "deny"),
            namespace: "default".into(),
            selector: Default::default(),
            action: AuthorizationAction::Deny,
            services: vec![],
            provider: String::new(),
            dry_run: false,
            rules: Vec::new(),
        };
        control.put("AuthorizationPolicy/default/deny", Resource::AuthorizationPolicy(Arc::new(policy)));
        eventually(|| proxy.status.current().snapshot().policies_complete.then_some(())).await;
    });
}

#[test]
fn nobody_else_can_pose_as_the_control_plane() {
    run(async {
        // Of another authority than the token names.
        let (control, other) = (mesh(), mesh());
        let server = other.start(LOCAL).await;
        let _proxy = Running::start(&control, server.address).await;
        // Of the right authority, but another workload.
        let mut poser = mesh();
        poser.account = "default";
        let posing = poser.start(LOCAL).await;
        let proxy = Running::start(&poser, posing.address).await;
        assert!(!proxy.learn(&service_host("ratings", "default"), Duration::from_millis(700)).await);
        assert!(other.seen.lock().bearers.is_empty() && poser.seen.lock().bearers.is_empty());
        assert!(proxy.status.current().identity().is_none());
    });
}

#[test]
fn the_desk_answers_what_it_is_asked() {
    run(async {
        let control = mesh();
        let server = control.start(LOCAL).await;
        let proxy = Running::start(&control, server.address).await;
        proxy.ready().await;
        control.ask(1, ask::What::Config(true));
        control.ask(2, ask::What::Exchange("no-such-request".into()));
        control.ask(3, ask::What::Failed(taut_wire::desk::Failed { host: "nobody.default.svc.cluster.local".into(), most: 5 }));
        let answers = eventually(|| Some(control.seen.lock().answers.clone()).filter(|answers| answers.len() == 3)).await;
        let config: serde_json::Value = serde_json::from_str(&answers[0].1).unwrap();
        assert_eq!((answers[0].0, config["workload"]["uid"].as_str()), (1, Some("default/reviews-1")));
        assert_eq!(answers[1], (2, String::new()));
        assert_eq!(answers[2], (3, r#"{"exchanges":[]}"#.to_owned()));
    });
}

#[test]
fn a_port_in_use_is_named() {
    run(async {
        let taken = tokio::net::TcpListener::bind(LOCAL).await.unwrap();
        let address = taken.local_addr().unwrap();
        let options = Options { outbound: None, peer: address, ..Options::new(workload(), "127.0.0.1:1") };
        let Err(fault) = Proxy::start(World::os(), options).await else { panic!("started") };
        let text = fault.to_string();
        assert!(text.contains(&format!("port {} (peer", address.port())) && text.contains("--peer"), "{text}");
        assert!(!text.contains('\n'));
    });
}

#[test]
fn names_that_are_no_service_are_forgotten_and_asked_for_again() {
    run(async {
        let control = mesh();
        let server = control.start(LOCAL).await;
        let proxy = Running::start(&control, server.address).await;
        proxy.ready().await;
        let current = proxy.status.current().clone();
        assert!(proxy.learn(&service_host("ratings", "default"), LONG).await);
        for block in 0..6 {
            let hosts: Vec<_> = (0..1000).map(|number| format!("{block}-{number}.example.com")).collect();
            assert!(current.learn(&hosts, LONG).await, "block {block}");
        }
        eventually(|| (current.snapshot().absent.len() <= 4096).then_some(())).await;
        let snapshot = current.snapshot();
        assert!(snapshot.absent.contains("5-999.example.com") && !snapshot.absent.contains("0-0.example.com"));
        // What is in use is no matter of how many others there are.
        for host in [service_host("ratings", "default"), service_host("reviews", "default")] {
            assert!(snapshot.services.contains_key(&host), "{host}");
        }
        assert!(proxy.learn("0-0.example.com", LONG).await);
        assert!(current.snapshot().absent.contains("0-0.example.com"));
        // A service that comes to be is found under a name that had been forgotten.
        let name = "1-0.example.com";
        assert!(!current.snapshot().absent.contains(name));
        control.put(name, service_at(name, name.to_owned()));
        assert!(proxy.learn(name, LONG).await);
        assert!(current.snapshot().services.contains_key(name));
        eventually(|| (control.seen.lock().hosts.len() <= 4096 + 3).then_some(())).await;
    });
}

#[test]
fn seconds_are_reported_once_each_and_those_of_an_outage_when_it_is_over() {
    run(async {
        let control = FakeControl::new();
        let server = control.start(LOCAL).await;
        let address = server.address;
        let mut proxy = Running::start(&control, address).await;
        proxy.ready().await;
        eventually(|| (control.seen.lock().reports.len() >= 2).then_some(())).await;
        drop(server);
        eventually(|| (proxy.status.signals().waiting() >= 2).then_some(())).await;
        let _server = control.start(address).await;
        eventually(|| (control.seen.lock().reports.len() >= 6).then_some(())).await;
        drop(proxy.stop.take());
        eventually(|| control.seen.lock().reports.last().filter(|last| last.last).map(|_| ())).await;
        let seen = control.seen.lock();
        let (first, all) = (&seen.reports[0], seen.reports.iter());
        assert!(all.clone().all(|batch| batch.epoch == first.epoch && batch.proxy == "default/reviews-1" && batch.lost == 0));
        let mut numbers: Vec<u64> = all.map(|batch| batch.sequence).collect();
        // One whose receipt was lost is said again, under its number.
        numbers.dedup();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    });
}

#[tokio::test]
async fn an_outage_does_not_pile_up_names() {
    let (current, _wanted) = crate::current::Current::new(workload());
    let world = World::os();
    let sync = super::Sync {
        application: Arc::default(),
        world: world.clone(),
        options: Arc::new(Options::new(workload(), "127.0.0.1:1")),
        status: Status::new(world.clone(), current.clone(), "127.0.0.1:1".into()),
        current,
        sink: crate::sink::Sink::new(Arc::default(), None, 1),
        control: crate::channel::Control { world, address: "127.0.0.1:1".into() },
        peer: String::new(),
        admin: String::new(),
    };
    let mut known = super::Known::new(&sync);
    for block in 0..20 {
        known.ask(&sync, (0..1000).map(|number| format!("{block}-{number}.example.com")).collect());
        assert!(known.session.subscribed().len() <= 4096);
        assert!(known.usage.size() <= 4096 && known.receipts.news(false).is_empty());
    }
    assert!(known.session.subscribed().contains("19-999.example.com"));
}
