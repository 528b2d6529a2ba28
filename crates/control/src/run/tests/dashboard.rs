//! The dashboard beside the rest of the control plane: a browser's way from the printed address to a change and back.

use super::{options, put, split};
use crate::run::start;
use crate::world::World;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One request in plain HTTP: status, head, body.
async fn plain(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, Value) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn from_the_printed_address_to_a_rollback() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("state");
    let with_dashboard =
        || crate::run::Options { state: Some(directory.clone()), dashboard: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..options() };
    let running = start(World::os(), with_dashboard()).await.unwrap();
    let url = running.dashboard.clone().unwrap();
    assert_eq!(std::fs::read_to_string(directory.join("dashboard.url")).unwrap().trim(), url.as_str());
    let (address, query) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();

    let (code, head, _) = plain(address, "GET", &format!("/{query}"), "", "").await;
    assert!(code == 303 && head.contains("location: /\r\n"), "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap();
    let as_page = format!("cookie: {cookie}\r\nsec-fetch-site: same-origin\r\norigin: http://{address}\r\ncontent-type: application/yaml\r\n");
    let (_, _, me) = plain(address, "GET", "/taut/v1/session", &as_page, "").await;
    assert_eq!(me["role"], "admin");

    // What tests write is the mesh's own; what the page writes is a change.
    put(&running, &split(90));
    let path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews";
    let (code, _, _) = plain(address, "PUT", &format!("{path}?fieldManager=dashboard"), &as_page, &split(10)).await;
    assert_eq!(code, 200);
    let (_, _, list) = plain(address, "GET", "/taut/v1/changes", &as_page, "").await;
    let newest = &list["changes"][0];
    assert_eq!(
        (&newest["by"]["user"], &newest["by"]["manager"], &newest["objects"][0]["verb"]),
        (&json!("admin"), &json!("dashboard"), &json!("update"))
    );
    let number = newest["generation"].as_u64().unwrap();
    let (_, _, one) = plain(address, "GET", &format!("/taut/v1/changes/{number}"), &as_page, "").await;
    let diff = one["objects"][0]["diff"].as_str().unwrap();
    assert!(diff.contains("weight: 10") && diff.contains("weight: 90"), "{diff}");

    // Without a page of ours behind it, nothing is changed.
    let rollback = format!("/taut/v1/changes/{number}/rollback");
    assert_eq!(plain(address, "POST", &rollback, &format!("cookie: {cookie}\r\n"), "").await.0, 403);
    let (code, _, restored) = plain(address, "POST", &rollback, &as_page, "").await;
    assert_eq!((code, &restored["generation"]), (200, &json!(number + 1)), "{restored}");
    let (_, _, object) = plain(address, "GET", path, &as_page, "").await;
    assert_eq!(object["spec"]["http"][0]["route"][0]["weight"], 90);
    running.stop().await;

    // The session and the changes are still there after a restart.
    let running = start(World::os(), with_dashboard()).await.unwrap();
    let url = running.dashboard.clone().unwrap();
    let address = url.strip_prefix("http://").unwrap().split_once('/').unwrap().0;
    let secret = cookie.split_once('=').unwrap().1;
    let (code, _, list) = plain(address, "GET", "/taut/v1/changes", &format!("authorization: Bearer {secret}\r\n"), "").await;
    assert_eq!((code, &list["changes"][0]["note"]), (200, &json!(format!("rolls back generation {number}"))));
    running.stop().await;
}
