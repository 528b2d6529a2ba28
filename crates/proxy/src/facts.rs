//! Step 3 of 7: what is known about an exchange when the plan is asked. Also takes away what clients must not say themselves.

use crate::body::Source;
use crate::call::Call;
use crate::engine::Engine;
use crate::evidence::{Evidence, OwnedFacts, OwnedHttpFacts, headers_used, method_text, scheme_text};
use crate::grpc_web;
use crate::identity::HeldIdentity;
use crate::incoming::Incoming;
use crate::metadata;
use crate::proxy_protocol::Ends;
use crate::record::Open;
use crate::trace;
use crate::upgrade::Upgrade;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::route::HeaderChange;
use taut_observe::names::{PASSTHROUGH, UNKNOWN};
use taut_observe::record::{Edge, ExchangeRecord, Party, Protocol, Reporter};
use taut_observe::text::{Id, Moment, Text};
use taut_plan::verdict::{Action, Rolls};
use taut_plan::{Direction, Facts, HttpFacts, Peer, Plan, Token, Verdict, undotted};

/// No host name is longer (RFC 1035 section 2.3.4), and every one that is asked for is remembered for a while.
const LONGEST_HOST: usize = 255;

/// How a connection came in: what all its exchanges share.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub direction: Direction,
    /// Where the client wants to go. `None`: each request names its own destination.
    pub destination: Option<(Text, u16)>,
    /// Proven by mutual TLS.
    pub peer: Option<Arc<Identity>>,
    /// The other end of the connection.
    pub from: IpAddr,
    /// The client, and what it connected to; as the load balancer before this proxy says, where one is expected.
    pub ends: Ends,
    pub sni: Option<Text>,
    pub seen: Seen,
}

/// What the last exchange of a connection said, which the next most likely says again.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    proven: RefCell<Option<Arc<Party>>>,
    authority: RefCell<Option<Named>>,
    introduction: RefCell<Option<Introduction>>,
    certificate: RefCell<Option<(u64, HeaderValue)>>,
}

/// What a peer said of itself, whom that makes it, and when.
#[derive(Clone, Debug)]
struct Introduction {
    said: Option<Box<[u8]>>,
    party: Arc<Party>,
    at: Duration,
}

/// Which destination an authority names.
#[derive(Clone, Debug)]
struct Named {
    authority: Text,
    default_port: u16,
    host: Text,
    port: u16,
}

/// How long a peer's introduction is taken for heard, so that its name stays believed.
const INTRODUCTION_AGE: Duration = Duration::from_secs(10);

impl Arrival {
    /// The peer as far as it has proven who it is.
    fn proven(&self) -> Arc<Party> {
        let proven = || Arc::new(metadata::peer_party(self.peer.as_deref(), None));
        self.seen.proven.borrow_mut().get_or_insert_with(proven).clone()
    }

    /// The peer as records are to name it, from how it introduced itself.
    fn introduced(&self, engine: &Engine, said: Option<&HeaderValue>) -> Arc<Party> {
        let now = engine.world.now();
        let mut last = self.seen.introduction.borrow_mut();
        let same = |last: &&Introduction| last.said.as_deref() == said.map(HeaderValue::as_bytes) && now < last.at + INTRODUCTION_AGE;
        if let Some(last) = last.as_ref().filter(same) {
            return last.party.clone();
        }
        let party = Arc::new(engine.believe(metadata::peer_party(self.peer.as_deref(), said)));
        *last = Some(Introduction { said: said.map(|said| said.as_bytes().into()), party: party.clone(), at: now });
        party
    }

    /// On whose behalf requests of this connection come, as Envoy's `x-forwarded-client-cert` says it.
    pub fn certificate(&self, held: &HeldIdentity) -> Option<HeaderValue> {
        let peer = self.peer.as_ref()?;
        let mut last = self.seen.certificate.borrow_mut();
        if let Some((_, value)) = last.as_ref().filter(|(serial, _)| *serial == held.serial) {
            return Some(value.clone());
        }
        let value = HeaderValue::from_str(&format!("By={};URI={peer}", held.identity)).ok()?;
        Some(last.insert((held.serial, value)).1.clone())
    }

    /// The authority as text, and the destination it names.
    fn named(&self, authority: &str, default_port: u16) -> Named {
        let mut last = self.seen.authority.borrow_mut();
        if let Some(named) = last.as_ref().filter(|named| *named.authority == *authority && named.default_port == default_port) {
            return named.clone();
        }
        let (host, port) = split_authority(authority, default_port);
        last.insert(Named { authority: authority.into(), default_port, host: host.into(), port }).clone()
    }

    /// Facts of the connection as a whole, as for TCP.
    pub fn facts(&self) -> Facts<'_> {
        let (host, port) = self.destination.as_ref().map_or(("", 0), |(host, port)| (&**host, *port));
        let peer = Peer { identity: self.peer.as_deref(), address: Some(self.from), client: Some(self.ends.source.ip()) };
        Facts { direction: self.direction, host, port, http: None, peer, sni: self.sni.as_deref() }
    }

    /// An edge of which only this end is known yet.
    pub fn edge(&self, engine: &Engine, protocol: Protocol) -> Edge {
        let outbound = self.direction == Direction::Outbound;
        let (source, destination) = match outbound {
            true => (engine.party(false), Party::nobody()),
            false => (self.proven(), engine.party(self.peer.is_some())),
        };
        Edge {
            reporter: if outbound { Reporter::Source } else { Reporter::Destination },
            source,
            destination,
            service_host: Text::default(),
            service_name: Text::default(),
            service_namespace: Text::default(),
            mutual_tls: self.peer.is_some(),
            protocol,
        }
    }
}

/// Fills in which service facts are about, as far as the plan knows it: a service of the mesh with its namespace, else what the
/// client named, in the namespace `unknown`.
pub fn name_asked(engine: &Engine, edge: &mut Edge, plan: &Plan, facts: &Facts<'_>, verdict: &Verdict) {
    let go = match verdict {
        Verdict::Go(go) => Some(go),
        Verdict::Ask(_) | Verdict::Refuse(_) => None,
    };
    let named = go.map_or(facts.host, |go| &go.service_host);
    let found = match facts.direction {
        Direction::Outbound => plan.service(named, facts.port).map(|service| (service.host.as_str(), service.namespace.as_str())),
        Direction::Inbound => {
            let own = plan.own().filter(|own| go.is_some() || own.serves.iter().any(|serves| serves.host == named));
            own.map(|own| (named, own.namespace.as_str()))
        }
    };
    let passthrough = found.is_none() && go.is_some_and(|go| matches!(go.action, Action::Passthrough { .. }));
    let (host, namespace) = found.unwrap_or((named, UNKNOWN));
    engine.names().service(edge, host, namespace);
    if passthrough {
        edge.service_name = PASSTHROUGH.into();
    }
}

/// One exchange under way.
pub struct Exchange {
    pub arrival: Rc<Arrival>,
    pub head: Parts,
    pub body: Source,
    /// The client's side of a change to WebSocket, if it asked for one.
    pub upgrade: Option<Upgrade>,
    pub plan: Arc<Plan>,
    pub rolls: Rolls,
    /// `Host` or `:authority`, else the destination's host; empty when the client named neither.
    pub authority: Text,
    host: Text,
    port: u16,
    pub grpc: bool,
    /// That the client speaks.
    pub version: Version,
    pub call: Call,
    /// Inbound: the token that the request carries, verified or found wanting.
    pub token: Option<Arc<Token>>,
    /// Inbound: the authorizer that has let it pass.
    pub permitted_by: Option<Arc<str>>,
    /// What the authorizer adds to the response.
    pub added: Vec<(HeaderName, HeaderValue)>,
    /// The client speaks gRPC-Web, and is to be answered in it.
    pub web: Option<grpc_web::Format>,
    /// What lets a page of another origin read the response, whatever it is.
    pub cors: Option<Box<HeaderChange>>,
    /// The most bytes that the response may have, and what says so.
    pub largest_response: Option<(u64, Origin)>,
    pub open: Open,
}

impl Exchange {
    pub fn facts(&self) -> Facts<'_> {
        let http = HttpFacts {
            method: self.head.method.as_str(),
            scheme: self.head.uri.scheme_str().unwrap_or("http"),
            authority: &self.authority,
            path: self.head.uri.path(),
            query: self.head.uri.query().unwrap_or_default(),
            headers: &self.head.headers,
            token: self.token.as_deref(),
            permitted_by: self.permitted_by.as_deref(),
        };
        Facts { host: &self.host, port: self.port, http: Some(http), ..self.arrival.facts() }
    }

    pub fn inbound(&self) -> bool {
        self.arrival.direction == Direction::Inbound
    }

    /// Pins another plan, after the mesh has said more. It may look at headers that the one before did not.
    pub fn pin(&mut self, plan: Arc<Plan>) {
        self.open.record().plan = plan.version();
        let facts = OwnedFacts::copy(&self.facts(), &plan);
        self.open.evidence = Some(Evidence { plan: plan.clone(), facts, rolls: self.rolls });
        self.plan = plan;
    }
}

/// Reads the head of a request: where it wants to go, who sent it, its ids. Opens its record.
pub fn gather(engine: &Rc<Engine>, arrival: &Rc<Arrival>, mut head: Parts, body: Incoming, upgrade: Option<Upgrade>) -> Exchange {
    let body = Source::new(body);
    let plan = engine.pin();
    let rolls = engine.rolls();

    let named = arrival.named(authority(&head), default_port(&head));
    let (host, port) = arrival.destination.clone().unwrap_or((named.host, named.port));
    let authority = match arrival.direction {
        // A client of HTTP/1.0 may name no host. What is decided on is what is sent on.
        _ if named.authority.is_empty() => host.clone(),
        Direction::Inbound => match undotted(&named.authority) {
            Cow::Borrowed(_) => named.authority,
            Cow::Owned(undotted) => undotted.into(),
        },
        Direction::Outbound => named.authority,
    };
    let mut edge = arrival.edge(engine, Protocol::Http);
    take_away(engine, &mut head.headers, arrival, &mut edge);
    let call = Call::read(&mut head.headers, arrival.direction == Direction::Inbound && arrival.peer.is_some());
    let grpc = is_grpc(&head.headers);
    if grpc {
        edge.protocol = Protocol::Grpc;
    }
    (edge.service_host, edge.service_name) = (host.clone(), host.clone());
    edge.service_namespace = engine.names().unknown();
    let (request_id, trail) = trace::begin(&mut head.headers, &mut engine.dice(), plan.telemetry().of(arrival.direction).tracing.as_deref());
    let ids = (request_id, Id::Trace(trail.trace));
    let record = first_record(edge, Moment(engine.world.wall()), ids, &head, &authority, &plan);
    let headers = kept_headers(engine, &head.headers, &plan);
    let facts = first_facts(arrival, &head, headers, &record, (host.clone(), port));
    let evidence = Evidence { plan: plan.clone(), facts, rolls };
    let open = Open::new(engine, record, trail, evidence, body.clone());
    Exchange {
        arrival: arrival.clone(),
        version: head.version,
        head,
        body,
        upgrade,
        plan,
        rolls,
        authority,
        host,
        port,
        grpc,
        call,
        token: None,
        permitted_by: None,
        added: Vec::new(),
        web: None,
        cors: None,
        largest_response: None,
        open,
    }
}

/// The headers that the plan looks at, and those that taps ask about.
fn kept_headers(engine: &Engine, headers: &HeaderMap, plan: &Plan) -> HeaderMap {
    let mut kept = headers_used(headers, plan);
    engine.sink.watched().copy(headers, &mut kept, || engine.world.now());
    kept
}

/// The record of an exchange of which only the head is known.
fn first_record(edge: Edge, started: Moment, (request_id, trace_id): (Id, Id), head: &Parts, authority: &Text, plan: &Plan) -> ExchangeRecord {
    ExchangeRecord {
        edge,
        started,
        request_id,
        trace_id,
        method: method_text(head.method.as_str()),
        authority: authority.clone(),
        path: head.uri.path().into(),
        status: 0,
        grpc_status: None,
        failure: None,
        request_bytes: 0,
        response_bytes: 0,
        duration_us: 0,
        waited_us: 0,
        upstream_us: 0,
        attempts: SmallVec::new(),
        plan: plan.version(),
        rule: None,
        would_deny: None,
        route: Text::default(),
    }
}

/// What the first decision is made from.
fn first_facts(arrival: &Arrival, head: &Parts, headers: HeaderMap, record: &ExchangeRecord, (host, port): (Text, u16)) -> OwnedFacts {
    let http = OwnedHttpFacts {
        method: record.method.clone(),
        scheme: scheme_text(head.uri.scheme_str().unwrap_or("http")),
        authority: record.authority.clone(),
        path: record.path.clone(),
        query: head.uri.query().map_or_else(Text::default, Text::from),
        headers,
        token: None,
        permitted_by: None,
    };
    OwnedFacts {
        direction: arrival.direction,
        host,
        port,
        http: Some(http),
        peer_identity: arrival.peer.clone(),
        peer_address: Some(arrival.from),
        peer_client: Some(arrival.ends.source.ip()),
        sni: arrival.sni.clone(),
    }
}

/// Removes the headers that only proxies of the mesh may set, after reading what a peer's proxy said in them.
fn take_away(engine: &Engine, headers: &mut HeaderMap, arrival: &Arrival, edge: &mut Edge) {
    let introduced = headers.remove(&metadata::SOURCE);
    if arrival.direction == Direction::Inbound {
        edge.source = arrival.introduced(engine, introduced.as_ref());
    }
    for name in [&metadata::DESTINATION, &metadata::REASON, &metadata::CLIENT_CERTIFICATE] {
        headers.remove(name);
    }
}

/// RFC 9112 section 3.2.2: the authority of an absolute-form target wins over `Host`.
fn authority(head: &Parts) -> &str {
    let host = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let text = head.uri.authority().map_or_else(host, |authority| authority.as_str());
    // RFC 9110 section 4.2.4: user information has no place here.
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

fn default_port(head: &Parts) -> u16 {
    if head.uri.scheme_str() == Some("https") { 443 } else { 80 }
}

/// `reviews:9080` -> (`reviews`, 9080); `[::1]:80` -> (`::1`, 80). The host is empty when the authority is not one.
pub fn split_authority(authority: &str, default_port: u16) -> (String, u16) {
    let nowhere = (String::new(), default_port);
    // RFC 9110 section 4.2.4: user information says nothing about where to.
    let named = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let Ok(parsed) = named.parse::<http::uri::Authority>() else { return nowhere };
    let literal = parsed.host().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = literal.unwrap_or(parsed.host());
    // `[reviews]` is a name to one reader and nonsense to the next.
    let odd = literal.map_or_else(|| host.contains(['[', ']', ':']), |literal| literal.parse::<Ipv6Addr>().is_err());
    match parsed.port_u16() {
        // `reviews:99999`
        None if named.len() > parsed.host().len() => nowhere,
        _ if odd || host.len() > LONGEST_HOST => nowhere,
        port => (host.to_owned(), port.unwrap_or(default_port)),
    }
}

/// `Connection: upgrade` with an `Upgrade` that names WebSocket (RFC 9110 section 7.8, RFC 6455 section 4.1). Any other
/// protocol is not offered to the application: bytes that nobody looks at would follow, and with `h2c` they are requests.
pub fn asks_for_websocket(head: &Parts) -> bool {
    let headers = &head.headers;
    if !headers.contains_key(header::UPGRADE) {
        return false;
    }
    let offered = headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    head.version == Version::HTTP_11
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
        && offered.map(str::trim).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// The options named by all `Connection` lines.
pub fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        for (authority, host, port) in [
            ("reviews", "reviews", 80),
            ("reviews:9080", "reviews", 9080),
            ("[::1]:8080", "::1", 8080),
            ("10.0.0.1", "10.0.0.1", 80),
            ("", "", 80),
            ("reviews:99999", "", 80),
            ("a b", "", 80),
            (&"a".repeat(256), "", 80),
            ("[reviews]:9080", "", 80),
            ("[fe80::1%25eth0]:80", "", 80),
            ("[::@]:80", "", 80),
            ("user@reviews:9080", "reviews", 9080),
        ] {
            assert_eq!(split_authority(authority, 80), (host.to_owned(), port), "{authority}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, grpc) in [("application/grpc", true), ("application/grpc+proto", true), ("application/grpc-web", false), ("text/plain", false)] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
    }
}
