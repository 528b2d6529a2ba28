//! B3 (https://github.com/openzipkin/b3-propagation): one header `b3`, or several `x-b3-…`.

use super::{Context, Trail, hex, set};
use http::{HeaderMap, HeaderName, HeaderValue};
use taut_observe::text::hex_text;

static SINGLE: HeaderName = HeaderName::from_static("b3");
static TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
static SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
static PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
static SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
static FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The one header wins over the several. `Err`: no trace is named; `Some` when a wish is.
pub(super) fn read(headers: &HeaderMap) -> Result<Context, Option<bool>> {
    if let Some(found) = headers.get(&SINGLE).and_then(|value| single(value.as_bytes())) {
        return found;
    }
    let number = |name: &HeaderName| headers.get(name).and_then(|value| id(value.as_bytes()));
    let trace = headers.get(&TRACE).and_then(|value| trace_id(value.as_bytes()));
    let wish = || match headers.get(&FLAGS).or_else(|| headers.get(&SAMPLED)).map(HeaderValue::as_bytes) {
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") if !headers.contains_key(&FLAGS) => Some(false),
        _ => None,
    };
    match (trace, trace.and_then(|_| number(&SPAN))) {
        (Some(trace), Some(parent)) => Ok(Context { trace, parent, sampled: wish() }),
        _ => Err(wish()),
    }
}

/// `TRACE-SPAN[-STATE[-PARENT]]`, or a state alone. `None`: not valid.
fn single(value: &[u8]) -> Option<Result<Context, Option<bool>>> {
    let mut parts = value.split(|byte| *byte == b'-');
    let (first, span) = (parts.next()?, parts.next());
    let state = |part: Option<&[u8]>| match part {
        None => Some(None),
        Some(b"1" | b"d") => Some(Some(true)),
        Some(b"0") => Some(Some(false)),
        Some(_) => None,
    };
    let Some(span) = span else { return state(Some(first)).map(Err) };
    let sampled = state(parts.next())?;
    let parent_is_valid = parts.next().is_none_or(|parent| id(parent).is_some()) && parts.next().is_none();
    let context = Context { trace: trace_id(first)?, parent: id(span)?, sampled };
    parent_is_valid.then_some(Ok(context))
}

/// 64 or 128 bits.
fn trace_id(digits: &[u8]) -> Option<u128> {
    hex(digits).filter(|number| *number != 0 && matches!(digits.len(), 16 | 32))
}

fn id(digits: &[u8]) -> Option<u64> {
    hex(digits).filter(|number| *number != 0 && digits.len() == 16).map(|number| number as u64)
}

/// Names the own span in the forms in which the request came.
pub(super) fn replace(headers: &mut HeaderMap, trail: &Trail) {
    let mut ids = [0; 64];
    hex_text(trail.trace, &mut ids[..32]);
    hex_text(trail.span.into(), &mut ids[32..48]);
    hex_text(trail.parent.into(), &mut ids[48..64]);
    // A trace of 64 bits stays one.
    let trace = if trail.trace >> 64 == 0 { &ids[16..32] } else { &ids[..32] };
    let (span, parent) = (&ids[32..48], &ids[48..64]);
    if let Some(before) = headers.get(&SINGLE) {
        let debug = before.as_bytes().split(|byte| *byte == b'-').nth(2) == Some(b"d");
        let value = [trace, span, if debug { b"d" } else { b"1" }, parent].join(&b'-');
        put(headers, &SINGLE, &value);
    }
    if headers.contains_key(&TRACE) {
        put(headers, &TRACE, trace);
        put(headers, &SPAN, span);
        put(headers, &PARENT, parent);
        if !headers.contains_key(&FLAGS) {
            put(headers, &SAMPLED, b"1");
        }
    }
}

/// Writes a decision that was left to this proxy beside the ids that came.
pub(super) fn decide(headers: &mut HeaderMap, sampled: bool) {
    let state: &[u8] = if sampled { b"1" } else { b"0" };
    if let Some(before) = headers.get(&SINGLE) {
        let value = [before.as_bytes(), state].join(&b'-');
        put(headers, &SINGLE, &value);
    } else if headers.contains_key(&TRACE) {
        put(headers, &SAMPLED, state);
    }
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: &[u8]) {
    set(headers, name, HeaderValue::from_bytes(value).ok());
}
