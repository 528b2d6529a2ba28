//! What there is to ask for: groups, versions and resources, in both forms that clients read.

use super::accept::Accept;
use super::answer::Answer;
use super::external;
use axum::body::Body;
use serde_json::{Value, json};
use taut_model::kinds::{KINDS, Kind};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The version of Kubernetes whose API this follows; clients decide by it what they may ask for.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "32", "gitVersion": concat!("v1.32.0+tautline.", env!("CARGO_PKG_VERSION")), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

pub(super) fn root() -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned).into();
    for (group, versions) in group_versions().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend([format!("/apis/{}", external::GROUP), format!("/apis/{}/{}", external::GROUP, external::VERSION)]);
    paths.sort();
    json!({"paths": paths})
}

pub(super) fn core_versions(accept: &Accept) -> Answer {
    match accept.wants_aggregated_discovery() {
        true => aggregated(|group| group.is_empty()),
        false => Answer::json(&json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
    }
}

pub(super) fn groups(accept: &Accept) -> Answer {
    if accept.wants_aggregated_discovery() {
        return aggregated(|group| !group.is_empty());
    }
    let of_objects = group_versions().into_iter().filter(|(group, _)| !group.is_empty());
    let all = of_objects.chain([(external::GROUP, vec![external::VERSION])]);
    let groups: Vec<Value> = all.map(|(group, versions)| group_entry(group, &versions)).collect();
    Answer::json(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

pub(super) fn group(wanted: &str) -> Value {
    let versions = group_versions().into_iter().find(|(group, _)| *group == wanted).map(|(_, versions)| versions).unwrap_or_default();
    let mut group = group_entry(wanted, &versions);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

pub(super) fn resources(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in kinds(group, version) {
        resources.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS,
            "shortNames": kind.short_names, "categories": kind.categories,
        }));
        if kind.has_status {
            resources.push(json!({
                "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind, "verbs": STATUS_VERBS,
            }));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": resources})
}

pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Groups in the order of `KINDS`, each with its versions, the preferred one first.
pub(super) fn group_versions() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut out: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for kind in KINDS {
        let at = out.iter().position(|(group, _)| *group == kind.group).unwrap_or_else(|| {
            out.push((kind.group, Vec::new()));
            out.len() - 1
        });
        for version in kind.versions {
            if !out[at].1.contains(version) {
                out[at].1.push(version);
            }
        }
    }
    out
}

pub(super) fn kinds<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Kind> + use<'a> {
    KINDS.iter().filter(move |kind| kind.group == group && kind.versions.contains(&version))
}

pub(super) fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let entries: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "versions": entries, "preferredVersion": entries.first(), "serverAddressByClientCIDRs": []})
}

fn aggregated(wanted: fn(&str) -> bool) -> Answer {
    let mut items = Vec::new();
    for (group, versions) in group_versions().into_iter().filter(|(group, _)| wanted(group)) {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let resources: Vec<Value> = kinds(group, version).map(|kind| aggregated_resource(kind, version)).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    Answer::new(AGGREGATED, Body::from(list.to_string()))
}

fn aggregated_resource(kind: &Kind, version: &str) -> Value {
    let response_kind = json!({"group": kind.group, "version": version, "kind": kind.kind});
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response_kind, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories,
    });
    if kind.has_status {
        resource["subresources"] = json!([{"subresource": "status", "responseKind": response_kind, "verbs": STATUS_VERBS}]);
    }
    resource
}
