//! Another CA that signs for the mesh, asked as Istio's proxies ask theirs (CreateCertificate). It is asked only for whom the control plane would
//! have signed itself, and what it sends counts only when `answer` finds it true.

pub(crate) mod answer;
mod own;
pub(crate) mod roots;

use crate::authority::{Authority, CertificateFault, Issued, Requested};
use crate::fault::Fault;
use crate::tls;
use crate::world::World;
use answer::{Asked, Untrue};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_model::identity::Identity;
use taut_observe::names;
use taut_wire::certificate::istio_certificate_service_client::IstioCertificateServiceClient;
use taut_wire::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use taut_wire::istio;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Proxies wait 10 s for their certificate.
const PATIENCE: Duration = Duration::from_secs(6);
const AT_ONCE: usize = 64;
/// How long a CA that is away is left alone: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the file of roots is looked at.
const LOOK: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: usize = 256 << 10;

/// Where the CA is, and how the two recognise each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCa {
    /// `host:port` of a server of `istio.v1.auth.IstioCertificateService`, over TLS.
    pub address: String,
    /// PEM: by which the CA's server proves itself, and that what it signs leads to. They are the mesh's roots.
    pub roots: PathBuf,
    /// The control plane's own token for it, read anew each time.
    pub token: Option<PathBuf>,
}

/// Why the CA has not signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSigned {
    /// It was not reached, or gave no answer.
    Away(String),
    /// It was, and did not want to.
    Refused(String),
    Untrue(Untrue),
    /// The request may not be passed on.
    Request(CertificateFault),
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => write!(f, "is away: {why}"),
            Self::Refused(why) => write!(f, "refused to sign: {why}"),
            Self::Untrue(what) => write!(f, "sent what is not passed on: {what}"),
            Self::Request(fault) => fault.fmt(f),
        }
    }
}

/// Something that is not as it should be, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    pub text: String,
}

#[derive(Default)]
struct State {
    last_signed: Option<Timestamp>,
    trouble: Option<Trouble>,
    /// The control plane itself has no certificate, or an old one.
    own: Option<Trouble>,
    roots: Option<Trouble>,
    mark: roots::Mark,
    /// It is not asked before this time of the world.
    rest_until: Duration,
    pause: Duration,
}

#[derive(Default)]
struct Counts {
    signed: AtomicU64,
    refused: AtomicU64,
    untrue: AtomicU64,
    away: AtomicU64,
}

pub struct Upstream {
    wanted: UpstreamCa,
    world: World,
    authority: Arc<Authority>,
    channel: tokio::sync::Mutex<Option<Channel>>,
    room: Semaphore,
    state: Mutex<State>,
    counts: Counts,
}

impl Upstream {
    /// The mesh believes the CA's roots from now on.
    ///
    /// # Errors
    /// The file of its roots cannot be used.
    pub fn open(wanted: UpstreamCa, authority: Arc<Authority>, world: World) -> Result<Self, Fault> {
        let mark = roots::mark(&wanted.roots);
        let (found, now) = (roots::read(&wanted.roots)?, world.wall());
        let (room, state) = (Semaphore::new(AT_ONCE), Mutex::new(State { mark, ..State::default() }));
        let upstream = Self { wanted, world, authority, channel: Default::default(), room, state, counts: Counts::default() };
        upstream.authority.believe(&found, upstream.fade(now), now)?;
        Ok(upstream)
    }

    pub fn address(&self) -> &str {
        &self.wanted.address
    }

    pub fn roots(&self) -> &Path {
        &self.wanted.roots
    }

    /// When all that was signed until now has ended.
    fn fade(&self, now: Timestamp) -> Timestamp {
        now.checked_add(self.authority.leaf_lifetime()).unwrap_or(Timestamp::MAX)
    }

    /// Has a request signed, for an identity that was proven.
    ///
    /// # Errors
    /// See [`NotSigned`]; who is away is not asked again at once.
    pub async fn sign(&self, csr: &str, asked: &Requested, identity: &Identity, lifetime: Option<Duration>) -> Result<Issued, NotSigned> {
        self.authority.may_have(identity).map_err(NotSigned::Request)?;
        self.obtain(csr, asked, identity, lifetime, false).await
    }

    /// `own`: for the control plane itself, which asks for nobody else then.
    async fn obtain(&self, csr: &str, asked: &Requested, identity: &Identity, lifetime: Option<Duration>, own: bool) -> Result<Issued, NotSigned> {
        let longest = self.authority.leaf_lifetime();
        let lifetime = lifetime.unwrap_or(longest).min(longest);
        let validity_duration = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let name = identity.to_string();
        // As a node's proxy asks Istio's CA for its workloads.
        let metadata = (!own).then(|| istio::metadata(&[("ImpersonatedIdentity", &name)]));
        let request = IstioCertificateRequest { csr: csr.to_owned(), validity_duration, metadata };
        let checked = async {
            let answer = self.asked(request).await?;
            let standing = self.authority.standing();
            let roots: Vec<_> = standing.foreign.iter().flat_map(|foreign| foreign.named()).cloned().collect();
            let wanted = Asked { request: asked, identity, lifetime };
            let issued = answer::check(&answer.cert_chain, &wanted, &roots, self.world.wall()).map_err(NotSigned::Untrue)?;
            match standing.is_revoked(&issued.chain) {
                true => Err(NotSigned::Untrue(Untrue::Revoked)),
                false => Ok(issued),
            }
        };
        let outcome = checked.await;
        self.note(outcome.as_ref().err());
        let issued = outcome?;
        if let Err(fault) = self.authority.signed_by(&issued.root, issued.chain.get(1..).unwrap_or_default(), own) {
            tracing::error!(%fault, "which certificates of the upstream CA sign was not written down");
        }
        Ok(issued)
    }

    async fn asked(&self, message: IstioCertificateRequest) -> Result<IstioCertificateResponse, NotSigned> {
        if self.world.now() < self.state.lock().rest_until {
            let known = self.state.lock().trouble.as_ref().map_or_else(String::new, |trouble| trouble.text.clone());
            return Err(NotSigned::Away(format!("it is asked again in a moment ({known})")));
        }
        let mut request = Request::new(message);
        if let Some(value) = self.bearer()? {
            request.metadata_mut().insert("authorization", value);
        }
        let asking = async {
            // Nobody closes the semaphore.
            let _place = self.room.acquire().await.map_err(|error| NotSigned::Away(error.to_string()))?;
            let channel = self.channel().await.map_err(NotSigned::Away)?;
            let mut client = IstioCertificateServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
            client.create_certificate(request).await.map(tonic::Response::into_inner).map_err(|status| said(&status))
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        let answer = answer.unwrap_or_else(|_| Err(NotSigned::Away(format!("it did not answer in {} s", PATIENCE.as_secs()))));
        if matches!(answer, Err(NotSigned::Away(_))) {
            *self.channel.lock().await = None;
        }
        answer
    }

    fn bearer(&self) -> Result<Option<MetadataValue<tonic::metadata::Ascii>>, NotSigned> {
        let Some(file) = &self.wanted.token else { return Ok(None) };
        let unusable = |why: &dyn fmt::Display| NotSigned::Refused(format!("its token {} cannot be shown: {why}", file.display()));
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(|error| unusable(&error))?);
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", text.trim()));
        let mut value = MetadataValue::try_from(bearer.as_str()).map_err(|_| unusable(&"it holds odd characters"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The connection that there is, or a new one.
    async fn channel(&self) -> Result<Channel, String> {
        let mut kept = self.channel.lock().await;
        if let Some(channel) = &*kept {
            return Ok(channel.clone());
        }
        let (host, port) = self.wanted.address.rsplit_once(':').ok_or("its address is not HOST:PORT")?;
        let port: u16 = port.parse().map_err(|_| "its address is not HOST:PORT")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = self.world.network.resolve(host, port).await.map_err(|error| format!("the name cannot be resolved: {error}"))?;
        let mut failed = "the name has no address".to_owned();
        for address in addresses {
            match self.world.network.connect(address).await {
                Ok(stream) => {
                    let stream = tls::outside(&self.world, Some(&self.wanted.roots), host, &[b"h2"], stream).await?;
                    let mut stream = Some(TokioIo::new(stream));
                    // One connection, one channel: it never connects a second time behind our back.
                    let connector = tower::service_fn(move |_| {
                        std::future::ready(stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
                    });
                    let channel = Endpoint::from_static("https://upstream").connect_with_connector(connector).await;
                    let channel = channel.map_err(|error| error.to_string())?;
                    *kept = Some(channel.clone());
                    return Ok(channel);
                }
                Err(error) => failed = format!("no connection to {address}: {error}"),
            }
        }
        Err(failed)
    }

    fn note(&self, failed: Option<&NotSigned>) {
        let (mut state, now) = (self.state.lock(), self.world.wall());
        let count = match failed {
            None => &self.counts.signed,
            Some(NotSigned::Away(_)) => &self.counts.away,
            Some(NotSigned::Untrue(_)) => &self.counts.untrue,
            Some(NotSigned::Refused(_) | NotSigned::Request(_)) => &self.counts.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let Some(failed) = failed else {
            if let Some(trouble) = state.trouble.take() {
                tracing::info!(since = %trouble.since, address = self.wanted.address, "the upstream CA signs again");
            }
            (state.last_signed, state.pause, state.rest_until) = (Some(now), Duration::ZERO, Duration::ZERO);
            return;
        };
        let is_resting = self.world.now() < state.rest_until;
        if matches!(failed, NotSigned::Away(_)) && !is_resting {
            state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            state.rest_until = self.world.now() + state.pause;
        }
        if is_resting && state.trouble.is_some() {
            return;
        }
        let (text, since) = (failed.to_string(), state.trouble.as_ref().map_or(now, |trouble| trouble.since));
        if state.trouble.as_ref().is_none_or(|trouble| trouble.text != text) {
            tracing::warn!(address = self.wanted.address, "the upstream CA {text}");
        }
        state.trouble = Some(Trouble { since, text });
    }

    /// Follows the file of roots. Runs for ever.
    pub async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    /// Takes up the file of roots if it has changed, and lets those go whose time is over.
    fn look(&self) {
        let (mark, now) = (roots::mark(&self.wanted.roots), self.world.wall());
        let changed = self.state.lock().mark != mark;
        let named: Vec<_> = self.authority.standing().foreign.iter().flat_map(|foreign| foreign.named()).cloned().collect();
        let found = if changed { roots::read(&self.wanted.roots) } else { Ok(named) };
        let taken = found.and_then(|found| self.authority.believe(&found, self.fade(now), now));
        let mut state = self.state.lock();
        if changed {
            state.mark = mark;
            state.roots = None;
            tracing::info!(file = %self.wanted.roots.display(), "the roots of the upstream CA have changed");
        }
        if let Err(fault) = taken {
            let text = format!("{fault} (what was believed before still is)");
            tracing::error!("{text}");
            state.roots = Some(Trouble { since: now, text });
        }
    }

    /// What needs somebody's care: what it is about, and why.
    pub fn troubles(&self) -> Vec<(&'static str, Trouble)> {
        let state = self.state.lock();
        let named = |what, trouble: &Option<Trouble>| trouble.clone().map(|trouble| (what, trouble));
        let signing = named("upstream-ca", &state.trouble).map(|(what, trouble)| {
            let text =
                format!("the upstream CA {} {} (since {:.0}; the certificates that are held stay)", self.wanted.address, trouble.text, trouble.since);
            (what, Trouble { text, ..trouble })
        });
        signing.into_iter().chain(named("upstream-ca-roots", &state.roots)).chain(named("control-certificate", &state.own)).collect()
    }

    /// When it signed last.
    pub fn last_signed(&self) -> Option<Timestamp> {
        self.state.lock().last_signed
    }

    /// For Prometheus.
    pub fn metrics(&self) -> String {
        let (name, up) = (names::CONTROL_UPSTREAM_REQUESTS, names::CONTROL_UPSTREAM_UP);
        let mut text = format!("# HELP {name} Certificates that the upstream CA was asked for, by what came of it.\n# TYPE {name} counter\n");
        let counts = &self.counts;
        for (outcome, count) in [("signed", &counts.signed), ("refused", &counts.refused), ("untrue", &counts.untrue), ("away", &counts.away)] {
            text.push_str(&format!("{name}{{outcome=\"{outcome}\"}} {}\n", count.load(Ordering::Relaxed)));
        }
        let is_up = u8::from(self.state.lock().trouble.is_none());
        text + &format!("# HELP {up} 1 unless the upstream CA failed when it was asked last.\n# TYPE {up} gauge\n{up} {is_up}\n")
    }
}

/// What a status of the CA means: that it may be otherwise in a moment, or not.
fn said(status: &Status) -> NotSigned {
    let text = || format!("{:?}: {}", status.code(), status.message().chars().take(500).collect::<String>());
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => NotSigned::Away(text()),
        _ => NotSigned::Refused(text()),
    }
}

#[cfg(test)]
mod tests;
