//! Values of headers that are made of what is known of the exchange.

use crate::facts::Exchange;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write;
use taut_model::route::{ComputedHeader, HeaderPiece, HowChanged, Piece};

/// No value is longer, whatever clients send: what would be is left out.
const LONGEST: usize = 16 * 1024;

/// A header that came out, and how it is changed.
pub struct Value {
    pub name: HeaderName,
    pub how: HowChanged,
    pub value: HeaderValue,
}

/// The headers that are not empty. `response`: the head of the response, once there is one.
pub fn values(computed: &[ComputedHeader], exchange: &Exchange, response: Option<&HeaderMap>) -> Vec<Value> {
    let value = |header: &ComputedHeader| {
        let mut bytes = Vec::new();
        for piece in &header.value {
            write(piece, exchange, response, &mut bytes);
        }
        let fits = !bytes.is_empty() && bytes.len() <= LONGEST;
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        Some(Value { name, how: header.how, value: fits.then(|| HeaderValue::from_bytes(&bytes).ok())?? })
    };
    computed.iter().filter_map(value).collect()
}

fn write(piece: &Piece, exchange: &Exchange, response: Option<&HeaderMap>, into: &mut Vec<u8>) {
    let client = exchange.arrival.ends.source;
    let mut shown = String::new();
    let told = match piece {
        Piece::Text(text) => return into.extend_from_slice(text.as_bytes()),
        Piece::RequestHeader(said) => return first(said, |name| of_request(exchange, name), into),
        Piece::ResponseHeader(said) => {
            return first(said, |name| Some(response?.get(name)?.as_bytes()), into);
        }
        Piece::ClientAddress => write!(shown, "{client}"),
        Piece::ClientIp => write!(shown, "{}", client.ip()),
        Piece::Protocol => write!(shown, "{:?}", exchange.version),
    };
    // Writing to a text cannot fail.
    if told.is_ok() {
        into.extend_from_slice(shown.as_bytes());
    }
}

fn first<'a>(said: &HeaderPiece, find: impl Fn(&str) -> Option<&'a [u8]>, into: &mut Vec<u8>) {
    let found = find(&said.name).or_else(|| said.otherwise.as_deref().and_then(&find)).unwrap_or_default();
    let most = said.most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    into.extend_from_slice(found.get(..most).unwrap_or(found));
}

fn of_request<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a [u8]> {
    let head = &exchange.head;
    match name {
        ":method" => Some(head.method.as_str().as_bytes()),
        ":path" => head.uri.path_and_query().map(|path| path.as_str().as_bytes()),
        ":authority" => Some(exchange.authority.as_bytes()),
        ":scheme" => Some(head.uri.scheme_str().unwrap_or("http").as_bytes()),
        name => head.headers.get(name).map(HeaderValue::as_bytes),
    }
}
