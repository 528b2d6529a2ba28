//! What Envoy's external authorization (`envoy.service.auth.v3`) is asked and answers, as far as proxies use it: the same field numbers,
//! nothing else of its text. What an answer demands beyond that is told by [`CheckResponse::demands_more`], never passed over.

use prost::{Message, Oneof};
pub use prost_types::Timestamp;
use std::collections::HashMap;

/// The path of the one call.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    pub destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub request: Option<Asked>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Peer {
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    #[prost(string, tag = "2")]
    pub service: String,
    /// The SPIFFE identity.
    #[prost(string, tag = "4")]
    pub principal: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Address {
    #[prost(message, optional, tag = "1")]
    pub socket: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(uint32, tag = "3")]
    pub port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Asked {
    #[prost(message, optional, tag = "1")]
    pub time: Option<Timestamp>,
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpAsked>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpAsked {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub method: String,
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// With the query.
    #[prost(string, tag = "4")]
    pub path: String,
    #[prost(string, tag = "5")]
    pub host: String,
    #[prost(string, tag = "6")]
    pub scheme: String,
    /// Of the body; -1 if not known.
    #[prost(int64, tag = "9")]
    pub size: i64,
    #[prost(string, tag = "10")]
    pub protocol: String,
    #[prost(bytes = "vec", tag = "12")]
    pub raw_body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(oneof = "Answer", tags = "2, 3, 5")]
    pub answer: Option<Answer>,
}

/// `google.rpc.Status`: code 0 lets the request pass.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Answer {
    #[prost(message, tag = "2")]
    Denied(Denied),
    #[prost(message, tag = "3")]
    Allowed(Allowed),
    /// A failure of the authorizer, which answers as it likes.
    #[prost(message, tag = "5")]
    Failed(Denied),
}

#[derive(Clone, PartialEq, Message)]
pub struct Denied {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    pub body: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Allowed {
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub response_headers: Vec<HeaderOption>,
    /// Changes of the query, which are not made here.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub parameters_to_set: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "8")]
    pub parameters_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// `google.protobuf.BoolValue`: absent is no.
    #[prost(message, optional, tag = "2")]
    pub append: Option<bool>,
    /// `HeaderAppendAction`.
    #[prost(int32, tag = "3")]
    pub action: i32,
}

/// What becomes of a header that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Append,
    Replace,
    OnlyIfAbsent,
    OnlyIfPresent,
}

impl HeaderOption {
    pub fn change(&self) -> Change {
        match (self.action, self.append) {
            (1, _) => Change::OnlyIfAbsent,
            (3, _) => Change::OnlyIfPresent,
            (_, Some(true)) => Change::Append,
            _ => Change::Replace,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

impl HeaderValue {
    pub fn bytes(&self) -> &[u8] {
        if self.raw_value.is_empty() { self.value.as_bytes() } else { &self.raw_value }
    }
}

impl CheckResponse {
    /// Whether it lets the request pass on a condition that is not met here.
    pub fn demands_more(&self) -> bool {
        matches!(&self.answer, Some(Answer::Allowed(allowed)) if !allowed.parameters_to_set.is_empty() || !allowed.parameters_to_remove.is_empty())
    }

    pub fn allows(&self) -> bool {
        match (&self.status, &self.answer) {
            (_, Some(Answer::Denied(_) | Answer::Failed(_))) => false,
            (Some(status), _) => status.code == 0,
            (None, answer) => answer.is_some(),
        }
    }
}

/// One message of a gRPC stream that was not compressed (gRPC over HTTP/2, "Length-Prefixed-Message").
pub fn frame(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], &body].concat()
}

/// The one message of an answer. `None`: there is none, more than one, or one that is compressed.
pub fn unframe<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    let (head, body) = bytes.split_at_checked(5)?;
    let (compressed, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let whole = *compressed == 0 && u32::try_from(body.len()) == Ok(length);
    whole.then(|| M::decode(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_yes_only_when_all_of_it_is() {
        let ok = Allowed::default();
        let code = |code| Some(Status { code });
        for (status, answer, allows) in [
            (None, None, false),
            (None, Some(Answer::Allowed(ok.clone())), true),
            (code(0), None, true),
            (code(0), Some(Answer::Allowed(ok.clone())), true),
            (code(7), None, false),
            (code(7), Some(Answer::Allowed(ok.clone())), false),
            (code(0), Some(Answer::Denied(Denied::default())), false),
            (code(0), Some(Answer::Failed(Denied::default())), false),
        ] {
            assert_eq!(CheckResponse { status, answer }.allows(), allows);
        }
        let changed = Allowed { parameters_to_remove: vec!["a".to_owned()], ..ok };
        assert!(CheckResponse { status: None, answer: Some(Answer::Allowed(changed)) }.demands_more());
    }

    #[test]
    fn a_message_is_framed_as_grpc_does() {
        let asked = CheckRequest { attributes: Some(Attributes::default()) };
        let framed = frame(&asked);
        assert_eq!(framed, [0, 0, 0, 0, 2, 10, 0]);
        assert_eq!(unframe(&framed), Some(asked));
        for broken in [&framed[..4], &framed[..6], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0]] {
            assert_eq!(unframe::<CheckRequest>(broken), None);
        }
    }
}
