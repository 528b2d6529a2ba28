//! JSON as tokens and key sets have it, read strictly: a name that stands twice in one object is refused, since two readers would
//! read two things.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use taut_plan::token::{Claim, Flaw};

/// Depth is bounded by the parser.
pub fn read(bytes: &[u8]) -> Result<Claim, Flaw> {
    let ambiguous = Cell::new(false);
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let read = Reading(&ambiguous).deserialize(&mut parser).and_then(|claim| parser.end().map(|()| claim));
    read.map_err(|_| if ambiguous.get() { Flaw::Ambiguous } else { Flaw::Malformed })
}

#[derive(Clone, Copy)]
struct Reading<'a>(&'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Claim;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Claim, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Claim, E> {
        Ok(Claim::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Claim, E> {
        Ok(Claim::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Claim, E> {
        Ok(Claim::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Claim, E> {
        Ok(Claim::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Claim, E> {
        Ok(Claim::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Claim, E> {
        Ok(Claim::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Claim, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = values.next_element_seed(self)? {
            all.push(value);
        }
        Ok(Claim::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Claim, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(name) = pairs.next_key::<String>()? {
            let value = pairs.next_value_seed(self)?;
            if all.insert(name, value).is_some() {
                self.0.set(true);
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Claim::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_refused_at_any_depth() {
        assert!(read(br#"{"a": {"b": [1, true, null, "x", 1.5]}}"#).is_ok());
        for text in [r#"{"a": 1, "a": 1}"#, r#"{"x": [{"a": 1, "a": 2}]}"#, r#"{"a": 1, "\u0061": 2}"#] {
            assert_eq!(read(text.as_bytes()), Err(Flaw::Ambiguous), "{text}");
        }
        for text in ["", "{", "{} {}", "{\"a\":}", "\u{0}", &"[".repeat(5000)] {
            assert_eq!(read(text.as_bytes()), Err(Flaw::Malformed));
        }
    }
}
