//! MeshSettings, and what of it is refused.

use super::*;
use crate::crl::tests::Signs;
use crate::translate::Fetched;
use std::time::Duration;
use taut_model::destination::{Balancer, RetryBudget};
use taut_model::settings::{MeshSettings, Outside};

fn mesh(name: &str, spec: Value) -> Object {
    let value = json!({"apiVersion": "tautline.dev/v1alpha1", "kind": "MeshSettings", "metadata": {"name": name}, "spec": spec});
    object(value)
}

#[test]
fn what_is_left_out_is_the_default() {
    let settings = |spec| {
        let translation = translated(vec![mesh("mesh", spec)]);
        let only = translation.settings.values().next().unwrap();
        (only.protection, only.balancer.clone(), only.hedging)
    };
    let defaults = MeshSettings::default();
    assert_eq!(settings(json!({})), (defaults.protection, defaults.balancer, defaults.hedging));
    let said = json!({
        "overload": {"protection": "Disabled"},
        "balancing": {"default": "LeastRequest"},
        "hedging": {"mode": "SafeRequests", "mostPercent": 2.5},
    });
    assert_eq!(settings(said), (false, Balancer::LeastRequest, Some(2.5)));
    assert_eq!(settings(json!({"hedging": {"mode": "SafeRequests"}})).2, Some(5.0));
    assert_eq!(settings(json!({"hedging": {"mostPercent": 2.5}})).2, None);
}

#[test]
fn budgets_compression_and_the_way_out() {
    let settings = |spec| translated(vec![mesh("mesh", spec)]).settings.values().next().unwrap().as_ref().clone();
    let defaults = settings(json!({}));
    assert_eq!((defaults.retry_budget, defaults.compression, defaults.outside), (RetryBudget::default(), None, Outside::Reachable));
    let budget = json!({"percent": 5.5, "minConcurrency": 0, "interval": "10s"});
    let want = RetryBudget { percent: 5.5, min_concurrency: 0, interval: Duration::from_secs(10), min_rate: None };
    assert_eq!(settings(json!({"retries": {"budget": budget}})).retry_budget, want);
    let compression = settings(json!({"compression": {"mode": "Enabled"}})).compression.unwrap();
    assert_eq!((compression.selector.len(), compression.min_length), (0, 1024));
    assert!(compression.content_types.contains(&"application/json".to_owned()));
    let said = json!({"mode": "Enabled", "selector": {"matchLabels": {"app": "a"}}, "contentTypes": ["Text/HTML"], "minimumLength": "2Ki"});
    let compression = settings(json!({"compression": said})).compression.unwrap();
    assert_eq!(
        (compression.selector["app"].as_str(), &compression.content_types[..], compression.min_length),
        ("a", &["text/html".to_owned()][..], 2048)
    );
    assert_eq!(settings(json!({"egress": {"mode": "RegistryOnly"}})).outside, Outside::Refused);
}

#[test]
fn settings_that_are_refused_leave_no_way_out_that_they_meant_to_close() {
    let refused = |spec: Value| {
        let mut object = mesh("mesh", spec);
        object.kind = taut_model::kinds::named("MeshSettings").unwrap();
        let outside = |object: &Object| translated(vec![object.clone()]).settings.values().next().map(|settings| settings.outside);
        let stored = super::super::stand_in(&object, "a.yaml:1:1: this is wrong");
        (outside(&object), stored.map(|stored| outside(&stored).unwrap()))
    };
    let closed = (Some(Outside::Refused), Some(Outside::Refused));
    assert_eq!(refused(json!({"egress": {"mode": "RegistryOnly"}, "hedging": {"mode": "Always"}})), closed);
    assert_eq!(refused(json!({"egress": {"mode": "Registry"}})), closed);
    assert_eq!(refused(json!({"egress": {"mode": "AllowAny"}, "hedging": {"mode": "Always"}})), (None, None));
    assert_eq!(refused(json!({"hedging": {"mode": "Always"}})), (None, None));
}

#[test]
fn what_has_no_meaning_is_refused_by_name() {
    for (spec, path) in [
        (json!({"hedging": {"mode": "SafeRequests", "mostPercent": 0}}), "spec.hedging.mostPercent"),
        (json!({"hedging": {"mode": "SafeRequests", "mostPercent": 90}}), "spec.hedging.mostPercent"),
        (json!({"overload": {"protection": "Off"}}), "spec.overload.protection"),
        (json!({"balancing": {"default": "RingHash"}}), "spec.balancing.default"),
        (json!({"hedging": {"mode": "Always"}}), "spec.hedging.mode"),
        (json!({"trustDomain": "elsewhere"}), "spec.trustDomain"),
        (json!({"retries": {"budget": {"percent": 101}}}), "spec.retries.budget.percent"),
        (json!({"retries": {"budget": {"minConcurrency": -1}}}), "spec.retries.budget.minConcurrency"),
        (json!({"retries": {"budget": {"interval": "1"}}}), "spec.retries.budget.interval"),
        (json!({"compression": {"mode": "Gzip"}}), "spec.compression.mode"),
        (json!({"compression": {"contentTypes": ["*/*"]}}), "spec.compression.contentTypes[0]"),
        (json!({"compression": {"contentTypes": ["text/html", "text/event-stream"]}}), "spec.compression.contentTypes[1]"),
        (json!({"compression": {"contentTypes": ["application/grpc+proto"]}}), "spec.compression.contentTypes[0]"),
        (json!({"compression": {"minimumLength": "1 KB"}}), "spec.compression.minimumLength"),
    ] {
        let object = mesh("mesh", spec.clone());
        let translation = translated(vec![object.clone()]);
        let found = errors(&translation.findings[&object.reference()]).iter().map(|problem| problem.path.clone()).collect::<Vec<_>>();
        assert_eq!(found, [path], "{spec}");
        assert!(translation.settings.is_empty());
    }
    let other = mesh("other", json!({}));
    let translation = translated(vec![other.clone()]);
    assert!(translation.settings.is_empty() && translation.idle[&other.reference()].contains("mesh"));
}

/// The bundle of some other trust domain, as PEM.
fn bundle() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

fn federated(federation: Value, keys: &[(&str, Fetched)]) -> Translation {
    let keys = keys.iter().map(|(url, fetched)| ((*url).to_owned(), fetched.clone())).collect();
    let settings = Settings { trust_domain: "mesh.local".to_owned(), keys: Arc::new(keys) };
    translate(&[Arc::new(mesh("mesh", json!({"federation": federation})))], &settings)
}

#[test]
fn other_trust_domains_are_believed_by_the_bundle_that_is_written_or_was_fetched() {
    let written = federated(json!([{"trustDomain": "west.example", "bundle": bundle()}]), &[]);
    assert_eq!((written.trust["west.example"].roots.len(), written.trust.len(), written.findings.len()), (1, 1, 0));
    let url = "https://west.example/bundle";
    let fetched = |text: Option<String>, problem: Option<&str>| {
        let known = Fetched { text, problem: problem.map(str::to_owned) };
        let translation = federated(json!([{"trustDomain": "west.example", "bundleUrl": url}]), &[(url, known)]);
        assert_eq!(translation.bundle_urls.iter().collect::<Vec<_>>(), [url]);
        let said = translation.findings.values().flatten().map(|problem| problem.message.clone()).collect::<String>();
        (translation.trust.contains_key("west.example"), said)
    };
    assert_eq!(fetched(Some(bundle()), None), (true, String::new()));
    let (believed, said) = fetched(Some(bundle()), Some("it hangs"));
    assert!(believed && said.contains("it hangs; the last good bundle is used"), "{said}");
    let (believed, said) = fetched(None, Some("it hangs"));
    assert!(!believed && said.contains("nobody of it is believed"), "{said}");
}

#[test]
fn a_federation_that_could_let_in_somebody_else_is_refused() {
    let pem = bundle();
    for (federation, why) in [
        (json!([{"trustDomain": "mesh.local", "bundle": pem}]), "is this mesh's own"),
        (json!([{"trustDomain": "West", "bundle": pem}]), "is no trust domain"),
        (json!([{"trustDomain": "west.example", "bundle": pem}, {"trustDomain": "west.example", "bundle": pem}]), "named twice"),
        (json!([{"trustDomain": "west.example"}]), "needs exactly one of"),
        (json!([{"trustDomain": "west.example", "bundle": pem, "bundleUrl": "https://a/"}]), "needs exactly one of"),
        (json!([{"trustDomain": "west.example", "bundleUrl": "http://a/"}]), "neither https"),
        (json!([{"trustDomain": "west.example", "bundle": "hello"}]), "holds no X.509 authority"),
    ] {
        let translation = federated(federation.clone(), &[]);
        let said = translation.findings.values().flatten().map(|problem| problem.to_string()).collect::<String>();
        assert!(said.contains(why) && translation.trust.is_empty() && translation.settings.is_empty(), "{federation}: {said}");
    }
}

#[test]
fn a_workload_of_another_trust_domain_is_expected_to_prove_it() {
    let entry = |identity: &str| {
        let annotations = json!({"tautline.dev/peer": "10.0.0.7:15008", "tautline.dev/identity": identity});
        let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": "a", "namespace": "shop", "annotations": annotations}, "spec": {"address": "10.0.0.7"}});
        let settings = Settings { trust_domain: "mesh.local".to_owned(), ..Settings::default() };
        let translation = translate(&[Arc::new(object(value))], &settings);
        translation.workloads.values().next().map(|workload| workload.identity.to_string())
    };
    let west = "spiffe://west.example/ns/bank/sa/teller";
    assert_eq!(entry(west).as_deref(), Some(west));
    assert_eq!((entry("spiffe://mesh.local/ns/bank/sa/teller"), entry("teller")), (None, None));
}

#[test]
fn the_mesh_may_go_by_other_names_and_a_federated_one_is_believed_by_its_own_bundle() {
    let aliases = |spec: Value| {
        let settings = Settings { trust_domain: "new.example".to_owned(), ..Settings::default() };
        let translation = translate(&[Arc::new(mesh("mesh", spec))], &settings);
        let said = translation.findings.values().flatten().map(|problem| problem.to_string()).collect::<String>();
        let settings = translation.settings.values().next().cloned();
        (settings.map(|settings| settings.aliases.iter().map(|alias| (alias.trust_domain.clone(), alias.federated)).collect::<Vec<_>>()), said)
    };
    let federation = json!([{"trustDomain": "west.example", "bundle": bundle()}]);
    let (named, said) = aliases(json!({"trustDomainAliases": ["old.example", "new.example", "west.example"], "federation": federation}));
    let all = [("old.example", false), ("new.example", false), ("west.example", true)];
    assert_eq!((named, said.as_str()), (Some(all.map(|(name, federated)| (name.to_owned(), federated)).to_vec()), ""));
    // A bundle that was never fetched makes nobody of that name the own authority's to vouch for.
    let (named, _) =
        aliases(json!({"trustDomainAliases": ["west.example"], "federation": [{"trustDomain": "west.example", "bundleUrl": "https://a/"}]}));
    assert_eq!(named, Some(vec![("west.example".to_owned(), true)]));
    // What was written before the mesh was renamed does no harm then.
    let (named, said) = aliases(json!({"trustDomain": "old.example", "trustDomainAliases": ["old.example"]}));
    assert!(named.is_some_and(|named| named.len() == 1) && said.contains("is an alias now"), "{said}");
    for (spec, why) in [
        (json!({"trustDomainAliases": ["Old"]}), "is no trust domain"),
        (json!({"trustDomainAliases": ["*.example"]}), "is no trust domain"),
        (json!({"trustDomainAliases": ["old.example", "old.example"]}), "named twice"),
        (json!({"trustDomain": "old.example"}), "taut up --trust-domain"),
        (json!({"trustDomainAliases": (0..65).map(|number| format!("d{number}")).collect::<Vec<_>>()}), "at most 64"),
    ] {
        let (named, said) = aliases(spec);
        assert!(named.is_none() && said.contains(why), "{said}");
    }
}

#[test]
fn the_lists_of_another_trust_domain_are_proven_by_its_roots_and_without_those_asked_for_nobody_of_it_is_believed() {
    let (root, forger) = (Signs::root("west"), Signs::root("west"));
    let url = "https://west.example/crl.pem";
    let west = |lists: Value, keys: &[(&str, Fetched)]| {
        let mut one = json!({"trustDomain": "west.example", "bundle": root.certificate.pem()});
        one.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
        let translation = federated(json!([one]), keys);
        let said = translation.findings.values().flatten().map(|problem| problem.to_string()).collect::<String>();
        let revoked = translation.trust.get("west.example").map(|bundle| bundle.revoked.len());
        (revoked, translation.lists_due.len(), translation.list_urls.len(), said)
    };
    let fetched = |text: Option<String>, problem: Option<&str>| [(url, Fetched { text, problem: problem.map(str::to_owned) })];
    let at_url = json!({"crlUrl": url});
    assert_eq!(west(json!({"crl": root.revoking(&[1, 2])}), &[]), (Some(2), 1, 0, String::new()));
    assert_eq!(west(at_url.clone(), &[]), (None, 0, 1, String::new()), "it is still to be fetched");
    assert_eq!(west(at_url.clone(), &fetched(Some(root.revoking(&[3])), None)), (Some(1), 1, 1, String::new()));
    for (lists, known, believed, why) in [
        (at_url.clone(), fetched(Some(root.revoking(&[3])), Some("it hangs")), Some(1), "it hangs; the last good lists are used"),
        (at_url.clone(), fetched(None, Some("it hangs")), None, "nobody of it is believed"),
        (at_url.clone(), fetched(Some(forger.revoking(&[3])), None), None, "is not signed by the authority of that name"),
        (json!({"crl": forger.revoking(&[])}), fetched(None, None), None, "is not signed by the authority of that name"),
        (json!({"crl": "hello"}), fetched(None, None), None, "cannot be read"),
        (json!({"crl": root.revoking(&[]), "crlUrl": url}), fetched(None, None), None, "takes one of"),
        (json!({"crlUrl": "http://west.example/"}), fetched(None, None), None, "neither https"),
    ] {
        let (revoked, _, _, said) = west(lists, &known);
        assert!(revoked == believed && said.contains(why), "{why}: {revoked:?} {said}");
    }
}
