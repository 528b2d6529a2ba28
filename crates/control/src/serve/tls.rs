//! TLS of the control plane's listeners: its own certificate, renewed in place, and who is at the other end.

use crate::authority::Authority;
use crate::fault::Fault;
use crate::tls::{Held, WorldTime};
use crate::world::World;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;

/// The control plane's own certificate; handshakes read it, `renew` replaces it.
pub struct OwnCertificate {
    authority: Arc<Authority>,
    world: World,
    names: Names,
    held: Held,
}

/// How clients call the control plane, beside localhost.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// That they dial.
    pub addresses: Vec<IpAddr>,
    /// DNS names, for clients that look at names (ours look at the identity).
    pub dns: Vec<String>,
}

impl OwnCertificate {
    /// # Errors
    /// The authority could not sign.
    pub fn new(authority: Arc<Authority>, world: World, names: Names) -> Result<Self, Fault> {
        let held = Held::default();
        make(&authority, &world, &names, &held)?;
        Ok(Self { authority, world, names, held })
    }

    /// Renews the certificate when half of its life has passed or another intermediate signs, and the authority's intermediate in time.
    /// Runs for ever.
    pub async fn keep_fresh(&self) {
        let mut wait = self.authority.leaf_lifetime() / 2;
        let mut bundle = self.authority.bundle();
        loop {
            tokio::select! {
                biased;
                // The sender lives as long as the authority.
                _ = bundle.changed() => {}
                () = tokio::time::sleep(wait.max(Duration::from_secs(1))) => {}
            }
            if let Err(fault) = self.authority.maintain(self.world.wall()) {
                tracing::error!(%fault, "the authority's intermediate was not renewed");
            }
            match make(&self.authority, &self.world, &self.names, &self.held) {
                Ok(lifetime) => wait = lifetime / 2,
                Err(fault) => {
                    tracing::error!(%fault, "the control plane's own certificate was not renewed; it is tried again");
                    wait = Duration::from_secs(10);
                }
            }
        }
    }

    /// A server configuration of TLS 1.3 only. A client certificate is asked for and may be absent; one that is there must
    /// be of this mesh. No resumption: a resumed session would skip that check.
    ///
    /// # Errors
    /// The cryptography provider lacks TLS 1.3.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Fault> {
        self.showing(&self.held, alpn)
    }

    /// The same, with a certificate that is kept elsewhere.
    ///
    /// # Errors
    /// As for `server_config`.
    pub fn showing(&self, held: &Held, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Fault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = MeshClients { authority: self.authority.clone(), algorithms: provider.signature_verification_algorithms };
        let broken = |error: rustls::Error| Fault::new(format!("TLS cannot be set up: {error}"), "Please report it");
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(WorldTime(self.world.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(held.clone()));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

/// Puts a new certificate of the own authority there; for how long it is good.
fn make(authority: &Authority, world: &World, names: &Names, held: &Held) -> Result<Duration, Fault> {
    let identity = authority.control_identity();
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses: Vec<IpAddr> = names.addresses.iter().copied().filter(|address| !address.is_unspecified()).chain(loopback).collect();
    let failed =
        |error: String| Fault::new(format!("the control plane's own certificate could not be made: {error}"), "Look at ca/ in the state directory");
    let now = world.wall();
    let dns: Vec<&str> = ["localhost"].into_iter().chain(names.dns.iter().map(String::as_str)).collect();
    let server = authority.server(&identity, &dns, &addresses, now).map_err(|error| failed(error.to_string()))?;
    let lifetime = Duration::try_from(server.not_after.duration_since(now)).unwrap_or_default();
    held.put(server.chain, &server.key).map_err(|error| failed(error.to_string()))?;
    Ok(lifetime)
}

/// Accepts clients without a certificate, and clients with exactly one identity of our trust domain, by the roots that are believed at the
/// moment.
struct MeshClients {
    authority: Arc<Authority>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for MeshClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeshClients")
    }
}

impl ClientCertVerifier for MeshClients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refuse = |why: String| rustls::Error::General(why);
        let certificate = webpki::EndEntityCert::try_from(leaf).map_err(|error| refuse(format!("the client's certificate: {error}")))?;
        let standing = self.authority.standing();
        let mut anchors = Vec::new();
        for root in standing.roots() {
            anchors.push(webpki::anchor_from_trusted_cert(root).map_err(|error| refuse(format!("the authority's root: {error}")))?);
        }
        certificate
            .verify_for_usage(self.algorithms.all, &anchors, intermediates, now, webpki::KeyUsage::client_auth(), None, None)
            .map_err(|error| refuse(format!("the client's certificate chain: {error}")))?;
        if standing.is_revoked(std::slice::from_ref(leaf)) || standing.is_revoked(intermediates) {
            return Err(refuse("the client's certificate is revoked".to_owned()));
        }
        match identity_of(leaf) {
            Some(identity) if self.authority.is_ours(&identity.trust_domain) => Ok(ClientCertVerified::assertion()),
            Some(_) => Err(refuse("the client's certificate is of another trust domain".to_owned())),
            None => Err(refuse("the client's certificate does not carry exactly one identity".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The one identity that a certificate names; `None` when it names none, several, or something else.
pub fn identity_of(leaf: &CertificateDer<'_>) -> Option<Identity> {
    let certificate = webpki::EndEntityCert::try_from(leaf).ok()?;
    let mut names = certificate.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(one), None) => Identity::parse(one).ok(),
        _ => None,
    }
}
