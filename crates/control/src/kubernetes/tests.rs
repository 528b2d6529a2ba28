//! An API server that vouches, denies, knows no audiences, and hangs.

use super::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What it was asked, and how often.
#[derive(Clone, Default)]
pub struct Seen {
    pub count: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

pub async fn api_server(status: &'static str, body: serde_json::Value) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let (told, body) = (seen.clone(), body.to_string());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}") {
                let count = stream.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..count]);
            }
            *told.last.lock() = String::from_utf8(request).unwrap();
            told.count.fetch_add(1, Ordering::SeqCst);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, seen)
}

fn reviewer(address: SocketAddr, token: Option<PathBuf>) -> Reviewer {
    let kubernetes = Kubernetes { api: format!("http://{address}/"), roots: None, token, audiences: vec!["istio-ca".to_owned()] };
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
        assert_eq!(reviewer.account("pod-token").await, Ok(Account { namespace: "shop".to_owned(), name: "reviews".to_owned() }));
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
