//! Reading what a client sent. A field that is written twice is refused: the reader could not know which one counts.

use super::asked::Asked;
use super::protobuf;
use super::refusal::Refusal;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use taut_model::tree;

/// An object of the API, from JSON or YAML. A field that is null is a field that is not set.
pub(super) fn object(asked: &Asked) -> Result<Value, Refusal> {
    match asked.content_type.as_str() {
        "" | "application/json" => Ok(without_nulls(json(&asked.body)?)),
        protobuf::MEDIA_TYPE => protobuf::object(&asked.body).map_err(|why| Refusal::unsupported_body(&why)),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(&asked.body),
        other => Err(Refusal::unsupported_media_type(other, &["application/json", "application/yaml"])),
    }
}

/// JSON as it stands: in a patch, null means something.
pub(super) fn json(body: &[u8]) -> Result<Value, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| Refusal::bad_request(format!("the body of the request is not JSON that can be used: {error}")))
}

/// One YAML document (JSON is YAML too).
pub(super) fn yaml(body: &[u8]) -> Result<Value, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::bad_request("the body of the request is not UTF-8"))?;
    let documents = tree::documents(text, "body");
    let problems: Vec<String> = documents.iter().flat_map(|document| &document.problems).map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Refusal::bad_request(format!("the body of the request is not YAML that can be used: {}", problems.join("\n"))));
    }
    let mut roots = documents.iter().filter_map(|document| document.root.as_ref());
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(without_nulls(root.value())),
        (None, _) => Err(Refusal::bad_request("the body of the request is empty")),
        (Some(_), Some(_)) => Err(Refusal::bad_request("the body of the request has more than one document: send them one by one")),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}

/// Reads JSON and refuses an object in which a key is repeated, at any depth.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if out.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field {name:?}: keep one of them")));
            }
            let value = fields.next_value_seed(Strict)?;
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_read_strictly() {
        assert_eq!(json(br#"{"a": [1, -2, 1.5, "x", true, null]}"#), Ok(json!({"a": [1, -2, 1.5, "x", true, null]})));
        for bad in [&br#"{"a": {"b": 1, "b": 2}}"#[..], b"", b"{", b"{} {}", b"\xff", "[".repeat(10_000).as_bytes()] {
            assert!(json(bad).is_err());
        }
    }

    #[test]
    fn yaml_is_read_as_one_document() {
        assert_eq!(yaml(b"kind: Service\nmetadata: {name: a, creationTimestamp: null}\n"), Ok(json!({"kind": "Service", "metadata": {"name": "a"}})));
        for bad in [&b""[..], b"a: 1\n---\nb: 2\n", b"a: 1\na: 2\n", b"a: [", b"\xff"] {
            assert!(yaml(bad).is_err());
        }
    }
}
