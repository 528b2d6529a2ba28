//! AuthorizationPolicies: principals that nobody is.

use super::super::reader::code;
use super::notes::Notes;
use super::world::World;
use taut_model::origin::ObjectRef;
use taut_model::policy::AuthorizationPolicy;
use taut_model::problem::Severity;

pub fn check(world: &World<'_>, policy: &AuthorizationPolicy, notes: &mut Notes<'_>) {
    let about = &policy.origin.object;
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
