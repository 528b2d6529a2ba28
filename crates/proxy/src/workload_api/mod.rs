//! The SPIFFE Workload API: the application beside the proxy gets an identity of its own (X.509-SVID, JWT-SVID) and the bundles of those that
//! it may believe, over a Unix socket. Who asks is attested by the kernel: the user that the process at the other end runs as.
//!
//! The application has the workload's identity and a key that the proxy makes for it: never the proxy's own key.

mod application;
mod authority;
mod claims;
mod service;
mod socket;
#[cfg(test)]
pub mod tests;
mod tokens;

pub use application::Application;
pub use socket::Socket;

use crate::renewal;
use crate::signer::ControlSigner;
use crate::sink::Sink;
use crate::world::World;
use authority::Caller;
use futures_util::StreamExt;
use service::Service;
use std::sync::Arc;
use taut_wire::workload_api::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Feeds what a caller sends before anything is known of it.
pub(crate) fn fuzz(bytes: &[u8]) {
    authority::fuzz(bytes);
}

/// What the API works on.
pub struct WorkloadApi {
    pub world: World,
    pub signer: Arc<ControlSigner>,
    pub application: Arc<Application>,
    pub sink: Sink,
    /// Users whose processes are the application.
    pub users: Vec<u32>,
}

impl WorkloadApi {
    /// Serves, and keeps what it serves fresh. Runs for ever.
    pub async fn run(self, listener: UnixListener) {
        let (world, signer, application) = (self.world.clone(), self.signer.clone(), self.application.clone());
        let renewing = async move {
            // Nobody has an identity before somebody asks for it.
            application.wanted().await;
            signer.current.has_identity().await;
            renewal::keep_for(&world, &signer.current, &*signer, &*application).await;
        };
        let incoming = UnixListenerStream::new(listener).map(|stream| stream.map(Caller::new));
        let serving = Server::builder().add_service(SpiffeWorkloadApiServer::new(Service::new(self))).serve_with_incoming(incoming);
        tokio::select! {
            biased;
            served = serving => if let Err(error) = served {
                tracing::error!(%error, "the Workload API is not served any more");
            },
            () = renewing => {}
        }
    }
}
