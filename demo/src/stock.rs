//! The gRPC half of `details`: its server and productpage's client of it.

use crate::trouble::{Fate, Faults};
use http::HeaderMap;
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::generated::bookstore::stock_server::Stock;
pub use crate::generated::bookstore::{StockReply, StockRequest, stock_client::StockClient, stock_server::StockServer};

pub struct StockService {
    pub version: String,
    pub faults: Faults,
}

impl StockService {
    fn reply(&self, book: u32) -> StockReply {
        StockReply { copies: 17 + book % 5, served_by: self.version.clone() }
    }
}

#[tonic::async_trait]
impl Stock for StockService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<StockReply, Status>> + Send>>;

    async fn get(&self, request: Request<StockRequest>) -> Result<Response<StockReply>, Status> {
        let (fate, _place) = self.faults.suffer(&HeaderMap::new(), "/bookstore.Stock/Get").await;
        match fate {
            Fate::Served { .. } => Ok(Response::new(self.reply(request.into_inner().book))),
            Fate::Cut | Fate::Answered(_) => Err(Status::internal("broken on purpose")),
        }
    }

    async fn watch(&self, request: Request<StockRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let reply = self.reply(request.into_inner().book);
        let ticks = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(Duration::from_millis(100)));
        Ok(Response::new(Box::pin(ticks.map(move |_| Ok(reply.clone())))))
    }
}
