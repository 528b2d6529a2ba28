//! MeshSettings, and what of it is refused.

use super::*;
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
