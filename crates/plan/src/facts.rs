//! What the shell knows about one exchange or connection when it asks for a decision.

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
}
