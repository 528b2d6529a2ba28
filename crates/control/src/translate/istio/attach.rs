//! What a policy is attached to: workloads by their labels, or services by name. What no proxy of this mesh stands for is refused.

use crate::translate::reader::Reader;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use taut_model::host;
use taut_model::object::Object;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetReference {
    pub group: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

/// Labels of workloads, and hosts of services; both empty: the whole namespace.
pub type Attachment = (BTreeMap<String, String>, Vec<String>);

pub fn attachment(
    reader: &mut Reader<'_>,
    labels: BTreeMap<String, String>,
    one: Option<TargetReference>,
    many: Option<Vec<TargetReference>>,
) -> Attachment {
    let written = one.map(|one| ("spec.targetRef".to_owned(), one)).into_iter();
    if many.as_ref().is_some_and(Vec::is_empty) {
        reader.invalid("spec.targetRefs", "is empty: remove it or name a Service");
    }
    let many = many.unwrap_or_default().into_iter().enumerate().map(|(index, one)| (format!("spec.targetRefs[{index}]"), one));
    let written: Vec<(String, TargetReference)> = written.chain(many).collect();
    if let Some((at, _)) = written.first().filter(|_| !labels.is_empty()) {
        reader.invalid(at, "stands beside a selector, and the API allows one of the two");
    }
    let services = written.into_iter().filter_map(|(at, one)| service(reader, &at, &one)).collect();
    (labels, services)
}

fn service(reader: &mut Reader<'_>, at: &str, written: &TargetReference) -> Option<String> {
    if !matches!((written.group.as_str(), written.kind.as_str()), ("" | "core", "Service")) {
        let what = format!("the kind {:?} of the group {:?}", written.kind, written.group);
        reader.unsupported_value(&format!("{at}.kind"), what, "no proxy of this mesh stands for it: name a Service, or select workloads by label");
        return None;
    }
    if written.name.is_empty() {
        reader.invalid(&format!("{at}.name"), "is missing");
    }
    let namespace = reader.namespace();
    if !written.namespace.is_empty() && written.namespace != namespace {
        reader.invalid(&format!("{at}.namespace"), format_args!("is not {namespace:?}: the API allows the policy's own namespace"));
    }
    Some(host::service_host(&written.name, namespace))
}

/// What a policy that is not accepted is attached to, as far as it can be read; what cannot be read widens it to the whole namespace,
/// never to nothing. `None`: gateways alone, of which there are none here, so that nobody is any weaker without it.
pub fn readable(object: &Object) -> Option<Attachment> {
    let spec = &object.value["spec"];
    let references: Vec<&Value> =
        spec["targetRefs"].as_array().into_iter().flatten().chain(Some(&spec["targetRef"]).filter(|one| !one.is_null())).collect();
    if references.is_empty() || !spec["selector"].is_null() {
        return Some((selector(object), Vec::new()));
    }
    let is = |one: &Value, kinds: &[&str]| one["kind"].as_str().is_some_and(|kind| kinds.contains(&kind));
    if references.iter().all(|one| is(one, &["Gateway", "GatewayClass"])) {
        return None;
    }
    let name = |one: &&Value| one["name"].as_str().filter(|_| is(one, &["Service"])).map(|name| host::service_host(name, &object.namespace));
    let services: Option<Vec<String>> = references.iter().map(name).collect();
    Some((BTreeMap::new(), services.unwrap_or_default()))
}

/// The selector as far as it can be read. One that cannot widens to the whole namespace, never to nothing.
pub fn selector(object: &Object) -> BTreeMap<String, String> {
    let labels = object.value["spec"]["selector"]["matchLabels"].as_object();
    let pairs = labels.into_iter().flatten().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    pairs.collect::<Option<_>>().unwrap_or_default()
}
