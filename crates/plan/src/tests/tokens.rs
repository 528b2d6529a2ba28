//! Tokens, policies about services, authorizers and dry runs, in inbound decisions.

use super::*;
use crate::token::{BadToken, Claim, Claims, Flaw, Token};
use crate::verdict::Question;
use taut_model::authorizer::{Authorizer, AuthorizerProtocol};
use taut_model::policy::AuthorizationAction::{self, Allow, Custom, Deny};
use taut_model::policy::{AuthorizationPolicy, AuthorizationRule, RequestAuthentication, SourceMatch, TokenKeys, TokenRule};
use taut_model::settings::MeshSettings;
use taut_model::telemetry::{Provider, ProviderKind};

fn policy(name: &str, action: AuthorizationAction, from: Vec<SourceMatch>) -> AuthorizationPolicy {
    let origin = origin("AuthorizationPolicy", name, "");
    AuthorizationPolicy {
        origin: origin.clone(),
        namespace: "default".into(),
        selector: BTreeMap::new(),
        services: vec![],
        action,
        provider: String::new(),
        dry_run: false,
        rules: vec![AuthorizationRule { origin, from, to: vec![], when: vec![] }],
    }
}

fn holders() -> Vec<SourceMatch> {
    vec![SourceMatch { request_principals: vec!["i/*".into()], ..SourceMatch::default() }]
}

fn issuer() -> RequestAuthentication {
    let rule = TokenRule {
        origin: origin("RequestAuthentication", "tokens", "spec.jwtRules[0]"),
        issuer: "i".into(),
        audiences: vec![],
        keys: TokenKeys::Inline(String::new()),
        headers: vec![],
        parameters: vec![],
        cookies: vec![],
        payload_header: None,
        claim_headers: vec![],
        forward: false,
        spaced_claims: vec![],
    };
    let origin = origin("RequestAuthentication", "tokens", "");
    RequestAuthentication { origin, namespace: "default".into(), selector: BTreeMap::new(), services: vec![], rules: vec![rule], closed: false }
}

fn mesh(policies: Vec<AuthorizationPolicy>, issuers: Vec<RequestAuthentication>) -> Snapshot {
    let mut snapshot = bookstore();
    snapshot.authorizations = policies.into_iter().map(|policy| (policy.origin.object.name.clone(), Arc::new(policy))).collect();
    snapshot.tokens = issuers.into_iter().map(|policy| (policy.origin.object.name.clone(), Arc::new(policy))).collect();
    snapshot
}

fn good() -> Token {
    let text = |text: &str| Claim::Text(text.to_owned());
    let all = Claim::Object([("iss".to_owned(), text("i")), ("sub".to_owned(), text("ada"))].into());
    Token::Proven(Claims { rule: origin("RequestAuthentication", "tokens", "spec.jwtRules[0]"), all })
}

/// Who comes to productpage.
#[derive(Clone, Copy, Default)]
struct Visit<'a> {
    token: Option<&'a Token>,
    permitted_by: Option<&'a str>,
    /// A connection, of which no request is seen.
    bytes: bool,
    plain: bool,
}

fn decide(snapshot: &Snapshot, visit: Visit<'_>) -> Verdict {
    let request = get("/");
    let identity = Identity::new("mesh.local", "default", "web");
    let host = if visit.plain { String::new() } else { fqdn("productpage") };
    let http = HttpFacts { token: visit.token, permitted_by: visit.permitted_by, ..request.http() };
    let facts = Facts {
        direction: Direction::Inbound,
        host: &host,
        port: if visit.plain { 8080 } else { 9080 },
        http: (!visit.bytes).then_some(http),
        peer: Peer { identity: (!visit.plain).then_some(&identity), ..Peer::default() },
        sni: None,
    };
    Plan::compile(snapshot).decide(&facts, &Rolls::default())
}

fn status(snapshot: &Snapshot, visit: Visit<'_>) -> u16 {
    match decide(snapshot, visit) {
        Verdict::Go(_) => 200,
        Verdict::Refuse(refusal) => refusal.status,
        Verdict::Ask(_) => 0,
    }
}

#[test]
fn a_token_counts_only_while_its_issuer_does_and_only_for_requests() {
    let good = good();
    let (with, without) = (Visit { token: Some(&good), ..Visit::default() }, Visit::default());
    let bytes = Visit { bytes: true, ..Visit::default() };
    for (policies, issuers, wanted) in [
        (vec![policy("a", Allow, holders())], vec![issuer()], [200, 403, 403]),
        // Its issuer is gone since, or was never one of this workload's.
        (vec![policy("a", Allow, holders())], vec![], [403, 403, 403]),
        // Where nobody sees the request, DENY takes it as matched.
        (vec![policy("d", Deny, holders())], vec![issuer()], [403, 200, 403]),
        (vec![], vec![issuer()], [200, 200, 200]),
        (vec![], vec![RequestAuthentication { closed: true, ..issuer() }], [503, 503, 200]),
    ] {
        let mesh = mesh(policies, issuers);
        assert_eq!([with, without, bytes].map(|visit| status(&mesh, visit)), wanted, "{:?}", mesh.authorizations);
    }
}

#[test]
fn a_bad_token_is_refused_before_any_policy_is_asked_and_by_name() {
    let everybody = mesh(vec![policy("a", Allow, vec![])], vec![issuer()]);
    for (flaw, wanted) in [(Flaw::Expired, 401), (Flaw::Several, 401), (Flaw::NoKeys, 503)] {
        let bad = Token::Refused(BadToken { flaw, rule: None });
        let Verdict::Refuse(refusal) = decide(&everybody, Visit { token: Some(&bad), ..Visit::default() }) else { panic!("{flaw:?} is let in") };
        assert_eq!((refusal.status, refusal.reason.name()), (wanted, flaw.name()));
        assert_eq!(refusal.origin.unwrap().object.name, "tokens");
    }
}

#[test]
fn a_policy_is_about_what_comes_for_its_services() {
    let of = |action, service: &str| AuthorizationPolicy { services: vec![fqdn(service)], ..policy("p", action, vec![]) };
    let nobody = |service| AuthorizationPolicy { rules: vec![], ..of(Allow, service) };
    let (mesh_visit, plain) = (Visit::default(), Visit { plain: true, ..Visit::default() });
    for (policy, wanted) in [(of(Deny, "productpage"), 403), (of(Deny, "reviews"), 200), (nobody("productpage"), 403), (nobody("reviews"), 200)] {
        let mesh = mesh(vec![policy], vec![]);
        assert_eq!([mesh_visit, plain].map(|visit| status(&mesh, visit)), [wanted; 2], "{:?}", mesh.authorizations);
    }
}

#[test]
fn where_the_service_cannot_be_told_deny_is_about_it_and_allow_lets_nothing_in() {
    let two = |policies| {
        let mut snapshot = mesh(policies, vec![]);
        let mut own = Workload::clone(snapshot.own.as_ref().unwrap());
        let target = own.serves[0].target;
        own.serves.push(Serves { host: fqdn("other"), port: 1, target });
        snapshot.own = Some(Arc::new(own));
        snapshot
    };
    let plain = Visit { plain: true, ..Visit::default() };
    for action in [Deny, Allow] {
        let policy = AuthorizationPolicy { services: vec![fqdn("other")], ..policy("p", action, vec![]) };
        let mesh = two(vec![policy]);
        assert_eq!([plain, Visit::default()].map(|visit| status(&mesh, visit)), [403, 200], "{action:?}");
    }
}

fn asking(provider: &str) -> AuthorizationPolicy {
    AuthorizationPolicy { provider: provider.into(), ..policy(&format!("ask-{provider}"), Custom, vec![]) }
}

fn with_authorizer(policies: Vec<AuthorizationPolicy>) -> Snapshot {
    let authorizer = Authorizer {
        host: fqdn("authz"),
        port: 9000,
        timeout: std::time::Duration::from_secs(1),
        fail_open: false,
        status_on_error: 403,
        body: None,
        protocol: AuthorizerProtocol::Grpc,
    };
    let providers = vec![Provider { name: "ext".into(), kind: ProviderKind::Authorizer(authorizer) }];
    let mut snapshot = mesh(policies, vec![]);
    snapshot.settings.insert("mesh".into(), Arc::new(MeshSettings { providers, ..MeshSettings::default() }));
    snapshot
}

#[test]
fn custom_comes_first_and_its_authorizer_is_asked_once() {
    let asked = with_authorizer(vec![asking("ext")]);
    let Verdict::Ask(Question::Permission(permission)) = decide(&asked, Visit::default()) else { panic!("nobody is asked") };
    assert_eq!((&*permission.name, permission.rule.object.name.as_str()), ("ext", "ask-ext"));
    let permitted = Visit { permitted_by: Some("ext"), ..Visit::default() };
    assert_eq!(status(&asked, permitted), 200);
    // Somebody else's permission is none; a DENY holds all the same, and is not looked at before.
    assert_eq!(status(&asked, Visit { permitted_by: Some("other"), ..Visit::default() }), 0);
    let denied = with_authorizer(vec![asking("ext"), policy("d", Deny, vec![])]);
    assert_eq!([Visit::default(), permitted].map(|visit| status(&denied, visit)), [0, 403]);
}

#[test]
fn what_no_authorizer_can_be_asked_about_is_refused() {
    let bytes = Visit { bytes: true, ..Visit::default() };
    assert_eq!(status(&with_authorizer(vec![asking("ext")]), bytes), 403);
    assert_eq!(status(&with_authorizer(vec![asking("unknown")]), Visit::default()), 403);
    assert_eq!(status(&with_authorizer(vec![asking("ext"), asking("other")]), Visit::default()), 403);
}

#[test]
fn a_dry_run_says_what_it_would_refuse_and_refuses_nothing() {
    let dry = |policy: AuthorizationPolicy| AuthorizationPolicy { dry_run: true, ..policy };
    let everybody = policy("open", Allow, vec![]);
    for (policies, would) in [
        (vec![dry(policy("d", Deny, vec![]))], Some("d")),
        (vec![dry(policy("d", Deny, holders()))], None),
        (vec![dry(policy("a", Allow, vec![]))], None),
        (vec![dry(policy("a", Allow, holders()))], Some("a")),
        // Another policy lets it in, and would.
        (vec![everybody.clone(), dry(policy("a", Allow, holders()))], None),
        (vec![everybody, dry(policy("d", Deny, vec![]))], Some("d")),
        (vec![], None),
    ] {
        let mesh = mesh(policies, vec![issuer()]);
        let Verdict::Go(go) = decide(&mesh, Visit::default()) else { panic!("{:?} refuses", mesh.authorizations) };
        assert_eq!(go.would_deny.map(|origin| origin.object.name), would.map(str::to_owned), "{:?}", mesh.authorizations);
    }
}
