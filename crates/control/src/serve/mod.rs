//! What proxies call: certificates, delivery and the desk, as gRPC on one listener of TLS 1.3.

pub mod accept;
mod ads;
mod certificate;
mod desk;
mod issuance;
mod report;
mod svid;
pub mod tls;

use crate::audit::Audit;
use crate::authority::Authority;
use crate::fault::Fault;
use crate::kubernetes::Reviewer;
use crate::proxies::Proxies;
use crate::publish::Published;
use crate::registry::Registry;
use crate::signals;
use crate::signing::Signing;
use crate::stopping::Stopping;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::certificate::istio_certificate_service_server::IstioCertificateServiceServer;
use taut_wire::desk::desk_server::DeskServer;
use taut_wire::discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use taut_wire::net::Listener;
use taut_wire::svid::svids_server::SvidsServer;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

/// A connection that is silent this long is asked for a sign of life, and given up when none comes in time.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(5);
/// A view of a large mesh may be one message.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// The longest acknowledgement of a proxy that has come back is about as many resources as it has, at some 150 bytes each.
const LARGEST_SAID: usize = 16 * 1024 * 1024;

/// What the services work on.
pub struct Services {
    pub authority: Arc<Authority>,
    pub registry: Registry,
    pub proxies: Proxies,
    pub published: watch::Receiver<Arc<Published>>,
    pub world: World,
    /// Streams end when it is said.
    pub stopping: Stopping,
    pub signals: signals::Store,
    pub audit: Audit,
    pub reviewer: Option<Arc<Reviewer>>,
    pub signing: Signing,
}

/// Serves until `stopping` is true and all streams have ended.
///
/// # Errors
/// The server itself failed; a client's failure ends only its own connection.
pub async fn serve(listener: Listener, tls: Arc<rustls::ServerConfig>, services: Services) -> Result<(), Fault> {
    let Services { authority, registry, proxies, published, world, mut stopping, signals, audit, reviewer, signing } = services;
    let issuance = issuance::Issuance::new(authority.clone(), signing, world.clone(), audit);
    let certificates = certificate::CertificateService { issuance: issuance.clone(), reviewer };
    let delivery =
        ads::AdsService { published: published.clone(), proxies: proxies.clone(), stopping: stopping.clone(), authority: authority.clone() };
    let trust_domain = authority.trust_domain().into();
    let desk = desk::DeskService { registry, proxies, published, world, trust_domain, stopping: stopping.clone(), signals, authority };
    let incoming = ReceiverStream::new(accept::accept(listener, tls));
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_LIMIT))
        .add_service(IstioCertificateServiceServer::new(certificates))
        .add_service(SvidsServer::new(svid::SvidService(issuance)))
        .add_service(
            AggregatedDiscoveryServiceServer::new(delivery).max_decoding_message_size(LARGEST_MESSAGE).max_encoding_message_size(LARGEST_MESSAGE),
        )
        .add_service(DeskServer::new(desk).max_decoding_message_size(LARGEST_SAID))
        .serve_with_incoming_shutdown(incoming, async move {
            stopping.wait().await;
        })
        .await
        .map_err(|error| Fault::new(format!("the gRPC server failed: {error}"), "See the log; please report it"))
}
