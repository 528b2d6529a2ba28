//! Pages of other origins: what is answered here, and what responses say.

use super::*;
use std::time::Duration;
use taut_model::route::{AbortWith, Allowed, Cors, Credentials, Fault, FaultAbort, FaultDelay, StrangersPreflight};

fn cors(change: impl FnOnce(&mut Cors)) -> Cors {
    let mut cors = Cors {
        origin: origin("VirtualService", "reviews", "spec.http[0].corsPolicy"),
        allow_origins: vec![TextMatch::Exact("https://shop.example".into()), TextMatch::Regex("https://[a-z]+\\.shop\\.example".into())],
        allow_methods: Allowed::Listed(vec!["GET".into(), "PUT".into()]),
        allow_headers: Allowed::Listed(vec!["x-user".into()]),
        expose_headers: vec!["x-served-by".into(), "x-more".into()],
        max_age: Some(Duration::from_secs(600)),
        credentials: Credentials::Withheld,
        strangers: StrangersPreflight::Forward,
    };
    change(&mut cors);
    cors
}

fn plan(cors: Cors, fault: Option<Fault>) -> Plan {
    let rule = HttpRule { cors: Some(cors), fault, ..rule("spec.http[0]", vec![], to("reviews", "v1")) };
    Plan::compile(&with_routes(vec![route(Dialect::Istio, "reviews", "", vec![rule])]))
}

fn from(page: &str) -> Request {
    get("/").header("origin", page)
}

fn preflight(page: &str) -> Request {
    let request = from(page).header("access-control-request-method", "PUT").header("access-control-request-headers", "x-user,x-other");
    Request { method: "OPTIONS".into(), ..request }
}

/// The outcome, and what is set on the response: `name: value`.
fn answered(plan: &Plan, request: &Request) -> (String, Vec<String>) {
    let verdict = plan.decide(&request.facts(), &Rolls::default());
    let Verdict::Go(go) = &verdict else { panic!("{verdict:?}") };
    let headers = go.cors.iter().flat_map(|change| change.add.iter().chain(&change.set)).map(|(name, value)| format!("{name}: {value}"));
    (short(&verdict), headers.collect())
}

const VARY: &str = "vary: origin";
const SHOP: &str = "access-control-allow-origin: https://shop.example";

#[test]
fn a_preflight_is_answered_here() {
    let (outcome, headers) = answered(&plan(cors(|_| ()), None), &preflight("https://shop.example"));
    assert_eq!(outcome, "respond 200");
    let methods = "access-control-allow-methods: GET,PUT";
    assert_eq!(headers, [VARY, SHOP, methods, "access-control-allow-headers: x-user", "access-control-max-age: 600"]);
    let asked = cors(|cors| {
        (cors.allow_methods, cors.allow_headers) = (Allowed::Asked, Allowed::Asked);
        (cors.credentials, cors.max_age) = (Credentials::Allowed, None);
    });
    let (_, headers) = answered(&plan(asked, None), &preflight("https://shop.example"));
    let credentials = "access-control-allow-credentials: true";
    let methods = "access-control-allow-methods: PUT";
    assert_eq!(headers, [VARY, SHOP, credentials, methods, "access-control-allow-headers: x-user,x-other"]);
    let silent = cors(|cors| (cors.allow_methods, cors.allow_headers) = (Allowed::Listed(vec![]), Allowed::Listed(vec![])));
    assert_eq!(answered(&plan(silent, None), &preflight("https://shop.example")).1, [VARY, SHOP, "access-control-max-age: 600"]);
}

#[test]
fn a_response_says_who_may_read_it() {
    let plan = plan(cors(|_| ()), None);
    let expose = "access-control-expose-headers: x-served-by,x-more";
    let own_method = Request { method: "OPTIONS".into(), ..from("https://shop.example") };
    for (request, want) in [
        (from("https://shop.example"), vec![VARY, SHOP, expose]),
        (own_method, vec![VARY, SHOP, expose]),
        (from("https://b.shop.example"), vec![VARY, "access-control-allow-origin: https://b.shop.example", expose]),
        (from("https://b.shop.example.evil.example"), vec![VARY]),
        (from("https://evil.example"), vec![VARY]),
        (preflight("https://evil.example"), vec![VARY]),
        (from(""), vec![]),
        (get("/"), vec![]),
        (get("/").header("access-control-request-method", "PUT"), vec![]),
    ] {
        let (outcome, headers) = answered(&plan, &request);
        assert_eq!((outcome.as_str(), headers), ("reviews v1", want.into_iter().map(str::to_owned).collect()), "{request:?}");
    }
}

#[test]
fn strangers_may_be_turned_away_at_the_preflight_only() {
    let plan = plan(cors(|cors| cors.strangers = StrangersPreflight::Refuse), None);
    let verdict = plan.decide(&preflight("https://evil.example").facts(), &Rolls::default());
    let Verdict::Refuse(refusal) = &verdict else { panic!("{verdict:?}") };
    assert_eq!((short(&verdict).as_str(), refusal.origin.as_ref().unwrap().path.as_str()), ("403 origin_not_allowed", "spec.http[0].corsPolicy"));
    assert!(plan.cors_of_refusal(&preflight("https://evil.example").facts()).is_none());
    assert_eq!(answered(&plan, &from("https://evil.example")).0, "reviews v1");
}

#[test]
fn a_star_and_a_prefix_allow_as_envoy_has_it() {
    for (text, page, allowed) in [
        (TextMatch::Exact("*".into()), "https://any.example", true),
        (TextMatch::Present, "null", true),
        (TextMatch::Prefix("https://".into()), "https://any.example", true),
        (TextMatch::Prefix("https://".into()), "http://any.example", false),
        (TextMatch::Regex(".*".into()), "http://any.example", true),
    ] {
        let plan = plan(cors(|cors| cors.allow_origins = vec![text.clone()]), None);
        assert_eq!(answered(&plan, &from(page)).1.len() > 1, allowed, "{text:?} {page}");
    }
}

#[test]
fn a_preflight_meets_no_fault_and_a_page_may_read_the_fault_of_its_request() {
    let fault = Fault {
        origin: Origin::default(),
        delay: Some(FaultDelay { percent: 100.0, duration: Duration::from_secs(9) }),
        abort: Some(FaultAbort { percent: 100.0, with: AbortWith::Http(500) }),
    };
    let plan = plan(cors(|_| ()), Some(fault));
    let verdict = plan.decide(&preflight("https://shop.example").facts(), &Rolls::default());
    let Verdict::Go(go) = &verdict else { panic!("{verdict:?}") };
    assert_eq!((short(&verdict).as_str(), go.delay), ("respond 200", None));
    let (outcome, headers) = answered(&plan, &from("https://shop.example"));
    assert_eq!((outcome.as_str(), headers[1].as_str()), ("abort Http(500)", SHOP));
}

#[test]
fn a_page_may_read_that_its_request_is_refused() {
    let nobody = HttpRule { cors: Some(cors(|_| ())), ..rule("r", vec![on_path(PathMatch::Prefix("/a".into()))], to("reviews", "v9")) };
    let plan = Plan::compile(&with_routes(vec![route(Dialect::Istio, "reviews", "", vec![nobody])]));
    let at = |path: &str, page: &str| Request { path: path.into(), ..from(page) };
    for (request, want) in [
        (at("/a", "https://shop.example"), vec![VARY, SHOP, "access-control-expose-headers: x-served-by,x-more"]),
        (at("/b/../a", "https://shop.example"), vec![VARY, SHOP, "access-control-expose-headers: x-served-by,x-more"]),
        (at("/a", "https://evil.example"), vec![VARY]),
        (at("/b", "https://shop.example"), vec![]),
        (get("/a"), vec![]),
    ] {
        assert!(matches!(plan.decide(&request.facts(), &Rolls::default()), Verdict::Refuse(_)), "{request:?}");
        let change = plan.cors_of_refusal(&request.facts());
        let said: Vec<_> =
            change.iter().flat_map(|change| change.add.iter().chain(&change.set)).map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(said, want, "{request:?}");
    }
}

#[test]
fn an_explanation_names_the_policy_and_a_bad_pattern_its_place() {
    let plan = plan(cors(|_| ()), None);
    for (request, want) in [
        (preflight("https://shop.example"), "cors         a preflight of https://shop.example: answered here"),
        (from("https://shop.example"), "cors         pages of https://shop.example may read the response"),
        (from("https://evil.example"), "cors         pages of https://evil.example may not read the response"),
    ] {
        let why = plan.explain(&request.facts(), None);
        let step = why.steps.iter().find(|step| step.text == want).unwrap_or_else(|| panic!("{why}"));
        assert_eq!(step.origin.as_ref().unwrap().path, "spec.http[0].corsPolicy");
    }
    assert_eq!(
        plan.headers_used().iter().collect::<Vec<_>>(),
        ["access-control-request-headers", "access-control-request-method", "origin"],
        "so that a record of the request can be explained later"
    );
    let bad = cors(|cors| cors.allow_origins = vec![TextMatch::Regex("(".into())]);
    let plan = super::cors::plan(bad, None);
    assert!(plan.problems()[0].1.starts_with("spec.http[0].corsPolicy: the regular expression"), "{:?}", plan.problems());
}
