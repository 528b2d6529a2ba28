//! Request ids and W3C trace context (https://www.w3.org/TR/trace-context/): taken from the request or started here.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use taut_observe::text::{Id, UUID_BYTES, hex_number, hex_text, uuid_text};

pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest request id that is taken from a client.
const LONGEST_ID: usize = 128;

/// The request's id and its trace's: as the request says them, else new ones, which are put into its headers.
pub fn ids(headers: &mut HeaderMap, dice: &mut fastrand::Rng) -> (Id, Id) {
    match (said_id(headers), said_trace(headers)) {
        (Some(id), Some(trace)) => (id, trace),
        (None, None) => new_ids(headers, dice),
        (Some(id), None) => (id, new_trace(headers, dice)),
        (None, Some(trace)) => (new_request(headers, dice), trace),
    }
}

/// The request's id if it is fit for logs.
fn said_id(headers: &HeaderMap) -> Option<Id> {
    let fit = |id: &&str| !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
    headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fit).map(Id::read)
}

/// The trace of a valid `traceparent`, which is passed on as it is, since this proxy adds no span of its own.
fn said_trace(headers: &HeaderMap) -> Option<Id> {
    let id = headers.get(&TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse)?;
    hex_number(id).map(Id::Trace)
}

fn new_request(headers: &mut HeaderMap, dice: &mut fastrand::Rng) -> Id {
    let number = new_number(dice);
    set(headers, &REQUEST_ID, HeaderValue::from_bytes(&uuid_text(number)).ok());
    Id::Uuid(number)
}

/// Without a caller's trace one is started, marked as sampled, which is what an application without a caller does by default.
fn new_trace(headers: &mut HeaderMap, dice: &mut fastrand::Rng) -> Id {
    let (text, trace) = parent_text(dice);
    set_parent(headers, HeaderValue::from_bytes(&text).ok());
    Id::Trace(trace)
}

/// Both at once: they share one piece of memory.
fn new_ids(headers: &mut HeaderMap, dice: &mut fastrand::Rng) -> (Id, Id) {
    let number = new_number(dice);
    let (parent, trace) = parent_text(dice);
    let mut text = [0; UUID_BYTES + PARENT_BYTES];
    text[..UUID_BYTES].copy_from_slice(&uuid_text(number));
    text[UUID_BYTES..].copy_from_slice(&parent);
    let text = Bytes::from_owner(text);
    set(headers, &REQUEST_ID, HeaderValue::from_maybe_shared(text.slice(..UUID_BYTES)).ok());
    set_parent(headers, HeaderValue::from_maybe_shared(text.slice(UUID_BYTES..)).ok());
    (Id::Uuid(number), Id::Trace(trace))
}

fn set(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) -> bool {
    value.is_some_and(|value| {
        headers.insert(name.clone(), value);
        true
    })
}

fn set_parent(headers: &mut HeaderMap, parent: Option<HeaderValue>) {
    if set(headers, &TRACEPARENT, parent) {
        // The state belongs to the parent that was not there or not valid (section 3.3: discard both).
        headers.remove(&TRACESTATE);
    }
}

/// Bytes of a `traceparent`.
const PARENT_BYTES: usize = 55;

fn parent_text(dice: &mut fastrand::Rng) -> ([u8; PARENT_BYTES], u128) {
    let (trace, parent) = (dice.u128(1..), dice.u64(1..));
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
    hex_text(trace, &mut text[3..35]);
    hex_text(parent.into(), &mut text[36..52]);
    (text, trace)
}

/// A random id in the layout of a version 4 UUID (RFC 9562). Unique, not secret.
pub fn new_id(dice: &mut fastrand::Rng) -> Id {
    Id::Uuid(new_number(dice))
}

fn new_number(dice: &mut fastrand::Rng) -> u128 {
    (dice.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

/// The trace id inside a `traceparent`, if it is valid (sections 3.2.1 to 3.2.2; later versions may be longer).
fn parse(value: &str) -> Option<&str> {
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = value.splitn(5, '-');
    let (version, trace, parent, flags, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next());
    let valid = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    (valid && !zero(trace) && !zero(parent) && (version != "00" || rest.is_none())).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_parent_is_passed_on_and_anything_else_is_replaced() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (given, kept) in [
            (good, true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::from_iter([(TRACEPARENT.clone(), HeaderValue::from_static(given))]);
            let (_, id) = ids(&mut headers, &mut fastrand::Rng::with_seed(1));
            assert_eq!(headers[&TRACEPARENT].to_str().unwrap() == given, kept, "{given}");
            assert_eq!(parse(headers[&TRACEPARENT].to_str().unwrap()), Some(id.to_string().as_str()), "{given}");
        }
    }

    #[test]
    fn an_id_is_taken_from_the_client_only_if_it_fits_in_a_log() {
        let mut dice = fastrand::Rng::with_seed(1);
        let mut headers = HeaderMap::from_iter([(REQUEST_ID.clone(), HeaderValue::from_static("abc-1"))]);
        assert_eq!(ids(&mut headers, &mut dice).0.to_string(), "abc-1");
        let mut headers = HeaderMap::from_iter([(REQUEST_ID.clone(), HeaderValue::from_static("two words"))]);
        let id = ids(&mut headers, &mut dice).0.to_string();
        assert_eq!(headers[&REQUEST_ID], id.as_str());
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!("89ab".contains(&id[19..20]));
    }
}
