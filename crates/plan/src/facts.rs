//! What the shell knows about one exchange or connection when it asks for a decision.

use crate::token::Token;
use std::borrow::Cow;
use std::net::IpAddr;
use taut_model::identity::Identity;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the workload beside this proxy to somewhere else.
    Outbound,
    /// From somewhere else to the workload beside this proxy.
    Inbound,
}

#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub direction: Direction,
    /// Outbound: the host the client named, as it named it (`reviews`, `reviews.default`, an address).
    /// Inbound: the service host the peer named in SNI, or the empty string for a plaintext connection.
    pub host: &'a str,
    /// Outbound and mutual-TLS inbound: the service port. Plaintext inbound: the workload's own port.
    pub port: u16,
    /// `None` for a connection that is not HTTP (or not yet known to be).
    pub http: Option<HttpFacts<'a>>,
    /// Who is on the other side of an inbound connection; for outbound, `Peer::default()`.
    pub peer: Peer<'a>,
    /// Server name of a TLS connection that is passed through.
    pub sni: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// Proven by mutual TLS; `None` for plain text.
    pub identity: Option<&'a Identity>,
    /// Where the connection comes from.
    pub address: Option<IpAddr>,
    /// The client that a load balancer before this proxy speaks for; `address` where there is none.
    pub client: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
pub struct HttpFacts<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    /// `Host` or `:authority`, as sent.
    pub authority: &'a str,
    /// As sent, without the query. Policies are held against what `normalise` makes of it; so are routes when it holds dot
    /// segments, and against the path as it is otherwise. What was looked at is what is sent on.
    pub path: &'a str,
    /// Without the question mark; empty if there is none.
    pub query: &'a str,
    pub headers: &'a http::HeaderMap,
    /// Inbound: the token that it carries, as far as [`crate::Plan::issuers`] look for one.
    pub token: Option<&'a Token>,
    /// Inbound: the authorizer that has let it pass, by its name among the mesh's providers.
    pub permitted_by: Option<&'a str>,
}

impl<'a> HttpFacts<'a> {
    /// The value of a header (name in lower case); several lines are joined with commas (RFC 9110 section 5.3). `host` and the
    /// pseudo-headers of HTTP/2 are answered from the request's head, whatever version it came in.
    pub(crate) fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        match name {
            ":authority" | "host" => return Some(Cow::Borrowed(self.authority)),
            ":method" => return Some(Cow::Borrowed(self.method)),
            ":path" => return Some(Cow::Borrowed(self.path)),
            ":scheme" => return Some(Cow::Borrowed(self.scheme)),
            _ => {}
        }
        let mut values = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next()?;
        Some(values.fold(first, |all, next| Cow::Owned(format!("{all},{next}"))))
    }

    /// RFC 6265 section 4.2: the first cookie of that name; clients may send several header lines (HTTP/2 does).
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers.get_all("cookie").iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
    }
}
