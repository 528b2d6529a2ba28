//! What a workload may claim when it says hello: a name that no other identity holds, and the services of its own account.
//!
//! The certificate proves namespace and service account, and nothing else of what a hello says. Policies are written about
//! accounts, and peers check them, so a workload of one account never gets what stands for another one.

use super::{MANAGER, PEER, RegistryFault, is_ours};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;
use taut_model::object::Object;
use taut_wire::desk::Hello;

/// What an entry that names no service account runs as (WorkloadEntry.service_account).
const DEFAULT_ACCOUNT: &str = "default";

/// On a Service or ServiceEntry: the service accounts whose workloads may join it, with commas between them. Where it is,
/// it alone decides; nobody but users writes it.
pub(super) const SERVICE_ACCOUNTS: &str = "tautline.dev/service-accounts";

/// The service account that an entry stands for.
pub(super) fn account(entry: &Object) -> &str {
    entry.value["spec"]["serviceAccount"].as_str().filter(|account| !account.is_empty()).unwrap_or(DEFAULT_ACCOUNT)
}

/// Whether the workload may be written down as, or beside, the entry that has its name already.
///
/// # Errors
/// The entry is another identity's.
pub(super) fn name(entry: &Object, hello: &Hello) -> Result<(), RegistryFault> {
    let holder = account(entry);
    if holder == hello.service_account {
        return Ok(());
    }
    let way_out = match is_ours(entry) {
        true => "delete the WorkloadEntry if that workload is gone for good, or give this one another name (--name)",
        false => "correct spec.serviceAccount of the WorkloadEntry that a user wrote, or give this one another name (--name)",
    };
    Err(RegistryFault::Taken(format!(
        "the name {}/{} is taken by service account {holder:?}, and this workload runs as {:?}; {way_out}",
        entry.namespace, entry.name, hello.service_account
    )))
}

/// Whether a hello may say where the proxy of a user's entry is: when nobody said it, or a hello did.
pub(super) fn may_say_peer(entry: &Object) -> bool {
    let metadata = &entry.value["metadata"];
    if metadata["annotations"][PEER].as_str().is_none_or(str::is_empty) {
        return true;
    }
    let managers = metadata["managedFields"].as_array().into_iter().flatten();
    let mut ours = managers.filter(|one| one["manager"] == MANAGER).map(|one| &one["fieldsV1"]["f:metadata"]["f:annotations"]);
    ours.any(|annotations| annotations.get(format!("f:{PEER}")).is_some())
}

/// Whether a workload may serve `service`: its account is listed there by name; or, without such a list, some workload of the
/// service has that account already; or the service has no workload yet. So whoever comes first settles the account of a
/// service without a list, which any account of the namespace can do.
///
/// `serving` are the entries that the service selects.
///
/// # Errors
/// The service is another account's.
pub(super) fn service(service: &Object, serving: &[Arc<Object>], hello: &Hello) -> Result<(), RegistryFault> {
    let ours = hello.service_account.as_str();
    let (accounts, because) = match service.value["metadata"]["annotations"][SERVICE_ACCOUNTS].as_str() {
        Some(list) => (list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(), "lists"),
        None => (serving.iter().map(|entry| account(entry)).collect::<BTreeSet<_>>(), "has workloads of"),
    };
    if accounts.contains(ours) || (accounts.is_empty() && because != "lists") {
        return Ok(());
    }
    let all: Vec<&str> = accounts.into_iter().chain([ours]).collect();
    let (others, all) = (all[..all.len() - 1].join(", "), all.join(","));
    Err(RegistryFault::NotPermitted(format!(
        "{}/{} runs as service account {ours:?}, and {} {}/{} {because} {others:?}; run it as that account, give it other labels, or let \
         both serve with the annotation {SERVICE_ACCOUNTS}: {all:?} on the {}",
        hello.namespace, hello.name, service.kind.kind, service.namespace, service.name, service.kind.kind
    )))
}

/// The labels by which a Service or ServiceEntry selects its workloads; `None` when it selects none.
pub(super) fn selector(service: &Object) -> Option<&Map<String, Value>> {
    let spec = &service.value["spec"];
    let selector = if service.kind.kind == "ServiceEntry" { &spec["workloadSelector"]["labels"] } else { &spec["selector"] };
    selector.as_object().filter(|selector| !selector.is_empty())
}

pub(super) fn selects(selector: &Map<String, Value>, labels: &Value) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}
