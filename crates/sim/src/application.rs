//! The programs beside the simulated sidecars: a backend that says what reached it, and a client that asks.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use turmoil::net::{TcpListener, TcpStream};

pub const PORT: u16 = 9080;

/// Answers `<its name> <path> <who the sidecar says the caller is>`.
pub async fn backend(name: &'static str) -> io::Result<()> {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = move |request: Request<Incoming>| async move {
            let caller = request.headers().get("x-forwarded-client-cert").and_then(|v| v.to_str().ok()).unwrap_or("nobody");
            let uri = caller.split(';').find_map(|part| part.strip_prefix("URI=")).unwrap_or(caller);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{name} {} {uri}", request.uri().path())))))
        };
        tokio::task::spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

/// What the client saw of one request.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub reason: String,
    pub body: String,
}

/// One GET through the sidecar's HTTP proxy, on a connection of its own.
pub async fn get(outbound: SocketAddr, url: &str) -> Result<Seen, String> {
    let stream = TcpStream::connect(outbound).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::task::spawn_local(connection);
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let request = Request::get(url).header("host", host).body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let reason = response.headers().get("x-taut-reason").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok(Seen { status, reason, body: String::from_utf8_lossy(&body).into_owned() })
}
