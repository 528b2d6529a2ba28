//! One object as it would be after it is applied: server-side apply, and what Kubernetes fills in.

use super::Terms;
use crate::api::defaults;
use crate::changes::{diff, yaml};
use crate::store::ledger::{essence, hide};
use std::sync::Arc;
use taut_model::merge::apply::apply;
use taut_model::merge::managed::Writer;
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use taut_model::schema;

/// An object that is proposed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// `create`, `update` or `unchanged`.
    pub verb: &'static str,
    /// As it would be.
    pub object: Arc<Object>,
    /// As it is written, with its places.
    pub written: Object,
    /// Unified, of YAML; the content of Secrets is hidden.
    pub diff: String,
}

pub(super) fn applied(written: &Object, terms: &Terms<'_>) -> Result<Changed, Box<Problem>> {
    let live = terms.store.get(written.kind, &written.namespace, &written.name);
    let mut config = written.value.clone();
    if written.kind.namespaced {
        config["metadata"]["namespace"] = written.namespace.clone().into();
    }
    let writer = Writer { manager: terms.manager, now: terms.now, subresource: "" };
    let value = apply(live.as_deref().map(|live| &live.value), &config, writer, true, schema::of(written.kind));
    let value = value.map_err(|error| Box::new(unusable(written, &error)))?;
    let mut object = Object { value, places: written.places.clone(), ..written.clone() };
    defaults::fill(&mut object);
    if live.is_none() {
        // The store dates objects; which of two is older decides between them.
        object.value["metadata"]["creationTimestamp"] = terms.now.into();
    }
    let (mut before, mut after) = (live.as_deref().map(essence), essence(&object));
    let verb = match &before {
        None => "create",
        Some(before) if *before == after => "unchanged",
        Some(_) => "update",
    };
    if written.kind.group.is_empty() && written.kind.kind == "Secret" {
        hide(before.as_mut(), Some(&mut after));
    }
    let diff = if verb == "unchanged" { String::new() } else { diff(before.as_ref().map(yaml).as_deref(), Some(&yaml(&after))) };
    Ok(Changed { verb, object: Arc::new(object), written: written.clone(), diff })
}

fn unusable(written: &Object, error: &taut_model::merge::apply::ApplyError) -> Problem {
    use taut_model::merge::apply::ApplyError;
    let (path, message) = match error {
        ApplyError::Invalid(error) => (error.path.clone(), error.message.clone()),
        // Not when it is forced.
        ApplyError::Conflicts(conflicts) => (String::new(), conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    };
    Problem {
        severity: Severity::Error,
        code: "InvalidValue",
        object: Some(written.reference()),
        location: written.location(&path),
        path,
        message,
        help: None,
        excerpt: None,
    }
}
