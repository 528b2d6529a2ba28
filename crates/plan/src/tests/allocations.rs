//! What a decision allocates: the verdict, and nothing on the way to it, however many rules there are.

use super::*;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, OperationMatch, SourceMatch};

const COUNTS: [usize; 2] = [3, 300];

fn allocated(plan: &Plan, facts: &Facts<'_>) -> u64 {
    let mut verdict = None;
    let counted = allocation_counter::measure(|| verdict = Some(plan.decide(facts, &Rolls::default())));
    assert!(matches!(verdict, Some(Verdict::Go(_))), "{verdict:?}");
    counted.count_total
}

#[test]
fn an_outbound_decision() {
    for (dialect, count) in [Dialect::Istio, Dialect::GatewayApi].into_iter().flat_map(|dialect| COUNTS.map(|count| (dialect, count))) {
        let matching = |number: usize| HttpMatch {
            headers: vec![NamedMatch { name: "end-user".into(), value: TextMatch::Exact(format!("user-{number}")) }],
            ..on_path(PathMatch::Prefix("/reviews/".into()))
        };
        let rules = (0..count).map(|number| rule(&number.to_string(), vec![matching(number)], to("reviews", "v1")));
        let routed = Route { hostnames: vec!["reviews".into()], ..route(dialect, "r", "", rules.collect()) };
        let plan = Plan::compile(&with_routes(vec![routed]));
        // An escape that stands for what it stands for, whatever reads it.
        let request = get("/reviews/a%2Fb.html").header("end-user", &format!("user-{}", count - 1));
        assert_eq!(allocated(&plan, &request.facts()), 1, "{dialect:?} {count}");
    }
}

#[test]
fn an_inbound_decision() {
    let (host, caller) = (fqdn("productpage"), Identity::new("mesh.local", "default", "caller"));
    for (action, count) in [AuthorizationAction::Allow, AuthorizationAction::Deny].into_iter().flat_map(|action| COUNTS.map(|count| (action, count)))
    {
        let mut snapshot = bookstore();
        for number in 0..count {
            let origin = origin("AuthorizationPolicy", &format!("p{number}"), "");
            // The last that allows is for the caller; the others are for others, at the same place.
            let who = if action == AuthorizationAction::Allow && number == count - 1 { "caller".to_owned() } else { format!("other-{number}") };
            let from = SourceMatch { principals: vec![format!("mesh.local/ns/default/sa/{who}")], ..SourceMatch::default() };
            let (hosts, paths) = (vec!["productpage".to_owned()], vec!["/b/{*}".to_owned(), "/{**}/c".to_owned(), "/a/*".to_owned()]);
            let to = OperationMatch { hosts, paths, methods: vec!["GET".into()], ..OperationMatch::default() };
            let rules = vec![AuthorizationRule { origin: origin.clone(), from: vec![from], to: vec![to], when: vec![] }];
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
            snapshot.authorizations.insert(policy.origin.object.to_string(), Arc::new(policy));
        }
        let request = Request { authority: "productpage:9080".into(), ..get("/a/b%2Fc") };
        let peer = Peer { identity: Some(&caller), ..Peer::default() };
        let facts = Facts { direction: Direction::Inbound, host: &host, peer, ..request.facts() };
        assert_eq!(allocated(&Plan::compile(&snapshot), &facts), 1, "{action:?} {count}");
    }
}
