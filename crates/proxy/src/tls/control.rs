//! Whom the proxy trusts to be the control plane, and how it proves itself to it: TLS of the control channel only. What
//! peers of the data path must prove is in `tls.rs`.

use super::WorldTime;
use crate::identity::{HeldIdentity, fingerprint};
use crate::world::World;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::policy::ROOT_NAMESPACE;

/// The service account of the control plane's identity, in the root namespace.
pub const CONTROL_ACCOUNT: &str = "taut-control";

/// SHA-256 of the DER form of a certificate authority's certificate.
pub type Pin = [u8; 32];

/// What the control plane is recognised by before there is a certificate.
pub enum Anchor {
    /// The authority that the join token names.
    Pinned(Pin),
    Roots(Vec<CertificateDer<'static>>),
}

/// Before there is a certificate: the server's chain must lead to the anchor.
///
/// # Errors
/// A root cannot be used, or the cryptography provider lacks TLS 1.3.
pub fn joining(world: &World, known: Anchor) -> Result<ClientConfig, Error> {
    let (provider, builder) = builder(world)?;
    let trust = match known {
        Anchor::Pinned(pin) => Trust::Pinned(pin),
        Anchor::Roots(roots) => Trust::Bundle { anchors: roots.iter().map(anchor).collect::<Result<_, _>>()?, trust_domains: None },
    };
    let verifier = ControlVerifier { algorithms: provider.signature_verification_algorithms, trust };
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    finish(&mut config);
    Ok(config)
}

/// With a certificate: mutual TLS, the server's chain must lead to the bundle.
///
/// # Errors
/// A root of the bundle cannot be used, or the cryptography provider lacks TLS 1.3.
pub fn live(world: &World, held: &HeldIdentity) -> Result<ClientConfig, Error> {
    let (provider, builder) = builder(world)?;
    let anchors = held.roots.iter().map(anchor).collect::<Result<_, _>>()?;
    let names = held.names.iter().filter(|name| held.is_ours(name)).chain([&held.identity.trust_domain]);
    let trust = Trust::Bundle { anchors, trust_domains: Some(names.cloned().collect()) };
    let verifier = ControlVerifier { algorithms: provider.signature_verification_algorithms, trust };
    let own = CertifiedKey::new(held.chain.clone(), held.key.clone());
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    finish(&mut config);
    Ok(config)
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder(world: &World) -> Result<(Arc<CryptoProvider>, Builder), Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(WorldTime(world.clone())));
    Ok((provider, builder.with_protocol_versions(&[&rustls::version::TLS13])?))
}

/// No resumption: a ticket would skip the verifier.
fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
}

fn anchor(root: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, Error> {
    webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()).map_err(|error| Error::General(format!("trust bundle: {error}")))
}

#[derive(Debug)]
struct ControlVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    trust: Trust,
}

enum Trust {
    /// The chain as sent must hold the authority's certificate; the trust domain is the one it issues for.
    Pinned(Pin),
    Bundle {
        anchors: Vec<TrustAnchor<'static>>,
        /// The names of the mesh's own. `None`: the one that the first certificate will be of.
        trust_domains: Option<BTreeSet<String>>,
    },
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned(_) => "Pinned",
            Self::Bundle { .. } => "Bundle",
        })
    }
}

impl ControlVerifier {
    fn verify(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| Error::General(format!("the control plane's certificate: {error}")))?;
        let chained = |anchors: &[TrustAnchor<'_>]| {
            let usage = webpki::KeyUsage::server_auth();
            let checked = leaf.verify_for_usage(self.algorithms.all, anchors, rest, now, usage, None, None);
            checked
                .map(drop)
                .map_err(|error| Error::General(format!("the control plane's certificate does not lead to the trusted authority: {error}")))
        };
        let trust_domains = match &self.trust {
            Trust::Pinned(pin) => {
                let root = rest.iter().find(|certificate| fingerprint(certificate) == *pin).ok_or_else(|| {
                    Error::General(
                        "the control plane's authority is not the one that the join token names: is this the right control plane?".to_owned(),
                    )
                })?;
                chained(&[anchor(root)?])?;
                None
            }
            Trust::Bundle { anchors, trust_domains } => {
                chained(anchors)?;
                trust_domains.as_ref()
            }
        };
        is_control_plane(&leaf, trust_domains)
    }
}

fn is_control_plane(leaf: &webpki::EndEntityCert<'_>, trust_domains: Option<&BTreeSet<String>>) -> Result<(), Error> {
    let mut names = leaf.valid_uri_names();
    let (Some(uri), None) = (names.next(), names.next()) else {
        return Err(Error::General("the server's certificate does not carry exactly one SPIFFE id".to_owned()));
    };
    let found = Identity::parse(uri).map_err(|error| Error::General(error.to_string()))?;
    let right = found.namespace == ROOT_NAMESPACE
        && found.service_account == CONTROL_ACCOUNT
        && trust_domains.is_none_or(|names| names.contains(&found.trust_domain));
    match right {
        true => Ok(()),
        false => Err(Error::General(format!("the server is {found}, which is not the control plane"))),
    }
}

impl ServerCertVerifier for ControlVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, rest, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the control plane speaks TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
