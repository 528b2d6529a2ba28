//! The plain HTTP/1.1 server under every service, and the small answers they share.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
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

pub async fn http<S: Service>(address: SocketAddr, service: Arc<S>) -> io::Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
    loop {
        // A failed accept (out of descriptors, say) concerns one connection, not the service.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let serve = service_fn(move |request| answer(service.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), serve);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn answer<S: Service>(service: Arc<S>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, 1 << 20).collect().await else {
        return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB, please\n"));
    };
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    if call.path == "/health" {
        return Ok(json(StatusCode::OK, &serde_json::json!({ "status": "healthy" })));
    }
    Ok(service.answer(call).await)
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
