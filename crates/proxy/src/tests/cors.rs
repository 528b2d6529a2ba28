//! Pages of other origins, over the wire.

use super::*;
use taut_model::route::{AbortWith, Allowed, Cors, Credentials, Fault, FaultAbort, HttpAction, HttpRule, StrangersPreflight, TextMatch};

fn shop_only(rule: &mut HttpRule) {
    rule.cors = Some(Cors {
        origin: Origin { path: "spec.http[0].corsPolicy".into(), ..Origin::default() },
        allow_origins: vec![TextMatch::Exact("https://shop.example".to_owned())],
        allow_methods: Allowed::Listed(vec!["GET".to_owned(), "PUT".to_owned()]),
        allow_headers: Allowed::Asked,
        expose_headers: vec!["x-served-by".to_owned()],
        max_age: Some(Duration::from_secs(60)),
        credentials: Credentials::Allowed,
        strangers: StrangersPreflight::Refuse,
    });
}

async fn ask(proxy: &Proxy, method: &str, page: &str, more: &str) -> String {
    let head = format!("{method} /x HTTP/1.1\r\nHost: reviews:9080\r\nOrigin: {page}\r\n{more}Connection: close\r\n\r\n");
    talk(proxy.outbound, head).await
}

const PREFLIGHT: &str = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-user\r\n";

#[test]
fn a_preflight_is_answered_by_the_client_s_proxy_and_reaches_nobody() {
    run(async {
        let pair = Pair::with_rule(echo_app().await, shop_only).await;
        let answer = ask(&pair.client, "OPTIONS", "https://shop.example", PREFLIGHT).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for header in [
            "access-control-allow-origin: https://shop.example",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: GET,PUT",
            "access-control-allow-headers: x-user",
            "access-control-max-age: 60",
            "vary: origin",
        ] {
            assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header} in {answer}");
        }
        let answer = ask(&pair.client, "OPTIONS", "https://evil.example", PREFLIGHT).await;
        assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("access-control-"), "{answer}");
        assert!(answer.contains("x-taut-reason: origin_not_allowed\r\n"), "{answer}");
        let refused = pair.client.exchanges().pop().and_then(|record| record.failure).and_then(|failure| failure.origin);
        assert_eq!(refused.map(|origin| origin.path.clone()).as_deref(), Some("spec.http[0].corsPolicy"));
        // An OPTIONS that is no preflight is the application's.
        let answer = ask(&pair.client, "OPTIONS", "https://shop.example", "").await;
        assert!(answer.contains("OPTIONS /x\n"), "{answer}");
        assert_eq!(pair.server.exchanges().len(), 1);
    });
}

#[test]
fn what_the_mesh_says_of_origins_replaces_what_the_application_says() {
    run(async {
        let app = app(|_| async {
            let response = Response::builder().header("access-control-allow-origin", "*").header("vary", "accept");
            response.body(Full::from("page")).unwrap()
        })
        .await;
        let pair = Pair::with_rule(app, shop_only).await;
        let answer = ask(&pair.client, "GET", "https://shop.example", "").await;
        assert!(answer.contains("\r\naccess-control-allow-origin: https://shop.example\r\n"), "{answer}");
        assert!(!answer.contains("access-control-allow-origin: *"), "{answer}");
        assert!(answer.contains("\r\naccess-control-expose-headers: x-served-by\r\n") && answer.ends_with("page"), "{answer}");
        assert!(answer.contains("\r\nvary: accept\r\n") && answer.contains("\r\nvary: origin\r\n"), "{answer}");
    });
}

#[test]
fn a_page_may_read_that_its_request_failed() {
    run(async {
        let pair = Pair::with_rule(nowhere().await, shop_only).await;
        let answer = ask(&pair.client, "GET", "https://shop.example", "").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("access-control-allow-origin: https://shop.example\r\n"), "{answer}");
        let nowhere = |rule: &mut HttpRule| {
            shop_only(rule);
            rule.action = HttpAction::Forward(vec![]);
        };
        let pair = Pair::with_rule(echo_app().await, nowhere).await;
        let answer = ask(&pair.client, "GET", "https://shop.example", "").await;
        assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("access-control-allow-origin: https://shop.example\r\n"), "{answer}");
        let faulty = |rule: &mut HttpRule| {
            shop_only(rule);
            let abort = FaultAbort { percent: 100.0, with: AbortWith::Http(418) };
            rule.fault = Some(Fault { origin: Origin::default(), delay: None, abort: Some(abort) });
        };
        let pair = Pair::with_rule(echo_app().await, faulty).await;
        let answer = ask(&pair.client, "GET", "https://shop.example", "").await;
        assert!(answer.starts_with("HTTP/1.1 418") && answer.contains("access-control-allow-origin: https://shop.example\r\n"), "{answer}");
        // A preflight is no request of the page's: no fault meets it.
        assert!(ask(&pair.client, "OPTIONS", "https://shop.example", PREFLIGHT).await.starts_with("HTTP/1.1 200"));
    });
}
