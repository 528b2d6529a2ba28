//! Passes over their life, and what each role may do.

use super::*;
use crate::access::rules::needed;
use http::Method;
use jiff::Timestamp;
use taut_wire::net::OsNetwork;

const HOUR: Duration = Duration::from_secs(3600);

fn world() -> World {
    World::simulated(Arc::new(OsNetwork), 3, "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap())
}

fn grant(kind: PassKind, role: Role, lifetime: Duration, parent: Option<&str>) -> Grant {
    Grant { kind, user: "anna".into(), role, lifetime, parent: parent.map(str::to_owned) }
}

fn access(state: Option<&Path>) -> Access {
    Access::open(state, Zeroizing::new("the-admin-token-of-this-test".into()), world()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pass_proves_its_role_until_it_expires_or_is_revoked() {
    let access = access(None);
    assert_eq!(access.visitor(Some("the-admin-token-of-this-test")).unwrap().role, Role::Admin);
    for bad in [None, Some(""), Some("the-admin-token-of-this-tesT"), Some("x")] {
        assert!(access.visitor(bad).is_err(), "{bad:?}");
    }
    let (secret, token) = access.issue(grant(PassKind::Token, Role::Viewer, HOUR, None)).unwrap();
    let (cookie, session) = access.issue(grant(PassKind::Session, Role::Viewer, 5 * HOUR, Some(&token.id))).unwrap();
    assert_eq!(session.expires, token.expires, "a session ends with the token that it was got by");
    let visitor = access.visitor(Some(&secret)).unwrap();
    assert_eq!((visitor.user.as_str(), visitor.role), ("anna", Role::Viewer));
    assert!(access.visitor(Some(&cookie)).is_ok() && access.sessions() == 1 && access.tokens() == [token.clone()]);
    assert!(access.visitor(Some(&token.id)).is_err(), "the id proves nothing");
    assert!(access.revoke(&token.id).unwrap() && !access.revoke(&token.id).unwrap());
    assert!(access.visitor(Some(&secret)).is_err() && access.visitor(Some(&cookie)).is_err());

    let (secret, _) = access.issue(grant(PassKind::Token, Role::Viewer, HOUR, None)).unwrap();
    tokio::time::advance(HOUR).await;
    assert!(access.visitor(Some(&secret)).is_err());
}

#[tokio::test(start_paused = true)]
async fn passes_survive_a_restart_and_their_secrets_are_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let first = access(Some(directory.path()));
    let (secret, _) = first.issue(grant(PassKind::Token, Role::Operator, HOUR, None)).unwrap();
    let text = std::fs::read_to_string(directory.path().join("access.json")).unwrap();
    assert!(!text.contains(secret.as_str()) && text.contains("anna"));
    assert_eq!(access(Some(directory.path())).visitor(Some(&secret)).unwrap().role, Role::Operator);
    std::fs::write(directory.path().join("access.json"), "{").unwrap();
    assert!(Access::open(Some(directory.path()), Zeroizing::new("x".repeat(20)), world()).err().unwrap().what.contains("damaged"));
}

#[tokio::test(start_paused = true)]
async fn sessions_make_room_and_tokens_do_not() {
    let access = access(None);
    let (first, _) = access.issue(grant(PassKind::Session, Role::Viewer, HOUR, None)).unwrap();
    for _ in 0..256 {
        tokio::time::advance(Duration::from_millis(1)).await;
        access.issue(grant(PassKind::Session, Role::Viewer, HOUR, None)).unwrap();
        access.issue(grant(PassKind::Token, Role::Viewer, HOUR, None)).unwrap();
    }
    assert_eq!(access.sessions(), 256);
    assert!(access.visitor(Some(&first)).is_err());
    assert!(access.issue(grant(PassKind::Token, Role::Viewer, HOUR, None)).err().unwrap().what.contains("256"));
}

#[test]
fn what_each_role_may_do() {
    const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
    const POLICIES: &str = "/apis/security.istio.io/v1/namespaces/default/authorizationpolicies";
    for (method, path, role) in [
        ("GET", "/taut/v1/graph", Role::Viewer),
        ("HEAD", "/taut/v1/status", Role::Viewer),
        ("GET", "/apis", Role::Viewer),
        ("GET", ROUTES, Role::Viewer),
        ("GET", POLICIES, Role::Viewer),
        ("GET", "/metrics", Role::Viewer),
        ("POST", "/taut/v1/why", Role::Viewer),
        ("POST", "/taut/v1/plan", Role::Viewer),
        ("POST", "/prometheus/api/v1/query", Role::Viewer),
        ("POST", "/taut/v1/planet", Role::Admin),
        ("GET", "/taut/v1/tap", Role::Operator),
        ("POST", "/taut/v1/changes/7/rollback", Role::Operator),
        ("POST", ROUTES, Role::Operator),
        ("PATCH", "/apis/networking.istio.io/v1beta1/namespaces/a/destinationrules/x", Role::Operator),
        ("DELETE", "/apis/gateway.networking.k8s.io/v1/namespaces/a/httproutes/x", Role::Operator),
        ("PUT", "/apis/gateway.networking.k8s.io/v1beta1/namespaces/a/referencegrants/x", Role::Admin),
        ("PATCH", POLICIES, Role::Admin),
        ("POST", "/apis/networking.istio.io/v1/namespaces/default/workloadentries", Role::Admin),
        ("DELETE", "/api/v1/namespaces/default", Role::Admin),
        ("POST", "/taut/v1/tokens", Role::Admin),
        ("GET", "/taut/v1/tokens", Role::Admin),
        ("PATCH", "/nowhere", Role::Admin),
        // Secrets, however they are asked for.
        ("GET", "/api/v1/secrets", Role::Admin),
        ("GET", "/api/v1/namespaces/default/secrets/x", Role::Admin),
        ("HEAD", "/api/v1/namespaces/default/secrets", Role::Admin),
        ("GET", "//api//v1/namespaces/default//secrets/", Role::Admin),
        ("DELETE", "/api/v1/namespaces/default/secrets/x", Role::Admin),
    ] {
        assert_eq!(needed(&Method::from_bytes(method.as_bytes()).unwrap(), path), role, "{method} {path}");
    }
}
