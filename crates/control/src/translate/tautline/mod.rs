//! Tautline's own kinds, translated; `api` is their shape.

mod api;
mod health_check;
mod objective;
mod rate_limit;

use crate::translate::meaning::Meaning;
use crate::translate::reader::Reader;

pub use health_check::health_check;
pub use objective::{Promised, service_level_objective};
pub use rate_limit::{rate_limit, refuse_everything};

/// The names of the Services that an object is about, in its own namespace.
fn services(reader: &mut Reader<'_>, targets: Vec<api::TargetRef>) -> Vec<String> {
    if targets.is_empty() {
        reader.invalid("spec.targetRefs", "names no Service");
    }
    for (index, target) in targets.iter().enumerate() {
        let at = format!("spec.targetRefs[{index}]");
        let is_service = matches!(target.group.as_deref(), None | Some("" | "core")) && matches!(target.kind.as_deref(), None | Some("Service"));
        if !is_service {
            reader.unsupported_value(&at, "a target that is not a Service", "use kind Service");
        } else if target.name.is_empty() {
            reader.invalid(&format!("{at}.name"), "is missing");
        }
    }
    targets.into_iter().map(|target| target.name).collect()
}

/// What the mesh puts on the incidents that it writes.
pub const SUBJECT: &str = "tautline.dev/subject";

/// Incidents mean nothing to proxies. One in a file was not written by the mesh.
pub fn incident(reader: &mut Reader<'_>) -> Meaning {
    if reader.object().value["metadata"]["labels"][SUBJECT].is_null() {
        not_for_users(reader);
    }
    Meaning::Nothing
}

pub fn not_for_users(reader: &mut Reader<'_>) {
    reader.invalid("kind", "incidents are written by the mesh itself; a ServiceLevelObjective says what is to open one");
}
