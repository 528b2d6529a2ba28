//! How one service calls another: HTTP/1.1 through the proxy named by `HTTP_PROXY`, connections kept, trace headers passed on.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// Headers a service passes on, as Bookinfo's services do: who the user is, and what joins the spans of one request.
const PASSED_ON: [&str; 6] = ["end-user", "x-request-id", "traceparent", "tracestate", "cookie", "authorization"];

/// Where the others are reached.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// `host:port` of the HTTP proxy; none means names are dialled as they are.
    pub proxy: Option<String>,
    /// `host:port` of the store.
    pub store: String,
    /// `http://host:port` of the catalogue of books, if there is one.
    pub books: Option<String>,
    /// Who asks, as `user-agent`.
    name: &'static str,
    idle: Idle,
}

type Idle = Arc<Mutex<Vec<(String, SendRequest<Empty<Bytes>>)>>>;

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Upstreams {
    pub fn new(name: &'static str, proxy: Option<String>, store: String, books: Option<String>) -> Self {
        Self { proxy, store, books, name, idle: Idle::default() }
    }

    pub fn from_environment(name: &'static str) -> Result<Self, String> {
        let proxy = std::env::var("HTTP_PROXY").or_else(|_| std::env::var("http_proxy")).ok().filter(|p| !p.is_empty());
        let proxy = match proxy {
            None => None,
            Some(url) => {
                let authority = url.strip_prefix("http://").ok_or_else(|| format!("HTTP_PROXY is {url:?}: expected http://host:port"))?;
                Some(authority.trim_end_matches('/').to_owned())
            }
        };
        let store = std::env::var("STORE_ADDRESS").unwrap_or_else(|_| "store:7000".to_owned());
        let books = std::env::var("BOOKS").ok().filter(|url| !url.is_empty());
        Ok(Self::new(name, proxy, store, books))
    }

    /// `GET http://host:port/path`, the caller's trace headers passed on. An idle connection that turns out to be closed
    /// is replaced once: nothing had been sent on it.
    pub async fn get(&self, url: &str, passed: &HeaderMap, limit: Duration) -> Result<Reply, String> {
        match tokio::time::timeout(limit, self.exchange(url, passed)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
        }
    }

    async fn exchange(&self, url: &str, passed: &HeaderMap) -> Result<Reply, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
        let authority = uri.authority().ok_or("no authority")?.to_string();
        let dial = self.proxy.clone().unwrap_or_else(|| authority.clone());
        loop {
            let kept = self.take(&dial);
            let reused = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => connect(&dial).await?,
            };
            // Through a proxy the request names the whole URL (RFC 9112 3.2.2); directly, only the path.
            let target = match self.proxy {
                Some(_) => uri.clone(),
                None => uri.path_and_query().map_or("/".parse(), |p| p.as_str().parse()).map_err(|e| format!("{url}: {e}"))?,
            };
            let mut request = Request::get(target).header(header::HOST, &authority).header(header::USER_AGENT, self.name);
            for name in PASSED_ON {
                if let Some(value) = passed.get(name) {
                    request = request.header(name, value);
                }
            }
            let request = request.body(Empty::new()).map_err(|e| e.to_string())?;
            match sender.send_request(request).await {
                Ok(response) => {
                    let status = response.status();
                    let body =
                        Limited::new(response.into_body(), 4 << 20).collect().await.map_err(|e| format!("the answer broke off: {e}"))?.to_bytes();
                    self.keep(dial, sender);
                    return Ok(Reply { status, body });
                }
                Err(error) if reused && (error.is_canceled() || error.is_closed()) => continue,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn take(&self, dial: &str) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, sender)| !sender.is_closed());
        let at = idle.iter().position(|(to, sender)| to == dial && sender.is_ready())?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, dial: String, sender: SendRequest<Empty<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < 64 {
            idle.push((dial, sender));
        }
    }
}

async fn connect(dial: &str) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(dial).await.map_err(|e| format!("cannot connect to {dial}: {e}"))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}
