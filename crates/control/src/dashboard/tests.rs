//! The listener as browsers and their enemies meet it: signing in, foreign names, foreign pages, what runs in a page.

use super::assets::Asset;
use super::*;
use crate::access::{Grant, PassKind, Role, guarded};
use crate::world::World;
use axum::body::Body;
use serde_json::Value;
use std::time::Duration;
use taut_wire::net::OsNetwork;

const ASSETS: Assets = &[
    Asset { path: "index.html", bytes: b"<!doctype html>", gzip: None },
    Asset { path: "assets/app-1a2b.js", bytes: b"let a = 1", gzip: Some(b"gz") },
];
const HOST: &str = "127.0.0.1:15080";

fn access() -> Access {
    let world = World::simulated(Arc::new(OsNetwork), 1, "2026-01-02T03:04:05Z".parse().unwrap());
    Access::open(None, Zeroizing::new("the-admin-token-of-this-test".into()), world).unwrap()
}

/// A dashboard before routes that say who got through to them.
fn site(access: &Access, assets: Assets) -> Router {
    let here = Here { bound: HOST.parse().unwrap(), tls: false, names: vec!["mesh.example".into()] };
    let dashboard = Dashboard { access: access.clone(), link: Some(Zeroizing::new("printed-at-start".into())), assets, here, counts: Arc::default() };
    let whoever = |visitor: Option<axum::Extension<crate::access::Visitor>>| async move {
        visitor.map_or((StatusCode::UNAUTHORIZED, String::new()), |visitor| (StatusCode::OK, format!("{} {}", visitor.user, visitor.role)))
    };
    router(Arc::new(dashboard), guarded(Router::new().fallback(whoever), access.clone()))
}

struct Answered {
    code: u16,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `name=value` of the cookie that was set.
    fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

async fn send(site: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", HOST);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = site.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answered { code, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

async fn signed_in(site: &Router, token: &str) -> String {
    let answer = send(site, "POST", "/taut/v1/session", &[], &format!("{{\"token\":\"{token}\"}}")).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    answer.cookie()
}

#[tokio::test(start_paused = true)]
async fn the_address_that_is_printed_signs_in_and_forgets_its_token() {
    let site = site(&access(), ASSETS);
    let first = send(&site, "GET", "/?token=printed-at-start", &[], "").await;
    assert_eq!((first.code, first.header("location")), (303, "/"));
    let cookie = first.header("set-cookie");
    assert!(cookie.starts_with("taut_session_15080=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let me = send(&site, "GET", "/taut/v1/session", &[("cookie", &first.cookie())], "").await;
    let me: Value = serde_json::from_str(&me.text).unwrap();
    assert_eq!((&me["user"], &me["role"], &me["methods"][0]), (&"admin".into(), &"admin".into(), &"token".into()));
    assert_eq!(send(&site, "GET", "/taut/v1/status", &[("cookie", &first.cookie())], "").await.text, "admin admin");

    let wrong = send(&site, "GET", "/?token=guessed", &[], "").await;
    assert_eq!((wrong.code, wrong.header("set-cookie")), (303, ""));
    assert_eq!(send(&site, "GET", "/taut/v1/session", &[], "").await.code, 401);
    // What is in the address opens a session and nothing else.
    assert_eq!(send(&site, "GET", "/taut/v1/status", &[("authorization", "Bearer printed-at-start")], "").await.code, 401);
}

#[tokio::test(start_paused = true)]
async fn roles_hold_behind_the_cookie_and_end_with_the_session() {
    let access = access();
    let site = site(&access, ASSETS);
    let lifetime = Duration::from_secs(3600);
    let (token, _) = access.issue(Grant { kind: PassKind::Token, user: "anna".into(), role: Role::Viewer, lifetime, parent: None }).unwrap();
    let cookie = signed_in(&site, &token).await;
    let from_page = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:15080")];
    assert_eq!(send(&site, "GET", "/apis/networking.istio.io/v1/virtualservices", &from_page, "").await.text, "anna viewer");
    for (method, path) in [
        ("GET", "/api/v1/secrets"),
        ("PUT", "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews"),
        ("POST", "/taut/v1/changes/3/rollback"),
    ] {
        let refused = send(&site, method, path, &from_page, "").await;
        assert_eq!(refused.code, 403, "{method} {path}");
        assert!(refused.text.contains("anna is viewer"), "{}", refused.text);
    }
    // A session does not make sessions.
    let secret = cookie.split_once('=').unwrap().1;
    assert_eq!(send(&site, "POST", "/taut/v1/session", &[], &format!("{{\"token\":\"{secret}\"}}")).await.code, 401);
    let out = send(&site, "DELETE", "/taut/v1/session", &from_page, "").await;
    assert!(out.code == 204 && out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(send(&site, "GET", "/taut/v1/session", &[("cookie", &cookie)], "").await.code, 401);
    assert!(access.visitor(Some(&token)).is_ok(), "signing out ends the session, not the token");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_somebody_else_points_here_gets_nothing() {
    let site = site(&access(), ASSETS);
    let cookie = signed_in(&site, "printed-at-start").await;
    for path in ["/", "/assets/app-1a2b.js", "/taut/v1/status", "/taut/v1/session", "/?token=printed-at-start"] {
        for host in ["evil.example", "evil.example:15080", "127.0.0.1.evil.example", "x@127.0.0.1", "", "localhost.evil.example:15080"] {
            let answer = send(&site, "GET", path, &[("host", host), ("cookie", &cookie)], "").await;
            assert_eq!((answer.code, answer.header("set-cookie")), (421, ""), "{host} {path}");
        }
        for host in ["127.0.0.1:15080", "localhost:15080", "[::1]:15080", "192.0.2.7", "mesh.example", "MESH.example:443"] {
            assert_ne!(send(&site, "GET", path, &[("host", host), ("cookie", &cookie)], "").await.code, 421, "{host} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_others_cannot_speak_for_the_user() {
    let site = site(&access(), ASSETS);
    let cookie = signed_in(&site, "printed-at-start").await;
    let own = "http://127.0.0.1:15080";
    for (method, site_said, origin, want) in [
        ("DELETE", Some("same-origin"), Some(own), 200),
        ("DELETE", None, Some(own), 200),
        ("GET", None, None, 200),
        ("GET", Some("none"), None, 200),
        ("GET", Some("same-origin"), None, 200),
        // Another port of this machine is the same site, and another origin.
        ("GET", Some("same-site"), None, 403),
        ("GET", Some("cross-site"), None, 403),
        ("DELETE", None, None, 403),
        ("DELETE", Some("none"), None, 403),
        ("DELETE", Some("same-site"), Some("http://127.0.0.1:9080"), 403),
        ("DELETE", Some("same-origin"), Some("http://evil.example"), 403),
        ("DELETE", None, Some("null"), 403),
        ("DELETE", None, Some("https://127.0.0.1:15080"), 403),
        ("OPTIONS", Some("cross-site"), Some("http://evil.example"), 403),
    ] {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(site_said.map(|said| ("sec-fetch-site", said)));
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = send(&site, method, "/api/v1/namespaces/default/services/x", &headers, "").await;
        assert_eq!(answer.code, want, "{method} {site_said:?} {origin:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "nobody else may read");
    }
    // Signing somebody in from elsewhere is refused too; a program without a cookie needs no origin.
    let login = |headers: Vec<(&'static str, &'static str)>| {
        let site = site.clone();
        async move { send(&site, "POST", "/taut/v1/session", &headers, "{\"token\":\"printed-at-start\"}").await.code }
    };
    assert_eq!(login(vec![("origin", "http://evil.example")]).await, 403);
    assert_eq!(login(vec![]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn files_are_served_as_what_they_are_and_run_nothing_else() {
    let site = site(&access(), ASSETS);
    for path in ["/", "/service/default/reviews", "/nowhere"] {
        let page = send(&site, "GET", path, &[], "").await;
        assert_eq!((page.code, page.text.as_str(), page.header("cache-control")), (200, "<!doctype html>", "no-cache"), "{path}");
    }
    let script = send(&site, "GET", "/assets/app-1a2b.js", &[("accept-encoding", "br, gzip")], "").await;
    assert_eq!((script.header("content-type"), script.header("content-encoding")), ("text/javascript; charset=utf-8", "gzip"));
    assert!(script.header("cache-control").contains("immutable") && script.text == "gz");
    assert_eq!(send(&site, "GET", "/assets/app-1a2b.js", &[("accept-encoding", "gzip;q=0")], "").await.text, "let a = 1");
    assert_eq!(send(&site, "GET", "/assets/../secret.js", &[], "").await.code, 404);
    assert_eq!(send(&site, "POST", "/", &[], "").await.code, 405);

    let policy = script.header("content-security-policy");
    let directive = |name: &str| policy.split(';').find_map(|part| part.trim().strip_prefix(name)).map(str::trim);
    assert_eq!(directive("default-src"), Some("'none'"));
    assert_eq!(directive("script-src"), Some("'self'"));
    assert_eq!(directive("connect-src"), Some("'self'"));
    assert_eq!(directive("frame-ancestors"), Some("'none'"));
    assert!(!policy.contains("unsafe-eval"));
    for path in ["/", "/taut/v1/session", "/taut/v1/status"] {
        let answer = send(&site, "GET", path, &[], "").await;
        assert_eq!((answer.header("x-content-type-options"), answer.header("x-frame-options")), ("nosniff", "DENY"), "{path}");
    }
    assert_eq!(send(&site, "GET", "/taut/v1/status", &[], "").await.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn a_build_without_the_dashboard_says_how_to_get_it() {
    let site = site(&access(), &[]);
    let page = send(&site, "GET", "/", &[], "").await;
    assert!(page.code == 200 && page.text.contains("make dashboard"), "{}", page.text);
    assert_eq!(send(&site, "GET", "/assets/app.js", &[], "").await.code, 404);
    assert_eq!(send(&site, "GET", "/?token=printed-at-start", &[], "").await.code, 303);
}
