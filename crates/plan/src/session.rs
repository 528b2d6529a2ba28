//! Sessions that stay at one endpoint: the mark that a client is given, and what a mark that it shows means.
//!
//! A mark is a hash of the endpoint's name and its service: it tells nobody an address. It is no secret and needs none. Whoever
//! invents one reaches an endpoint of the same cluster that the balancer could have chosen for it, or is taken for new.

use crate::dice::stable_hash;
use crate::facts::HttpFacts;
use crate::path::lower;
use taut_model::destination::{Persistence, SessionMark};
use taut_model::origin::Origin;

/// Digits of a mark.
const DIGITS: usize = 16;

#[derive(Clone, Debug)]
pub struct Sessions {
    by: SessionMark,
    pub(crate) origin: Origin,
    /// Of each endpoint.
    marks: Vec<u64>,
}

impl Sessions {
    pub(crate) fn new(persistence: &Persistence, host: &str, port: u16, uids: impl Iterator<Item: AsRef<str>>) -> Self {
        let mark = |uid: &str| stable_hash(format!("{host}:{port} {uid}").as_bytes());
        Self { by: persistence.by.clone(), origin: persistence.origin.clone(), marks: uids.map(|uid| mark(uid.as_ref())).collect() }
    }

    /// The position of the endpoint that the client has been at; `None` for a new client, and for a mark of none of them.
    pub(crate) fn resumed(&self, http: &HttpFacts<'_>) -> Option<usize> {
        let shown = match &self.by {
            SessionMark::Cookie { name, .. } => http.cookie(name)?,
            SessionMark::Header(name) => http.header(&lower(name))?.into_owned(),
        };
        let readable = shown.len() == DIGITS && shown.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mark = u64::from_str_radix(&shown, 16).ok().filter(|_| readable)?;
        self.marks.iter().position(|known| *known == mark)
    }

    /// The header that tells a client its mark: name and value.
    pub(crate) fn told(&self, position: usize) -> Option<(String, String)> {
        let mark = self.marks.get(position)?;
        Some(match &self.by {
            SessionMark::Header(name) => (lower(name).into_owned(), format!("{mark:016x}")),
            SessionMark::Cookie { name, path, ttl } => {
                let path = if path.is_empty() { "/" } else { path };
                let age = ttl.map_or_else(String::new, |ttl| format!("; Max-Age={}", ttl.as_secs()));
                ("set-cookie".to_owned(), format!("{name}={mark:016x}; Path={path}{age}; HttpOnly"))
            }
        })
    }

    /// The lower-case name of the request header that is looked at.
    pub(crate) fn header_name(&self) -> String {
        header_name(&self.by)
    }

    /// `the cookie "session"`
    pub(crate) fn describe(&self) -> String {
        match &self.by {
            SessionMark::Cookie { name, .. } => format!("the cookie {name:?}"),
            SessionMark::Header(name) => format!("the header {name:?}"),
        }
    }
}

/// The lower-case name of the request header that carries a mark.
pub(crate) fn header_name(mark: &SessionMark) -> String {
    match mark {
        SessionMark::Cookie { .. } => "cookie".to_owned(),
        SessionMark::Header(name) => lower(name).into_owned(),
    }
}
