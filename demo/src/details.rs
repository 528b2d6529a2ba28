//! `details`: what a book is, over HTTP (its pages from a catalogue outside, where there is one), and how many copies are left, over gRPC on a port of its own.

use crate::app::{App, GRPC_PORT};
use crate::client::Upstreams;
use crate::server::{Answer, Call, Service, book, json};
use crate::stock::{self, StockService};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub struct Details {
    version: String,
    upstreams: Upstreams,
}

impl Details {
    pub fn new(app: &App) -> Arc<Self> {
        Arc::new(Self { version: app.version.clone(), upstreams: app.upstreams.clone() })
    }

    /// How many pages the catalogue says it has.
    async fn pages(&self, id: u32, passed: &HeaderMap) -> Result<u64, String> {
        let Some(books) = &self.upstreams.books else { return Ok(200) };
        let reply = self.upstreams.get(&format!("{books}/volumes/{id}"), passed, Duration::from_secs(2)).await?;
        if reply.status != StatusCode::OK {
            return Err(format!("the catalogue answered {}", reply.status.as_u16()));
        }
        let volume: Value = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
        volume["pages"].as_u64().ok_or_else(|| format!("the catalogue knows no pages of book {id}"))
    }
}

impl Service for Details {
    async fn answer(&self, call: Call) -> Answer {
        let Some(id) = book(&call.path, "/details/") else {
            return json(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" }));
        };
        match self.pages(id, &call.headers).await {
            Err(why) => json(StatusCode::BAD_GATEWAY, &json!({ "error": why })),
            Ok(pages) => json(
                StatusCode::OK,
                &json!({
                    "id": id, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": pages, "publisher": "PublisherA",
                    "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890", "served_by": self.version,
                }),
            ),
        }
    }
}

pub async fn serve_stock(app: &App) -> io::Result<()> {
    let address = SocketAddr::new(app.address, GRPC_PORT);
    let service = stock::StockServer::new(StockService { version: app.version.clone(), faults: app.faults.clone() });
    tonic::transport::Server::builder().add_service(service).serve(address).await.map_err(|e| io::Error::other(format!("gRPC on {address}: {e:?}")))
}
