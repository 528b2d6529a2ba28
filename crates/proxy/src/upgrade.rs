//! A client's connection, for when its exchange has made another protocol's of it.

use crate::io::Io;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

pub struct Upgrade {
    given: LocalBoxFuture<'static, Option<Io>>,
    over_http2: bool,
}

impl Upgrade {
    /// HTTP/1: given by the connection's own server when the response has been written.
    pub fn given(by: oneshot::Receiver<Io>) -> Self {
        Self { given: by.map(Result::ok).boxed_local(), over_http2: false }
    }

    /// CONNECT over HTTP/2.
    pub fn over_http2(by: oneshot::Receiver<Io>) -> Self {
        Self { given: by.map(Result::ok).boxed_local(), over_http2: true }
    }

    /// The client is told with 200 what others are told with 101.
    pub fn is_over_http2(&self) -> bool {
        self.over_http2
    }

    /// `None`: the client left, or the response was no upgrade.
    pub async fn connection(self) -> Option<Io> {
        self.given.await
    }
}
