//! `details`: what a book is, over HTTP, and how many copies are left, over gRPC on a port of its own.

use crate::app::{App, GRPC_PORT};
use crate::server::{Answer, Call, Service, book, json};
use crate::stock::{self, StockService};
use http::StatusCode;
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

pub struct Details {
    version: String,
}

impl Details {
    pub fn new(app: &App) -> Arc<Self> {
        Arc::new(Self { version: app.version.clone() })
    }
}

impl Service for Details {
    async fn answer(&self, call: Call) -> Answer {
        match book(&call.path, "/details/") {
            Some(id) => json(
                StatusCode::OK,
                &json!({
                    "id": id, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200, "publisher": "PublisherA",
                    "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890", "served_by": self.version,
                }),
            ),
            None => json(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" })),
        }
    }
}

pub async fn serve_stock(app: &App) -> io::Result<()> {
    let address = SocketAddr::new(app.address, GRPC_PORT);
    let service = stock::StockServer::new(StockService { version: app.version.clone() });
    tonic::transport::Server::builder().add_service(service).serve(address).await.map_err(|e| io::Error::other(format!("gRPC on {address}: {e:?}")))
}
