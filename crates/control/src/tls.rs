//! TLS towards servers outside the mesh, and the clock that all certificates are checked by.

use crate::world::World;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
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
pub async fn outside(world: &World, trusted: Option<&Path>, host: &str, stream: Stream) -> Result<TlsStream<Stream>, String> {
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
    let config = ClientConfig::builder_with_details(provider, Arc::new(WorldTime(world.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
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
