//! MeshSettings, and what of it is refused.

use super::*;
use taut_model::destination::Balancer;
use taut_model::settings::MeshSettings;

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
fn what_has_no_meaning_is_refused_by_name() {
    for (spec, path) in [
        (json!({"hedging": {"mode": "SafeRequests", "mostPercent": 0}}), "spec.hedging.mostPercent"),
        (json!({"hedging": {"mode": "SafeRequests", "mostPercent": 90}}), "spec.hedging.mostPercent"),
        (json!({"overload": {"protection": "Off"}}), "spec.overload.protection"),
        (json!({"balancing": {"default": "RingHash"}}), "spec.balancing.default"),
        (json!({"hedging": {"mode": "Always"}}), "spec.hedging.mode"),
        (json!({"trustDomain": "elsewhere"}), "spec.trustDomain"),
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
