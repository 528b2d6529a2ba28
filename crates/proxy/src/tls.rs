//! TLS of the data path: configurations built from the held identity, and the verifiers that check peers. The only place
//! of the data path that knows rustls.
//!
//! Resumption is off everywhere in the mesh: a resumed session skips the verifiers, so it would outlive the identity, the bundle and the
//! revocations that it was verified under. No server gives tickets, no client keeps any, and every connection proves both sides anew.

pub mod control;

use crate::identity::HeldIdentity;
use crate::trust::{Names, Revocations};
use crate::world::World;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::Origination;
use taut_model::identity::Identity;
use taut_wire::net::system_root_files;

/// What is spoken over a mutual TLS connection between proxies, chosen by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    Http1,
    /// Messages of HTTP/1.1 in the frames of HTTP/2: many clients share one connection.
    Http1Shared,
    Http2,
    Tcp,
    /// TCP connections as streams of one HTTP/2 connection.
    Hbone,
}

impl Spoken {
    /// In the order in which a server prefers them.
    const ALL: [Self; 5] = [Self::Hbone, Self::Http1, Self::Http1Shared, Self::Http2, Self::Tcp];

    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"taut/http1",
            Self::Http1Shared => b"taut/http1-shared",
            Self::Http2 => b"taut/h2",
            Self::Tcp => b"taut/tcp",
            // Istio's and ztunnel's name for it.
            Self::Hbone => b"h2",
        }
    }

    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|spoken| spoken.alpn() == alpn)
    }
}

/// One worker's TLS configurations, built once per identity serial.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    time: Arc<WorldTime>,
    mesh: RefCell<MeshConfigs>,
    outside: RefCell<OutsideConfigs>,
    roots: OnceCell<Option<Arc<RootCertStore>>>,
}

/// By what is spoken and how, with the time of the world when files were read for it.
type OutsideConfigs = HashMap<(Spoken, Arc<Origination>), (Duration, Arc<ClientConfig>)>;

/// Files are read again after this long, so that renewed ones are taken up.
const REREAD: Duration = Duration::from_secs(60);

#[derive(Default)]
struct MeshConfigs {
    serial: u64,
    server: Option<Arc<ServerConfig>>,
    clients: HashMap<(Identity, Spoken), Arc<ClientConfig>>,
}

impl Tls {
    pub fn new(world: World) -> Self {
        Self {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            time: Arc::new(WorldTime(world)),
            mesh: RefCell::default(),
            outside: RefCell::default(),
            roots: OnceCell::new(),
        }
    }

    /// For peers that connect here: they must present one identity of the bundle.
    pub fn server(&self, held: &HeldIdentity) -> Result<Arc<ServerConfig>, Error> {
        self.forget_older_than(held.serial);
        if let Some(config) = &self.mesh.borrow().server {
            return Ok(config.clone());
        }
        let verifier = Arc::new(PeerVerifier::new(&self.provider, held, None)?);
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified(held))));
        config.alpn_protocols = Spoken::ALL.map(|spoken| spoken.alpn().to_vec()).into();
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        let config = Arc::new(config);
        self.mesh.borrow_mut().server = Some(config.clone());
        Ok(config)
    }

    /// For a connection to a peer that must prove to be `expect`.
    pub fn client(&self, held: &HeldIdentity, expect: &Identity, spoken: Spoken) -> Result<Arc<ClientConfig>, Error> {
        self.forget_older_than(held.serial);
        let key = (expect.clone(), spoken);
        if let Some(config) = self.mesh.borrow().clients.get(&key) {
            return Ok(config.clone());
        }
        let verifier = Arc::new(PeerVerifier::new(&self.provider, held, Some(expect.clone()))?);
        let mut config = ClientConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified(held))));
        // A peer that does not speak HBONE takes the connection for its first stream's.
        let otherwise = (spoken == Spoken::Hbone).then_some(Spoken::Tcp);
        config.alpn_protocols = [spoken].into_iter().chain(otherwise).map(|spoken| spoken.alpn().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        let config = Arc::new(config);
        self.mesh.borrow_mut().clients.insert(key, config.clone());
        Ok(config)
    }

    /// For a connection to a server outside the mesh. `Ok(None)`: this system has no roots to check it against.
    pub fn outside(&self, spoken: Spoken, origination: &Arc<Origination>) -> Result<Option<Arc<ClientConfig>>, Error> {
        let (key, now) = ((spoken, origination.clone()), self.time.0.now());
        let of_files = origination.roots.is_some() || origination.certificate.is_some();
        if let Some((_, config)) = self.outside.borrow().get(&key).filter(|(read, _)| !of_files || now < *read + REREAD) {
            return Ok(Some(config.clone()));
        }
        let roots = match &origination.roots {
            Some(file) => Arc::new(roots_of(file)?),
            None => match self.roots.get_or_init(system_roots) {
                Some(roots) => roots.clone(),
                None => return Ok(None),
            },
        };
        let chain =
            WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build().map_err(|error| Error::General(error.to_string()))?;
        let config = ClientConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NamesVerifier { chain, names: origination.subject_alt_names.clone() }));
        let mut config = match &origination.certificate {
            None => config.with_no_client_auth(),
            Some(files) => config.with_client_auth_cert(certificates_of(&files.chain)?, key_of(&files.key)?)?,
        };
        config.alpn_protocols = match spoken {
            Spoken::Http1 | Spoken::Http1Shared => vec![b"http/1.1".to_vec()],
            Spoken::Http2 => vec![b"h2".to_vec()],
            Spoken::Tcp | Spoken::Hbone => Vec::new(),
        };
        config.resumption = rustls::client::Resumption::disabled();
        let config = Arc::new(config);
        self.outside.borrow_mut().insert(key, (now, config.clone()));
        Ok(Some(config))
    }

    fn forget_older_than(&self, serial: u64) {
        let mut mesh = self.mesh.borrow_mut();
        if mesh.serial != serial {
            *mesh = MeshConfigs { serial, ..MeshConfigs::default() };
        }
    }
}

fn certified(held: &HeldIdentity) -> CertifiedKey {
    CertifiedKey::new(held.chain.clone(), held.key.clone())
}

fn unreadable(file: &str, error: impl fmt::Display) -> Error {
    Error::General(format!("{file} on the client's machine: {error}"))
}

fn certificates_of(file: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, error))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(file, error))?;
    if all.is_empty() { Err(unreadable(file, "holds no certificate")) } else { Ok(all) }
}

fn key_of(file: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unreadable(file, error))
}

fn roots_of(file: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(file)? {
        roots.add(certificate).map_err(|error| unreadable(file, error))?;
    }
    Ok(roots)
}

fn system_roots() -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    let certificates = system_root_files().filter_map(|file| CertificateDer::pem_file_iter(file).ok()).next()?;
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    (!roots.is_empty()).then(|| Arc::new(roots))
}

/// What the first bytes of a TLS connection say about where it wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// More bytes are needed.
    Incomplete,
    Name(String),
    /// None is given, or this is not TLS.
    Nameless,
}

/// Reads the first bytes of a TLS connection that is passed through.
pub fn hello(bytes: &[u8]) -> Hello {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut unread = bytes;
    while !unread.is_empty() {
        match acceptor.read_tls(&mut unread) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => accepted.client_hello().server_name().map_or(Hello::Nameless, |name| Hello::Name(name.to_owned())),
        Ok(None) => Hello::Incomplete,
        Err(_) => Hello::Nameless,
    }
}

/// The one identity in a certificate that the handshake has verified.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<Identity, Error> {
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|error| Error::General(error.to_string()))?;
    only_identity(&certificate)
}

/// X.509-SVID section 5.2: exactly one URI SAN, and it is a SPIFFE id.
fn only_identity(certificate: &webpki::EndEntityCert<'_>) -> Result<Identity, Error> {
    let mut names = certificate.valid_uri_names();
    let (Some(uri), None) = (names.next(), names.next()) else {
        return Err(Error::General("the peer's certificate must hold exactly one URI name, its SPIFFE id".to_owned()));
    };
    Identity::parse(uri).map_err(|error| Error::General(error.to_string()))
}

/// By trust domain.
type Anchors = BTreeMap<String, Vec<rustls_pki_types::TrustAnchor<'static>>>;

/// Checks a peer's chain against the bundle of its trust domain, and its identity.
struct PeerVerifier {
    anchors: Anchors,
    algorithms: WebPkiSupportedAlgorithms,
    own: String,
    names: Arc<Names>,
    /// `None`: any identity of the trust domains; policies say what it may do.
    expect: Option<Identity>,
    revoked: Arc<Revocations>,
}

impl PeerVerifier {
    fn new(provider: &CryptoProvider, held: &HeldIdentity, expect: Option<Identity>) -> Result<Self, Error> {
        let (anchors, own) = (anchors(held)?, held.identity.trust_domain.clone());
        let (names, revoked) = (held.names.clone(), held.revoked.clone());
        Ok(Self { anchors, algorithms: provider.signature_verification_algorithms, own, names, expect, revoked })
    }

    fn verify(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime, usage: webpki::KeyUsage) -> Result<(), Error> {
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| Error::General(format!("peer's certificate: {error}")))?;
        // What it says of itself only chooses the bundle that it must be proven by.
        let found = only_identity(&leaf)?;
        let Some(anchors) = self.anchors.get(&found.trust_domain) else {
            return Err(Error::General(format!(
                "peer is {found}, of another trust domain than {}, and not of one that it is federated with",
                self.own
            )));
        };
        let path = leaf
            .verify_for_usage(self.algorithms.all, anchors, rest, now, usage, None, None)
            .map_err(|error| Error::General(format!("peer's certificate {}", unproven(&error))))?;
        if let Some(serial) = self.revoked_in(&found, &leaf, &path) {
            return Err(Error::General(format!("peer's certificate is revoked (serial number {serial})")));
        }
        match &self.expect {
            Some(expect) if !self.is(expect, &found) => Err(Error::General(format!("peer is {found}, expected {expect}"))),
            _ => Ok(()),
        }
    }
}

impl PeerVerifier {
    /// The serial number of the first certificate that is revoked, of those by which somebody is proven.
    fn revoked_in(&self, found: &Identity, leaf: &webpki::Cert<'_>, path: &webpki::VerifiedPath<'_>) -> Option<String> {
        let domain = &found.trust_domain;
        let above = || path.intermediate_certificates().find_map(|above| self.revoked.of(domain, above));
        self.revoked.of(domain, leaf).or_else(above)
    }

    /// Whether somebody is who was expected. A member of the mesh is the same under each of the mesh's names.
    fn is(&self, expect: &Identity, found: &Identity) -> bool {
        let same_member = expect.namespace == found.namespace && expect.service_account == found.service_account;
        let ours = |identity: &Identity| self.names.contains(&identity.trust_domain);
        expect == found || same_member && ours(expect) && ours(found)
    }
}

/// Nobody but the own authority vouches for the own trust domain, whatever is said of others.
fn anchors(held: &HeldIdentity) -> Result<Anchors, Error> {
    let of = |roots: &[CertificateDer<'static>]| {
        let anchors: Result<Vec<_>, _> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned())).collect();
        anchors.map_err(|error| Error::General(format!("trust bundle: {error}")))
    };
    let mut all: Anchors = held.federated.iter().map(|(domain, roots)| Ok((domain.clone(), of(roots)?))).collect::<Result<_, Error>>()?;
    all.insert(held.identity.trust_domain.clone(), of(&held.roots)?);
    Ok(all)
}

/// What a chain lacks, for the record.
fn unproven(error: &webpki::Error) -> String {
    let why = match error {
        webpki::Error::CertExpired { .. } => "has expired",
        webpki::Error::CertNotValidYet { .. } => "is not valid yet: do the clocks agree?",
        webpki::Error::RequiredEkuNotFoundContext(_) => "is not for this use (extended key usage)",
        webpki::Error::PathLenConstraintViolated | webpki::Error::MaximumPathDepthExceeded => "has a chain that is longer than its authorities allow",
        webpki::Error::UnsupportedSignatureAlgorithmContext(_) | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "is signed by an algorithm or with a curve that is not taken"
        }
        _ => "does not lead to the trust bundle",
    };
    format!("{why} ({error})")
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerVerifier {{ expect: {:?} }}", self.expect)
    }
}

fn only_tls13<T>() -> Result<T, Error> {
    Err(Error::General("peers of the mesh speak TLS 1.3 only".to_owned()))
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        // The name says which service and port are meant; who may answer for them is `expect`.
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, rest, now, webpki::KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, rest, now, webpki::KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A server outside the mesh: its chain against the system's roots, and its name, or any of `names` when there are some
/// (Istio's `subjectAltNames`).
#[derive(Debug)]
struct NamesVerifier {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<String>,
}

impl ServerCertVerifier for NamesVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut verdict = Err(Error::General("subjectAltNames holds no valid name".to_owned()));
        if self.names.is_empty() {
            verdict = self.chain.verify_server_cert(leaf, rest, name, ocsp, now);
        }
        for name in self.names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok()) {
            verdict = self.chain.verify_server_cert(leaf, rest, &name, ocsp, now);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Certificates are checked at the world's time, so that a simulation can let them expire.
struct WorldTime(World);

impl fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldTime")
    }
}

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
