//! Request ids and trace context: taken from the request or begun here, and passed on with this proxy's own span where one is made.
//! Context is W3C's (https://www.w3.org/TR/trace-context/) or B3's (`b3`); it goes on in the forms in which it came.

mod b3;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use taut_model::telemetry::Tag;
use taut_observe::text::{Id, UUID_BYTES, hex_text, uuid_text};
use taut_plan::telemetry::{Tracing, sampled};

pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest request id that is taken from a client.
const LONGEST_ID: usize = 128;
/// Longest `tracestate` that spans carry (section 3.3.1.5: at least so much is to be passed on).
const LONGEST_STATE: usize = 512;
/// Longest value of a header that spans carry.
const LONGEST_TAG: usize = 256;

/// Where an exchange stands in its trace.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    pub trace: u128,
    /// The span that the request came with; 0 for none.
    pub parent: u64,
    /// This proxy's own span; 0 as long as there is none.
    pub span: u64,
    /// Whether the own span is to be reported, whatever becomes of the exchange.
    pub sampled: bool,
    /// Nobody has decided about this trace before, so that a route may.
    began: bool,
    pub extras: Option<Box<Extras>>,
}

/// What a reported span carries beside its record.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    pub state: String,
    /// Values of headers, by the names of the attributes.
    pub tags: Vec<(String, String)>,
}

/// What a request says of its trace.
struct Context {
    trace: u128,
    parent: u64,
    /// Whether whoever began it wants it recorded, as far as they have said.
    sampled: Option<bool>,
}

/// The request's id and its trace: as the request says them, else new ones, which are put into its headers. With `tracing`, a span of
/// this proxy takes its place among them if the trace is sampled.
pub fn begin(headers: &mut HeaderMap, dice: &mut fastrand::Rng, tracing: Option<&Tracing>) -> (Id, Trail) {
    let said = said_id(headers);
    match said_context(headers) {
        Ok(context) => {
            let id = said.unwrap_or_else(|| new_request(headers, dice));
            (id, context.follow(headers, dice, tracing))
        }
        Err(wish) => {
            let began = Parent::begin(dice, tracing, wish);
            let id = match said {
                Some(id) => {
                    set_parent(headers, HeaderValue::from_bytes(&began.text).ok());
                    id
                }
                None => new_ids(headers, dice, &began.text),
            };
            let reported = tracing.filter(|tracing| tracing.report && began.sampled);
            let extras = reported.and_then(|tracing| extras(headers, tracing));
            let trail = Trail { trace: began.trace, span: began.span, sampled: reported.is_some(), began: wish.is_none(), extras, parent: 0 };
            (id, trail)
        }
    }
}

/// A route has its own share of the traces that begin with its requests.
pub fn resample(headers: &mut HeaderMap, trail: &mut Trail, tracing: Option<&Tracing>, percent: f64) {
    let Some(tracing) = tracing.filter(|_| trail.began) else { return };
    let chosen = sampled(trail.trace, percent);
    let text = Parent::text(trail.trace, trail.span, u8::from(chosen));
    set_parent(headers, HeaderValue::from_bytes(&text).ok());
    trail.sampled = chosen && tracing.report;
    trail.extras = Some(tracing).filter(|_| trail.sampled).and_then(|tracing| extras(headers, tracing));
}

impl Context {
    /// Passes it on, with an own span in its parent's place if there is one.
    fn follow(self, headers: &mut HeaderMap, dice: &mut fastrand::Rng, tracing: Option<&Tracing>) -> Trail {
        let mut trail = Trail { trace: self.trace, parent: self.parent, ..Trail::default() };
        let Some(tracing) = tracing else { return trail };
        let chosen = self.sampled.unwrap_or_else(|| sampled(self.trace, tracing.sampling));
        trail.sampled = chosen && tracing.report;
        if trail.sampled {
            trail.span = dice.u64(1..);
            trail.extras = extras(headers, tracing);
            if let Some(flags) = headers.get(&TRACEPARENT).and_then(parent).map(|(.., flags)| flags) {
                let text = Parent::text(trail.trace, trail.span, flags);
                set(headers, &TRACEPARENT, HeaderValue::from_bytes(&text).ok());
            }
            b3::replace(headers, &trail);
        } else if self.sampled.is_none() {
            b3::decide(headers, chosen);
        }
        trail
    }
}

/// `Err`: no trace is named; `Some` when a wish is.
fn said_context(headers: &HeaderMap) -> Result<Context, Option<bool>> {
    match headers.get(&TRACEPARENT).and_then(parent) {
        Some((trace, parent, flags)) => Ok(Context { trace, parent, sampled: Some(flags & 1 == 1) }),
        None => b3::read(headers),
    }
}

fn extras(headers: &HeaderMap, tracing: &Tracing) -> Option<Box<Extras>> {
    let state = headers.get(&TRACESTATE).and_then(|value| value.to_str().ok()).filter(|state| state.len() <= LONGEST_STATE).unwrap_or_default();
    let tags = tracing.tags.iter().filter_map(|(attribute, tag)| match tag {
        Tag::Header { name, .. } => {
            let value = headers.get(name)?.to_str().ok()?;
            Some((attribute.clone(), value.chars().take(LONGEST_TAG).collect()))
        }
        Tag::Literal(_) | Tag::Environment { .. } => None,
    });
    let extras = Extras { state: state.to_owned(), tags: tags.collect() };
    (!extras.state.is_empty() || !extras.tags.is_empty()).then(|| Box::new(extras))
}

/// The request's id if it is fit for logs.
fn said_id(headers: &HeaderMap) -> Option<Id> {
    let fit = |id: &&str| !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
    headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fit).map(Id::read)
}

fn new_request(headers: &mut HeaderMap, dice: &mut fastrand::Rng) -> Id {
    let number = new_number(dice);
    set(headers, &REQUEST_ID, HeaderValue::from_bytes(&uuid_text(number)).ok());
    Id::Uuid(number)
}

/// Puts a new request id beside a new parent: they share one piece of memory.
fn new_ids(headers: &mut HeaderMap, dice: &mut fastrand::Rng, parent: &[u8; PARENT_BYTES]) -> Id {
    let number = new_number(dice);
    let mut text = [0; UUID_BYTES + PARENT_BYTES];
    text[..UUID_BYTES].copy_from_slice(&uuid_text(number));
    text[UUID_BYTES..].copy_from_slice(parent);
    let text = Bytes::from_owner(text);
    set(headers, &REQUEST_ID, HeaderValue::from_maybe_shared(text.slice(..UUID_BYTES)).ok());
    set_parent(headers, HeaderValue::from_maybe_shared(text.slice(UUID_BYTES..)).ok());
    Id::Uuid(number)
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

/// A trace that begins here.
struct Parent {
    text: [u8; PARENT_BYTES],
    trace: u128,
    span: u64,
    sampled: bool,
}

impl Parent {
    /// Where nobody traces, it is marked as sampled, which is what an application without a caller does by default.
    fn begin(dice: &mut fastrand::Rng, tracing: Option<&Tracing>, wish: Option<bool>) -> Self {
        let (trace, span) = (dice.u128(1..), dice.u64(1..));
        let sampled = wish.unwrap_or_else(|| tracing.is_none_or(|tracing| sampled(trace, tracing.sampling)));
        Self { text: Self::text(trace, span, u8::from(sampled)), trace, span, sampled }
    }

    fn text(trace: u128, span: u64, flags: u8) -> [u8; PARENT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex_text(trace, &mut text[3..35]);
        hex_text(span.into(), &mut text[36..52]);
        hex_text(flags.into(), &mut text[53..]);
        text
    }
}

/// A random id in the layout of a version 4 UUID (RFC 9562). Unique, not secret.
pub fn new_id(dice: &mut fastrand::Rng) -> Id {
    Id::Uuid(new_number(dice))
}

fn new_number(dice: &mut fastrand::Rng) -> u128 {
    (dice.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

/// Trace, span and flags of a valid `traceparent` (sections 3.2.1 to 3.2.2; later versions may be longer).
fn parent(value: &HeaderValue) -> Option<(u128, u64, u8)> {
    // Text only: it is passed on as it came.
    let text = value.to_str().ok()?.as_bytes();
    let at = |range: std::ops::Range<usize>| text.get(range);
    let dashes = [2, 35, 52].into_iter().all(|position| text.get(position) == Some(&b'-'));
    let longer = text.len() > PARENT_BYTES && (text.starts_with(b"00") || text[PARENT_BYTES] != b'-');
    let (version, trace, span, flags) = (hex(at(0..2)?)?, hex(at(3..35)?)?, hex(at(36..52)?)?, hex(at(53..55)?)?);
    let valid = dashes && !longer && version != 0xff && trace != 0 && span != 0;
    valid.then_some((trace, span as u64, flags as u8))
}

/// The number of some lower-case hexadecimal digits, at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| match digit {
        b'0'..=b'9' => Some(number << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(number << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
