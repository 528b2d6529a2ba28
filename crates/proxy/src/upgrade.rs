//! A client's connection, for when its exchange has made another protocol's of it.

use crate::io::Io;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

pub struct Upgrade(LocalBoxFuture<'static, Option<Io>>);

impl Upgrade {
    /// HTTP/1: given by the connection's own server when the response has been written.
    pub fn given(by: oneshot::Receiver<Io>) -> Self {
        Self(by.map(Result::ok).boxed_local())
    }

    /// CONNECT over HTTP/2.
    pub fn stream(upgrade: OnUpgrade) -> Self {
        Self(upgrade.map(|upgraded| upgraded.ok().map(Io::from)).boxed_local())
    }

    /// `None`: the client left, or the response was no upgrade.
    pub async fn connection(self) -> Option<Io> {
        self.0.await
    }
}
