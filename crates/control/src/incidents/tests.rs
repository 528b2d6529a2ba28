//! From reports of proxies to resources: what is opened, kept over a restart, pruned, and told the same of a recording.

use super::*;
use crate::recording::{About, Recording, Row, Writer};
use crate::signals::{Filter, Limits};
use crate::translate::Promised;
use jiff::Timestamp;
use serde_json::json;
use std::ops::Range;
use taut_insight::change::What;
use taut_insight::incident::{Evidence, Signal, Verdict};
use taut_model::signal::{Batch, Party, Protocol, Reporter, Security, ServiceName};
use taut_wire::net::OsNetwork;

const START: Second = 1_767_225_600;
/// Seconds from the start in which cart fails.
const ILL: Range<Second> = 90..130;

fn edge(source: &str, service: &str) -> Arc<Edge> {
    let party = |name: &str| Party { namespace: "shop".into(), app: name.into(), workload: format!("{name}-1"), ..Party::unknown() };
    Arc::new(Edge {
        source: Arc::new(if source == "users" { Party::unknown() } else { party(source) }),
        service: Arc::new(ServiceName { host: format!("{service}.shop"), namespace: "shop".into(), name: service.into() }),
        destination: Arc::new(party(service)),
        protocol: Protocol::Http,
        route: "".into(),
        reporter: Reporter::Source,
        security: Security::MutualTls,
    })
}

fn passed(failures: u64) -> Signals {
    let mut signals = Signals { requests: 10, in_flight: 1, ..Signals::default() };
    signals.outcomes.count(200, None, None, 10 - failures);
    if failures > 0 {
        signals.outcomes.count(500, None, None, failures);
    }
    signals.latency.record_many(4000, 10);
    signals
}

/// What the proxies of web and cart report of a second.
fn report(second: Second) -> Batch {
    let failures = if ILL.contains(&second) { 8 } else { 0 };
    let entries = vec![(edge("users", "web"), passed(failures)), (edge("web", "cart"), passed(failures))];
    Batch { proxy: "shop/web".into(), epoch: 1, sequence: second + 1, second: START + second, entries, lost: 0, last: false }
}

fn incidents(signals: &signals::Store, store: &Store) -> Incidents {
    let wall = Timestamp::from_second(START as i64).unwrap();
    let published = watch::Sender::new(Arc::new(Published::default())).subscribe();
    Incidents::begin(signals.clone(), store.clone(), published, World::simulated(Arc::new(OsNetwork), 1, wall), None, None).0
}

/// Lets seconds pass as they do live: each is reported, sealed, and looked at.
fn live(incidents: &Incidents, watcher: &mut Watcher, seconds: Range<Second>) {
    for second in seconds {
        let now = START + second + 1;
        incidents.signals.add(report(second), now);
        incidents.signals.tick(now);
        let latest = incidents.signals.latest();
        let events = watcher.advance(latest);
        incidents.take(&events, watcher, latest, false);
    }
}

#[tokio::test]
async fn an_incident_is_a_resource_while_it_is_open_and_after() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let mut watcher = incidents.watcher();
    live(&incidents, &mut watcher, 0..100);
    let kind = object::kind().unwrap();
    let objects = || incidents.store.list(kind).0;
    let [open] = &objects()[..] else { panic!("{:?}", objects()) };
    let status = &open.value["status"];
    assert_eq!((&status["state"], &status["subject"]), (&json!("Open"), &json!("shop/web")), "{status:#}");
    assert_eq!(status["cause"], "shop/cart failing", "{status:#}");
    assert_eq!(open.namespace, "shop");
    assert!(incidents.metrics().contains("taut_incidents_open 1\n") && incidents.metrics().contains("taut_incidents_total 1\n"));
    live(&incidents, &mut watcher, 100..180);
    let [over] = &objects()[..] else { panic!("{:?}", objects()) };
    assert_eq!(over.value["status"]["state"], "Closed");
    assert_eq!(over.value["metadata"]["uid"], open.value["metadata"]["uid"]);
    assert_eq!(incidents.all()[0].verdict, Verdict::Found);
    assert!(incidents.store.generations().is_empty(), "what the mesh itself writes is no change of configuration");
}

#[tokio::test]
async fn events_tell_what_becomes_of_it_once_each() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let mut watcher = incidents.watcher();
    live(&incidents, &mut watcher, 0..180);
    let kind = event::kind().unwrap();
    let events = || incidents.store.list(kind).0;
    let told: Vec<String> = events().iter().map(|object| object.value["reason"].as_str().unwrap().to_owned()).collect();
    let times = |reason: &str| told.iter().filter(|told| *told == reason).count();
    assert_eq!((times("IncidentOpened"), times("IncidentClosed")), (1, 1), "{told:?}");
    let over = events().iter().find(|object| object.value["reason"] == "IncidentClosed").unwrap().value.clone();
    assert_eq!((&over["type"], &over["count"], &over["metadata"]["namespace"]), (&json!("Normal"), &json!(1), &json!("shop")), "{over:#}");
    // There is no Service of that name here.
    assert_eq!((&over["involvedObject"]["kind"], &over["related"]["kind"]), (&json!("Incident"), &json!("Incident")));
    assert!(over["message"].as_str().unwrap().starts_with("over: ") && over["involvedObject"]["uid"].is_string(), "{over:#}");
    // The same again counts up; what is old goes, and nothing of anybody else's.
    let incident = incidents.all().remove(0);
    incidents.announce(Some(News::Closed), &incident, START + 400);
    let count = |events: &[Arc<taut_model::object::Object>]| events.iter().filter_map(|object| object.value["count"].as_u64()).collect::<Vec<_>>();
    assert_eq!(count(&events()).iter().max(), Some(&2));
    let last = START + 400 + event::KEPT_FOR;
    event::prune(&incidents.store, last).unwrap();
    assert_eq!(count(&events()), [2], "those before it are too old");
    for number in 0..event::MOST_KEPT as u64 + 5 {
        incidents.announce(Some(News::Opened), &Incident { id: format!("n{number}"), ..incident.clone() }, last);
    }
    assert_eq!(events().len(), event::MOST_KEPT);
}

#[test]
fn only_what_is_new_is_an_event() {
    let one = an_incident(None, &[]);
    let closed = an_incident(Some(9), &["a"]);
    assert_eq!(News::of(None, &one), Some(News::Opened));
    assert_eq!(News::of(Some(&one), &an_incident(None, &["a"])), Some(News::Cause));
    assert_eq!(News::of(Some(&an_incident(None, &["a", "b"])), &an_incident(None, &["a"])), None);
    assert_eq!(News::of(Some(&an_incident(None, &["a"])), &an_incident(None, &["b", "a"])), Some(News::Cause));
    assert_eq!(News::of(Some(&an_incident(None, &["a"])), &one), None, "that nothing is known any more is no news");
    assert_eq!(News::of(Some(&one), &closed), Some(News::Closed));
    assert_eq!(News::of(Some(&closed), &one), Some(News::Opened), "it is back");
}

fn an_incident(closed: Option<Second>, causes: &[&str]) -> Incident {
    let cause = |name: &&str| json!({"place": {"service": format!("shop/{name}")}, "kind": "slow", "share": 1.0, "confidence": 0.9, "evidence": []});
    let causes: Vec<Value> = causes.iter().map(cause).collect();
    let incident = json!({"id": "one", "revision": 1, "opened": 5, "began": 4, "closed": closed, "subject": "shop/web", "symptoms": [],
        "verdict": "found", "causes": causes, "timeline": [], "hurt": 1});
    serde_json::from_value(incident).unwrap()
}

#[tokio::test]
async fn a_restart_finds_what_is_open_again_and_ends_what_is_over() {
    let (signals, store) = (signals::Store::in_memory(Limits::default()), Store::open(None).unwrap());
    let before = incidents(&signals, &store);
    live(&before, &mut before.watcher(), 0..110);
    let [open] = &before.all()[..] else { panic!("{:?}", before.all()) };
    let after = incidents(&signals, &store);
    let mut fresh = after.watcher();
    let latest = signals.latest();
    let events = fresh.advance(latest);
    after.take(&events, &fresh, latest, true);
    let [again] = &after.all()[..] else { panic!("{:?}", after.all()) };
    assert_eq!((&again.id, again.closed), (&open.id, None));
    // Nobody knows of one that began before all that is remembered.
    let old = Incident { id: "old-1".into(), opened: START - 9000, began: START - 9000, ..again.clone() };
    object::write(&store, &after.world, &old.into()).unwrap();
    after.take(&[], &fresh, latest, true);
    let closed: Vec<(String, bool)> = after.all().into_iter().map(|incident| (incident.id, incident.closed.is_some())).collect();
    assert_eq!(closed, [(open.id.clone(), false), ("old-1".to_owned(), true)]);
}

#[tokio::test]
async fn the_oldest_that_are_over_go() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    live(&incidents, &mut incidents.watcher(), 0..100);
    let one = incidents.all().remove(0);
    for number in 0..object::MOST_KEPT as u64 + 20 {
        let closed = (number != 3).then_some(START + number);
        incidents.keep(Incident { id: format!("n{number}"), opened: START + number, closed, ..one.clone() });
    }
    let kept = incidents.all();
    assert_eq!(kept.len(), object::MOST_KEPT);
    assert!(kept.iter().any(|incident| incident.id == "n3") && kept.iter().any(|incident| incident.id == one.id), "what is open stays");
    assert!(kept.iter().all(|incident| incident.id != "n0"));
}

/// A mesh in which so many endpoints of cart take requests.
fn mesh(version: u64, endpoints: usize) -> Arc<Published> {
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {selector: {app: cart}, ports: [{name: http, port: 80}]}\n";
    let entry = |number: usize| {
        let kind = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry";
        format!("---\n{kind}\nmetadata: {{name: cart-{number}, namespace: shop}}\nspec: {{address: 127.0.0.{number}, labels: {{app: cart}}}}\n")
    };
    let text: String = std::iter::once(service.to_owned()).chain((1..=endpoints).map(entry)).collect();
    let objects: Vec<_> = taut_model::read::yaml(&text, "-").objects.into_iter().map(Arc::new).collect();
    let settings = crate::translate::Settings { trust_domain: "mesh.local".into(), ..Default::default() };
    Arc::new(Published::new(&objects, version, &settings, &Published::default()))
}

#[tokio::test]
async fn a_recording_tells_the_same_byte_for_byte() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let publisher = watch::Sender::new(mesh(1, 2));
    let incidents = Incidents { published: publisher.subscribe(), ..incidents };
    let mut watcher = incidents.watcher();
    live(&incidents, &mut watcher, 0..90);
    publisher.send_replace(mesh(2, 1));
    live(&incidents, &mut watcher, 90..180);
    let evidence: Vec<Evidence> = incidents.all()[0].causes[0].evidence.clone();
    let endpoints =
        |evidence: &&Evidence| matches!(evidence, Evidence::Change { change, .. } if change.what == What::Endpoints { before: 2, after: 1 });
    assert_eq!(evidence.iter().filter(endpoints).count(), 1, "{evidence:#?}");
    assert_eq!(text(replayed(&incidents, START)), text(incidents.all()));
}

#[tokio::test]
async fn a_recording_tells_the_same_of_objectives_that_come_and_go() {
    let before = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let promising = |names: &[&str]| {
        let mut mesh = Published::default();
        names.iter().for_each(|name| drop(mesh.translation.promised.insert((*name).into(), Arc::new(promised(name)))));
        Arc::new(mesh)
    };
    let publish = watch::Sender::new(promising(&["a"]));
    let incidents = Incidents { published: publish.subscribe(), ..before };
    let mut watcher = incidents.watcher();
    live(&incidents, &mut watcher, 0..60);
    publish.send_replace(promising(&["a", "cart-available"]));
    live(&incidents, &mut watcher, 60..150);
    publish.send_replace(promising(&["cart-available"]));
    live(&incidents, &mut watcher, 150..200);
    let all = incidents.all();
    let objective = |incident: &Incident| incident.symptoms.iter().any(|symptom| symptom.signal == Signal::Objective("shop/cart-available".into()));
    assert!(all.iter().any(objective), "{all:#?}");
    assert_eq!(text(replayed(&incidents, START)), text(all));
    // From the middle on: what came before is the past of its objectives.
    let late = incidents.recorded(&(START + 100..START + 200), None);
    assert_eq!((late.len(), &late[0]["at"], late[0]["objectives"].as_array().unwrap().len()), (2, &json!(START + 100), 2));
    let bad: u64 = late[0]["past"][1]["counts"].as_array().unwrap().iter().filter_map(|count| count["bad"].as_u64()).sum();
    assert!(bad > 0, "{late:#?}");
    assert_eq!(incidents.recorded(&(START..START + 200), Some("other"))[0]["objectives"], json!([]));
}

fn promised(name: &str) -> Promised {
    let window = std::time::Duration::from_secs(30 * 86_400);
    Promised { namespace: "shop".into(), name: name.into(), services: vec!["cart".into()], target: 0.99, threshold: None, window }
}

fn text(incidents: Vec<Incident>) -> String {
    serde_json::to_string(&incidents.into_iter().map(|one| routes::view(&one.into())).collect::<Vec<_>>()).unwrap()
}

/// Records all since a second, and replays it.
fn replayed(incidents: &Incidents, start: Second) -> Vec<Incident> {
    let window = start..incidents.signals.latest() + 1;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = Writer::new(file.as_file()).unwrap();
    let rows = |bucket: signals::Bucket| -> Result<(), crate::recording::NotWritten> {
        bucket.edges.into_iter().try_for_each(|(edge, signals)| writer.push(&Row { start: bucket.start, span: bucket.span, edge, signals }))
    };
    incidents.signals.each_bucket(window.clone(), &Filter::everything(), rows).unwrap();
    let (gaps, objectives) = (incidents.signals.gaps(window.clone()), incidents.recorded(&window, None));
    let endpoints = incidents.signals.endpoints(&window);
    let about = About { version: "0".into(), mesh: "m".into(), window, namespace: None, gaps, changes: Vec::new(), objectives, endpoints };
    writer.finish(&about).unwrap();
    replay(&Recording::open(file.path()).unwrap(), Settings::default(), &mut |_, _| {}).unwrap()
}

#[tokio::test]
async fn what_sidecars_have_proven_is_held_against_what_comes() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let arrived = Arc::new(Edge { reporter: Reporter::Destination, ..(*edge("web", "cart")).clone() });
    // What cart calls is none of its own.
    let beyond = Arc::new(Edge { reporter: Reporter::Destination, ..(*edge("cart", "stock")).clone() });
    for second in 0..600 {
        let entries = vec![(arrived.clone(), passed(0)), (beyond.clone(), passed(0))];
        let batch = Batch { proxy: "shop/cart-1".into(), epoch: 1, sequence: second + 1, second: START + second, entries, lost: 0, last: false };
        incidents.signals.ceilings().hear(&batch.proxy, 1, if second == 400 { 8 } else { 0 }, false, START + second);
        incidents.signals.add(batch, START + second + 1);
        incidents.signals.tick(START + second + 1);
    }
    let rooms = Rooms::look(&incidents.signals, START + 600);
    let shown = rooms.shown(&taut_insight::tick::Node::new("shop", "cart"), &Loads::default());
    let near = |value: &Value, wanted: f64| (value.as_f64().unwrap() - wanted).abs() < 0.01;
    // 10 requests a second that take 4 ms each.
    assert_eq!((&shown["workload"], &shown["limitAt"], &shown["inForce"]), (&json!("shop/cart-1"), &json!(START + 400), &json!(false)), "{shown:#}");
    assert!(near(&shown["latencyMs"], 4.0) && near(&shown["inFlight"], 0.04) && near(&shown["headroom"], 0.995), "{shown:#}");
    let stock = rooms.shown(&taut_insight::tick::Node::new("shop", "stock"), &Loads::default());
    assert!(stock["unknown"].as_str().unwrap().starts_with("no sidecar of it has found"), "{stock:#}");
    let metrics = rooms.metrics(&Loads::default());
    assert!(metrics.contains("taut_capacity_limit_requests{namespace=\"shop\",service=\"cart\",workload=\"shop/cart-1\"} 8\n"), "{metrics}");
    assert!(metrics.contains("taut_forecast_capacity_headroom_ratio{namespace=\"shop\",service=\"cart\",horizon_seconds=\"0\",bound=\"mean\"} 0.99"));
}

#[tokio::test]
async fn a_promise_that_is_broken_is_an_incident_and_its_past_counts() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let mut before = incidents.watcher();
    live(&incidents, &mut before, 0..80);
    let mut mesh = Published::default();
    mesh.translation.promised.insert("a".into(), Arc::new(promised("cart-available")));
    let incidents = Incidents { published: watch::Sender::new(Arc::new(mesh)).subscribe(), ..incidents };
    let mut watcher = incidents.watcher();
    live(&incidents, &mut watcher, 80..125);
    let [(promise, standing)] = &incidents.standings()[..] else { panic!() };
    assert!(standing.all >= 1150 && standing.bad >= 200, "{standing:?}");
    let shown = objectives::shown(promise, standing);
    assert_eq!((&shown["alert"], &shown["service"], &shown["windowDays"]), (&json!("page"), &json!("shop/cart"), &json!(30.0)), "{shown:#}");
    assert!(incidents.metrics().contains("taut_slo_budget_left_ratio{namespace=\"shop\",objective=\"cart-available\",service=\"cart\"} 0.9"));
    let all = incidents.all();
    let promise = Signal::Objective("shop/cart-available".into());
    assert!(all[0].symptoms.iter().any(|symptom| symptom.signal == promise), "{all:#?}");
}

#[tokio::test]
async fn load_is_forecast_from_what_the_store_knows() {
    let incidents = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    live(&incidents, &mut incidents.watcher(), 140..2400);
    let mut fresh = incidents.watcher();
    let latest = incidents.signals.latest();
    let events = fresh.advance(latest);
    incidents.take(&events, &fresh, latest, true);
    let shown = incidents.latest.lock().loads.shown(&taut_insight::tick::Node::new("shop", "cart")).unwrap();
    let next = &shown["forecast"][0];
    assert!((next["rate"].as_f64().unwrap() - 10.0).abs() < 0.5, "{shown:#}");
    assert!(
        incidents
            .metrics()
            .contains("taut_forecast_requests_per_second{namespace=\"shop\",service=\"cart\",horizon_seconds=\"600\",bound=\"mean\"} ")
    );
}

#[tokio::test]
async fn a_webhook_hears_what_alertmanager_would_say() {
    let silent = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    // The seconds are gone through here, not as they come.
    let (sender, messages) = mpsc::channel(webhook::MOST_WAITING);
    let sending = tokio::spawn(webhook::send(url, messages, silent.world.clone()));
    let incidents = Incidents { webhook: Some(sender), ..silent };
    let (heard, mut bodies) = mpsc::unbounded_channel();
    let hears = axum::Router::new().route("/alerts", axum::routing::post(move |body: axum::Json<Value>| async move { drop(heard.send(body.0)) }));
    let serving = tokio::spawn(async move { axum::serve(listener, hears).await });
    live(&incidents, &mut incidents.watcher(), 0..180);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|body: &Value| body["status"] != "resolved") {
        seen.push(tokio::time::timeout(std::time::Duration::from_secs(20), bodies.recv()).await.unwrap().unwrap());
    }
    assert_eq!((&seen[0]["version"], &seen[0]["status"]), (&json!("4"), &json!("firing")));
    let alert = &seen.last().unwrap()["alerts"][0];
    assert_eq!((&alert["labels"]["service"], &alert["annotations"]["cause"]), (&json!("web"), &json!("shop/cart failing")), "{alert:#}");
    sending.abort();
    serving.abort();
}

#[tokio::test]
async fn a_cluster_is_given_the_events() {
    let silent = incidents(&signals::Store::in_memory(Limits::default()), &Store::open(None).unwrap());
    let service = taut_model::kinds::by_kind("v1", "Service").unwrap();
    let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"ports": [{"port": 80}]}});
    let object = taut_model::object::Object { kind: service, namespace: "shop".into(), name: "web".into(), value, places: None };
    silent.store.create(object, &object::says(&silent.world)).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "control-plane\n").unwrap();
    let api = format!("http://{}/", listener.local_addr().unwrap());
    let kubernetes = Kubernetes { api, roots: None, token: Some(token.path().to_owned()), audiences: Vec::new(), node_agents: Vec::new() };
    let (heard, mut asked) = mpsc::unbounded_channel();
    let answer = move |request: axum::extract::Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let is_get = parts.method == http::Method::GET;
        drop(heard.send((parts, String::from_utf8(body.into()).unwrap())));
        axum::Json(if is_get { json!({"metadata": {"uid": "theirs"}}) } else { json!({}) })
    };
    let serving = tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    let (sender, events) = mpsc::channel(cluster::MOST_WAITING);
    let sending = tokio::spawn(cluster::send(kubernetes, events, silent.world.clone()));
    let incidents = Incidents { cluster: Some(sender), ..silent };
    live(&incidents, &mut incidents.watcher(), 0..100);
    let mut next = async || tokio::time::timeout(std::time::Duration::from_secs(20), asked.recv()).await.unwrap().unwrap();
    let (looked, _) = next().await;
    assert_eq!((looked.method.as_str(), looked.uri.path()), ("GET", "/api/v1/namespaces/shop/services/web"));
    let (wrote, body) = next().await;
    let event: Value = serde_json::from_str(&body).unwrap();
    let name = event["metadata"]["name"].as_str().unwrap();
    assert_eq!(wrote.uri.to_string(), format!("/api/v1/namespaces/shop/events/{name}?fieldManager=tautline.dev&force=true"));
    let header = |name: &str| wrote.headers[name].to_str().unwrap();
    assert_eq!(
        (wrote.method.as_str(), header("content-type"), header("authorization")),
        ("PATCH", "application/apply-patch+yaml", "Bearer control-plane")
    );
    assert_eq!((&event["reason"], &event["involvedObject"]["uid"], &event["related"]), (&json!("IncidentOpened"), &json!("theirs"), &Value::Null));
    let own = incidents.store.get(event::kind().unwrap(), "shop", name).unwrap();
    assert_ne!(own.value["involvedObject"]["uid"], event["involvedObject"]["uid"]);
    sending.abort();
    serving.abort();
}
