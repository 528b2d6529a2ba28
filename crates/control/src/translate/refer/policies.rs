//! AuthorizationPolicies: principals that nobody is, services and authorizers that are not there.

use super::super::reader::code;
use super::super::translation::Translation;
use super::notes::Notes;
use super::world::World;
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy};
use taut_model::problem::Severity;
use taut_model::telemetry::ProviderKind;

pub fn check(world: &World<'_>, policy: &AuthorizationPolicy, notes: &mut Notes<'_>) {
    let about = &policy.origin.object;
    for host in policy.services.iter().filter(|host| world.service(host).is_none()) {
        let message = format!("spec.targetRefs: there is no service {host}, so this has no effect on it yet");
        notes.warn(code::UNKNOWN_REFERENCE, about, "spec.targetRefs", message, world.near_host(host));
    }
    for rule in &policy.rules {
        for (index, source) in rule.from.iter().enumerate() {
            let at = format!("{}.from[{index}].source", rule.origin.path);
            let principals = source.principals.iter().chain(&source.not_principals);
            let accounts = source.service_accounts.iter().chain(&source.not_service_accounts);
            for account in principals.filter_map(|principal| account_of(principal)).chain(accounts.cloned()) {
                unknown(world, about, &at, &account, notes);
            }
        }
    }
}

/// CUSTOM without an authorizer refuses what it matches.
pub fn check_provider(translation: &Translation, policy: &AuthorizationPolicy, notes: &mut Notes<'_>) {
    let is_authorizer = |kind: &ProviderKind| matches!(kind, ProviderKind::Authorizer(_));
    let mut known = translation.settings.values().flat_map(|settings| &settings.providers);
    if policy.action == AuthorizationAction::Custom && !known.any(|one| one.name == policy.provider && is_authorizer(&one.kind)) {
        let message = format!(
            "spec.provider.name: no authorizer among the mesh's extension providers is named {:?}, so what this matches is refused",
            policy.provider
        );
        notes.warn(code::UNKNOWN_REFERENCE, &policy.origin.object, "spec.provider.name", message, None);
    }
}

/// `namespace/account` of a principal that is spelled out; a pattern may mean anybody.
fn account_of(principal: &str) -> Option<String> {
    let (_, rest) = principal.split_once("/ns/").filter(|_| !principal.contains('*'))?;
    let (namespace, account) = rest.split_once("/sa/")?;
    Some(format!("{namespace}/{account}"))
}

fn unknown(world: &World<'_>, about: &ObjectRef, at: &str, account: &str, notes: &mut Notes<'_>) {
    if !world.knows_account(account) {
        let message = format!("{at}: no workload runs as the service account {account}, and no ServiceAccount of that name exists");
        notes.add(Severity::Info, code::UNKNOWN_REFERENCE, about, at, message, world.near_account(account));
    }
}
