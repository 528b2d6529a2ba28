//! The few bodies that `kubectl create` and `kubectl auth` send as protobuf and in no other form.
//!
//! Everything else is refused, and so is any field that the tables below do not know: nothing is dropped unseen.
//! Source of the field numbers: `generated.proto` of k8s.io/api and k8s.io/apimachinery.

use base64::Engine;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// A field of a message: its number, its name in JSON, and what it holds.
type Field = (u64, &'static str, Form);

#[derive(Clone, Copy)]
enum Form {
    Text,
    /// Base64 in JSON.
    Bytes,
    Number,
    Truth,
    Texts,
    TextMap,
    BytesMap,
    One(&'static [Field]),
    Many(&'static [Field]),
    IntOrString,
    /// Set by the server, or empty in what a client sends.
    Ignored,
}
use Form::{Bytes, BytesMap, Ignored, IntOrString, Many, Number, One, Text, TextMap, Texts, Truth};

static METADATA: &[Field] = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Ignored),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Ignored),
    (8, "creationTimestamp", Ignored),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (14, "finalizers", Texts),
];
static NAMESPACE: &[Field] = &[(1, "metadata", One(METADATA)), (2, "spec", One(&[(1, "finalizers", Texts)])), (3, "status", Ignored)];
static CONFIG_MAP: &[Field] = &[(1, "metadata", One(METADATA)), (2, "data", TextMap), (3, "binaryData", BytesMap), (4, "immutable", Truth)];
static SECRET: &[Field] =
    &[(1, "metadata", One(METADATA)), (2, "data", BytesMap), (3, "type", Text), (4, "stringData", TextMap), (5, "immutable", Truth)];
static SERVICE_ACCOUNT: &[Field] = &[(1, "metadata", One(METADATA)), (4, "automountServiceAccountToken", Truth)];
static SERVICE: &[Field] = &[(1, "metadata", One(METADATA)), (2, "spec", One(SERVICE_SPEC)), (3, "status", Ignored)];
static SERVICE_SPEC: &[Field] = &[
    (1, "ports", Many(SERVICE_PORT)),
    (2, "selector", TextMap),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (5, "externalIPs", Texts),
    (7, "sessionAffinity", Text),
    (8, "loadBalancerIP", Text),
    (9, "loadBalancerSourceRanges", Texts),
    (10, "externalName", Text),
    (11, "externalTrafficPolicy", Text),
    (12, "healthCheckNodePort", Number),
    (13, "publishNotReadyAddresses", Truth),
    (18, "clusterIPs", Texts),
];
static SERVICE_PORT: &[Field] = &[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Number),
    (4, "targetPort", IntOrString),
    (5, "nodePort", Number),
    (6, "appProtocol", Text),
];
static ACCESS_REVIEW: &[Field] = &[(1, "metadata", One(METADATA)), (2, "spec", One(ACCESS_SPEC)), (3, "status", Ignored)];
static ACCESS_SPEC: &[Field] =
    &[(1, "resourceAttributes", One(RESOURCE)), (2, "nonResourceAttributes", One(&[(1, "path", Text), (2, "verb", Text)]))];
static RESOURCE: &[Field] = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
static DELETE_OPTIONS: &[Field] = &[
    (1, "gracePeriodSeconds", Number),
    (2, "preconditions", One(&[(1, "uid", Text), (2, "resourceVersion", Text)])),
    (3, "orphanDependents", Truth),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];

fn fields_of(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Service" => SERVICE,
        "SelfSubjectAccessReview" => ACCESS_REVIEW,
        "DeleteOptions" => DELETE_OPTIONS,
        _ => return None,
    })
}

/// The object in the envelope of Kubernetes' protobuf: four bytes, then `runtime.Unknown`.
///
/// # Errors
/// Why it cannot be read, as a sentence for the client.
pub(super) fn object(body: &[u8]) -> Result<Value, Cow<'static, str>> {
    let broken = || Cow::Borrowed("the body of the request is not protobuf as Kubernetes writes it");
    let mut envelope = Reader { rest: body.strip_prefix(b"k8s\0").ok_or_else(broken)? };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &b""[..]);
    while let Some((number, wire)) = envelope.next().ok_or_else(broken)? {
        match (number, wire) {
            (1, Wire::Bytes(types)) => {
                let types = message(types, &[(1, "apiVersion", Text), (2, "kind", Text)])?;
                let text = |name: &str| types.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                (api_version, kind) = (text("apiVersion"), text("kind"));
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = fields_of(&kind).ok_or_else(|| {
        let advice = "send JSON or YAML; with kubectl: kubectl create ... --dry-run=client -o yaml | kubectl apply -f -";
        Cow::Owned(format!("a {kind} is not read from protobuf here: {advice}"))
    })?;
    let mut object = message(raw, fields)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// Empty values are left out: Go writes them for every field that is not set.
fn message(bytes: &[u8], fields: &[Field]) -> Result<Map<String, Value>, Cow<'static, str>> {
    let mut out = Map::new();
    let mut reader = Reader { rest: bytes };
    while let Some((number, wire)) = reader.next().ok_or("the body of the request is protobuf that ends early")? {
        let unknown = || Cow::Owned(format!("the body of the request has protobuf field {number}, which is not known here: send JSON or YAML"));
        let &(_, name, form) = fields.iter().find(|field| field.0 == number).ok_or_else(unknown)?;
        match (form, wire) {
            (Ignored, _) => {}
            (Many(_) | Texts, Wire::Bytes(bytes)) => {
                let item = if let Many(fields) = form { Value::Object(message(bytes, fields)?) } else { text(bytes)? };
                if let Value::Array(items) = out.entry(name).or_insert_with(|| json!([])) {
                    items.push(item);
                }
            }
            (TextMap | BytesMap, Wire::Bytes(bytes)) => {
                let (key, value) = entry(bytes, form)?;
                if let Value::Object(entries) = out.entry(name).or_insert_with(|| json!({})) {
                    entries.insert(key, value);
                }
            }
            (form, wire) => {
                let value = single(form, &wire)?;
                if !is_zero(&value) {
                    out.insert(name.into(), value);
                }
            }
        }
    }
    Ok(out)
}

fn single(form: Form, wire: &Wire<'_>) -> Result<Value, Cow<'static, str>> {
    match (form, wire) {
        (Text, Wire::Bytes(bytes)) => text(bytes),
        (Bytes, Wire::Bytes(bytes)) => Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into()),
        // Negative numbers are written as their 64-bit two's complement.
        (Number, Wire::Number(number)) => Ok(number.cast_signed().into()),
        (Truth, Wire::Number(number)) => Ok((*number != 0).into()),
        (One(fields), Wire::Bytes(bytes)) => message(bytes, fields).map(Value::Object),
        (IntOrString, Wire::Bytes(bytes)) => {
            let parts = message(bytes, &[(1, "isText", Number), (2, "number", Number), (3, "text", Text)])?;
            let part = if parts.contains_key("isText") { "text" } else { "number" };
            Ok(parts.get(part).cloned().unwrap_or_else(|| json!(0)))
        }
        _ => Err("the body of the request has a protobuf field of the wrong type".into()),
    }
}

fn entry(bytes: &[u8], form: Form) -> Result<(String, Value), Cow<'static, str>> {
    let mut reader = Reader { rest: bytes };
    let (mut key, mut value) = (Value::from(""), Value::from(""));
    while let Some((number, wire)) = reader.next().ok_or("the body of the request is protobuf that ends early")? {
        match number {
            1 => key = single(Text, &wire)?,
            2 => value = single(if matches!(form, BytesMap) { Bytes } else { Text }, &wire)?,
            _ => {}
        }
    }
    Ok((key.as_str().unwrap_or_default().to_owned(), value))
}

fn text(bytes: &[u8]) -> Result<Value, Cow<'static, str>> {
    std::str::from_utf8(bytes).map(Value::from).map_err(|_| "the body of the request has text that is not UTF-8".into())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(truth) => !truth,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Fields of a message, one after the other (protobuf encoding, "Message Structure").
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `None`: not protobuf. `Some(None)`: the end.
    fn next(&mut self) -> Option<Option<(u64, Wire<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        Some(Some((tag >> 3, wire)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &types), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_service_is_read() {
        let target = [&[1 << 3, 0, 2 << 3, 0x90, 0x3f][..], &field(3, b"")].concat();
        let port = [field(1, b"80-8080"), field(2, b"TCP"), vec![3 << 3, 80], field(4, &target), vec![5 << 3, 0]].concat();
        let selector = [field(1, b"app"), field(2, b"web")].concat();
        let spec = [field(1, &port), field(2, &selector), field(3, b""), field(4, b"ClusterIP")].concat();
        let metadata = [field(1, b"web"), field(2, b""), field(8, b"")].concat();
        let body = envelope("v1", "Service", &[field(1, &metadata), field(2, &spec), field(3, &field(1, b""))].concat());
        let want = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "ports": [{"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080}]},
        });
        assert_eq!(object(&body), Ok(want));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(object(&envelope("apps/v1", "Deployment", b"")).expect_err("not in the tables").contains("kubectl apply -f -"));
        assert!(object(&envelope("v1", "Namespace", &field(9, b"x"))).expect_err("no such field").contains("field 9"));
        for broken in [&b""[..], b"k8s", b"k8s\0\xff", b"k8s\0\x12\x7f", b"{}"] {
            assert!(object(broken).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(raw in prop::collection::vec(any::<u8>(), 0..100), kind in prop::sample::select(vec!["Service", "Secret", "Namespace"])) {
            let _ = object(&raw);
            let _ = object(&envelope("v1", kind, &raw));
        }
    }
}
