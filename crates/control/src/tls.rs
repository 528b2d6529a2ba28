//! TLS towards servers outside the mesh, what the own listeners show, and the clock that all certificates are checked by.

use crate::world::World;
use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::net::{Stream, system_root_files};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server outside the mesh, which proves to be `host` by the roots of a file, or by those that this machine trusts.
///
/// # Errors
/// There are no roots, or it does not prove it: as a sentence.
pub async fn outside(world: &World, trusted: Option<&Path>, host: &str, protocols: &[&[u8]], stream: Stream) -> Result<TlsStream<Stream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name that a certificate can have"))?;
    let mut roots = RootCertStore::empty();
    let read = |file: &Path| CertificateDer::pem_file_iter(file).ok();
    let file = match trusted {
        Some(file) => read(file),
        None => system_root_files().find_map(|file| read(&file)),
    };
    roots.add_parsable_certificates(file.into_iter().flatten().filter_map(Result::ok));
    if roots.is_empty() {
        return Err(match trusted {
            Some(file) => format!("{} holds no root that a server can prove itself by", file.display()),
            None => "this machine has no file of trusted roots: install ca-certificates, or name one in SSL_CERT_FILE".to_owned(),
        });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(WorldTime(world.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

/// What a listener shows at the moment. Cheap to clone; without a certificate, every handshake fails.
#[derive(Clone, Default)]
pub struct Held(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl Held {
    /// Handshakes from now on show this: the leaf first.
    ///
    /// # Errors
    /// The key is of a kind that TLS cannot use, or not the leaf's.
    pub fn put(&self, chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<(), rustls::Error> {
        let key = CertifiedKey::new(chain, rustls::crypto::aws_lc_rs::sign::any_supported_type(key)?);
        key.keys_match()?;
        *self.0.write() = Some(Arc::new(key));
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.read().is_none()
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

/// Certificates are checked against the world's clock, which a simulation sets.
pub struct WorldTime(pub World);

impl std::fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldTime")
    }
}

impl rustls::time_provider::TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
