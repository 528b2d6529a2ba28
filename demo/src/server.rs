//! The plain HTTP/1.1 server under every service, and the small answers they share.

use crate::trouble::{Fate, Faults};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

pub type Answer = Response<Full<Bytes>>;

/// A request as the services see it: the body is read whole, at most 1 MiB.
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub trait Service: Send + Sync + 'static {
    fn answer(&self, call: Call) -> impl Future<Output = Answer> + Send;
}

/// Serves until it cannot listen; stops to listen while its faults say so.
pub async fn http<S: Service>(address: SocketAddr, service: Arc<S>, faults: &Faults) -> io::Result<()> {
    loop {
        faults.refuses(false).await;
        let listener = TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
        tokio::select! {
            biased;
            () = faults.refuses(true) => {}
            () = accept(&listener, &service, faults) => {}
        }
    }
}

async fn accept<S: Service>(listener: &TcpListener, service: &Arc<S>, faults: &Faults) {
    loop {
        // A failed accept (out of descriptors, say) concerns one connection, not the service.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, faults) = (service.clone(), faults.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let own = faults.clone();
            let serve = service_fn(move |request| answer(service.clone(), own.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), serve);
            tokio::select! {
                biased;
                () = faults.refuses(true) => {}
                ended = connection.with_upgrades() => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
            }
        });
    }
}

type Body = BoxBody<Bytes, io::Error>;

async fn answer<S: Service>(service: Arc<S>, faults: Faults, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, 1 << 20).collect().await else {
        return Ok(whole(text(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB, please\n"), 0).await);
    };
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    if call.path == "/health" {
        return Ok(whole(json(StatusCode::OK, &serde_json::json!({ "status": "healthy" })), 0).await);
    }
    let (fate, _place) = faults.suffer(&call.headers, &call.path).await;
    Ok(match fate {
        Fate::Served { pad_bytes } => whole(service.answer(call).await, pad_bytes).await,
        Fate::Answered(status) => whole(json(status, &serde_json::json!({ "error": "broken on purpose" })), 0).await,
        Fate::Cut => torn(service.answer(call).await).await,
    })
}

/// With white space after it, which neither JSON nor HTML minds.
async fn whole(answer: Answer, pad_bytes: usize) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let mut bytes = bytes(body).await.to_vec();
    bytes.resize(bytes.len() + pad_bytes, b' ');
    Response::from_parts(head, Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed())
}

/// Half of it, then the end of the connection.
async fn torn(answer: Answer) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let bytes = bytes(body).await;
    let half = Frame::data(bytes.slice(..bytes.len() / 2));
    let frames = stream::iter([Ok(half), Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    Response::from_parts(head, BoxBody::new(StreamBody::new(frames)))
}

async fn bytes(body: Full<Bytes>) -> Bytes {
    body.collect().await.map_or_else(|never| match never {}, |body| body.to_bytes())
}

pub fn json(status: StatusCode, value: &Value) -> Answer {
    typed(status, "application/json", value.to_string())
}

pub fn text(status: StatusCode, body: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.to_owned())
}

pub fn typed(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}

/// The book a path such as `/reviews/0` asks for.
pub fn book(path: &str, prefix: &str) -> Option<u32> {
    path.strip_prefix(prefix)?.trim_matches('/').parse().ok()
}
