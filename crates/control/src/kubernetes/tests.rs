//! An API server that vouches, denies, knows no audiences, and hangs.

use super::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use taut_model::identity::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What it was asked, and how often.
#[derive(Clone, Default)]
pub struct Seen {
    pub count: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

pub async fn api_server(status: &'static str, body: serde_json::Value) -> (SocketAddr, Seen) {
    cluster(move |_| (status, body.clone())).await
}

/// One that answers by the request's first line.
pub async fn cluster(answer: impl Fn(&str) -> (&'static str, serde_json::Value) + Send + 'static) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            let is_whole = |request: &[u8]| request.ends_with(b"}") || request.starts_with(b"GET ") && request.ends_with(b"\r\n\r\n");
            while !is_whole(&request) {
                let count = stream.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..count]);
            }
            let request = String::from_utf8(request).unwrap();
            let (status, body) = answer(request.lines().next().unwrap());
            *told.last.lock() = request;
            told.count.fetch_add(1, Ordering::SeqCst);
            let body = body.to_string();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, seen)
}

fn reviewer(address: SocketAddr, token: Option<PathBuf>) -> Reviewer {
    let kubernetes = Kubernetes {
        api: format!("http://{address}/"),
        roots: None,
        token,
        audiences: vec!["istio-ca".to_owned()],
        node_agents: vec!["kube-system/ztunnel".to_owned()],
    };
    Reviewer::new(kubernetes, World::os())
}

pub fn vouches(username: &str, audiences: &[&str]) -> serde_json::Value {
    json!({"kind": "TokenReview", "status": {"authenticated": true, "user": {"username": username, "uid": "1"}, "audiences": audiences}})
}

#[tokio::test]
async fn a_service_account_is_proven_once_for_a_while_and_the_server_asked_as_it_wants() {
    let own = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(own.path(), "control-plane\n").unwrap();
    let (address, seen) = api_server("201 Created", vouches("system:serviceaccount:shop:reviews", &["istio-ca"])).await;
    let reviewer = reviewer(address, Some(own.path().to_owned()));
    for _ in 0..3 {
        assert_eq!(reviewer.account("pod-token").await, Ok(Account { namespace: "shop".to_owned(), name: "reviews".to_owned(), pod: None }));
    }
    assert_eq!(seen.count.load(Ordering::SeqCst), 1);
    let asked = seen.last.lock().clone();
    assert!(asked.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("authorization: bearer control-plane\r\n"), "{asked}");
    assert!(asked.contains(r#""audiences":["istio-ca"]"#) && asked.contains(r#""token":"pod-token""#), "{asked}");
}

#[tokio::test]
async fn whoever_is_not_proven_is_refused_with_the_reason() {
    let denied = json!({"status": {"authenticated": false, "error": "token expired"}});
    for (status, body, why) in [
        ("200 OK", denied, "token expired"),
        ("200 OK", vouches("system:serviceaccount:shop:reviews", &["api"]), "not meant for this control plane"),
        ("200 OK", vouches("system:serviceaccount:shop:reviews", &[]), "not meant for this control plane"),
        ("200 OK", vouches("alice", &["istio-ca"]), "is no service account"),
        ("200 OK", json!({}), "does not take the service account token"),
        ("200 OK", json!("x"), "is no TokenReview"),
        ("403 Forbidden", json!({}), "system:auth-delegator"),
        ("500 Internal Server Error", json!({}), "answered 500"),
    ] {
        let (address, _) = api_server(status, body).await;
        let refused = reviewer(address, None).account("secret-of-the-pod").await.unwrap_err();
        let (NotProven::Unknown(text) | NotProven::Refused(text)) = &refused;
        assert!(text.contains(why) && !text.contains("secret-of-the-pod"), "{text}");
        assert_eq!(matches!(refused, NotProven::Refused(_)), status == "200 OK" && why != "is no TokenReview", "{text}");
    }
    let long = reviewer(([127, 0, 0, 1], 9).into(), None).account(&"x".repeat(LONGEST + 1)).await;
    assert!(matches!(long, Err(NotProven::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reviewer = reviewer(listener.local_addr().unwrap(), None);
    let refused = reviewer.account("x").await.unwrap_err();
    assert!(matches!(&refused, NotProven::Unknown(why) if why.contains("did not answer in 5 s")), "{refused:?}");
}

/// A node's agent as a TokenReview has it; `extra` is what it is bound to.
pub fn agent(extra: serde_json::Value) -> serde_json::Value {
    let mut review = vouches("system:serviceaccount:kube-system:ztunnel", &["istio-ca"]);
    review["status"]["user"]["extra"] = extra;
    review
}

/// As the API server says where a token's pod runs.
pub fn bound(pod: &str, node: Option<&str>) -> serde_json::Value {
    let mut extra = json!({"authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": ["7"]});
    if let Some(node) = node {
        extra["authentication.kubernetes.io/node-name"] = json!([node]);
    }
    extra
}

pub fn pod(namespace: &str, account: &str, node: &str, phase: &str) -> serde_json::Value {
    json!({"metadata": {"namespace": namespace, "uid": "7"}, "spec": {"nodeName": node, "serviceAccountName": account}, "status": {"phase": phase}})
}

fn asks_for(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account)
}

#[tokio::test]
async fn a_nodes_agent_speaks_for_what_runs_on_its_own_node() {
    let own = ("200 OK", pod("kube-system", "ztunnel", "node-1", "Running"));
    let (address, seen) = cluster(move |line| match () {
        () if line.contains("/namespaces/kube-system/pods/ztunnel-x ") => own.clone(),
        () if line.contains("/pods?") && line.contains("node-1") && line.contains("%3Dreviews,") => {
            ("200 OK", json!({"items": [pod("shop", "reviews", "node-1", "Running")]}))
        }
        // One that does not know the selector.
        () if line.contains("%3Dratings,") => ("200 OK", json!({"items": [pod("shop", "ratings", "node-2", "Running")]})),
        () if line.contains("%3Dbatch,") => ("200 OK", json!({"items": [pod("shop", "batch", "node-1", "Succeeded")]})),
        () => ("200 OK", json!({"items": []})),
    })
    .await;
    let reviewer = reviewer(address, None);
    let agent = |name: &str, pod: Option<(&str, Option<&str>)>| Account {
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        pod: pod.map(|(name, node)| Pod { name: name.to_owned(), uid: "7".to_owned(), node: node.map(str::to_owned) }),
    };
    let ztunnel = agent("ztunnel", Some(("ztunnel-x", Some("node-1"))));
    assert_eq!(reviewer.runs(&ztunnel, &asks_for("reviews")).await, Ok("node-1".to_owned()));
    let asked = seen.last.lock().clone();
    assert!(asked.starts_with("GET /api/v1/namespaces/shop/pods?limit=1&fieldSelector=spec.nodeName%3Dnode-1,"), "{asked}");
    // An older cluster says the pod, and the pod says its node.
    let older = agent("ztunnel", Some(("ztunnel-x", None)));
    assert_eq!(reviewer.runs(&older, &asks_for("reviews")).await, Ok("node-1".to_owned()));
    let another = Account { pod: older.pod.clone().map(|pod| Pod { uid: "8".to_owned(), ..pod }), ..older };
    for (asker, account, why) in [
        (ztunnel.clone(), "details", "no pod of spiffe://cluster.local/ns/shop/sa/details runs on node node-1"),
        (ztunnel.clone(), "ratings", "runs on node node-1"),
        (ztunnel.clone(), "batch", "runs on node node-1"),
        (ztunnel, "Re/views", "is no name of a Kubernetes object"),
        (agent("ztunnel", Some(("ztunnel-x", Some("node-2")))), "reviews", "runs on node node-2"),
        (agent("ztunnel", Some(("ztunnel-x", Some("node-1,spec.nodeName%3Dx")))), "reviews", "is no name of a Kubernetes object"),
        (agent("ztunnel", None), "reviews", "is bound to no pod"),
        (another, "reviews", "is another one by now"),
        (agent("cni", Some(("cni-x", Some("node-1")))), "reviews", "is no node agent"),
    ] {
        let refused = reviewer.runs(&asker, &asks_for(account)).await;
        assert!(matches!(&refused, Err(NotProven::Refused(said)) if said.contains(why)), "{refused:?}, expected {why}");
    }
    let (address, _) = api_server("403 Forbidden", json!({})).await;
    let agent = agent("ztunnel", Some(("ztunnel-x", Some("node-1"))));
    let refused = super::tests::reviewer(address, None).runs(&agent, &asks_for("reviews")).await;
    assert!(matches!(&refused, Err(NotProven::Unknown(said)) if said.contains("get and list pods")), "{refused:?}");
}
