//! What a token says, as the Workload API tells it: google.protobuf.Struct.

use prost_types::value::Kind;
use prost_types::{ListValue, NullValue, Struct, Value};
use taut_plan::token::Claim;

/// `None`: the claims are no object.
pub fn told(claims: &Claim) -> Option<Struct> {
    match claims {
        Claim::Object(all) => Some(Struct { fields: all.iter().map(|(name, one)| (name.clone(), value(one))).collect() }),
        _ => None,
    }
}

fn value(claim: &Claim) -> Value {
    let kind = match claim {
        Claim::Null => Kind::NullValue(NullValue::NullValue.into()),
        Claim::Bool(value) => Kind::BoolValue(*value),
        // A Struct has no other numbers; one that is none is told as it was written.
        Claim::Number(text) => text.parse().map_or_else(|_| Kind::StringValue(text.clone()), Kind::NumberValue),
        Claim::Text(text) => Kind::StringValue(text.clone()),
        Claim::List(all) => Kind::ListValue(ListValue { values: all.iter().map(value).collect() }),
        Claim::Object(_) => told(claim).map_or(Kind::NullValue(NullValue::NullValue.into()), Kind::StructValue),
    };
    Value { kind: Some(kind) }
}
