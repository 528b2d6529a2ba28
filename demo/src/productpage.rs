//! `productpage`: the page people open. It gathers details and stock, reviews and stars, and shows what failed where it failed.

use crate::app::App;
use crate::client::Upstreams;
use crate::page::{self, Page};
use crate::server::{Answer, Call, Service, json, typed};
use crate::stock::{StockClient, StockRequest};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

pub struct ProductPage {
    version: String,
    upstreams: Upstreams,
    stock: Channel,
}

/// How long the page waits for a part (Bookinfo's figures: 3 s, reviews asked twice).
const PATIENCE: Duration = Duration::from_secs(3);

impl ProductPage {
    pub fn new(app: &App) -> Arc<Self> {
        let stock = stock_channel(app.upstreams.proxy.clone());
        Arc::new(Self { version: app.version.clone(), upstreams: app.upstreams.clone(), stock })
    }

    async fn part(&self, url: &str, passed: &HeaderMap) -> (StatusCode, Value) {
        match self.upstreams.get(url, passed, PATIENCE).await {
            Err(why) => (StatusCode::BAD_GATEWAY, json!({ "error": why })),
            Ok(reply) => {
                let body = serde_json::from_slice(&reply.body).unwrap_or_else(|_| json!({ "error": String::from_utf8_lossy(&reply.body).trim() }));
                (reply.status, body)
            }
        }
    }

    async fn reviews(&self, id: u32, passed: &HeaderMap) -> (StatusCode, Value) {
        let url = format!("http://reviews:9080/reviews/{id}");
        match self.part(&url, passed).await {
            (status, _) if status.is_server_error() => self.part(&url, passed).await,
            answer => answer,
        }
    }

    async fn stock(&self, book: u32) -> Result<Value, String> {
        let mut client = StockClient::new(self.stock.clone());
        match tokio::time::timeout(PATIENCE, client.get(StockRequest { book })).await {
            Err(_) => Err("no answer within 3 s".to_owned()),
            Ok(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                Ok(json!({ "copies": reply.copies, "served_by": reply.served_by }))
            }
        }
    }

    async fn page(&self, passed: &HeaderMap) -> Answer {
        let ((details_status, details), (reviews_status, reviews), stock) =
            tokio::join!(self.part("http://details:9080/details/0", passed), self.reviews(0, passed), self.stock(0));
        let user = passed.get("end-user").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let html = page::render(&Page { user, version: &self.version, details_status, details, reviews_status, reviews, stock });
        typed(StatusCode::OK, "text/html; charset=utf-8", html)
    }
}

impl Service for ProductPage {
    async fn answer(&self, mut call: Call) -> Answer {
        identify(&mut call);
        let path = call.path.trim_end_matches('/');
        match path.strip_prefix("/api/v1/products").map(|rest| rest.split('/').skip(1).collect::<Vec<_>>()).as_deref() {
            Some([]) => return json(StatusCode::OK, &json!([{ "id": 0, "title": "The Comedy of Errors" }])),
            Some([id, rest @ ..]) => {
                let Ok(id) = id.parse::<u32>() else { return json(StatusCode::BAD_REQUEST, &json!({ "error": "the product id is a number" })) };
                let (status, value) = match rest {
                    [] => self.part(&format!("http://details:9080/details/{id}"), &call.headers).await,
                    ["reviews"] => self.reviews(id, &call.headers).await,
                    ["ratings"] => self.part(&format!("http://ratings:9080/ratings/{id}"), &call.headers).await,
                    ["stock"] => match self.stock(id).await {
                        Ok(stock) => (StatusCode::OK, stock),
                        Err(why) => (StatusCode::BAD_GATEWAY, json!({ "error": why })),
                    },
                    _ => (StatusCode::NOT_FOUND, json!({ "error": "no such part of a product" })),
                };
                return json(status, &value);
            }
            None => {}
        }
        match path {
            "" | "/productpage" => self.page(&call.headers).await,
            "/login" => session(&query_value(&call.query, "username").unwrap_or_default()),
            "/logout" => session(""),
            _ => json(StatusCode::NOT_FOUND, &json!({ "error": "no such page; try /productpage" })),
        }
    }
}

/// The session cookie says who the user is; the other services learn it from the header `end-user`, as in Bookinfo.
fn identify(call: &mut Call) {
    let named = query_value(&call.query, "u").or_else(|| {
        let cookies = call.headers.get(header::COOKIE)?.to_str().ok()?;
        cookies.split(';').find_map(|c| c.trim().strip_prefix("user=")).map(str::to_owned)
    });
    if let Some(user) = named.filter(|u| !u.is_empty()).and_then(|u| HeaderValue::from_str(&u).ok()) {
        call.headers.insert("end-user", user);
    }
}

fn query_value(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).take(64).collect())
}

fn session(user: &str) -> Answer {
    let mut answer = typed(StatusCode::SEE_OTHER, "text/plain", String::new());
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/productpage"));
    if let Ok(cookie) = HeaderValue::from_str(&format!("user={user}; Path=/; HttpOnly; SameSite=Lax")) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// gRPC goes to the proxy as plain HTTP/2, which finds the destination in `:authority`; without a proxy, to the service.
fn stock_channel(proxy: Option<String>) -> Channel {
    let dial = proxy.unwrap_or_else(|| "details:9090".to_owned());
    Endpoint::from_static("http://details:9090").connect_timeout(PATIENCE).connect_with_connector_lazy(tower_connector(dial))
}

fn tower_connector(
    dial: String,
) -> impl tower::Service<Uri, Response = TokioIo<TcpStream>, Error = std::io::Error, Future: Send> + Clone + Send + 'static {
    tower::service_fn(move |_: Uri| {
        let dial = dial.clone();
        async move {
            let stream = TcpStream::connect(dial).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        }
    })
}
