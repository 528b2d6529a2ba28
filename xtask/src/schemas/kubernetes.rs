//! Kubernetes' own types as structural schemas: references resolved in place, and the extensions put back that JSON Schema
//! exports lack (`x-kubernetes-list-type` and its kin, enumerations), as the Kubernetes 1.33 sources declare them.

use super::fields;
use serde_json::{Map, Value, json};

/// Type, field, keys of the map list, and whether `kubectl`'s strategic patch merges by the first key.
const KEYED_LISTS: &[(&str, &str, &[&str])] = &[
    ("Container", "env", &["name"]),
    ("Container", "ports", &["containerPort", "protocol"]),
    ("Container", "volumeDevices", &["devicePath"]),
    ("Container", "volumeMounts", &["mountPath"]),
    ("ContainerStatus", "volumeMounts", &["mountPath"]),
    ("DeploymentStatus", "conditions", &["type"]),
    ("EphemeralContainer", "env", &["name"]),
    ("EphemeralContainer", "ports", &["containerPort", "protocol"]),
    ("EphemeralContainer", "volumeDevices", &["devicePath"]),
    ("EphemeralContainer", "volumeMounts", &["mountPath"]),
    ("NamespaceStatus", "conditions", &["type"]),
    ("NodeStatus", "addresses", &["type"]),
    ("NodeStatus", "conditions", &["type"]),
    ("ObjectMeta", "ownerReferences", &["uid"]),
    ("PodSpec", "containers", &["name"]),
    ("PodSpec", "ephemeralContainers", &["name"]),
    ("PodSpec", "hostAliases", &["ip"]),
    ("PodSpec", "imagePullSecrets", &["name"]),
    ("PodSpec", "initContainers", &["name"]),
    ("PodSpec", "resourceClaims", &["name"]),
    ("PodSpec", "schedulingGates", &["name"]),
    ("PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("PodSpec", "volumes", &["name"]),
    ("PodStatus", "conditions", &["type"]),
    ("PodStatus", "podIPs", &["ip"]),
    ("PodStatus", "resourceClaimStatuses", &["name"]),
    ("ResourceRequirements", "claims", &["name"]),
    ("ServiceAccount", "secrets", &["name"]),
    ("ServiceSpec", "ports", &["port", "protocol"]),
    ("ServiceStatus", "conditions", &["type"]),
];

/// Map lists that a strategic patch replaces all the same.
const NOT_PATCH_MERGED: &[(&str, &str)] = &[("ResourceRequirements", "claims"), ("ContainerStatus", "volumeMounts")];

const SETS: &[(&str, &str)] = &[("ObjectMeta", "finalizers"), ("NodeSpec", "podCIDRs"), ("Endpoint", "addresses")];

/// Patch strategies beside plain `merge`.
const STRATEGIES: &[(&str, &str, &str)] =
    &[("PodSpec", "volumes", "merge,retainKeys"), ("PodSpec", "resourceClaims", "merge,retainKeys"), ("DeploymentSpec", "strategy", "retainKeys")];

/// Types whose value is replaced as a whole.
const ATOMIC_TYPES: &[&str] = &[
    "ConfigMapKeySelector",
    "FieldsV1",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "SecretReference",
    "TypedLocalObjectReference",
];
const ATOMIC_FIELDS: &[(&str, &str)] = &[("ServiceSpec", "selector"), ("PodSpec", "nodeSelector")];

const ENUMS: &[(&str, &str, &[&str])] = &[
    ("Container", "imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("ContainerPort", "protocol", &["SCTP", "TCP", "UDP"]),
    ("DeploymentStrategy", "type", &["Recreate", "RollingUpdate"]),
    ("EndpointSlice", "addressType", &["FQDN", "IPv4", "IPv6"]),
    ("HTTPGetAction", "scheme", &["HTTP", "HTTPS"]),
    ("PodSpec", "dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("PodSpec", "restartPolicy", &["Always", "Never", "OnFailure"]),
    ("ServicePort", "protocol", &["SCTP", "TCP", "UDP"]),
    ("ServiceSpec", "externalTrafficPolicy", &["Cluster", "Local"]),
    ("ServiceSpec", "internalTrafficPolicy", &["Cluster", "Local"]),
    ("ServiceSpec", "ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ("ServiceSpec", "sessionAffinity", &["ClientIP", "None"]),
    ("ServiceSpec", "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    ("Toleration", "effect", &["NoExecute", "NoSchedule", "PreferNoSchedule"]),
    ("Toleration", "operator", &["Equal", "Exists"]),
];

/// Map list keys that may be left out.
const DEFAULTS: &[(&str, &str, &str)] = &[("ContainerPort", "protocol", "TCP"), ("ServicePort", "protocol", "TCP")];

/// Port numbers: 1 to 65535 (Kubernetes' validation, which its OpenAPI does not carry).
const PORTS: &[(&str, &str)] = &[
    ("ContainerPort", "containerPort"),
    ("ContainerPort", "hostPort"),
    ("EndpointPort", "port"),
    ("GRPCAction", "port"),
    ("ServicePort", "nodePort"),
    ("ServicePort", "port"),
];

/// The structural schema of a JSON Schema document with `$defs`.
pub fn schema(document: &Value) -> Value {
    let title = document["title"].as_str().unwrap_or_default();
    let mut root = resolve(document, short(title), &document["$defs"]);
    if let Some(fields) = root.as_object_mut() {
        ["$schema", "$defs", "title"].iter().for_each(|key| drop(fields.remove(*key)));
        // Demanding a name is `taut_model::schema`'s job, which says it better.
        if fields.get("required") == Some(&json!(["metadata"])) {
            fields.remove("required");
        }
    }
    root
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn resolve(schema: &Value, owner: &str, definitions: &Value) -> Value {
    let Some(reference) = schema["$ref"].as_str() else { return expand(schema, owner, definitions) };
    let name = reference.trim_start_matches("#/$defs/");
    let mut target = match short(name) {
        // A quantity may be a plain number of any kind.
        "Quantity" => json!({"anyOf": [{"type": "number"}, {"type": "string"}]}),
        "IntOrString" => json!({"x-kubernetes-int-or-string": true}),
        "FieldsV1" => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        short => expand(&definitions[name], short, definitions),
    };
    if let Some(target) = target.as_object_mut() {
        if ATOMIC_TYPES.contains(&short(name)) {
            target.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
        if let Some(description) = schema.get("description") {
            target.insert("description".to_owned(), description.clone());
        }
    }
    target
}

fn expand(schema: &Value, owner: &str, definitions: &Value) -> Value {
    let mut expanded = fields(schema.clone());
    if let Some(Value::Object(properties)) = expanded.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            let mut resolved = fields(resolve(property, owner, definitions));
            annotate(&mut resolved, owner, name);
            *property = Value::Object(resolved);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = expanded.get_mut(key) {
            *child = resolve(child, owner, definitions);
        }
    }
    Value::Object(expanded)
}

/// Adds what the tables above say about field `name` of type `owner`.
fn annotate(property: &mut Map<String, Value>, owner: &str, name: &str) {
    let here = (owner, name);
    let mut set = |key: &str, value: Value| drop(property.insert(key.to_owned(), value));
    let strategy = STRATEGIES.iter().find(|row| (row.0, row.1) == here).map(|row| row.2);
    if let Some((.., keys)) = KEYED_LISTS.iter().find(|row| (row.0, row.1) == here) {
        set("x-kubernetes-list-type", json!("map"));
        set("x-kubernetes-list-map-keys", json!(keys));
        if !NOT_PATCH_MERGED.contains(&here) {
            set("x-kubernetes-patch-merge-key", json!(keys[0]));
            set("x-kubernetes-patch-strategy", json!(strategy.unwrap_or("merge")));
        }
    } else if SETS.contains(&here) {
        set("x-kubernetes-list-type", json!("set"));
        if owner != "Endpoint" {
            set("x-kubernetes-patch-strategy", json!("merge"));
        }
    } else if let Some(strategy) = strategy {
        set("x-kubernetes-patch-strategy", json!(strategy));
    }
    if ATOMIC_FIELDS.contains(&here) {
        set("x-kubernetes-map-type", json!("atomic"));
    }
    if let Some((.., values)) = ENUMS.iter().find(|row| (row.0, row.1) == here) {
        set("enum", json!(values));
    }
    if let Some((.., default)) = DEFAULTS.iter().find(|row| (row.0, row.1) == here) {
        set("default", json!(default));
    }
    if PORTS.contains(&here) {
        set("minimum", json!(1));
        set("maximum", json!(65535));
    }
    let unmarked_list = property.get("type") == Some(&json!("array")) && !property.contains_key("x-kubernetes-list-type");
    if unmarked_list {
        property.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
    }
}
