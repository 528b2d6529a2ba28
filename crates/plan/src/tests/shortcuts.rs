//! A decision skips the rules that cannot match, an explanation does not: both decide the same.

use super::*;
use crate::decide::Dice;
use crate::trace::Recorder;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, ConditionKey, OperationMatch, SourceMatch};

/// More than are looked at one by one.
const MANY: std::ops::Range<usize> = 17..60;

fn decided(plan: &Plan, facts: &Facts<'_>) -> String {
    format!("{:?}", plan.decide(facts, &Rolls::default()))
}

fn decided_by_looking_at_all(plan: &Plan, facts: &Facts<'_>) -> String {
    format!("{:?}", plan.decide_with(facts, Dice::Cast(&Rolls::default()), &mut Recorder::default()))
}

fn path() -> impl Strategy<Value = String> {
    "(/[abA]{0,2}){0,3}"
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        path().prop_map(PathMatch::Exact),
        path().prop_map(PathMatch::Prefix),
        path().prop_map(PathMatch::Segments),
        path().prop_map(|path| PathMatch::Regex(format!("{path}.")))
    ]
}

fn header_name() -> impl Strategy<Value = &'static str> {
    // More of them than rules are looked up by, some more often than others.
    prop::sample::select(vec!["a", "a", "a", "b", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", ":path"])
}

fn header_match() -> impl Strategy<Value = NamedMatch> {
    let value = prop_oneof![
        4 => "[12]".prop_map(TextMatch::Exact),
        1 => "[12]".prop_map(TextMatch::Prefix),
        1 => Just(TextMatch::Exact("1,2".into())),
        1 => Just(TextMatch::Present)
    ];
    (header_name(), value).prop_map(|(name, value)| NamedMatch { name: name.into(), value })
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let unwanted = weighted(0.1, header_match());
    (weighted(0.8, path_match()), prop::bool::weighted(0.2), vec(header_match(), 0..3), unwanted).prop_map(
        |(path, ignore_path_case, headers, unwanted)| HttpMatch {
            path,
            ignore_path_case,
            headers,
            without_headers: unwanted.into_iter().collect(),
            ..HttpMatch::default()
        },
    )
}

/// Rules of one VirtualService, or of HTTPRoutes with and without hostnames, each known by its number.
fn table() -> impl Strategy<Value = Plan> {
    (prop_oneof![Just(Dialect::Istio), Just(Dialect::GatewayApi)], vec((http_match(), 0_usize..4), MANY)).prop_map(|(dialect, matches)| {
        let hostnames: [&[&str]; 4] = [&[], &["a.example.com"], &["*.example.com"], &["b.example.com", "reviews"]];
        let mut routes: Vec<Route> = (0..hostnames.len()).map(|number| route(dialect, &format!("r{number}"), "2020", vec![])).collect();
        for (number, (matching, of)) in matches.into_iter().enumerate() {
            let of = if dialect == Dialect::Istio { 0 } else { of };
            routes[of].hostnames = hostnames[of].iter().map(|name| (*name).to_owned()).collect();
            routes[of].http.push(rule(&number.to_string(), vec![matching], to("reviews", "")));
        }
        Plan::compile(&with_routes(routes))
    })
}

fn request() -> impl Strategy<Value = Request> {
    let authority = prop::sample::select(vec!["a.example.com", "A.Example.com.:80", "b.example.com", "c.example.com:1", "reviews:9080", ""]);
    (path(), authority, vec((header_name(), "[12]"), 0..6)).prop_map(|(path, authority, headers)| {
        let request = Request { authority: authority.into(), ..get(&path) };
        headers.into_iter().filter(|(name, _)| *name != ":path").fold(request, |request, (name, value)| request.header(name, &value))
    })
}

fn principals() -> impl Strategy<Value = Vec<String>> {
    let one = prop::sample::select(vec![
        "mesh.local/ns/a/sa/x",
        "cluster.local/ns/a/sa/y",
        "spiffe://mesh.local/ns/b/sa/x",
        "mesh.local/ns/b/sa/x/sa/y",
        "mesh.local/ns/a/*",
        "mesh.local/ns/a*",
        "mesh.local/ns/*",
        "*/sa/x",
        "*",
        "nobody",
    ]);
    vec(one.prop_map(str::to_owned), 0..3)
}

fn texts(from: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    vec(prop::sample::select(from).prop_map(str::to_owned), 0..=most)
}

fn source() -> impl Strategy<Value = SourceMatch> {
    let not = texts(&["mesh.local/ns/a/sa/x", "*/sa/y"], 1);
    (principals(), texts(&["a", "b", "a*", "*"], 1), texts(&["a/x", "b/x", "b/x/sa/y", "x"], 1), not).prop_map(
        |(principals, namespaces, service_accounts, not_principals)| SourceMatch {
            principals,
            namespaces,
            service_accounts,
            not_principals,
            ..SourceMatch::default()
        },
    )
}

fn operation() -> impl Strategy<Value = OperationMatch> {
    let paths = texts(&["/", "/a", "/a/*", "/a/b*", "*/b", "*", "/a/{*}", "/{**}/b", "/a/{*}/a", "/x{*}"], 2);
    let not_paths = texts(&["/a/b", "/a/*"], 1);
    (paths, not_paths, texts(&["GET", "POST", "G*"], 1), texts(&["reviews", "*.com"], 1))
        .prop_map(|(paths, not_paths, methods, hosts)| OperationMatch { paths, not_paths, methods, hosts, ..OperationMatch::default() })
}

fn authorization_rule() -> impl Strategy<Value = AuthorizationRule> {
    let when = weighted(0.2, texts(&["a", "b*"], 1)).prop_map(|values| {
        let values = values?;
        Some(Condition { key: ConditionKey::SourceNamespace, values, not_values: vec!["c".into()] })
    });
    (vec(source(), 0..3), vec(operation(), 0..3), when).prop_map(|(from, to, when)| AuthorizationRule {
        origin: Origin::default(),
        from,
        to,
        when: when.into_iter().collect(),
    })
}

fn policies() -> impl Strategy<Value = Plan> {
    use AuthorizationAction::{Allow, Audit, Deny};
    let action = prop::sample::select(vec![vec![Allow], vec![Audit, Allow], vec![Deny], vec![Deny, Audit, Allow]]);
    (action, vec(vec(authorization_rule(), 0..4), MANY)).prop_map(|(actions, policies)| {
        let mut snapshot = bookstore();
        for (number, mut rules) in policies.into_iter().enumerate() {
            let name = format!("p{number:02}");
            for (number, rule) in rules.iter_mut().enumerate() {
                rule.origin = origin("AuthorizationPolicy", &name, &format!("spec.rules[{number}]"));
            }
            let (origin, action) = (origin("AuthorizationPolicy", &name, ""), actions[number % actions.len()]);
            let policy = AuthorizationPolicy {
                origin,
                namespace: "default".into(),
                selector: BTreeMap::new(),
                action,
                services: vec![],
                provider: String::new(),
                dry_run: false,
                rules,
            };
            snapshot.authorizations.insert(name, Arc::new(policy));
        }
        Plan::compile(&snapshot)
    })
}

fn identity() -> impl Strategy<Value = Option<Identity>> {
    let written = (prop::sample::select(vec!["a", "b", "a/sa/x"]), prop::sample::select(vec!["x", "y", "x/sa/y"]));
    weighted(0.9, written.prop_map(|(namespace, account)| Identity::new("mesh.local", namespace, account)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_rule_that_is_looked_up_is_the_first_that_matches(plan in table(), requests in vec(request(), 12)) {
        for request in requests {
            prop_assert_eq!(decided(&plan, &request.facts()), decided_by_looking_at_all(&plan, &request.facts()), "{:?}", request);
        }
    }

    #[test]
    fn policies_that_are_looked_up_allow_deny_and_audit_as_all_of_them_do(plan in policies(), visits in vec((identity(), weighted(0.8, request())), 12)) {
        for (identity, request) in visits {
            let host = if identity.is_some() { fqdn("productpage") } else { String::new() };
            let facts = Facts {
                direction: Direction::Inbound,
                host: &host,
                port: if identity.is_some() { 9080 } else { 8080 },
                http: request.as_ref().map(Request::http),
                peer: Peer { identity: identity.as_ref(), ..Peer::default() },
                sni: None,
            };
            prop_assert_eq!(decided(&plan, &facts), decided_by_looking_at_all(&plan, &facts), "{:?} {:?}", identity, request);
        }
    }
}
