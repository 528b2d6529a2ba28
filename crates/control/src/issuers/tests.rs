//! Servers of keys that answer, hang, lie and go away.

use super::*;
use crate::publish::Publisher;
use crate::store::{Store, Write};
use crate::translate::Settings;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use taut_model::kinds;
use taut_model::object::Object;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

const KEYS_ALONE: Wanted = Wanted { keys: true, bundle: false, lists: None, timeout: Duration::from_secs(5) };

/// A server that gives these answers one after another, the last one for ever. `None`: it says nothing at all.
async fn server(answers: Vec<Option<String>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let turn = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            match &answers[turn] {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => held.push(stream),
            }
        }
    });
    (address, asked)
}

fn ok(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

async fn fetched(answer: Option<String>) -> Result<String, String> {
    let (address, _) = server(vec![answer]).await;
    let outside = Outside::new(World::os());
    let uri = format!("http://{address}/keys");
    tokio::time::timeout(Duration::from_millis(300), fetch(&outside, &uri, &KEYS_ALONE)).await.unwrap_or_else(|_| Err("hangs".to_owned()))
}

#[tokio::test]
async fn only_a_key_set_is_taken() {
    assert_eq!(fetched(ok(KEYS)).await.unwrap(), KEYS);
    let head = |text: &str| Some(text.to_owned());
    for (answer, why) in [
        (ok("<html>"), "is not JSON"),
        (ok("{}"), "no list"),
        (ok(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#), "shared secrets"),
        (ok(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB"}]}"#), "private key"),
        (ok(&format!("{}{KEYS}", " ".repeat(300 << 10))), "longer than"),
        (head("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"), "answered 302"),
        (head("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{"), "broke off"),
        (head("nonsense\r\n\r\n"), "http"),
        (None, "hangs"),
    ] {
        let refused = fetched(answer.clone()).await.unwrap_err();
        assert!(refused.contains(why) || why == "http", "{answer:?}: {refused}");
    }
    for secret in ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/", "http://[fd00:ec2::254]/"] {
        let refused = fetch(&Outside::new(World::os()), secret, &KEYS_ALONE).await.unwrap_err();
        assert!(refused.contains("secrets"), "{refused}");
    }
}

fn write() -> Write {
    Write { manager: "test".into(), now: "2026-06-01T12:00:00Z".into(), uid_seed: [1; 16], places: None, status_only: false, author: None }
}

fn policy(uri: &str) -> Object {
    let kind = kinds::KINDS.iter().find(|kind| kind.kind == "RequestAuthentication").unwrap();
    let spec = serde_json::json!({"jwtRules": [{"issuer": "a", "jwksUri": uri, "timeout": "0.2s"}]});
    let value = serde_json::json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "p", "namespace": "default"}, "spec": spec,
    });
    Object { kind, namespace: "default".to_owned(), name: "p".to_owned(), value, places: None }
}

/// What the mesh is told of the keys, and what status says of them.
async fn told(published: &mut watch::Receiver<Arc<Published>>, wanted: impl Fn(Option<&str>, &str) -> bool) {
    let found = published.wait_for(|published| {
        let translation = &published.translation;
        let Some(policy) = translation.tokens.values().next() else { return false };
        let TokenKeys::Fetched { keys, .. } = &policy.rules[0].keys else { return false };
        let problems: Vec<&str> = translation.findings.values().flatten().map(|problem| problem.message.as_str()).collect();
        wanted(keys.as_deref(), &problems.join("\n"))
    });
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("in time").expect("the publisher lives");
}

#[tokio::test]
async fn the_last_good_keys_stay_when_the_server_fails_and_status_says_so() {
    let state = tempfile::tempdir().unwrap();
    let (address, asked) = server(vec![None, ok(KEYS), ok("{}")]).await;
    let uri = format!("http://{address}/keys");
    let store = Store::open(None).unwrap();
    store.create(policy(&uri), &write()).unwrap();
    let run = |known: Known| {
        let sender = watch::Sender::new(known);
        let publisher = Publisher::new(store.clone(), Settings::default()).with_keys(sender.subscribe());
        let published = publisher.subscribe();
        let issuers = Issuers::new(World::os(), published.clone(), sender, Some(state.path().to_owned()));
        (published, [tokio::spawn(publisher.run()), tokio::spawn(issuers.run())])
    };
    let (mut published, tasks) = run(kept(Some(state.path())));
    // It hangs: there are no keys, and that is said.
    told(&mut published, |keys, problems| keys.is_none() && problems.contains("did not answer") && problems.contains("refused")).await;
    told(&mut published, |keys, problems| keys == Some(KEYS) && problems.is_empty()).await;
    tasks.iter().for_each(|task| task.abort());
    // The next control plane knows the keys before it has asked, and keeps them when the answer is a lie.
    let before = asked.load(Ordering::SeqCst);
    let (mut published, tasks) = run(kept(Some(state.path())));
    told(&mut published, |keys, problems| keys == Some(KEYS) && problems.contains("last good")).await;
    assert!(asked.load(Ordering::SeqCst) > before);
    tasks.iter().for_each(|task| task.abort());
}

#[test]
fn nothing_is_known_without_a_state_directory() {
    assert!(kept(None).is_empty());
}

#[tokio::test]
async fn a_bundle_in_a_file_is_followed_and_one_that_is_none_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("west.pem");
    let root = || {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    };
    let first = root();
    std::fs::write(&file, first.pem()).unwrap();
    let kind = kinds::KINDS.iter().find(|kind| kind.kind == "MeshSettings").unwrap();
    let spec = serde_json::json!({"federation": [{"trustDomain": "west.example", "bundleUrl": format!("file://{}", file.display())}]});
    let value = serde_json::json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "mesh"}, "spec": spec});
    let store = Store::open(None).unwrap();
    store.create(Object { kind, namespace: String::new(), name: "mesh".to_owned(), value, places: None }, &write()).unwrap();
    let sender = watch::Sender::new(kept(Some(state.path())));
    let publisher = Publisher::new(store, Settings::default()).with_keys(sender.subscribe());
    let mut published = publisher.subscribe();
    let issuers = Issuers::new(World::os(), published.clone(), sender, Some(state.path().to_owned()));
    let tasks = [tokio::spawn(publisher.run()), tokio::spawn(issuers.run())];
    let mut until = async |wanted: &[u8], problem: &str| {
        let told = published.wait_for(|published| {
            let translation = &published.translation;
            let said = translation.findings.values().flatten().map(|problem| problem.message.clone()).collect::<String>();
            translation.trust.get("west.example").is_some_and(|bundle| bundle.roots == [wanted.to_vec()]) && said.contains(problem)
        });
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("in time").expect("the publisher lives");
    };
    until(first.der(), "").await;
    std::fs::write(&file, "nonsense").unwrap();
    until(first.der(), "the last good bundle is used").await;
    let second = root();
    std::fs::write(&file, second.pem()).unwrap();
    until(second.der(), "").await;
    tasks.iter().for_each(|task| task.abort());
}
