//! Why a refused request was refused: the attribute that a rule wants otherwise, and nothing that is a secret.

use super::inbound::{policy, with_policies};
use super::*;
use taut_model::policy::{AuthorizationAction, AuthorizationRule, Condition, ConditionKey, OperationMatch, SourceMatch};

/// What is told of `POST /carts/7` with a header, by `reviews` over mutual TLS, or by nobody in plain text; a connection without `http`.
fn refusal(rules: Vec<AuthorizationRule>, known: bool, http: bool) -> String {
    let plan = Plan::compile(&with_policies(vec![policy("p", AuthorizationAction::Allow, rules)]));
    let identity = known.then(|| Identity::new("mesh.local", "default", "reviews"));
    let (host, headers) = (fqdn("productpage"), HeaderMap::from_iter([("x-key".parse().unwrap(), "hunter2".parse().unwrap())]));
    let request = HttpFacts {
        method: "POST",
        scheme: "http",
        authority: "shop",
        path: "/carts/7",
        query: "",
        headers: &headers,
        token: None,
        permitted_by: None,
    };
    let address = Some("192.168.0.9".parse().unwrap());
    let (host, port) = if known { (host.as_str(), 9080) } else { ("", 8080) };
    let peer = Peer { identity: identity.as_ref(), address, client: address };
    let facts = Facts { direction: Direction::Inbound, host, port, http: http.then_some(request), peer, sni: None };
    match plan.decide(&facts, &Rolls::default()) {
        Verdict::Refuse(refusal) => {
            let why = refusal.detail.strip_prefix("no ALLOW policy matched: AuthorizationPolicy default/p (").and_then(|rest| rest.strip_suffix(')'));
            let why = why.unwrap_or_else(|| panic!("{}", refusal.detail)).to_owned();
            let told = plan.explain(&facts, None).to_string();
            assert!(told.contains(&format!("no rule matches: {why}")), "{told}");
            why
        }
        other => panic!("{other:?}"),
    }
}

fn rule(from: Vec<SourceMatch>, to: Vec<OperationMatch>, when: Vec<Condition>) -> AuthorizationRule {
    AuthorizationRule { origin: origin("AuthorizationPolicy", "p", "spec.rules[0]"), from, to, when }
}

fn text(value: &str) -> Vec<String> {
    vec![value.to_owned()]
}

#[test]
fn a_refusal_names_the_first_attribute_that_does_not_fit() {
    let source = SourceMatch::default;
    let operation = OperationMatch::default;
    let from = |source: SourceMatch| rule(vec![source], vec![], vec![]);
    let to = |operation: OperationMatch| rule(vec![], vec![operation], vec![]);
    let when = |key: ConditionKey, value: &str| rule(vec![], vec![], vec![Condition { key, values: text(value), not_values: vec![] }]);
    let reviews = || SourceMatch { service_accounts: text("default/reviews"), ..source() };
    for (rule, want) in [
        (from(SourceMatch { principals: text("x"), ..source() }), "source.principal is mesh.local/ns/default/sa/reviews"),
        (from(SourceMatch { namespaces: text("x"), ..source() }), "source.namespace is default"),
        (from(SourceMatch { not_service_accounts: text("default/reviews"), ..source() }), "source.serviceAccount is default/reviews"),
        (from(SourceMatch { request_principals: text("*"), ..source() }), "there is no request.auth.principal"),
        (from(SourceMatch { not_trust_domains: text("mesh.local"), ..source() }), "source.trustDomain is mesh.local"),
        (from(SourceMatch { ip_blocks: text("10.0.0.0/8"), ..source() }), "source.ip is 192.168.0.9"),
        (from(SourceMatch { not_remote_ip_blocks: text("192.168.0.9"), ..source() }), "remote.ip is 192.168.0.9"),
        (to(OperationMatch { ports: vec![1], ..operation() }), "destination.port is 8080"),
        (to(OperationMatch { not_hosts: text("shop"), ..operation() }), "request.host is shop"),
        (to(OperationMatch { methods: text("GET"), ..operation() }), "request.method is POST"),
        (to(OperationMatch { paths: text("/books/*"), ..operation() }), "request.path is /carts/7"),
        (when(ConditionKey::RequestHeader("x-key".into()), "secret"), "request.headers[x-key] is another"),
        (when(ConditionKey::RequestHeader("x-none".into()), "secret"), "there is no request.headers[x-none]"),
        (when(ConditionKey::RequestClaim(vec!["a".into(), "b".into()]), "x"), "there is no request.auth.claims[a][b]"),
        (when(ConditionKey::ConnectionSni, "x"), "connection.sni is productpage.default.svc.cluster.local"),
        (when(ConditionKey::SourceNamespace, "x"), "source.namespace is default"),
        (when(ConditionKey::DestinationPort, "1"), "destination.port is 8080"),
        // What fits is not told: the first that does not is.
        (rule(vec![source(), reviews()], vec![OperationMatch { methods: text("GET"), ..operation() }], vec![]), "request.method is POST"),
        (rule(vec![SourceMatch { namespaces: text("x"), ..source() }; 2], vec![], vec![]), "source.namespace is default"),
    ] {
        let told = refusal(vec![rule.clone()], true, true);
        assert_eq!(told, format!("spec.rules[0]: {want}"), "{rule:?}");
        assert!(!told.contains("hunter2") && !told.contains("secret"), "{told}");
    }
}

#[test]
fn what_is_not_there_is_said_and_few_rules_are_told() {
    let from = || rule(vec![SourceMatch { principals: text("*"), ..SourceMatch::default() }], vec![], vec![]);
    let get = || rule(vec![], vec![OperationMatch { methods: text("GET"), ..OperationMatch::default() }], vec![]);
    assert_eq!(refusal(vec![from()], false, true), "spec.rules[0]: there is no source.principal");
    assert_eq!(refusal(vec![get()], true, false), "spec.rules[0]: there is no request.method");
    assert_eq!(refusal(vec![], true, true), "it has no rule");
    let many = refusal(vec![get(), get(), get(), get(), get()], true, true);
    assert!(many.ends_with("; 2 more rules do not match either") && many.matches("request.method").count() == 3, "{many}");
}
