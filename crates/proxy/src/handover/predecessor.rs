//! The running proxy's part: answers at the handover socket, gives a successor what it needs, and says when to leave.

use super::line::Line;
use super::message::{FromPredecessor, FromSuccessor, Hello, Listening, PROTOCOL, Will};
use super::upgrade::{self, Asked};
use crate::bequest::{Bequests, Heir};
use crate::current::Current;
use crate::options::{OwnWorkload, Started};
use crate::renewal::Signer;
use crate::status::{AtDesk, Status};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a successor may take to say who it is.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long a successor may keep others from trying.
const PREPARE_LIMIT: Duration = Duration::from_secs(60);
/// How long leaving the control plane's desk may take. One that does not notice finds out by itself.
const DESK_LIMIT: Duration = Duration::from_secs(1);

/// Listening sockets to hand over, beside those that are served.
pub struct Estate {
    pub listeners: Vec<(Listening, TcpListener)>,
}

/// Answers successors until one has taken over.
pub struct Predecessor<S> {
    pub listener: UnixListener,
    pub estate: Estate,
    pub status: Arc<Status>,
    /// Asks the control plane, with the certificate that is held.
    pub signer: S,
    /// Who may ask: the user that runs this proxy.
    pub user: u32,
    /// To start a successor when asked to.
    pub started: Option<Started>,
}

/// How a talk has ended.
enum Talk {
    Taken { line: Line, linger: Duration, version: String, process: i32 },
    Asked(Asked),
    GivenUp(String),
    Refused,
    Ended,
}

/// A successor accepts from now on.
pub struct Replaced {
    pub heir: Heir,
    /// How long what cannot move may go on here.
    pub linger: Duration,
}

impl<S: Signer + 'static> Predecessor<S> {
    /// Tells `replaced` once, then sends what connections are given, until no more can come.
    pub async fn serve(self, replaced: oneshot::Sender<Replaced>) {
        let (line, linger) = self.until_replaced().await;
        let (heir, given) = Heir::new();
        // It is dropped unheard when the proxy stops at this very moment; the successor has everything by now.
        let _ = replaced.send(Replaced { heir, linger });
        // A listening socket that stays open here would be one where nobody accepts, once the successor has stopped.
        drop(self);
        give(&line, given).await;
    }

    async fn until_replaced(&self) -> (Line, Duration) {
        let mut asked: Option<Asked> = None;
        loop {
            let line = tokio::select! {
                biased;
                stream = accept(&self.listener) => Line::new(stream),
                why = upgrade::ended(&mut asked) => {
                    if let Some(Asked { line, .. }) = asked.take() {
                        tracing::warn!(%why, "the upgrade failed; this proxy goes on");
                        refuse(line, &why).await;
                    }
                    continue;
                }
            };
            let ended = {
                let mut talk = std::pin::pin!(self.talk(line, asked.is_some()));
                // One successor at a time; others hear that.
                loop {
                    tokio::select! {
                        biased;
                        ended = &mut talk => break ended,
                        another = accept(&self.listener) => refuse(Line::new(another), "another successor is taking over already").await,
                    }
                }
            };
            match ended {
                Ok(Talk::Taken { line, linger, version, process }) => {
                    if let Some(Asked { line, .. }) = asked {
                        let told = FromPredecessor::Upgraded { version, process, before: env!("CARGO_PKG_VERSION").to_owned() };
                        // Whoever has asked may have gone meanwhile.
                        let _ = timeout(HELLO_LIMIT, line.say(&told, &[])).await;
                    }
                    return (line, linger);
                }
                Ok(Talk::Asked(new)) => asked = Some(new),
                Ok(Talk::GivenUp(why)) => {
                    tracing::warn!(%why, "the successor did not take over; this proxy goes on");
                    if let Some(Asked { line, .. }) = asked.take() {
                        refuse(line, &why).await;
                    }
                }
                Ok(Talk::Ended) => tracing::info!("the successor went away before it took over; this proxy goes on"),
                Ok(Talk::Refused) => {}
                Err(error) => tracing::warn!(%error, "the successor did not take over; this proxy goes on"),
            }
        }
    }

    async fn talk(&self, mut line: Line, upgrading: bool) -> io::Result<Talk> {
        let peer = line.peer()?;
        if peer.uid() != self.user {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "a stranger asked to take over, and was refused");
            refuse(line, "only the user that runs this proxy may replace it").await;
            return Ok(Talk::Refused);
        }
        let first = timeout(HELLO_LIMIT, line.hear::<FromSuccessor>()).await.unwrap_or_else(|_| Err(too_slow()))?;
        let hello = match first {
            Some((FromSuccessor::Hello(hello), _)) => hello,
            Some((FromSuccessor::Upgrade, _)) => return Ok(self.start_successor(line, upgrading).await),
            Some(_) => return Err(unexpected()),
            None => return Ok(Talk::Ended),
        };
        if let Err(why) = acceptable(&hello, self.status.current().workload()) {
            tracing::warn!(pid = peer.pid(), %why, "a successor was refused");
            refuse(line, &why).await;
            return Ok(Talk::Refused);
        }
        tracing::info!(pid = peer.pid(), version = hello.version, "a successor prepares to take over");
        let sockets: Vec<BorrowedFd<'_>> = self.estate.listeners.iter().map(|(_, socket)| socket.as_fd()).chain([self.listener.as_fd()]).collect();
        line.say(&FromPredecessor::Estate(self.will()), &sockets).await?;
        let deadline = Instant::now() + PREPARE_LIMIT;
        while let Some((message, _)) = timeout_at(deadline, line.hear::<FromSuccessor>()).await.unwrap_or_else(|_| Err(too_slow()))? {
            match message {
                FromSuccessor::Sign { request, lifetime_seconds } => line.say(&self.sign(&request, lifetime_seconds).await, &[]).await?,
                FromSuccessor::TakeOver { linger_seconds } => {
                    let line = self.leave(line).await?;
                    let process = peer.pid().unwrap_or_default();
                    return Ok(Talk::Taken { line, linger: Duration::from_secs(linger_seconds), version: hello.version, process });
                }
                FromSuccessor::GiveUp { why } => return Ok(Talk::GivenUp(why)),
                FromSuccessor::Hello(_) | FromSuccessor::Upgrade => return Err(unexpected()),
            }
        }
        Ok(Talk::Ended)
    }

    async fn sign(&self, request: &str, lifetime_seconds: u64) -> FromPredecessor {
        match self.signer.sign(request, Duration::from_secs(lifetime_seconds)).await {
            Ok(chain) => FromPredecessor::Signed { chain },
            Err(refused) => FromPredecessor::NotSigned { why: refused.0 },
        }
    }

    /// Starts the process that is to say hello next.
    async fn start_successor(&self, line: Line, upgrading: bool) -> Talk {
        let started = match &self.started {
            _ if upgrading => Err("an upgrade is under way already".to_owned()),
            None => Err("this proxy does not know how it was started: start its successor yourself, with --replace".to_owned()),
            Some(started) => upgrade::start_again(started).map_err(|error| format!("{} cannot be started: {error}", started.program.display())),
        };
        match started {
            Ok(child) => {
                tracing::info!(pid = child.id(), "asked to upgrade: started the successor");
                Talk::Asked(Asked { line, child })
            }
            Err(why) => {
                tracing::warn!(%why, "asked to upgrade, and could not");
                refuse(line, &why).await;
                Talk::Refused
            }
        }
    }

    fn will(&self) -> Will {
        let listening = self.estate.listeners.iter().map(|(listening, _)| listening.clone());
        let own = Listening { what: "handover".to_owned(), at: super::Door::Handover };
        let current = self.status.current();
        Will {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listeners: listening.chain([own]).collect(),
            hosts: hosts(current),
            trust_domain: current.trust_domain(),
        }
    }

    /// Makes room at the control plane's desk, where only one proxy of a workload may be, then says so. A successor that is gone by
    /// now changes nothing.
    async fn leave(&self, line: Line) -> io::Result<Line> {
        self.status.attend(AtDesk::Away);
        // Without a control plane nobody is at the desk.
        let _ = timeout(DESK_LIMIT, self.status.left_desk()).await;
        match line.say(&FromPredecessor::Leaving, &[]).await {
            Ok(()) => Ok(line),
            Err(error) => {
                self.status.attend(AtDesk::Present);
                Err(error)
            }
        }
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it said what does not belong there")
}

fn hosts(current: &Current) -> Vec<String> {
    current.snapshot().services.keys().cloned().collect()
}

/// Whether the process that says so may stand for this workload. What it may do in the mesh, its certificate says.
fn acceptable(hello: &Hello, own: &OwnWorkload) -> Result<(), String> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "version {} speaks handover protocol {}, and the running version {} speaks {PROTOCOL}: this upgrade needs a restart",
            hello.version,
            hello.protocol,
            env!("CARGO_PKG_VERSION")
        ));
    }
    let theirs = (&hello.namespace, &hello.name, &hello.service_account);
    match theirs == (&own.namespace, &own.name, &own.service_account) {
        true => Ok(()),
        false => Err(format!(
            "the running proxy is of workload {}/{} with service account {:?}, and this one of {}/{} with {:?}: start it with the same --namespace, --name and --service-account",
            own.namespace, own.name, own.service_account, hello.namespace, hello.name, hello.service_account
        )),
    }
}

async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a successor; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn refuse(line: Line, why: &str) {
    // Whoever does not listen to the answer is refused all the same.
    let _ = timeout(HELLO_LIMIT, line.say(&FromPredecessor::Refused { why: why.to_owned() }, &[])).await;
}

/// Sends connections to the successor. One that cannot be sent goes back to where it came from.
async fn give(line: &Line, mut given: Bequests) {
    while let Some((bequest, answer)) = given.recv().await {
        let sockets = [bequest.client.as_fd(), bequest.upstream.as_fd()];
        let sent = line.say(&FromPredecessor::Connection(bequest.story.clone()), &sockets).await;
        let told = sent.map_err(|error| {
            tracing::warn!(%error, "the successor takes no connections any more; they go on here");
            bequest
        });
        // It is closed when nobody waits for it.
        let _ = answer.send(told);
    }
}
