//! Which kind an object is, or which it was probably meant to be.

use crate::kinds::{KINDS, Kind, by_kind};
use crate::problem::{Problem, Severity};
use crate::schema::nearest;
use serde_json::Value;

/// The code of a kind that is no mesh's: in a directory of manifests it is nothing wrong.
pub const FOREIGN_KIND: &str = "ForeignKind";

/// The kind of `value` by its `apiVersion` and `kind`.
pub fn kind(value: &Value) -> Result<&'static Kind, Box<Problem>> {
    if !value.is_object() {
        return Err(problem("WrongType", "", "this is no object: apiVersion, kind and metadata are expected".to_owned(), None));
    }
    let text = |key: &str| match &value[key] {
        Value::String(text) if !text.is_empty() => Ok(text.as_str()),
        Value::Null | Value::String(_) => Err(missing(key, value)),
        _ => Err(problem("WrongType", key, format!("{key} must be text"), None)),
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    by_kind(api_version, kind).ok_or_else(|| unknown(api_version, kind))
}

/// The kind that was probably meant where [`kind`] finds none: of the group that is written, by a version that is not served
/// or by a misspelt name.
pub fn meant(value: &Value) -> Option<&'static Kind> {
    let (group, _) = value["apiVersion"].as_str()?.rsplit_once('/')?;
    let of_group = || KINDS.iter().filter(|known| known.group == group);
    let name = nearest(value["kind"].as_str()?, of_group().map(|known| known.kind))?;
    of_group().find(|known| known.kind == name)
}

fn missing(key: &str, value: &Value) -> Box<Problem> {
    let misspelt = || value.as_object()?.keys().map(String::as_str).find(|name| *name != key && nearest(name, [key]).is_some());
    let known_kind = || KINDS.iter().find(|known| value["kind"] == known.kind);
    let help = match (misspelt(), key) {
        (Some(name), _) => Some(format!("{name:?} is there: did you mean {key:?}?")),
        (None, "apiVersion") => known_kind().map(|known| format!("a {} has apiVersion: {}", known.kind, known.api_version())),
        _ => None,
    };
    problem("MissingField", "", format!("this object has no {key}"), help)
}

/// Identity-based authorization as Gateway API proposes it (GEP-3779). No release of Gateway API has the kind, so what it means may still
/// change, and nobody could say that it is enforced as it reads.
fn proposed(group: &str, kind: &str) -> Option<Box<Problem>> {
    let group_fits = matches!(group, "gateway.networking.k8s.io" | "gateway.networking.x-k8s.io");
    (group_fits && matches!(kind, "AuthorizationPolicy" | "XAuthorizationPolicy")).then(|| {
        let help = "write an AuthorizationPolicy of security.istio.io/v1: its sources as from[].source.principals or serviceAccounts, its ports as to[].operation.ports, its target as selector";
        let message = format!("{kind} of {group} is a proposal (GEP-3779) that no release of Gateway API has, and is not supported");
        problem("UnsupportedValue", "kind", message, Some(help.to_owned()))
    })
}

fn unknown(api_version: &str, kind: &str) -> Box<Problem> {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if let Some(proposed) = proposed(group, kind) {
        return proposed;
    }
    let served: Vec<String> = KINDS
        .iter()
        .filter(|known| known.kind == kind)
        .flat_map(|known| known.versions.iter().map(|version| known.api_version_at(version)))
        .collect();
    if !served.is_empty() {
        let near = nearest(api_version, served.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("{kind} is known as {}", served.join(", ")),
        };
        return problem("UnknownKind", "apiVersion", format!("{kind} is not known as {api_version:?}"), Some(help));
    }
    let in_group = nearest(kind, KINDS.iter().filter(|known| known.group == group).map(|known| known.kind));
    let near = in_group.or_else(|| nearest(kind, KINDS.iter().map(|known| known.kind)));
    let help = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => known_in(group),
    };
    let code = if near.is_none() && !of_a_mesh(group) { FOREIGN_KIND } else { "UnknownKind" };
    problem(code, "kind", format!("{kind:?} of {api_version} is not a kind that the mesh reads"), Some(help))
}

/// Whether somebody who writes such a kind expects a mesh to do something: without it the mesh would be another one.
fn of_a_mesh(group: &str) -> bool {
    const MESHES: [&str; 8] = [
        "istio.io",
        "gateway.networking.k8s.io",
        "gateway.networking.x-k8s.io",
        "tautline.dev",
        "linkerd.io",
        "kuma.io",
        "consul.hashicorp.com",
        "appmesh.k8s.aws",
    ];
    MESHES.iter().any(|mesh| group.strip_suffix(mesh).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))) || group == "gateway.envoyproxy.io"
}

fn known_in(group: &str) -> String {
    let names: Vec<&str> = KINDS.iter().filter(|known| known.group == group).map(|known| known.kind).collect();
    match (group, names.join(", ")) {
        (group, names) if names.is_empty() => format!("it reads nothing of {group}: keep this object in another file"),
        ("", names) => format!("of the core group it reads {names}"),
        (group, names) => format!("of {group} it reads {names}"),
    }
}

fn problem(code: &'static str, path: &str, message: String, help: Option<String>) -> Box<Problem> {
    let path = path.to_owned();
    Box::new(Problem { severity: Severity::Error, code, object: None, path, location: None, message, help, excerpt: None })
}
