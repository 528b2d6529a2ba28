//! Cross-origin policies of both dialects.

use super::*;
use std::time::Duration;
use taut_model::route::*;

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.to_owned())
}

fn listed(names: &[&str]) -> Allowed {
    Allowed::Listed(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_virtual_service_says_it_as_envoy_does() {
    let rule = http_rule(json!({"corsPolicy": {
        "allowOrigins": [{"exact": "https://a.b"}, {"prefix": "https://c."}, {"regex": "https://[a-z]+.d"}],
        "allowMethods": ["GET", "*"], "allowHeaders": ["X-A"], "exposeHeaders": ["X-B"], "maxAge": "24h", "allowCredentials": true,
        "unmatchedPreflights": "IGNORE",
    }}));
    let want = Cors {
        origin: rule.cors.as_ref().unwrap().origin.clone(),
        allow_origins: vec![exact("https://a.b"), TextMatch::Prefix("https://c.".to_owned()), TextMatch::Regex("https://[a-z]+.d".to_owned())],
        allow_methods: listed(&["GET", "*"]),
        allow_headers: listed(&["X-A"]),
        expose_headers: vec!["X-B".to_owned()],
        max_age: Some(Duration::from_secs(86_400)),
        credentials: Credentials::Allowed,
        strangers: StrangersPreflight::Refuse,
    };
    assert_eq!(want.origin.path, "spec.http[0].corsPolicy");
    assert_eq!(rule.cors, Some(want));
    let deprecated = http_rule(json!({"corsPolicy": {"allowOrigin": ["*"]}})).cors.unwrap();
    assert_eq!(deprecated.allow_origins, [exact("*")]);
    assert_eq!((deprecated.max_age, deprecated.credentials), (None, Credentials::Withheld));
    assert_eq!((deprecated.strangers, deprecated.allow_methods), (StrangersPreflight::Forward, listed(&[])));
}

#[test]
fn an_http_route_says_it_by_a_filter() {
    let filtered = |cors: Value| {
        let rules = json!([{"filters": [{"type": "CORS", "cors": cors}], "backendRefs": [{"name": "reviews", "port": 9080}]}]);
        let route = named("HTTPRoute", "r", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": rules}));
        let told = admit(&route);
        (route_of(route).http[0].cors.clone().unwrap(), told)
    };
    let (cors, told) =
        filtered(json!({"allowOrigins": ["https://a.b", "https://*.c"], "allowMethods": ["*"], "allowHeaders": ["x-a"], "exposeHeaders": ["*"]}));
    assert_eq!((cors.origin.path.as_str(), told), ("spec.rules[0].filters[0].cors", vec![]));
    assert_eq!(cors.allow_origins[0], exact("https://a.b"));
    assert_eq!((cors.allow_methods, cors.allow_headers, cors.max_age), (Allowed::Asked, listed(&["x-a"]), Some(Duration::from_secs(5))));
    assert_eq!((cors.expose_headers, cors.strangers), (vec!["*".to_owned()], StrangersPreflight::Refuse));
    let (cors, told) = filtered(json!({"allowOrigins": ["*"], "allowCredentials": true, "exposeHeaders": ["*"], "maxAge": 60}));
    assert_eq!((cors.credentials, cors.max_age, cors.expose_headers.len()), (Credentials::Allowed, Some(Duration::from_secs(60)), 0));
    assert_eq!((told[0].code, told[0].path.as_str()), ("NoEffect", "spec.rules[0].filters[0].cors.exposeHeaders"));
}
