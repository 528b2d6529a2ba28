//! The new process's part: asks for the sockets, gets its own certificate, prepares, and takes over when it can serve.

use super::Door;
use super::line::Line;
use super::message::{FromPredecessor, FromSuccessor, Hello, Listening, PROTOCOL, Will};
use super::place;
use crate::bequest::Bequest;
use crate::current::Current;
use crate::identity::HeldIdentity;
use crate::options::OwnWorkload;
use crate::renewal::{self, Refused, Signer};
use crate::status::Status;
use crate::world::World;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// How long the predecessor may take for an answer that it has at hand.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// For a certificate, which it must ask the control plane for.
const CERTIFICATE_LIMIT: Duration = Duration::from_secs(15);
/// How long preparing may take: a plan, and a look at the application.
const PREPARE_LIMIT: Duration = Duration::from_secs(20);
/// How long to wait for services that the predecessor knew, when the plan is there otherwise.
const HOSTS_LIMIT: Duration = Duration::from_secs(3);

/// Why nothing was taken over. The predecessor goes on as before.
#[derive(Debug)]
pub struct NotReplaced(pub String);

impl fmt::Display for NotReplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for NotReplaced {}

/// What the predecessor has given: its sockets, and the line over which the rest is settled.
pub struct Inheritance {
    line: Line,
    sockets: Vec<(Listening, OwnedFd)>,
    hosts: Vec<String>,
    trust_domain: Option<String>,
}

impl Inheritance {
    /// Asks the proxy that answers at `place`. `None`: there is none.
    ///
    /// # Errors
    /// It refused, or cannot be talked to.
    pub async fn ask(place: &Path, own: &OwnWorkload) -> Result<Option<Self>, NotReplaced> {
        let cannot = |error: io::Error| NotReplaced(format!("cannot take over by way of {}: {error}", place.display()));
        let mut line = match UnixStream::connect(place).await {
            Ok(stream) => Line::new(stream),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        if !line.peer().is_ok_and(|peer| place::is_own_user(peer.uid())) {
            return Err(cannot(io::Error::new(ErrorKind::PermissionDenied, "the process there runs as another user")));
        }
        let hello = Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespace: own.namespace.clone(),
            name: own.name.clone(),
            service_account: own.service_account.clone(),
        };
        // One that refuses at once does not wait for the hello; what it said is there to be read.
        let said = line.say(&FromSuccessor::Hello(hello), &[]).await;
        match timeout(ANSWER_LIMIT, line.hear()).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(cannot)? {
            Some((FromPredecessor::Estate(Will { version, listeners, hosts, trust_domain }), sockets)) => {
                tracing::info!(version, listeners = listeners.len(), "prepares to take over from the proxy that runs");
                Ok(Some(Self { line, sockets: listeners.into_iter().zip(sockets).collect(), hosts, trust_domain }))
            }
            Some((FromPredecessor::Refused { why }, _)) => Err(NotReplaced(why)),
            _ => {
                said.map_err(cannot)?;
                Err(cannot(io::Error::new(ErrorKind::InvalidData, "the running proxy gave no answer that is understood")))
            }
        }
    }

    /// The socket that listens on `address`, once.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.take_at(&Door::Tcp(address)).map(Into::into)
    }

    pub fn take_handover(&mut self) -> Option<UnixListener> {
        self.take_at(&Door::Handover).map(Into::into)
    }

    fn take_at(&mut self, door: &Door) -> Option<OwnedFd> {
        let index = self.sockets.iter().position(|(listening, _)| listening.at == *door)?;
        Some(self.sockets.remove(index).1)
    }

    /// Closes what this proxy was not told to listen on. The predecessor has them until it leaves.
    pub fn close_the_rest(&mut self) {
        for (listening, _) in self.sockets.drain(..) {
            tracing::warn!(
                "the proxy that runs listens on {:?} for {}, and this one will not: clients there will be refused",
                listening.at,
                listening.what
            );
        }
    }

    /// The first certificate: for a key of our own, vouched for by the predecessor's. `None`: the predecessor has died.
    ///
    /// # Errors
    /// The control plane gave none, or could not be asked.
    pub async fn certificate(&mut self, world: &World, current: &Current) -> Result<Option<Arc<HeldIdentity>>, NotReplaced> {
        if let Some(said) = &self.trust_domain {
            current.hear_trust_domain(said);
        }
        let signer = Vouched { line: Mutex::new(&mut self.line), lost: AtomicBool::new(false) };
        let obtained = timeout(CERTIFICATE_LIMIT, renewal::obtain_once(world, current, &signer)).await;
        match obtained.unwrap_or_else(|_| Err(Refused(format!("no answer within {CERTIFICATE_LIMIT:?}")))) {
            Ok(held) => Ok(Some(Arc::new(held))),
            Err(_) if signer.lost.into_inner() => {
                died(None);
                Ok(None)
            }
            Err(refused) => Err(self.give_up(format!("the new proxy got no certificate, so the running one goes on: {refused}")).await),
        }
    }

    /// Waits until this proxy can serve, then takes over. From then on the predecessor accepts nothing, and may send connections over
    /// this line. `None`: it has died.
    ///
    /// # Errors
    /// It cannot serve in time; the predecessor goes on.
    pub async fn take_over(mut self, status: &Status, linger: Duration) -> Result<Option<Line>, NotReplaced> {
        status.current().want(&self.hosts);
        let prepared = async {
            able(status).await;
            // Services that nobody serves any more may never come.
            let _ = timeout(HOSTS_LIMIT, known(status.current(), &self.hosts)).await;
        };
        let prepared = tokio::select! {
            biased;
            heard = self.line.hear::<FromPredecessor>() => {
                died(heard.err());
                return Ok(None);
            }
            prepared = timeout(PREPARE_LIMIT, prepared) => prepared,
        };
        if prepared.is_err() {
            let why = status.ready().err().unwrap_or_else(|| "its plan is not complete".to_owned());
            let why = format!("the new proxy was not able to serve within {PREPARE_LIMIT:?} ({why}); the running one goes on");
            return Err(self.give_up(why).await);
        }
        if let Err(error) = self.line.say(&FromSuccessor::TakeOver { linger_seconds: linger.as_secs() }, &[]).await {
            died(Some(error));
            return Ok(None);
        }
        match timeout(ANSWER_LIMIT, self.line.hear()).await {
            Ok(Ok(Some((FromPredecessor::Leaving, _)))) => {
                tracing::info!("took over: the proxy before this one finishes what it has, and ends");
                Ok(Some(self.line))
            }
            Ok(heard) => {
                died(heard.err());
                Ok(None)
            }
            Err(_) => {
                tracing::warn!("the running proxy does not say that it leaves; both serve until it does");
                Ok(Some(self.line))
            }
        }
    }
}

impl Inheritance {
    /// Lets the predecessor know, and through it whoever has asked for the upgrade.
    async fn give_up(&self, why: String) -> NotReplaced {
        // It finds out by itself otherwise.
        let _ = timeout(ANSWER_LIMIT, self.line.say(&FromSuccessor::GiveUp { why: why.clone() }, &[])).await;
        NotReplaced(why)
    }
}

fn died(error: Option<io::Error>) {
    let why = error.map_or("it ended".to_owned(), |error| error.to_string());
    tracing::warn!(%why, "the proxy that ran is gone; going on in its place with its sockets");
}

/// Has a certificate and a complete plan, and has looked at the application once.
async fn able(status: &Status) {
    let current = status.current();
    current.carries().await;
    let mut pinned = current.pinned();
    while !current.snapshot().policies_complete && pinned.changed().await.is_ok() {}
    status.looked().await;
}

async fn known(current: &Current, hosts: &[String]) {
    let mut pinned = current.pinned();
    let missing = || {
        let snapshot = current.snapshot();
        hosts.iter().any(|host| !snapshot.services.contains_key(host) && !snapshot.absent.contains(host))
    };
    while missing() && pinned.changed().await.is_ok() {}
}

/// A predecessor as a signer.
struct Vouched<'a> {
    line: Mutex<&'a mut Line>,
    lost: AtomicBool,
}

impl Signer for Vouched<'_> {
    async fn sign(&self, request: &str, lifetime: Duration) -> Result<Vec<String>, Refused> {
        let mut line = self.line.lock().await;
        let ask = FromSuccessor::Sign { request: request.to_owned(), lifetime_seconds: lifetime.as_secs() };
        let heard = match line.say(&ask, &[]).await {
            Ok(()) => line.hear().await,
            Err(error) => Err(error),
        };
        match heard {
            Ok(Some((FromPredecessor::Signed { chain }, _))) => Ok(chain),
            Ok(Some((FromPredecessor::NotSigned { why }, _))) => Err(Refused(why)),
            Ok(Some(_)) => Err(Refused("the running proxy gave an answer that is not understood".to_owned())),
            Ok(None) | Err(_) => {
                self.lost.store(true, Ordering::Relaxed);
                Err(Refused("the running proxy ended".to_owned()))
            }
        }
    }
}

/// Deals the connections that come over the line to the workers, in turn, until the predecessor has none.
pub async fn adopt_each(mut line: Line, workers: Vec<mpsc::UnboundedSender<Bequest>>) {
    let mut turn = workers.iter().cycle();
    loop {
        match line.hear::<FromPredecessor>().await {
            Ok(Some((FromPredecessor::Connection(story), sockets))) => {
                let Ok([client, upstream]) = <[OwnedFd; 2]>::try_from(sockets) else { continue };
                let bequest = Bequest { client: TcpStream::from(client), upstream: TcpStream::from(upstream), story };
                if let Some(worker) = turn.next() {
                    // A worker that has ended closes them by dropping them.
                    let _ = worker.send(bequest);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return tracing::info!("the proxy that was replaced has ended"),
            Err(error) => return tracing::warn!(%error, "the proxy that was replaced is not heard any more"),
        }
    }
}
