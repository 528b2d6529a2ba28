//! What a workload may claim when it says hello: a name that no other identity holds.
//!
//! The certificate proves namespace and service account, and nothing else of what a hello says. Policies are written about
//! accounts, and peers check them, so a workload of one account never gets what stands for another one.

use super::{MANAGER, PEER, RegistryFault, is_ours};
use taut_model::object::Object;
use taut_wire::desk::Hello;

/// What an entry that names no service account runs as (WorkloadEntry.service_account).
const DEFAULT_ACCOUNT: &str = "default";

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
