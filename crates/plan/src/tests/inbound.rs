//! Inbound decisions: mutual TLS modes, authorization in Istio's order, and failing closed.

use super::*;
use taut_model::policy::{
    AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, ConditionKey, MtlsMode, OperationMatch, PeerAuthentication,
    ROOT_NAMESPACE, SourceMatch,
};

fn authentication(name: &str, namespace: &str, created: &str, selector: &[(&str, &str)], mode: Option<MtlsMode>) -> PeerAuthentication {
    let origin = origin("PeerAuthentication", name, "");
    PeerAuthentication { origin, namespace: namespace.into(), selector: labels(selector), mode, ports: BTreeMap::new(), created: created.into() }
}

pub(super) fn policy(name: &str, action: AuthorizationAction, rules: Vec<AuthorizationRule>) -> AuthorizationPolicy {
    AuthorizationPolicy {
        origin: origin("AuthorizationPolicy", name, ""),
        namespace: "default".into(),
        selector: BTreeMap::new(),
        action,
        services: vec![],
        provider: String::new(),
        dry_run: false,
        rules,
    }
}

fn when(from: SourceMatch, to: OperationMatch) -> AuthorizationRule {
    AuthorizationRule { origin: origin("AuthorizationPolicy", "p", "spec.rules[0]"), from: vec![from], to: vec![to], when: vec![] }
}

/// A request (or, without one, a connection) from `who` to port 9080 of productpage, on whose host it stands in for all.
fn visit(snapshot: &Snapshot, who: Option<&str>, request: Option<&Request>) -> String {
    let identity = who.map(|account| Identity::new("mesh.local", "default", account));
    let host = if who.is_some() { fqdn("productpage") } else { String::new() };
    let facts = Facts {
        direction: Direction::Inbound,
        host: &host,
        port: if who.is_some() { 9080 } else { 8080 },
        http: request.map(Request::http),
        peer: Peer { identity: identity.as_ref(), address: Some("192.168.0.9".parse().unwrap()), client: Some("192.168.0.9".parse().unwrap()) },
        sni: None,
    };
    let plan = Plan::compile(snapshot);
    let verdict = plan.decide(&facts, &Rolls::default());
    let told = plan.explain(&facts, None);
    if let Verdict::Refuse(refusal) = &verdict {
        assert!(told.outcome.contains(&refusal.detail));
    }
    short(&verdict)
}

pub(super) fn with_policies(policies: Vec<AuthorizationPolicy>) -> Snapshot {
    let mut snapshot = bookstore();
    snapshot.authorizations = policies.into_iter().map(|policy| (policy.origin.object.name.clone(), Arc::new(policy))).collect();
    snapshot
}

#[test]
fn the_narrowest_mode_wins_and_the_oldest_among_equals() {
    use MtlsMode::{Disable, Permissive, Strict};
    let mesh = |mode| authentication("mesh", ROOT_NAMESPACE, "2020", &[], Some(mode));
    let space = |mode| authentication("ns", "default", "2020", &[], mode);
    let own = |name: &str, created: &str, mode| authentication(name, "default", created, &[("app", "productpage")], mode);
    let port = PeerAuthentication { ports: [(8080, Disable)].into(), ..own("port", "2019", None) };
    for (policies, want) in [
        (vec![], "local 8080"),
        (vec![mesh(Strict)], "403 mutual_tls_required"),
        (vec![mesh(Strict), space(Some(Permissive))], "local 8080"),
        (vec![mesh(Strict), space(None)], "403 mutual_tls_required"),
        (vec![space(Some(Permissive)), own("w", "2020", Some(Strict))], "403 mutual_tls_required"),
        (vec![own("a", "2022", Some(Strict)), own("b", "2021", Some(Permissive))], "local 8080"),
        (vec![mesh(Strict), port], "local 8080"),
        (vec![authentication("other", "default", "", &[("app", "reviews")], Some(Strict))], "local 8080"),
    ] {
        let mut snapshot = bookstore();
        snapshot.authentications = policies.into_iter().map(|policy| (policy.origin.object.name.clone(), Arc::new(policy))).collect();
        assert_eq!(visit(&snapshot, None, Some(&get("/"))), want, "{:?}", snapshot.authentications.keys());
        assert_eq!(visit(&snapshot, Some("anybody"), Some(&get("/"))), "local 8080");
    }
}

#[test]
fn permissive_takes_no_plain_text_from_inside_the_mesh() {
    let plan = Plan::compile(&bookstore());
    for (address, want) in
        [("10.0.0.2", "403 mutual_tls_required"), ("10.0.0.1", "local 8080"), ("10.7.7.7", "local 8080"), ("127.0.0.1", "local 8080")]
    {
        let peer = Peer { address: Some(address.parse().unwrap()), ..Peer::default() };
        let facts = Facts { direction: Direction::Inbound, host: "", port: 8080, http: None, peer, sni: None };
        assert_eq!(short(&plan.decide(&facts, &Rolls::default())), want, "{address}");
    }
}

#[test]
fn nothing_is_let_in_before_the_policies_or_to_a_port_not_served() {
    let waiting = Snapshot { policies_complete: false, ..bookstore() };
    assert_eq!(visit(&waiting, Some("anybody"), None), "503 policies_not_received");
    let nobody = Snapshot { own: None, ..bookstore() };
    assert_eq!(visit(&nobody, Some("anybody"), None), "503 policies_not_received");
    let mut elsewhere = bookstore();
    elsewhere.own = elsewhere.workloads.get("default/ratings-v1").cloned();
    assert_eq!(visit(&elsewhere, Some("anybody"), None), "503 not_served_here");
}

#[test]
fn deny_before_allow() {
    use AuthorizationAction::{Allow, Audit, Deny};
    let any = || AuthorizationRule { origin: origin("AuthorizationPolicy", "any", "spec.rules[0]"), from: vec![], to: vec![], when: vec![] };
    let reviews = || SourceMatch { principals: vec!["cluster.local/ns/default/sa/reviews".into()], ..SourceMatch::default() };
    let root = AuthorizationPolicy { namespace: ROOT_NAMESPACE.into(), ..policy("root", Deny, vec![any()]) };
    let foreign = AuthorizationPolicy { namespace: "other".into(), ..policy("foreign", Deny, vec![any()]) };
    let unselected = AuthorizationPolicy { selector: labels(&[("app", "reviews")]), ..policy("sel", Deny, vec![any()]) };
    for (policies, want) in [
        (vec![], "local 8080"),
        (vec![policy("none", Allow, vec![])], "403 authorization_denied"),
        (vec![policy("all", Allow, vec![any()])], "local 8080"),
        (vec![policy("none", Allow, vec![]), policy("all", Allow, vec![any()])], "local 8080"),
        (vec![policy("all", Allow, vec![any()]), policy("deny", Deny, vec![any()])], "403 authorization_denied"),
        (vec![policy("nothing", Deny, vec![])], "local 8080"),
        (vec![policy("audit", Audit, vec![any()])], "local 8080"),
        (vec![root], "403 authorization_denied"),
        (vec![foreign, unselected], "local 8080"),
        (vec![policy("r", Allow, vec![when(reviews(), OperationMatch::default())])], "local 8080"),
        (vec![policy("r", Deny, vec![when(reviews(), OperationMatch::default())])], "403 authorization_denied"),
    ] {
        let names: Vec<_> = policies.iter().map(|policy| policy.origin.object.name.clone()).collect();
        assert_eq!(visit(&with_policies(policies), Some("reviews"), Some(&get("/"))), want, "{names:?}");
    }
}

#[test]
fn sources_and_operations() {
    let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let from = |change: &dyn Fn(&mut SourceMatch)| {
        let mut source = SourceMatch::default();
        change(&mut source);
        when(source, OperationMatch::default())
    };
    let to = |change: &dyn Fn(&mut OperationMatch)| {
        let mut operation = OperationMatch::default();
        change(&mut operation);
        when(SourceMatch::default(), operation)
    };
    let key = |key, values: &[&str], not: &[&str]| {
        let condition = Condition { key, values: list(values), not_values: list(not) };
        AuthorizationRule { when: vec![condition], ..to(&|_| {}) }
    };
    let header = || ConditionKey::RequestHeader("X-Team".into());
    // Rule, whether it matches: mTLS HTTP from reviews with `x-team: a`; plain-text HTTP.
    let table = [
        (from(&|s| s.principals = list(&["*"])), true, false),
        (from(&|s| s.principals = list(&["*/sa/reviews"])), true, false),
        (from(&|s| s.principals = list(&["mesh.local/ns/default/*"])), true, false),
        (from(&|s| s.not_principals = list(&["*/sa/reviews"])), false, true),
        (from(&|s| s.namespaces = list(&["default"])), true, false),
        (from(&|s| s.not_namespaces = list(&["default"])), false, true),
        (from(&|s| s.service_accounts = list(&["default/reviews"])), true, false),
        (from(&|s| s.not_service_accounts = list(&["default/reviews"])), false, true),
        (from(&|s| s.ip_blocks = list(&["192.168.0.0/24"])), true, true),
        (from(&|s| s.not_ip_blocks = list(&["192.168.0.9"])), false, false),
        (from(&|s| s.remote_ip_blocks = list(&["192.168.0.0/24"])), true, true),
        (from(&|s| s.not_remote_ip_blocks = list(&["192.168.0.9"])), false, false),
        (key(ConditionKey::RemoteIp, &["192.168.0.9"], &[]), true, true),
        (to(&|o| o.methods = list(&["GET"])), true, true),
        (to(&|o| o.not_methods = list(&["G*"])), false, false),
        (to(&|o| o.ports = vec![8080]), true, true),
        (to(&|o| o.not_ports = vec![8080]), false, false),
        (to(&|o| o.hosts = list(&["REVIEWS"])), true, true),
        (to(&|o| o.hosts = list(&["reviews:9080"])), true, true),
        (to(&|o| o.not_hosts = list(&["*"])), false, false),
        (to(&|o| o.paths = list(&["/admin/*"])), true, true),
        (to(&|o| o.paths = list(&["/public/*"])), false, false),
        (to(&|o| o.paths = list(&["/admin/{*}"])), true, true),
        (to(&|o| o.not_paths = list(&["*/x"])), false, false),
        (key(header(), &["a"], &[]), true, false),
        (key(header(), &[], &["a"]), false, true),
        (key(ConditionKey::SourceIp, &["192.168.0.9"], &[]), true, true),
        (key(ConditionKey::SourceNamespace, &["default"], &[]), true, false),
        (key(ConditionKey::SourcePrincipal, &["*"], &[]), true, false),
        (key(ConditionKey::DestinationIp, &["10.0.0.1/32"], &[]), true, true),
        (key(ConditionKey::DestinationPort, &["8080"], &[]), true, true),
        (key(ConditionKey::ConnectionSni, &["productpage.*"], &[]), true, false),
    ];
    let request = get("/public/../admin/x");
    let with_team = request.clone().header("x-team", "a");
    for (rule, mesh, plain) in table {
        for (who, request, matched) in [(Some("reviews"), &with_team, mesh), (None, &request, plain)] {
            let allow = visit(&with_policies(vec![policy("p", AuthorizationAction::Allow, vec![rule.clone()])]), who, Some(request));
            let deny = visit(&with_policies(vec![policy("p", AuthorizationAction::Deny, vec![rule.clone()])]), who, Some(request));
            let (yes, no) = ("local 8080 /admin/x", "403 authorization_denied");
            assert_eq!((allow.as_str(), deny.as_str()), if matched { (yes, no) } else { (no, yes) }, "{rule:?} {who:?}");
        }
    }
}

#[test]
fn the_client_behind_a_load_balancer_is_not_the_load_balancer() {
    let blocks = |remote: bool| {
        let blocks = vec!["203.0.113.0/24".to_owned()];
        let source = if remote {
            SourceMatch { remote_ip_blocks: blocks, ..Default::default() }
        } else {
            SourceMatch { ip_blocks: blocks, ..Default::default() }
        };
        when(source, OperationMatch::default())
    };
    let (plain, forwarded) = (get("/"), get("/").header("x-forwarded-for", "203.0.113.9"));
    let (here, behind) = ("192.168.0.9", "203.0.113.9");
    // Which address is asked about, who is behind the connection, the request; what ALLOW and DENY say to it.
    for (remote, client, request, allowed, denied) in [
        (true, behind, &plain, true, true),
        (true, behind, &forwarded, true, true),
        (true, here, &plain, false, false),
        // Somebody says that somebody stood in between: no policy is weaker for that.
        (true, here, &forwarded, false, true),
        (false, behind, &plain, false, false),
        (false, here, &forwarded, false, false),
    ] {
        let peer = Peer { identity: None, address: Some(here.parse().unwrap()), client: Some(client.parse().unwrap()) };
        let facts = Facts { direction: Direction::Inbound, host: "", port: 8080, peer, ..request.facts() };
        let decide = |action| {
            let plan = Plan::compile(&with_policies(vec![policy("p", action, vec![blocks(remote)])]));
            assert_eq!(plan.headers_used().contains("x-forwarded-for"), remote);
            short(&plan.decide(&facts, &Rolls::default()))
        };
        let (yes, no) = ("local 8080", "403 authorization_denied");
        let want = (if allowed { yes } else { no }, if denied { no } else { yes });
        assert_eq!((decide(AuthorizationAction::Allow).as_str(), decide(AuthorizationAction::Deny).as_str()), want, "{remote} {client} {request:?}");
    }
}

#[test]
fn on_a_connection_and_with_values_that_cannot_be_read_policies_fail_closed() {
    let method = OperationMatch { methods: vec!["POST".into()], ..OperationMatch::default() };
    let not_method = OperationMatch { not_methods: vec!["POST".into()], ..OperationMatch::default() };
    let other_port = OperationMatch { ports: vec![1], ..method.clone() };
    let bad = SourceMatch { ip_blocks: vec!["10.0.0.0/99".into()], ..SourceMatch::default() };
    let not_bad = SourceMatch { not_ip_blocks: vec!["nonsense".into()], ..SourceMatch::default() };
    for (source, operation, denied) in [
        (SourceMatch::default(), method, true),
        (SourceMatch::default(), not_method, true),
        (SourceMatch::default(), other_port, false),
        (bad, OperationMatch::default(), true),
        (not_bad, OperationMatch::default(), true),
    ] {
        let rule = when(source, operation);
        let allow = with_policies(vec![policy("p", AuthorizationAction::Allow, vec![rule.clone()])]);
        assert_eq!(visit(&allow, Some("x"), None), "403 authorization_denied", "{rule:?}");
        let deny = with_policies(vec![policy("p", AuthorizationAction::Deny, vec![rule.clone()])]);
        assert_eq!(visit(&deny, Some("x"), None), if denied { "403 authorization_denied" } else { "local 8080" }, "{rule:?}");
    }
}

#[test]
fn what_was_authorized_is_what_the_application_gets() {
    let paths = OperationMatch { paths: vec!["/public/*".into()], ..OperationMatch::default() };
    let snapshot = with_policies(vec![policy("public", AuthorizationAction::Allow, vec![when(SourceMatch::default(), paths)])]);
    for (path, want) in [
        ("/public/x", "local 8080"),
        ("/secret/../public/x", "local 8080 /public/x"),
        ("/secret\\..\\public/x", "local 8080 /public/x"),
        ("/secret/%2e%2E/public/x", "local 8080 /public/x"),
        ("/secret/..%2Fpublic/x", "403 authorization_denied"),
        ("/public/../secret", "403 authorization_denied"),
        ("/public/%%32e%%32e/secret", "403 authorization_denied"),
    ] {
        assert_eq!(visit(&snapshot, Some("reviews"), Some(&get(path))), want, "{path}");
    }
}

#[test]
fn no_spelling_of_a_host_slips_past_a_policy() {
    let hosts = |action| {
        let to = OperationMatch { hosts: vec!["Admin.internal".into()], ..OperationMatch::default() };
        with_policies(vec![policy("hosts", action, vec![when(SourceMatch::default(), to)])])
    };
    let (deny, allow) = (hosts(AuthorizationAction::Deny), hosts(AuthorizationAction::Allow));
    for (authority, denied, allowed) in [
        ("admin.internal", true, true),
        ("ADMIN.internal.", true, true),
        ("admin.internal.:8080", true, true),
        ("admin.internal:8080", true, true),
        // Unknown: so the DENY denies and the ALLOW does not allow.
        ("", true, false),
        (".", true, false),
        ("public.internal", false, false),
    ] {
        let request = Request { authority: authority.into(), ..get("/") };
        let let_in = |snapshot| visit(snapshot, None, Some(&request)) == "local 8080";
        assert_eq!((!let_in(&deny), let_in(&allow)), (denied, allowed), "{authority:?}");
    }
}
