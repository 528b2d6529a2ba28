//! The schemas of all kinds as OpenAPI v3, for `kubectl explain` and for clients that check before they send.

use super::answer::Answer;
use super::discovery::{group_versions, kinds};
use super::refusal::Refusal;
use axum::body::Body;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::LazyLock;
use taut_model::kinds::Kind;
use taut_model::schema;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// `apis/networking.istio.io/v1` -> its document, made once.
static DOCUMENTS: LazyLock<BTreeMap<String, (Bytes, String)>> = LazyLock::new(|| {
    let mut documents = BTreeMap::new();
    for (group, versions) in group_versions() {
        for version in versions {
            let bytes = Bytes::from(group_document(group, version).to_string());
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            documents.insert(prefix(group, version), (bytes, format!("{:016X}", hasher.finish())));
        }
    }
    documents
});

pub(super) fn index() -> Value {
    let entry =
        |(path, (_, hash)): (&String, &(Bytes, String))| (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}));
    json!({"paths": DOCUMENTS.iter().map(entry).collect::<Map<_, _>>()})
}

/// An OpenAPI v2 document without schemas, in the protobuf form that kubectl wants. It asks for one when a kind is not in any v3
/// document, before it can say that there is no such kind.
pub(super) fn version_two() -> Answer {
    // openapi.v2.Document { swagger: "2.0", info: { title: "Tautline", version: "1" } } (gnostic, openapiv2/OpenAPIv2.proto).
    const EMPTY: &[u8] = b"\x0a\x032.0\x12\x0d\x0a\x08Tautline\x12\x011";
    Answer::new("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", Body::from(EMPTY))
}

pub(super) fn document(path: &str) -> Result<Answer, Refusal> {
    let (bytes, _) = DOCUMENTS.get(path).ok_or_else(Refusal::no_such_path)?;
    Ok(Answer::new("application/json", Body::from(bytes.clone())))
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn group_document(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for kind in kinds(group, version) {
        let component = component(kind, version);
        let (schema, metadata) = kind_schema(kind, version);
        schemas.insert(component.clone(), schema);
        schemas.insert(META.into(), metadata);
        schemas.insert(format!("{component}List"), list_schema(kind, version, &component));
        add_paths(&mut paths, kind, version, &component);
    }
    schemas.insert(
        LIST_META.into(),
        json!({"type": "object", "description": "What every list has.", "properties": {
            "resourceVersion": {"type": "string", "description": "The version at which the list is consistent: watch from here."},
            "continue": {"type": "string", "description": "Always empty: lists are never cut."},
        }}),
    );
    json!({
        "openapi": "3.0.0", "info": {"title": "Tautline", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    })
}

/// `io.istio.networking.v1.VirtualService`
fn component(kind: &Kind, version: &str) -> String {
    let group = if kind.group.is_empty() { "core.api.k8s.io" } else { kind.group };
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{}", reversed.join("."), kind.kind)
}

fn group_version_kind(kind: &Kind, version: &str, suffix: &str) -> Value {
    json!({"group": kind.group, "version": version, "kind": format!("{}{suffix}", kind.kind)})
}

/// The schema of a kind, and that of its `metadata`, which all kinds of the document share.
fn kind_schema(kind: &'static Kind, version: &str) -> (Value, Value) {
    let mut schema = schema::of(kind).clone();
    let reference = json!({"description": "Standard object's metadata.", "default": {}, "allOf": [{"$ref": format!("#/components/schemas/{META}")}]});
    let metadata = schema.pointer_mut("/properties/metadata").map(|place| std::mem::replace(place, reference)).unwrap_or_default();
    schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind, version, "")]);
    (schema, metadata)
}

fn list_schema(kind: &Kind, version: &str, component: &str) -> Value {
    json!({
        "type": "object", "description": format!("A list of {}.", kind.kind), "required": ["items"],
        "x-kubernetes-group-version-kind": [group_version_kind(kind, version, "List")],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{component}")}},
            "metadata": {"allOf": [{"$ref": format!("#/components/schemas/{LIST_META}")}]},
        },
    })
}

fn add_paths(paths: &mut Map<String, Value>, kind: &Kind, version: &str, component: &str) {
    let base = format!("/{}", prefix(kind.group, version));
    let home = if kind.namespaced { format!("{base}/namespaces/{{namespace}}/{}", kind.plural) } else { format!("{base}/{}", kind.plural) };
    let operations = Operations { kind, version, component };
    if kind.namespaced {
        paths.insert(format!("{base}/{}", kind.plural), json!({"get": operations.list()}));
    }
    paths.insert(
        home.clone(),
        json!({
            "get": operations.list(), "post": operations.write("post"), "delete": operations.plain("deletecollection"),
            "parameters": operations.path_parameters(false),
        }),
    );
    let single = json!({
        "get": operations.plain("get"), "put": operations.write("put"), "patch": operations.patch(), "delete": operations.plain("delete"),
        "parameters": operations.path_parameters(true),
    });
    paths.insert(format!("{home}/{{name}}"), single);
    if kind.has_status {
        let status = json!({
            "get": operations.plain("get"), "put": operations.write("put"), "patch": operations.patch(),
            "parameters": operations.path_parameters(true),
        });
        paths.insert(format!("{home}/{{name}}/status"), status);
    }
}

/// The operations of one kind at one version.
struct Operations<'a> {
    kind: &'a Kind,
    version: &'a str,
    component: &'a str,
}

impl Operations<'_> {
    fn plain(&self, action: &str) -> Value {
        self.operation(action, self.component, json!([query("dryRun", "string", "`All`: say what would be, and change nothing.")]))
    }

    fn list(&self) -> Value {
        let parameters = json!([
            query("labelSelector", "string", "Only objects with these labels."),
            query("fieldSelector", "string", "Only objects with these fields."),
            query("watch", "boolean", "Follow the list from `resourceVersion` on."),
            query("resourceVersion", "string", "Where to watch from."),
            query("timeoutSeconds", "integer", "When a watch ends."),
            query("allowWatchBookmarks", "boolean", "Whether a watch may say how far it is."),
        ]);
        self.operation("list", &format!("{}List", self.component), parameters)
    }

    fn write(&self, action: &str) -> Value {
        let mut operation = self.operation(action, self.component, write_parameters());
        operation["requestBody"] = json!({"required": true, "content": {"*/*": {"schema": {"$ref": self.reference()}}}});
        operation
    }

    /// Clients merge strategically only where this says that the server does; for all other kinds they use a JSON merge patch.
    fn patch(&self) -> Value {
        let mut parameters = write_parameters();
        if let Some(list) = parameters.as_array_mut() {
            list.push(query("force", "boolean", "Take the fields of other managers when applying."));
        }
        let mut content = json!({"application/json-patch+json": {}, "application/merge-patch+json": {}, "application/apply-patch+yaml": {}});
        if matches!(self.kind.group, "" | "apps" | "discovery.k8s.io") {
            content["application/strategic-merge-patch+json"] = json!({});
        }
        for (_, body) in content.as_object_mut().into_iter().flatten() {
            body["schema"] = json!({"type": "object"});
        }
        let mut operation = self.operation("patch", self.component, parameters);
        operation["requestBody"] = json!({"required": true, "content": content});
        operation
    }

    fn operation(&self, action: &str, answers: &str, parameters: Value) -> Value {
        let schema = json!({"$ref": format!("#/components/schemas/{answers}")});
        json!({
            "description": format!("{action} {}", self.kind.kind), "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": group_version_kind(self.kind, self.version, ""),
        })
    }

    fn path_parameters(&self, with_name: bool) -> Value {
        let path = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}});
        let names = [("name", with_name), ("namespace", self.kind.namespaced)];
        names.iter().filter(|(_, there)| *there).map(|(name, _)| path(name)).collect()
    }

    fn reference(&self) -> String {
        format!("#/components/schemas/{}", self.component)
    }
}

fn write_parameters() -> Value {
    json!([
        query("dryRun", "string", "`All`: say what would be, and change nothing."),
        query("fieldManager", "string", "Who owns the fields that this request writes."),
        query("fieldValidation", "string", "`Strict`. Unknown fields are refused, whatever is asked for."),
    ])
}

fn query(name: &str, sort: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": sort, "uniqueItems": true}})
}
