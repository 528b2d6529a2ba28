//! Objects that are taken and do nothing for the mesh's own traffic.

use super::findings::Findings;
use super::name;
use super::scene::Scene;
use taut_model::problem::Severity;

pub fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for object in scene.objects() {
        let reference = object.reference();
        if let Some(because) = scene.translation.idle.get(&reference) {
            let severity = if scene.translation.unserved.contains(&reference) { Severity::Warning } else { Severity::Info };
            findings.add(severity, name::NOT_SERVED, object, "", because, None);
        }
    }
}
