//! The gRPC half of `details`: its server and productpage's client of it.

use std::pin::Pin;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::generated::bookstore::stock_server::Stock;
pub use crate::generated::bookstore::{StockReply, StockRequest, stock_client::StockClient, stock_server::StockServer};

pub struct StockService {
    pub version: String,
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
        Ok(Response::new(self.reply(request.into_inner().book)))
    }

    async fn watch(&self, request: Request<StockRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let reply = self.reply(request.into_inner().book);
        let ticks = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(Duration::from_millis(100)));
        Ok(Response::new(Box::pin(ticks.map(move |_| Ok(reply.clone())))))
    }
}
