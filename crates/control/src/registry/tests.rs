//! A workload's life in the registry, from hello to forgotten, under a stopped clock.

use super::*;
use taut_wire::net::OsNetwork;

fn world() -> World {
    World::simulated(Arc::new(OsNetwork), 1, "2026-06-01T12:00:00Z".parse().unwrap())
}

fn registry(store: &Store) -> Registry {
    Registry::new(store.clone(), world()).unwrap()
}

/// Lets time go by, and the tasks that waited for it run.
async fn pass(time: Duration) {
    tokio::time::advance(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn hello() -> Hello {
    Hello {
        namespace: "shop".into(),
        name: "reviews-v1".into(),
        service_account: "bookinfo-reviews".into(),
        labels: [("version".to_owned(), "v1".to_owned())].into(),
        address: "127.0.0.1".into(),
        ports: vec![Port { port: 9080, target: 41000, name: "http".into(), app_protocol: String::new() }],
        peer: "127.0.0.1:15008".into(),
        service: "reviews".into(),
        ..Hello::default()
    }
}

fn get(store: &Store, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let kind = kinds::KINDS.iter().find(|known| known.kind == kind).unwrap();
    store.get(kind, namespace, name).map(|object| object.value.clone())
}

fn entry(store: &Store) -> Option<Value> {
    get(store, "WorkloadEntry", "shop", "reviews-v1")
}

fn health(store: &Store) -> (String, String) {
    let condition = entry(store).unwrap()["status"]["conditions"][0].clone();
    (condition["status"].as_str().unwrap().to_owned(), condition["reason"].as_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_hello_writes_all_that_others_need_to_find_the_workload() {
    let store = Store::open(None).unwrap();
    assert_eq!(registry(&store).register(&hello()).unwrap(), "shop/reviews-v1");
    let written = entry(&store).unwrap();
    assert_eq!(written["spec"]["ports"], json!({"http": 41000}));
    assert_eq!(written["spec"]["labels"], json!({"app": "reviews", "version": "v1"}));
    assert_eq!(written["metadata"]["annotations"][PEER], "127.0.0.1:15008");
    assert_eq!(written["spec"]["serviceAccount"], "bookinfo-reviews");
    assert!(get(&store, "Namespace", "", "shop").is_some());
    assert!(get(&store, "ServiceAccount", "shop", "bookinfo-reviews").is_some());
    let service = get(&store, "Service", "shop", "reviews").unwrap();
    assert_eq!((&service["spec"]["selector"], &service["spec"]["ports"][0]["port"]), (&json!({"app": "reviews"}), &json!(9080)));
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_starts_anew_is_not_ready_before_others_hear_where_it_is_now() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    let uid = registry.register(&hello()).unwrap();
    registry.judge(&uid, Presence::Ready, "").unwrap();
    let mut watch = store.watch(store.version()).unwrap();
    let starting = taut_wire::desk::Readiness { state: readiness::State::NotReady.into(), why: "starting".into() };
    registry.register(&Hello { peer: "127.0.0.1:15108".into(), readiness: Some(starting), ..hello() }).unwrap();
    let mut seen = Vec::new();
    while let Ok(Some(event)) = watch.try_next() {
        let entry = &event.object.value;
        seen.push((entry["metadata"]["annotations"][PEER].clone(), entry["status"]["conditions"][0]["status"].clone()));
    }
    assert_eq!(seen, [("127.0.0.1:15008", "False"), ("127.0.0.1:15108", "False")].map(|(peer, ready)| (json!(peer), json!(ready))));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_user_wrote_names_the_ports_and_stays_as_it_is() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    let user = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http-web", "port": 9080}]}});
    let object = Object { kind: registry.kinds.service, namespace: "shop".into(), name: "reviews".into(), value: user.clone(), places: None };
    store.create(object, &registry.write(false)).unwrap();
    registry.register(&hello()).unwrap();
    assert_eq!(entry(&store).unwrap()["spec"]["ports"], json!({"http-web": 41000}));
    assert_eq!(get(&store, "Service", "shop", "reviews").unwrap()["spec"]["ports"], user["spec"]["ports"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_instance_with_another_port_extends_the_service_made_for_the_first() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    registry.register(&hello()).unwrap();
    let mut second = hello();
    second.name = "reviews-v2".into();
    second.ports.push(Port { port: 9999, target: 42000, name: "grpc".into(), app_protocol: "grpc".into() });
    registry.register(&second).unwrap();
    assert_eq!(get(&store, "Service", "shop", "reviews").unwrap()["spec"]["ports"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn wrong_hellos_are_refused_by_name_of_the_field() {
    let registry = registry(&Store::open(None).unwrap());
    let wrong = |change: fn(&mut Hello)| {
        let mut hello = hello();
        change(&mut hello);
        registry.register(&hello).unwrap_err().to_string()
    };
    assert!(wrong(|hello| hello.name = "Bad_Name".into()).contains("name \"Bad_Name\""));
    assert!(wrong(|hello| hello.namespace = "../x".into()).contains("namespace"));
    assert!(wrong(|hello| hello.address.clear()).contains("address"));
    assert!(wrong(|hello| hello.peer = "localhost:1".into()).contains("peer address"));
    assert!(wrong(|hello| hello.peer.clear()).contains("peer address \"\""));
    assert!(wrong(|hello| hello.ports[0].target = 70_000).contains("70000"));
    assert!(wrong(|hello| hello.locality = "x".repeat(318)).contains("longer than 317"));
    assert!(wrong(|hello| hello.labels = (0..257).map(|number| (number.to_string(), String::new())).collect()).contains("256 labels"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_workload_is_first_kept_then_not_ready_then_forgotten() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    let uid = registry.register(&hello()).unwrap();
    registry.judge(&uid, Presence::Ready, "").unwrap();
    let tending = tokio::spawn({
        let registry = registry.clone();
        async move { registry.tend().await }
    });
    registry.suspect(&uid);
    pass(RECONNECT - Duration::from_millis(10)).await;
    assert_eq!(health(&store), ("True".into(), "Ready".into()));
    pass(Duration::from_millis(20)).await;
    assert_eq!(health(&store), ("False".into(), "Disconnected".into()));
    // Back again in time: nothing is forgotten.
    registry.register(&hello()).unwrap();
    registry.judge(&uid, Presence::Ready, "").unwrap();
    pass(FORGET * 2).await;
    assert_eq!(health(&store), ("True".into(), "Ready".into()));
    registry.suspect(&uid);
    pass(FORGET + Duration::from_millis(10)).await;
    assert_eq!(entry(&store), None);
    tending.abort();
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_workloads_have_a_longer_grace() {
    let store = Store::open(None).unwrap();
    let uid = registry(&store).register(&hello()).unwrap();
    registry(&store).judge(&uid, Presence::Ready, "").unwrap();
    let restarted = registry(&store);
    let tending = tokio::spawn({
        let restarted = restarted.clone();
        async move { restarted.tend().await }
    });
    pass(RESTART_GRACE - Duration::from_secs(1)).await;
    assert_eq!(health(&store).1, "Ready");
    pass(Duration::from_secs(2)).await;
    assert_eq!(health(&store).1, "Disconnected");
    tending.abort();
}

fn put_entry(registry: &Registry, name: &str, annotations: Value, spec: Value) {
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations}, "spec": spec});
    let object = Object { kind: registry.kinds.entry, namespace: "shop".into(), name: name.into(), value, places: None };
    let write = Write { manager: "kubectl".into(), ..registry.write(false) };
    registry.store.create(object, &write).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_a_user_wrote_keeps_its_word_and_is_never_deleted() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    put_entry(&registry, "reviews-v1", json!({}), json!({"address": "10.0.0.9", "labels": {"app": "mine"}, "serviceAccount": "bookinfo-reviews"}));
    let uid = registry.register(&hello()).unwrap();
    let written = entry(&store).unwrap();
    assert_eq!((&written["spec"]["address"], &written["metadata"]["annotations"][PEER]), (&json!("10.0.0.9"), &json!("127.0.0.1:15008")));
    // What a hello said, the next one may say anew.
    registry.register(&Hello { peer: "127.0.0.1:15108".into(), ..hello() }).unwrap();
    assert_eq!(entry(&store).unwrap()["metadata"]["annotations"][PEER], "127.0.0.1:15108");
    registry.forget(&uid).unwrap();
    assert_eq!(health(&store).0, "False");
}

#[tokio::test(start_paused = true)]
async fn what_a_user_wrote_about_account_and_proxy_no_hello_changes() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    let spec = json!({"address": "10.0.0.9", "serviceAccount": "bookinfo-reviews"});
    put_entry(&registry, "reviews-v1", json!({PEER: "10.0.0.9:15008"}), spec.clone());
    let before = entry(&store).unwrap();
    registry.register(&hello()).unwrap();
    assert_eq!(entry(&store).unwrap(), before);
    // An entry without an account is the account `default`, and nobody else's.
    put_entry(&registry, "silent", json!({}), json!({"address": "10.0.0.9"}));
    let fault = registry.register(&Hello { name: "silent".into(), ..hello() }).unwrap_err();
    assert!(matches!(&fault, RegistryFault::Taken(why) if why.contains("\"default\"") && why.contains("spec.serviceAccount")), "{fault}");
    registry.register(&Hello { name: "silent".into(), service_account: "default".into(), service: String::new(), ..hello() }).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_stays_with_the_account_that_registered_it() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    registry.register(&hello()).unwrap();
    let before = (entry(&store), store.version());
    let thief = Hello { service_account: "evil".into(), peer: "127.0.0.9:15008".into(), ..hello() };
    let fault = registry.register(&thief).unwrap_err().to_string();
    for part in ["shop/reviews-v1", "\"bookinfo-reviews\"", "\"evil\"", "--name", "delete the WorkloadEntry"] {
        assert!(fault.contains(part), "{fault}");
    }
    assert_eq!((entry(&store), store.version()), before, "nothing was written for the thief");
    // When the entry is gone, so is the claim.
    registry.forget("shop/reviews-v1").unwrap();
    registry.register(&thief).unwrap();
}

/// A Service of namespace `shop` as a user writes it.
fn put_service(registry: &Registry, name: &str, annotations: Value, selector: Value) {
    let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 9080}]}});
    let object = Object { kind: registry.kinds.service, namespace: "shop".into(), name: name.into(), value, places: None };
    registry.store.create(object, &Write { manager: "kubectl".into(), ..registry.write(false) }).unwrap();
}

/// A workload of its own name, with no service to create and the label `app`.
fn labelled(name: &str, account: &str, app: &str) -> Hello {
    let labels = [("app".to_owned(), app.to_owned())].into();
    Hello { name: name.into(), service_account: account.into(), labels, service: String::new(), ..hello() }
}

#[tokio::test(start_paused = true)]
async fn a_service_stays_with_the_account_that_serves_it() {
    let store = Store::open(None).unwrap();
    let registry = registry(&store);
    registry.register(&hello()).unwrap();
    let version = store.version();
    let refused = |hello: &Hello| match registry.register(hello).unwrap_err() {
        RegistryFault::NotPermitted(why) => why,
        other => panic!("{other}"),
    };
    // By the name of the service, by its label, and by its name alone, which would give it more ports.
    let by_name = Hello { name: "evil-1".into(), service_account: "evil".into(), ..hello() };
    let why = refused(&by_name);
    for part in ["\"evil\"", "\"bookinfo-reviews\"", "Service shop/reviews", "tautline.dev/service-accounts: \"bookinfo-reviews,evil\""] {
        assert!(why.contains(part), "{part}: {why}");
    }
    refused(&labelled("evil-1", "evil", "reviews"));
    refused(&Hello { service: "reviews".into(), ..labelled("evil-1", "evil", "other") });
    assert_eq!(store.version(), version, "nothing was written for them");
    // Its own account grows it, strangers serve what is theirs.
    registry.register(&Hello { name: "reviews-v2".into(), ..hello() }).unwrap();
    registry.register(&labelled("evil-1", "evil", "other")).unwrap();
    // Nor does a workload that is there already move over.
    refused(&labelled("evil-1", "evil", "reviews"));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_accounts_on_the_service_decides_alone() {
    let registry = registry(&Store::open(None).unwrap());
    put_service(&registry, "web", json!({claim::SERVICE_ACCOUNTS: "blue, green"}), json!({"app": "web"}));
    put_service(&registry, "closed", json!({claim::SERVICE_ACCOUNTS: ""}), json!({"app": "closed"}));
    for (account, app, permitted) in
        [("blue", "web", true), ("green", "web", true), ("evil", "web", false), ("blue", "web", true), ("blue", "closed", false)]
    {
        let registered = registry.register(&labelled(&format!("{account}-{app}"), account, app));
        assert_eq!(registered.is_ok(), permitted, "{account} {app}: {registered:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_count_for_a_service_that_comes_after_them_and_for_service_entries() {
    let registry = registry(&Store::open(None).unwrap());
    // Whoever would make the service also makes a stranger's entry its endpoint.
    registry.register(&labelled("squatter", "evil", "reviews")).unwrap();
    assert!(matches!(registry.register(&hello()), Err(RegistryFault::NotPermitted(_))));
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "vm", "namespace": "shop"},
        "spec": {"hosts": ["vm.local"], "workloadSelector": {"labels": {"app": "vm"}}, "ports": [{"number": 80, "name": "http"}]}});
    let object = Object { kind: registry.kinds.service_entry, namespace: "shop".into(), name: "vm".into(), value, places: None };
    registry.store.create(object, &registry.write(false)).unwrap();
    registry.register(&labelled("vm-1", "vm", "vm")).unwrap();
    assert!(matches!(registry.register(&labelled("vm-2", "evil", "vm")), Err(RegistryFault::NotPermitted(_))));
    registry.register(&labelled("vm-2", "vm", "vm")).unwrap();
}
