//! Asks an authorizer outside the proxy about a request, as a CUSTOM policy demands: over the mesh, like any other request of this
//! workload. Whom to ask, and when, is the plan's to say; without an answer the request is refused unless the provider says otherwise.

use crate::engine::Engine;
use crate::facts::{self, Arrival, Exchange, Seen};
use crate::fault::{Denied, Fault, Kind};
use crate::forward::{self, Content};
use crate::grpc;
use crate::incoming::Incoming;
use crate::learn::{learn, not_learned};
use crate::metadata;
use crate::proxy_protocol::Ends;
use crate::transform;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Limited};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use taut_model::authorizer::{AuthorizerHttp, AuthorizerProtocol};
use taut_observe::text::Text;
use taut_plan::Direction;
use taut_plan::verdict::{Go, Permission, Question, Reason, Refusal, Side, Verdict};
use taut_wire::authz::{self, Change, CheckResponse, HeaderOption};

/// An authorizer has a page to show to who is refused, at most.
const LONGEST_ANSWER: usize = 64 << 10;

/// What comes of the question.
#[derive(Debug, Default, PartialEq)]
struct Yes {
    headers: Vec<(HeaderName, HeaderValue, Change)>,
    removed: Vec<HeaderName>,
    /// For the response.
    added: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, PartialEq)]
struct No {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What the authorizer answered, whole.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// Why there is no answer.
type Trouble = String;

/// Asks, and does to the request what the authorizer wants done to it.
///
/// # Errors
/// It does not let the request pass, or it has not answered.
pub async fn ask(engine: &Rc<Engine>, exchange: &mut Exchange, permission: &Permission) -> Result<(), Fault> {
    let (authorizer, name) = (&permission.authorizer, &permission.name);
    let answer = tokio::time::timeout(authorizer.timeout, question(engine, exchange, permission)).await;
    match answer.unwrap_or_else(|_| Ok(Err(format!("nothing within {:?}", authorizer.timeout))))? {
        Ok(Ok(yes)) => {
            apply(exchange, yes);
            Ok(())
        }
        Ok(Err(No { status, headers, body })) => {
            let denied = Denied { origin: permission.rule.clone(), status, headers, body };
            Err(Fault::new(Kind::Denied(Box::new(denied)), format!("the authorizer {name:?} does not let it pass")))
        }
        Err(_) if authorizer.fail_open => Ok(()),
        Err(trouble) => {
            let detail = format!("the authorizer {name:?} gave no answer: {trouble}");
            let (reason, origin) = (Reason::AuthorizerFailed, Some(permission.rule.clone()));
            Err(Fault::refused(Refusal { side: Side::Mesh, reason, status: authorizer.status_on_error, origin, detail }))
        }
    }
}

async fn question(engine: &Rc<Engine>, exchange: &Exchange, permission: &Permission) -> Result<Result<Result<Yes, No>, Trouble>, Fault> {
    let authorizer = &permission.authorizer;
    let body = match &authorizer.body {
        None => Vec::new(),
        Some(shown) => {
            let most = usize::try_from(shown.most).unwrap_or(usize::MAX);
            let (mut body, whole) = match exchange.body.beginning(most).await {
                Ok(read) => read,
                Err(error) => return Err(Fault::new(Kind::ClientBroke, format!("the request body broke off: {error}"))),
            };
            if !shown.partly && (!whole || body.len() > most) {
                let what = format!("the request's body is longer than the {most} bytes that the authorizer {:?} looks at", permission.name);
                return Err(Fault::new(Kind::RequestTooLarge(Box::new(permission.rule.clone())), what));
            }
            body.truncate(most);
            body
        }
    };
    let answer = match &authorizer.protocol {
        AuthorizerProtocol::Grpc => {
            let request = authz::frame(&check_request(engine, exchange, body));
            let Some(head) = grpc_head(&authorizer.host) else { return Ok(Err("its host is no name".to_owned())) };
            send(engine, permission, head, request.into()).await.and_then(|answered| read_grpc(&answered))
        }
        AuthorizerProtocol::Http(http) => {
            let Some(head) = http_head(exchange, http) else { return Ok(Err("the request cannot be shown to it".to_owned())) };
            send(engine, permission, head, body.into()).await.and_then(|answered| read_http(answered, http))
        }
    };
    Ok(answer)
}

/// One exchange of its own, recorded like others that this workload makes.
async fn send(engine: &Rc<Engine>, permission: &Permission, head: Parts, body: Bytes) -> Result<Answered, Trouble> {
    let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let arrival = Rc::new(Arrival {
        direction: Direction::Outbound,
        destination: Some((Text::from(permission.authorizer.host.as_str()), permission.authorizer.port)),
        peer: None,
        from: here.ip(),
        ends: Ends { source: here, destination: here },
        sni: None,
        seen: Seen::default(),
    });
    let mut exchange = facts::gather(engine, &arrival, head, Incoming::Made(Some(body)), None);
    let answered = carry(engine, &mut exchange).await;
    let mut open = exchange.open;
    match &answered {
        Ok(answered) => {
            let record = open.record();
            record.status = answered.status.as_u16();
            record.grpc_status = grpc_status(answered);
            record.response_bytes = answered.body.len() as u64;
        }
        Err(fault) => open.fail(fault),
    }
    open.close();
    answered.map_err(|fault| fault.detail.into_owned())
}

async fn carry(engine: &Rc<Engine>, exchange: &mut Exchange) -> Result<Answered, Fault> {
    let go = decide(engine, exchange).await?;
    exchange.open.record().rule = Some(go.rule.origin.clone());
    transform::request(engine, exchange, &go)?;
    let answer = forward::attempts(engine, exchange, &go).await?;
    let (head, content) = answer.response.into_parts();
    let broken = |why: String| Fault::new(Kind::ResponseBroken, why);
    let (body, trailers) = match content {
        Content::Here(bytes) => (bytes, None),
        Content::Compressed(_) => return Err(broken("its answer is compressed".to_owned())),
        Content::Upstream(incoming) => {
            let collected = Limited::new(incoming, LONGEST_ANSWER).collect().await;
            let collected = collected.map_err(|error| broken(format!("its answer broke off, or is longer than {LONGEST_ANSWER} bytes: {error}")))?;
            let trailers = collected.trailers().cloned();
            (collected.to_bytes(), trailers)
        }
    };
    drop(answer.hold);
    Ok(Answered { status: head.status, headers: head.headers, body, trailers })
}

async fn decide(engine: &Rc<Engine>, exchange: &mut Exchange) -> Result<Box<Go>, Fault> {
    for _ in 0..=2 {
        let verdict = match exchange.plan.decide(&exchange.facts(), &exchange.rolls) {
            Verdict::Ask(Question::Services(hosts)) => learn(engine, &exchange.plan, &exchange.facts(), &hosts).await?.map(Verdict::Go),
            verdict => Some(verdict),
        };
        if let Some(verdict) = verdict {
            engine.note_use(exchange.facts().host, verdict.service_host());
            let mut edge = exchange.open.record.edge.clone();
            facts::name_asked(engine, &mut edge, &exchange.plan, &exchange.facts(), &verdict);
            exchange.open.record().edge = edge;
            match verdict {
                Verdict::Go(go) => return Ok(go),
                Verdict::Refuse(refusal) => return Err(Fault::refused(refusal)),
                Verdict::Ask(_) => {}
            }
        }
        exchange.pin(engine.pin());
    }
    Err(not_learned(exchange.facts().host))
}

fn grpc_head(host: &str) -> Option<Parts> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let request = Request::post(authz::CHECK)
        .version(Version::HTTP_2)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers");
    request.body(()).ok().map(|request| request.into_parts().0)
}

fn check_request(engine: &Engine, exchange: &Exchange, raw_body: Vec<u8>) -> authz::CheckRequest {
    let (arrival, head) = (&exchange.arrival, &exchange.head);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let scheme = head.uri.scheme_str().unwrap_or("http");
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        // RFC 9110 section 5.3.
        headers.entry(name.as_str().to_owned()).and_modify(|all| *all = format!("{all},{value}")).or_insert_with(|| value.into_owned());
    }
    let pseudo = [(":authority", &*exchange.authority), (":method", head.method.as_str()), (":path", path), (":scheme", scheme)];
    headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let http = authz::HttpAsked {
        id: exchange.open.record.request_id.to_string(),
        method: head.method.to_string(),
        headers,
        path: path.to_owned(),
        host: exchange.authority.to_string(),
        scheme: scheme.to_owned(),
        size: -1,
        protocol: if exchange.version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" }.to_owned(),
        raw_body,
    };
    let now = engine.world.wall();
    let time = authz::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() };
    let held = engine.current.identity();
    let peer = |address: SocketAddr, principal: Option<String>| authz::Peer {
        address: Some(authz::Address {
            socket: Some(authz::SocketAddress { address: address.ip().to_canonical().to_string(), port: address.port().into() }),
        }),
        service: String::new(),
        principal: principal.unwrap_or_default(),
    };
    let attributes = authz::Attributes {
        source: Some(peer(arrival.ends.source, arrival.peer.as_ref().map(ToString::to_string))),
        destination: Some(peer(arrival.ends.destination, held.map(|held| held.identity.to_string()))),
        request: Some(authz::Asked { time: Some(time), http: Some(http) }),
    };
    authz::CheckRequest { attributes: Some(attributes) }
}

/// The request again: where to, how, who wants it, and what else the provider lists.
fn http_head(exchange: &Exchange, http: &AuthorizerHttp) -> Option<Parts> {
    let path = exchange.head.uri.path_and_query().map_or("/", |path| path.as_str());
    let method = if exchange.head.method == Method::CONNECT { Method::GET } else { exchange.head.method.clone() };
    let mut request = Request::builder().method(method).uri(format!("{}{path}", http.path_prefix)).version(Version::HTTP_11);
    for (name, value) in &exchange.head.headers {
        if *name == header::AUTHORIZATION || (is_listed(&http.request_headers, name) && may_be_set(name)) {
            request = request.header(name, value);
        }
    }
    let mut head = request.header(header::HOST, &*exchange.authority).body(()).ok()?.into_parts().0;
    for (name, value) in &http.added_headers {
        head.headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    Some(head)
}

fn grpc_status(answered: &Answered) -> Option<u16> {
    answered.trailers.as_ref().and_then(grpc::status).or_else(|| grpc::status(&answered.headers))
}

fn read_grpc(answered: &Answered) -> Result<Result<Yes, No>, Trouble> {
    if answered.status != StatusCode::OK || grpc_status(answered) != Some(0) {
        return Err(format!("it failed with HTTP status {} and gRPC status {:?}", answered.status, grpc_status(answered)));
    }
    read_check(&answered.body)
}

fn read_check(body: &[u8]) -> Result<Result<Yes, No>, Trouble> {
    let response: CheckResponse = authz::unframe(body).ok_or("its answer is no CheckResponse")?;
    if response.demands_more() {
        return Err("it lets the request pass with another query, and queries are not changed here".to_owned());
    }
    match (response.allows(), response.answer) {
        (true, Some(authz::Answer::Allowed(allowed))) => Ok(Ok(Yes {
            headers: allowed.headers.iter().filter_map(changed).collect(),
            removed: allowed.headers_to_remove.iter().filter_map(|name| HeaderName::try_from(name).ok()).filter(may_be_set).collect(),
            added: allowed.response_headers.iter().filter_map(changed).map(|(name, value, _)| (name, value)).collect(),
        })),
        (true, _) => Ok(Ok(Yes::default())),
        (false, Some(authz::Answer::Denied(denied) | authz::Answer::Failed(denied))) => {
            let status = denied.status.and_then(|status| u16::try_from(status.code).ok()).and_then(|code| StatusCode::from_u16(code).ok());
            let headers = denied.headers.iter().filter_map(changed).map(|(name, value, _)| (name, value));
            Ok(Err(No {
                status: status.filter(|status| !status.is_informational()).unwrap_or(StatusCode::FORBIDDEN),
                headers: headers.collect(),
                body: denied.body.into(),
            }))
        }
        (false, Some(authz::Answer::Allowed(_)) | None) => {
            Ok(Err(No { status: StatusCode::FORBIDDEN, headers: HeaderMap::new(), body: Bytes::new() }))
        }
    }
}

fn changed(option: &HeaderOption) -> Option<(HeaderName, HeaderValue, Change)> {
    let header = option.header.as_ref()?;
    let name = HeaderName::try_from(&header.key).ok().filter(may_be_set)?;
    Some((name, HeaderValue::from_bytes(header.bytes()).ok()?, option.change()))
}

/// 200 says yes; a server error is no answer, as in Envoy.
fn read_http(answered: Answered, http: &AuthorizerHttp) -> Result<Result<Yes, No>, Trouble> {
    let listed = |list: &[String]| -> Vec<(HeaderName, HeaderValue)> {
        let chosen = answered.headers.iter().filter(|(name, _)| is_listed(list, name) && may_be_set(name));
        chosen.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    if answered.status == StatusCode::OK {
        let headers = listed(&http.to_upstream).into_iter().map(|(name, value)| (name, value, Change::Replace)).collect();
        return Ok(Ok(Yes { headers, removed: Vec::new(), added: listed(&http.to_client_on_allow) }));
    }
    if answered.status.is_server_error() || answered.status.is_informational() {
        return Err(format!("it answered {}", answered.status));
    }
    let everything = ["*".to_owned()];
    let mut headers: HeaderMap = listed(if http.to_client_on_deny.is_empty() { &everything } else { &http.to_client_on_deny }).into_iter().collect();
    for name in [header::WWW_AUTHENTICATE, header::LOCATION, header::CONTENT_TYPE] {
        if let Some(value) = answered.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    Ok(Err(No { status: answered.status, headers, body: answered.body }))
}

fn apply(exchange: &mut Exchange, yes: Yes) {
    let headers = &mut exchange.head.headers;
    yes.removed.iter().for_each(|name| drop(headers.remove(name)));
    for (name, value, change) in yes.headers {
        match (change, headers.contains_key(&name)) {
            (Change::Append, _) => {
                headers.append(name, value);
            }
            (Change::OnlyIfAbsent, true) | (Change::OnlyIfPresent, false) => {}
            (Change::Replace, _) | (Change::OnlyIfAbsent, false) | (Change::OnlyIfPresent, true) => drop(headers.insert(name, value)),
        }
    }
    exchange.added = yes.added;
}

/// Exact, `prefix*`, `*suffix` or `*`, in lower case.
fn is_listed(list: &[String], name: &HeaderName) -> bool {
    let name = name.as_str();
    list.iter().any(|want| match (want.strip_suffix('*'), want.strip_prefix('*')) {
        (Some(prefix), _) => name.starts_with(prefix),
        (None, Some(suffix)) => name.ends_with(suffix),
        (None, None) => want == name,
    })
}

/// How a message is framed, where it goes and what proxies say to each other is nobody else's to change.
fn may_be_set(name: &HeaderName) -> bool {
    let framing = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TE, header::TRAILER];
    let ours = *name == metadata::CLIENT_CERTIFICATE || name.as_str().starts_with("x-taut-");
    !framing.contains(name) && !ours && !matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Feeds one answer to the reader: it says yes only to what an authorizer may change.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(Ok(yes)) = read_check(bytes) {
        let names = yes.headers.iter().map(|(name, ..)| name).chain(&yes.removed).chain(yes.added.iter().map(|(name, _)| name));
        assert!(names.into_iter().all(may_be_set), "an authorizer changes what it may not");
    }
    if let Ok(Err(no)) = read_check(bytes) {
        assert!(!no.status.is_informational() && no.headers.keys().all(may_be_set), "a refusal that is none");
    }
}
