//! Policies, and that none is ever weaker than it reads.

use super::*;
use std::collections::BTreeMap;
use taut_model::policy::*;

fn policy(spec: Value) -> AuthorizationPolicy {
    let object = named("AuthorizationPolicy", "p", spec);
    assert_eq!(errors(&admit(&object)), Vec::<&Problem>::new());
    translated(vec![object]).authorizations["AuthorizationPolicy/default/p"].as_ref().clone()
}

#[test]
fn a_policy_keeps_every_restriction() {
    let policy = policy(json!({
        "selector": {"matchLabels": {"app": "reviews"}}, "action": "AUDIT",
        "rules": [{
            "from": [{"source": {"principals": ["mesh.local/ns/a/sa/b"], "notPrincipals": ["*/sa/c"], "namespaces": ["a*"], "notNamespaces": ["b"], "trustDomains": ["t"], "notTrustDomains": ["u*"], "ipBlocks": ["10.0.0.0/8"], "notIpBlocks": ["::1"], "remoteIpBlocks": ["192.0.2.0/24"], "notRemoteIpBlocks": ["192.0.2.1"]}},
                     {"source": {"serviceAccounts": ["cart", "shop/web"], "notServiceAccounts": ["x"]}}],
            "to": [{"operation": {"hosts": ["a.b"], "notHosts": ["*.c"], "ports": ["80"], "notPorts": ["81"], "methods": ["GET"], "notMethods": ["POST"], "paths": ["/a*", "/a/{*}/b", "/{*}/{**}", "/{**}"], "notPaths": ["*/b"]}}],
            "when": [{"key": "request.headers[X-User]", "values": ["a"], "notValues": ["b*"]}, {"key": "destination.port", "values": ["80"]},
                     {"key": "source.ip", "values": ["10.0.0.1"]}, {"key": "destination.ip", "values": ["10.0.0.1"]}, {"key": "source.namespace", "values": ["a"]},
                     {"key": "source.principal", "values": ["*"]}, {"key": "remote.ip", "values": ["192.0.2.1"]}, {"key": "connection.sni", "notValues": ["a.b"]},
                     {"key": "source.serviceAccount", "values": ["cart", "shop/web"]}, {"key": "source.trustDomain", "values": ["cluster.local"]}],
        }],
    }));
    assert_eq!((policy.action, policy.selector), (AuthorizationAction::Audit, BTreeMap::from([("app".to_owned(), "reviews".to_owned())])));
    let rule = &policy.rules[0];
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let first = SourceMatch {
        principals: list(&["mesh.local/ns/a/sa/b"]),
        not_principals: list(&["*/sa/c"]),
        namespaces: list(&["a*"]),
        not_namespaces: list(&["b"]),
        trust_domains: list(&["t"]),
        not_trust_domains: list(&["u*"]),
        ip_blocks: list(&["10.0.0.0/8"]),
        not_ip_blocks: list(&["::1"]),
        remote_ip_blocks: list(&["192.0.2.0/24"]),
        not_remote_ip_blocks: list(&["192.0.2.1"]),
        ..SourceMatch::default()
    };
    let second =
        SourceMatch { service_accounts: list(&["default/cart", "shop/web"]), not_service_accounts: list(&["default/x"]), ..SourceMatch::default() };
    assert_eq!(rule.from, [first, second]);
    let operation = OperationMatch {
        hosts: list(&["a.b"]),
        not_hosts: list(&["*.c"]),
        ports: vec![80],
        not_ports: vec![81],
        methods: list(&["GET"]),
        not_methods: list(&["POST"]),
        paths: list(&["/a*", "/a/{*}/b", "/{*}/{**}", "/{**}"]),
        not_paths: list(&["*/b"]),
    };
    assert_eq!(rule.to, [operation]);
    use ConditionKey::*;
    let keys: Vec<_> = rule.when.iter().map(|condition| condition.key.clone()).collect();
    let of_http = [RequestHeader("x-user".to_owned()), DestinationPort, SourceIp, DestinationIp, SourceNamespace, SourcePrincipal];
    let of_connections = [RemoteIp, ConnectionSni, SourceServiceAccount, SourceTrustDomain];
    assert_eq!(keys, [&of_http[..], &of_connections].concat());
    assert_eq!(rule.when[8].values, list(&["default/cart", "shop/web"]));
    assert_eq!((&rule.when[0].values, &rule.when[0].not_values), (&list(&["a"]), &list(&["b*"])));
}

#[test]
fn allow_without_rules_and_with_an_empty_rule_stay_apart() {
    let nothing = policy(json!({}));
    assert_eq!((nothing.action, nothing.rules.len()), (AuthorizationAction::Allow, 0));
    let everything = policy(json!({"rules": [{}]}));
    let rule = &everything.rules[0];
    assert!(everything.rules.len() == 1 && rule.from.is_empty() && rule.to.is_empty() && rule.when.is_empty());
}

#[test]
fn a_refused_policy_denies_everything_for_the_same_workloads() {
    for (spec, selector) in [
        (json!({"selector": {"matchLabels": {"app": "a"}}, "rules": [{"from": [{"source": {"unheardOf": ["*"]}}]}]}), Some("a")),
        (json!({"selector": {"matchLabels": {"app": 5}}, "rules": []}), None),
        (json!({"action": "CUSTOM"}), None),
        (json!(5), None),
    ] {
        let translation = translated(vec![named("AuthorizationPolicy", "p", spec.clone())]);
        let policy = &translation.authorizations["AuthorizationPolicy/default/p"];
        assert_eq!((policy.action, policy.rules.len()), (AuthorizationAction::Deny, 1), "{spec}");
        let rule = &policy.rules[0];
        assert!(rule.from.is_empty() && rule.to.is_empty() && rule.when.is_empty());
        assert_eq!(policy.selector.get("app").map(String::as_str), selector, "{spec}");
        assert!(policy.origin.path.contains("everything is denied"), "{}", policy.origin);
        assert!(!errors(findings(&translation, "AuthorizationPolicy", "p")).is_empty());
    }
}

#[test]
fn a_dry_run_is_passed_on_as_one_and_one_that_is_refused_denies_nothing() {
    let dry = |spec: Value| with(named("AuthorizationPolicy", "p", spec), "annotations", json!({"istio.io/dry-run": "true"}));
    let translation = translated(vec![dry(json!({"action": "DENY", "rules": [{}]}))]);
    assert!(translation.authorizations["AuthorizationPolicy/default/p"].dry_run);
    let refused = translated(vec![dry(json!({"action": "WHATEVER"}))]);
    assert!(refused.authorizations.is_empty() && !errors(findings(&refused, "AuthorizationPolicy", "p")).is_empty());
}

#[test]
fn a_policy_is_attached_to_services_by_name() {
    let attached = |spec: Value| translated(vec![named("AuthorizationPolicy", "p", spec)]).authorizations.values().next().map(|p| p.services.clone());
    let refs = json!([{"kind": "Service", "name": "reviews"}, {"group": "core", "kind": "Service", "name": "ratings"}]);
    let hosts = ["reviews", "ratings"].map(|name| format!("{name}.default.svc.cluster.local")).to_vec();
    assert_eq!(attached(json!({"targetRefs": refs, "rules": [{}]})), Some(hosts.clone()));
    // Refused, it denies for the same services; for gateways, of which there are none, it denies to nobody.
    assert_eq!(attached(json!({"targetRefs": refs, "action": "WHATEVER"})), Some(hosts));
    assert_eq!(attached(json!({"targetRefs": [{"kind": "Gateway", "name": "a"}]})), None);
    assert_eq!(attached(json!({"targetRefs": [{"kind": "ServiceEntry", "name": "a"}]})), Some(vec![]));
}

fn tokens(spec: Value) -> RequestAuthentication {
    translated(vec![named("RequestAuthentication", "p", spec)]).tokens["RequestAuthentication/default/p"].as_ref().clone()
}

#[test]
fn a_rule_for_tokens_keeps_every_field() {
    let keys = r#"{"keys": [{"kty": "OKP"}]}"#;
    let policy = tokens(json!({"selector": {"matchLabels": {"app": "a"}}, "jwtRules": [{
        "issuer": "i", "audiences": ["a"], "jwks": keys, "fromHeaders": [{"name": "X-Jwt", "prefix": "jwt "}], "fromParams": ["p"], "fromCookies": ["c"],
        "outputPayloadToHeader": "X-Payload", "outputClaimToHeaders": [{"claim": "sub", "header": "X-Sub"}], "forwardOriginalToken": true,
        "spaceDelimitedClaims": ["roles"], "timeout": "3s", "presence": "OPTIONAL",
    }, {"issuer": "j", "jwksUri": "https://j.example/keys", "timeout": "3s"}]}));
    let rule = &policy.rules[0];
    assert_eq!((rule.issuer.as_str(), &rule.keys, rule.forward, policy.closed), ("i", &TokenKeys::Inline(keys.to_owned()), true, false));
    assert_eq!(rule.headers, [TokenHeader { name: "x-jwt".to_owned(), prefix: "jwt ".to_owned() }]);
    let list = |text: &str| vec![text.to_owned()];
    assert_eq!((&rule.audiences, &rule.parameters, &rule.cookies, &rule.spaced_claims), (&list("a"), &list("p"), &list("c"), &list("roles")));
    assert_eq!(rule.payload_header.as_deref(), Some("x-payload"));
    assert_eq!(rule.claim_headers, [("sub".to_owned(), "x-sub".to_owned())]);
    let fetched = TokenKeys::Fetched { uri: "https://j.example/keys".to_owned(), timeout: std::time::Duration::from_secs(3), keys: None };
    assert_eq!(policy.rules[1].keys, fetched);
}

#[test]
fn a_refused_request_authentication_lets_no_request_in() {
    let policy = tokens(json!({"selector": {"matchLabels": {"app": "a"}}, "jwtRules": [{"issuer": "a", "jwks": "no keys"}]}));
    assert!(policy.closed && policy.rules.is_empty() && policy.origin.path.contains("no request"), "{policy:?}");
    assert_eq!(policy.selector["app"], "a");
}

#[test]
fn peer_authentication_modes() {
    let of = |spec: Value| translated(vec![named("PeerAuthentication", "p", spec)]).authentications["PeerAuthentication/default/p"].as_ref().clone();
    for (mode, want) in
        [("STRICT", Some(MtlsMode::Strict)), ("PERMISSIVE", Some(MtlsMode::Permissive)), ("DISABLE", Some(MtlsMode::Disable)), ("UNSET", None)]
    {
        assert_eq!(of(json!({"mtls": {"mode": mode}})).mode, want);
    }
    let ports = of(json!({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"80": {"mode": "DISABLE"}, "81": {"mode": "UNSET"}}}));
    assert_eq!((ports.mode, ports.ports), (None, BTreeMap::from([(80, MtlsMode::Disable)])));
    let refused = of(json!({"selector": {"matchLabels": {"app": "a"}}, "mtls": {"mode": "DISABLE"}, "portLevelMtls": {"x": {"mode": "DISABLE"}}}));
    assert_eq!((refused.mode, refused.ports.len(), refused.selector["app"].as_str()), (Some(MtlsMode::Strict), 0, "a"));
    assert!(refused.origin.path.contains("STRICT"));
}
