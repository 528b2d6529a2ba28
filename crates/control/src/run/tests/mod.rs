//! The control plane as its clients see it: over TLS on loopback.

mod client;
mod dashboard;
mod trust;

use super::*;
use crate::authority::tokens::Grant;
use client::{Identity, PATIENCE, Proxy, certificate, certificate_for, certificate_of, channel, hello, soon, tls};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use taut_model::kinds;
use taut_model::object::Object;
use taut_wire::desk::desk_client::DeskClient;
use taut_wire::desk::{FromProxy, from_proxy, readiness};
use taut_wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use taut_wire::resource::{Resource, ResourceType};
use taut_wire::token::JoinToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

const REVIEWS: &str = "reviews.default.svc.cluster.local";
/// Served by nobody, so that only those who ask for it need its routes.
const DETAILS: &str = "details.default.svc.cluster.local";

fn options() -> Options {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    Options { grpc: loopback, api: loopback, ..Options::default() }
}

async fn up() -> Running {
    start(World::os(), options()).await.unwrap()
}

fn token(running: &Running, account: &str) -> String {
    token_for(running, Some(account))
}

fn token_for(running: &Running, account: Option<&str>) -> String {
    let account = account.map(str::to_owned);
    let grant = Grant { namespace: "default".into(), service_account: account.clone() };
    let minted = running.authority.tokens.mint(grant, Duration::from_secs(600), jiff::Timestamp::now()).unwrap();
    let token = JoinToken {
        control: running.advertised.clone(),
        ca_pin: running.authority.root_digest(),
        namespace: "default".into(),
        service_account: account,
        expires: minted.expires.as_second(),
        id: minted.id.clone(),
        secret: *minted.secret,
    };
    token.text().to_string()
}

async fn join(running: &Running, account: &str) -> Identity {
    certificate(running, Some(&token(running, account)), None).await.unwrap()
}

/// One request to the HTTP listener, as a client of HTTP/1.1 makes it.
async fn http(running: &Running, method: &str, path: &str, bearer: Option<&str>, body: &str) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(running.api).await.unwrap();
    let mut stream = tls(running, None, b"http/1.1").connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let authorization = bearer.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Servers close TLS in their own ways; what matters has been read by then.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn json_of(running: &Running, path: &str) -> Value {
    let (status, body) = http(running, "GET", path, Some(&running.admin_token), "").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn put(running: &Running, yaml: &str) {
    for object in taut_model::read::yaml(yaml, "-").objects {
        let write = crate::store::Write {
            manager: "test".into(),
            now: "2026-06-01T12:00:00Z".into(),
            uid_seed: World::os().unique(),
            places: None,
            status_only: false,
            author: None,
        };
        let (kind, namespace, name) = (object.kind, object.namespace.clone(), object.name.clone());
        let value = object.value.clone();
        match running.store.create(object, &write) {
            Ok(_) => {}
            Err(StoreError::AlreadyExists { .. }) => {
                drop(running.store.update(kind, &namespace, &name, &write, &mut |_| Ok(value.clone())).unwrap());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until an object in the store is as wanted.
async fn object(running: &Running, kind: &str, name: &str, wanted: impl Fn(Option<&Object>) -> bool) {
    let kind = kinds::named(kind).unwrap();
    let mut watch = running.store.watch(running.store.version()).unwrap();
    soon(async {
        while !wanted(running.store.get(kind, "default", name).as_deref()) {
            watch.next().await.unwrap();
        }
    })
    .await;
}

fn condition(object: Option<&Object>, kind: &str) -> Option<(String, String)> {
    let conditions = object?.value["status"]["conditions"].as_array()?.clone();
    let found = conditions.into_iter().find(|one| one["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}

fn split(weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews, namespace: default}}\nspec:\n  hosts: [details]\n  http:\n  \
         - route:\n    - destination: {{host: reviews}}\n      weight: {weight}\n    - destination: {{host: ratings}}\n      weight: {}\n",
        100 - weight
    )
}

#[tokio::test]
async fn from_token_to_delivered_resource_to_live() {
    let running = up().await;
    let (reviews, page) = (join(&running, "bookinfo-reviews").await, join(&running, "page").await);
    let _reviews = Proxy::connect(&running, &reviews, hello("reviews-v1", "reviews", "bookinfo-reviews", 15008), &[]).await.unwrap();
    let mut page = Proxy::connect(&running, &page, hello("page-v1", "page", "page", 15009), &[REVIEWS, DETAILS, "nowhere"]).await.unwrap();
    page.until(|session| session.held(ResourceType::Service).any(|(name, ..)| name == REVIEWS)).await;
    // A service is announced after what belongs to it.
    assert!(page.session.held(ResourceType::Workload).any(|(name, ..)| name == "default/reviews-v1"));
    page.until(|session| {
        let ready = session.held(ResourceType::Workload).filter(|(.., resource)| match resource {
            Resource::Workload(workload) => workload.health == taut_model::workload::Health::Ready,
            _ => false,
        });
        ready.count() == 2
    })
    .await;

    put(&running, &split(90));
    page.until(|session| session.held(ResourceType::Route).count() == 1).await;
    object(&running, "VirtualService", "reviews", |object| condition(object, "Live") == Some(("True".into(), "Live".into()))).await;
    let live = json_of(&running, "/taut/v1/live/virtualservices.networking.istio.io/default/reviews?wait=5").await;
    assert_eq!((&live["live"], &live["have"], &live["need"]), (&json!(true), &json!(1), &json!(1)), "{live}");

    // A change that the proxy has not taken in is lagging, and says who lags.
    put(&running, &split(10));
    let kind = kinds::named("VirtualService").unwrap();
    let mut published = running.published.clone();
    soon(
        published.wait_for(|published| published.generations.iter().any(|(object, generation)| object.kind == "VirtualService" && *generation == 2)),
    )
    .await
    .unwrap();
    let lagging = running.board.liveness(kind, "default", "reviews").unwrap();
    assert_eq!((lagging.live, lagging.message.as_str()), (false, "0/1, 1 lagging: default/page-v1"));
    page.take().await;
    object(&running, "VirtualService", "reviews", |object| {
        condition(object, "Live").is_some_and(|(live, _)| live == "True")
            && object.is_some_and(|object| object.value["status"]["observedGeneration"] == 2)
    })
    .await;
    running.stop().await;
}

/// What status says of each connected workload.
async fn states(running: &Running) -> Vec<(String, String)> {
    let status = json_of(running, "/taut/v1/status").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    status["proxies"].as_array().unwrap().iter().map(|proxy| (text(&proxy["uid"]), text(&proxy["readiness"]))).collect()
}

#[tokio::test]
async fn ready_is_shown_when_all_who_call_the_workload_know_it() {
    let running = up().await;
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: default}\nspec: {selector: {app: reviews}, ports: [{port: 9080}]}\n";
    put(&running, service);
    let (reviews, page) = (join(&running, "bookinfo-reviews").await, join(&running, "page").await);
    let mut page = Proxy::connect(&running, &page, hello("page-v1", "page", "page", 15009), &[REVIEWS]).await.unwrap();
    let is_ready = |session: &taut_wire::session::ClientSession, uid: &str| {
        let mut workloads = session.held(ResourceType::Workload).filter(|(name, ..)| *name == uid);
        workloads.any(|(.., held)| matches!(held, Resource::Workload(one) if one.health == taut_model::workload::Health::Ready))
    };
    let has_reviews = |session: &taut_wire::session::ClientSession| session.held(ResourceType::Service).any(|(name, ..)| name == REVIEWS);
    page.until(|session| session.complete() && is_ready(session, "default/page-v1") && has_reviews(session)).await;
    let mut reviews = Proxy::connect(&running, &reviews, hello("reviews-v1", "reviews", "bookinfo-reviews", 15008), &[]).await.unwrap();
    // The mesh knows it to be ready; page, whose calls it would take, has not taken that in.
    reviews.until(|session| session.complete() && is_ready(session, "default/reviews-v1")).await;
    let reviews_is = async |wanted: &str| {
        soon(async {
            while states(&running).await.iter().find(|(uid, _)| uid == "default/reviews-v1").is_none_or(|(_, state)| state != wanted) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    reviews_is("Announcing").await;
    page.until(|session| is_ready(session, "default/reviews-v1")).await;
    reviews_is("Ready").await;
    assert_eq!(states(&running).await, [("default/page-v1", "Ready"), ("default/reviews-v1", "Ready")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    // Who begins to call it changes nothing: requests wait for the first answer, which has the workload in it.
    let third = join(&running, "third").await;
    let _third = Proxy::connect(&running, &third, hello("third-v1", "third", "third", 15010), &[REVIEWS]).await.unwrap();
    soon(async {
        while running.proxies.get("default/third-v1").is_none_or(|proxy| proxy.viewer.hosts.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(states(&running).await[1], ("default/reviews-v1".to_owned(), "Ready".to_owned()));
    // It is not said of a workload that says otherwise.
    reviews.say_readiness(readiness::State::Draining).await;
    reviews_is("Draining").await;
    running.stop().await;
}

#[tokio::test]
async fn a_reconnect_brings_only_what_changed() {
    let running = up().await;
    let identity = join(&running, "page").await;
    put(&running, &split(90));
    put(
        &running,
        "apiVersion: v1\nkind: Service\nmetadata: {name: details, namespace: default}\nspec: {selector: {app: details}, ports: [{port: 9080, name: http}]}\n",
    );
    let hello = hello("page-v1", "page", "page", 15009);
    let mut proxy = Proxy::connect(&running, &identity, hello.clone(), &[DETAILS]).await.unwrap();
    let whole = |session: &taut_wire::session::ClientSession| {
        session.complete() && session.holds(ResourceType::Service, DETAILS) && session.held(ResourceType::Route).count() == 1
    };
    proxy.until(whole).await;
    let ready = |session: &taut_wire::session::ClientSession| {
        session
            .held(ResourceType::Workload)
            .any(|(.., resource)| matches!(resource, Resource::Workload(own) if own.health == taut_model::workload::Health::Ready))
    };
    proxy.until(ready).await;
    let Proxy { session, desk, told, requests, .. } = proxy;
    drop((desk, told, requests));
    put(&running, &split(50));
    let mut published = running.published.clone();
    soon(published.wait_for(|published| published.generations.values().any(|generation| *generation == 2))).await.unwrap();
    let mut proxy = Proxy::resume(&running, &identity, hello, session).await.unwrap();
    proxy.until(|session| session.complete()).await;
    assert_eq!(proxy.received.len(), 1, "the route and nothing else: {:?}", proxy.received);
    running.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_proof() {
    let running = up().await;
    let stranger = channel(&running, None).await.unwrap();
    let silent = || tokio_stream::wrappers::ReceiverStream::new(tokio::sync::mpsc::channel(1).1);
    let refused = AggregatedDiscoveryServiceClient::new(stranger.clone()).delta_aggregated_resources(silent()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let nothing = tokio_stream::wrappers::ReceiverStream::<FromProxy>::new(tokio::sync::mpsc::channel(1).1);
    assert_eq!(DeskClient::new(stranger).attend(nothing).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(certificate(&running, None, None).await.unwrap_err().code(), Code::Unauthenticated);
    assert!(certificate(&running, Some("taut1.nonsense"), None).await.unwrap_err().message().contains("join token"));

    // A token works for one key; a certificate renews itself and nothing else.
    let text = token(&running, "page");
    let key = rcgen::KeyPair::generate().unwrap();
    let page = certificate_for(&running, &key, Some(&text), None).await.unwrap();
    assert!(certificate_for(&running, &key, Some(&text), None).await.is_ok(), "the same key may ask again");
    assert!(certificate(&running, Some(&text), None).await.unwrap_err().message().contains("already used"));
    let renewed = certificate(&running, None, Some(&page)).await.unwrap();
    assert_eq!(crate::serve::tls::identity_of(&renewed.0[0]).unwrap().service_account, "page");

    // A workload is who its certificate says.
    let lie = Proxy::connect(&running, &renewed, hello("reviews-v1", "reviews", "bookinfo-reviews", 1), &[]).await.err().unwrap();
    assert_eq!(lie.code(), Code::PermissionDenied);

    // A certificate of another mesh is no certificate.
    let other = up().await;
    let foreign = join(&other, "page").await;
    assert!(certificate(&running, None, Some(&foreign)).await.is_err());
    other.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn a_wish_counts_only_where_the_token_leaves_it_open() {
    let running = up().await;
    let wish = |uri: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
        params
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let ask = async |uri: &str, account| certificate_of(&running, wish(uri), &key, Some(&token_for(&running, account)), None).await;
    for (uri, account, got) in [
        ("spiffe://x/ns/default/sa/reviews", None, Some("reviews")),
        ("spiffe://x/ns/default/sa/reviews", Some("reviews"), Some("reviews")),
        ("https://not.an/identity", None, Some("default")),
        ("spiffe://x/ns/default/sa/admin", Some("reviews"), None),
        ("spiffe://x/ns/kube-system/sa/admin", None, None),
    ] {
        let issued = ask(uri, account).await.ok().and_then(|(chain, _)| crate::serve::tls::identity_of(&chain[0]));
        let want = got.map(|account| taut_model::identity::Identity::new("cluster.local", "default", account));
        assert_eq!(issued, want, "{uri} {account:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn nobody_gets_the_control_planes_own_identity() {
    let running = up().await;
    let grant = |account: Option<&str>| Grant { namespace: "istio-system".into(), service_account: account.map(str::to_owned) };
    let body = r#"{"namespace":"istio-system","serviceAccount":"taut-control"}"#;
    let (status, answer) = http(&running, "POST", "/taut/v1/tokens", Some(&running.admin_token), body).await;
    assert!(status == 400 && answer.contains("control plane's own"), "{status} {answer}");
    let now = jiff::Timestamp::now();
    let lifetime = Duration::from_secs(600);
    assert!(running.authority.join_token(&running.advertised, grant(Some("taut-control")), lifetime, now).is_err());

    // Not from an open token either, whatever the request wishes for; the token is still good for an account that may be had.
    let (open, _) = running.authority.join_token(&running.advertised, grant(None), lifetime, now).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let ask = async |account: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(format!("spiffe://x/ns/istio-system/sa/{account}").try_into().unwrap())];
        certificate_of(&running, params, &key, Some(&open.text()), None).await
    };
    assert_eq!(ask("taut-control").await.err().unwrap().code(), Code::PermissionDenied);
    assert!(ask("collector").await.is_ok());

    // And not by renewing a certificate that was had some other way: the control plane's own.
    let own = running.authority.control_identity();
    let server = running.authority.server(&own, &[], &[], now).unwrap();
    let renewed = certificate(&running, None, Some(&(server.chain, server.key))).await;
    assert_eq!(renewed.err().unwrap().code(), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let running = up().await;
    let mut silent = Vec::new();
    for address in [running.api, running.grpc] {
        for _ in 0..300 {
            silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
    }
    // Well before any of them is given up for its time.
    let answered = async {
        assert_eq!(http(&running, "GET", "/taut/v1/status", Some(&running.admin_token), "").await.0, 200);
        drop(join(&running, "page").await);
    };
    tokio::time::timeout(Duration::from_secs(2), answered).await.unwrap();
    drop(silent);
    running.stop().await;
}

#[tokio::test]
async fn of_two_proxies_with_one_name_the_one_that_answers_stays() {
    let running = up().await;
    let identity = join(&running, "page").await;
    let mut first = Proxy::connect(&running, &identity, hello("page-v1", "page", "page", 15009), &[]).await.unwrap();
    // Whether the newer one says that its proxy is elsewhere or at the same place.
    for peer in [15010, 15009] {
        let second = Proxy::connect(&running, &identity, hello("page-v1", "page", "page", peer), &[]);
        let answering = async {
            let asked = first.told.message().await.unwrap().unwrap();
            let Some(taut_wire::desk::to_proxy::Say::Ask(ask)) = asked.say else { panic!("a question") };
            let answer = taut_wire::desk::Answer { id: ask.id, json: String::new() };
            first.desk.send(FromProxy { say: Some(from_proxy::Say::Answer(answer)) }).await.unwrap();
        };
        let (second, ()) = soon(futures_util::future::join(second, answering)).await;
        assert!(second.err().unwrap().message().contains("127.0.0.1:15009"));
    }
    // One that does not answer is taken for dead.
    let _again = Proxy::connect(&running, &identity, hello("page-v1", "page", "page", 15009), &[]).await.unwrap();
    soon(first.told.message()).await.unwrap().unwrap();
    assert_eq!(soon(first.told.message()).await.unwrap_err().code(), Code::Aborted);
    running.stop().await;
}

#[tokio::test]
async fn a_name_that_another_identity_holds_is_not_given_away_and_its_holder_not_disturbed() {
    let running = up().await;
    let (page, evil) = (join(&running, "page").await, join(&running, "evil").await);
    let mut holder = Proxy::connect(&running, &page, hello("page-v1", "page", "page", 15009), &[]).await.unwrap();
    holder.until(|session| session.complete()).await;
    // The holder answers nothing here, and stays all the same.
    let refused = Proxy::connect(&running, &evil, hello("page-v1", "page", "evil", 15009), &[]).await.err().unwrap();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("\"page\"") && refused.message().contains("--name"), "{refused}");
    assert_eq!(running.proxies.get("default/page-v1").unwrap().hello.service_account, "page");
    let entry = running.store.get(kinds::named("WorkloadEntry").unwrap(), "default", "page-v1").unwrap();
    assert_eq!(entry.value["spec"]["serviceAccount"], "page");
    running.stop().await;
}

#[tokio::test]
async fn draining_and_leaving_are_seen_at_once() {
    let running = up().await;
    let identity = join(&running, "page").await;
    let proxy = Proxy::connect(&running, &identity, hello("page-v1", "page", "page", 15009), &[]).await.unwrap();
    object(&running, "WorkloadEntry", "page-v1", |entry| condition(entry, "Healthy") == Some(("True".into(), "Ready".into()))).await;
    proxy.say_readiness(readiness::State::Draining).await;
    object(&running, "WorkloadEntry", "page-v1", |entry| condition(entry, "Healthy") == Some(("False".into(), "Draining".into()))).await;
    proxy.say_readiness(readiness::State::Gone).await;
    object(&running, "WorkloadEntry", "page-v1", |entry| entry.is_none()).await;
    running.stop().await;
}

#[tokio::test]
async fn the_http_routes_need_the_admin_token_and_tell_the_state() {
    let running = up().await;
    assert_eq!(http(&running, "GET", "/taut/v1/status", None, "").await.0, 401);
    assert_eq!(http(&running, "GET", "/taut/v1/status", Some("guess"), "").await.0, 401);
    assert_eq!(http(&running, "GET", "/apis/networking.istio.io/v1/virtualservices", None, "").await.0, 401);
    let (status, body) =
        http(&running, "POST", "/taut/v1/tokens", Some(&running.admin_token), r#"{"namespace":"default","serviceAccount":"page"}"#).await;
    let minted: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200, "{body}");
    let text = minted["token"].as_str().unwrap();
    assert_eq!(JoinToken::parse(text).unwrap().control, running.grpc.to_string());
    let identity = certificate(&running, Some(text), None).await.unwrap();
    let mut page = Proxy::connect(&running, &identity, hello("page-v1", "page", "page", 15009), &[]).await.unwrap();
    page.until(|session| session.complete()).await;
    let status = json_of(&running, "/taut/v1/status").await;
    assert_eq!(status["proxies"][0]["uid"], "default/page-v1");
    let (code, answer) = http(&running, "POST", "/taut/v1/why", Some(&running.admin_token), r#"{"from":"page","to":"page","path":"/x?y"}"#).await;
    assert!(code == 200 && answer.contains("GET /x"), "{answer}");
    let (code, answer) = http(&running, "POST", "/taut/v1/why", Some(&running.admin_token), r#"{"from":"nobody","to":"page"}"#).await;
    assert!(code == 404 && answer.contains("default/page-v1"), "{answer}");
    let asked = http(&running, "GET", "/taut/v1/why/r-1", Some(&running.admin_token), "");
    let answering = async {
        let asked = soon(page.told.message()).await.unwrap().unwrap();
        let Some(taut_wire::desk::to_proxy::Say::Ask(ask)) = asked.say else { panic!("a question") };
        let answer = taut_wire::desk::Answer { id: ask.id, json: r#"[{"reporter":"source"}]"#.into() };
        page.desk.send(FromProxy { say: Some(from_proxy::Say::Answer(answer)) }).await.unwrap();
    };
    let ((code, answer), ()) = soon(futures_util::future::join(asked, answering)).await;
    assert!(code == 200 && answer.contains("default/page-v1"), "{answer}");
    let (code, text) = http(&running, "GET", "/metrics", Some(&running.admin_token), "").await;
    assert!(code == 200 && text.contains("taut_control_proxies 1\n"), "{text}");
    let (code, body) =
        http(&running, "GET", "/apis/networking.istio.io/v1/namespaces/default/workloadentries/page-v1", Some(&running.admin_token), "").await;
    assert!(code == 200 && body.contains("page-v1"), "{body}");
    running.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_identities_objects_and_keys() {
    let state = tempfile::tempdir().unwrap();
    let durable = || Options { state: Some(state.path().join("state")), ..options() };
    let first = start(World::os(), durable()).await.unwrap();
    let identity = join(&first, "page").await;
    let _proxy = Proxy::connect(&first, &identity, hello("page-v1", "page", "page", 15009), &[]).await.unwrap();
    object(&first, "WorkloadEntry", "page-v1", |entry| condition(entry, "Healthy").is_some_and(|(status, _)| status == "True")).await;
    let second = start(World::os(), durable()).await.err().unwrap().to_string();
    assert!(second.contains("another control plane"), "{second}");
    let (root, admin, kubeconfig) = (first.authority.root(), first.admin_token.clone(), first.kubeconfig.clone().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kubeconfig).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    soon(first.stop()).await;
    drop(_proxy);
    let again = start(World::os(), durable()).await.unwrap();
    assert_eq!((&root, &admin), (&again.authority.root(), &again.admin_token));
    // The workload is still what it was: its proxy has a while to come back.
    object(&again, "WorkloadEntry", "page-v1", |entry| condition(entry, "Healthy").is_some_and(|(status, _)| status == "True")).await;
    assert!(Proxy::connect(&again, &identity, hello("page-v1", "page", "page", 15009), &[]).await.is_ok());
    again.stop().await;
}

#[tokio::test]
async fn faults_at_the_start_say_what_to_do() {
    let running = up().await;
    let fault = |options: Options| async move { start(World::os(), options).await.err().unwrap().to_string() };
    let taken = fault(Options { grpc: running.grpc, ..options() }).await;
    assert!(taken.contains("in use") && taken.contains("--grpc"), "{taken}");
    let taken = fault(Options { api: running.api, ..options() }).await;
    assert!(taken.contains("--api"), "{taken}");
    let empty = tempfile::tempdir().unwrap();
    let missing = fault(Options { config: Some(empty.path().join("mesh")), ..options() }).await;
    assert!(missing.contains("--config"), "{missing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let unusable = fault(Options { state: Some(file.path().to_owned()), ..options() }).await;
    assert!(unusable.contains("--state"), "{unusable}");
    tokio::time::timeout(PATIENCE, running.stop()).await.unwrap();
}
