//! The desk: a proxy's own stream, on which it registers, says what it runs, and answers questions.

use super::accept::Client;
use super::report::Reports;
use crate::authority::Authority;
use crate::proxies::{Line, Proxies, shortened};
use crate::publish::Published;
use crate::registry::{Presence, Registry, RegistryFault};
use crate::signals;
use crate::stopping::Stopping;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::desk::{FromProxy, Hello, Kept, Readiness, Report, ToProxy, Welcome, desk_server, from_proxy, readiness, to_proxy};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a proxy that is taken for dead may take to prove the opposite.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct DeskService {
    pub registry: Registry,
    pub proxies: Proxies,
    pub published: watch::Receiver<Arc<Published>>,
    pub world: World,
    pub trust_domain: Arc<str>,
    pub stopping: Stopping,
    pub signals: signals::Store,
    pub authority: Arc<Authority>,
}

/// Bytes kept of why a workload is not ready.
const LONGEST_REASON: usize = 1024;

type Outgoing = mpsc::Sender<Result<ToProxy, Status>>;

#[tonic::async_trait]
impl desk_server::Desk for DeskService {
    type AttendStream = ReceiverStream<Result<ToProxy, Status>>;

    async fn attend(&self, request: Request<Streaming<FromProxy>>) -> Result<Response<Self::AttendStream>, Status> {
        let identity = proven(&request)?;
        let revoked = until_revoked(self.authority.clone(), &request);
        let (outgoing, stream) = mpsc::channel(64);
        let (desk, incoming) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            if let Err(status) = desk.attend_until_the_end(identity, incoming, &outgoing, revoked).await {
                tracing::info!(code = ?status.code(), why = status.message(), "a proxy's desk stream was closed");
                // The proxy may be gone already.
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type ReportStream = ReceiverStream<Result<Kept, Status>>;

    async fn report(&self, request: Request<Streaming<Report>>) -> Result<Response<Self::ReportStream>, Status> {
        let identity = proven(&request)?;
        let (outgoing, stream) = mpsc::channel(4);
        let reports = Reports {
            store: self.signals.clone(),
            world: self.world.clone(),
            stopping: self.stopping.clone(),
            identity,
            authority: self.authority.clone(),
        };
        let incoming = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = reports.take(incoming, &outgoing).await {
                tracing::debug!(code = ?status.code(), why = status.message(), "a proxy's stream of signals was closed");
                // The proxy may be gone already.
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The identity that the client's certificate proves.
///
/// # Errors
/// `Unauthenticated` when it showed none.
pub fn proven<T>(request: &Request<T>) -> Result<Identity, Status> {
    let identity = request.extensions().get::<Client>().and_then(|client| client.identity.clone());
    identity
        .ok_or_else(|| Status::unauthenticated("this method needs a client certificate of the mesh; get one with a join token first (`taut token`)"))
}

/// Resolves when the certificate is revoked that proves who sends this.
pub fn until_revoked<T>(authority: Arc<Authority>, request: &Request<T>) -> impl Future<Output = Status> + Send + 'static {
    let leaf = request.extensions().get::<Client>().and_then(|client| client.leaf.clone());
    async move {
        let mut bundle = authority.bundle();
        let Some(leaf) = leaf else { return std::future::pending().await };
        loop {
            bundle.borrow_and_update();
            if authority.standing().is_revoked(std::slice::from_ref(&*leaf)) {
                return Status::permission_denied("the certificate was revoked: join again with a new token (`taut token`)");
            }
            // The sender lives as long as the authority.
            if bundle.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl DeskService {
    async fn attend_until_the_end(
        &self,
        identity: Identity,
        mut incoming: Streaming<FromProxy>,
        outgoing: &Outgoing,
        revoked: impl Future<Output = Status>,
    ) -> Result<(), Status> {
        let mut revoked = std::pin::pin!(revoked);
        let hello = self.hello(&identity, &mut incoming).await?;
        let uid = format!("{}/{}", hello.namespace, hello.name);
        // Before it takes anybody's place.
        self.registry.permit(&hello).map_err(refused)?;
        self.refuse_a_double(&uid, &hello).await?;
        let (questions, mut asked) = mpsc::channel(16);
        let readiness = hello.readiness.clone();
        let line = self.proxies.arrive(&uid, hello.clone(), self.world.wall_text(), questions);
        let mut leaves = false;
        let ended = async {
            self.registry.register(&hello).map_err(refused)?;
            self.welcome(&uid, outgoing).await?;
            if let Some(readiness) = readiness {
                leaves = self.readiness(&uid, &line, &readiness)?;
            }
            let mut stopping = self.stopping.clone();
            while !leaves {
                tokio::select! {
                    biased;
                    () = line.displaced.notified() => return Err(Status::aborted(format!("another proxy said hello as {uid}"))),
                    () = stopping.wait() => return Err(Status::unavailable("the control plane is stopping")),
                    status = revoked.as_mut() => return Err(status),
                    Some(question) = asked.recv() => send(outgoing, to_proxy::Say::Ask(question)).await?,
                    message = incoming.message() => match message? {
                        Some(message) => leaves = self.listen(&uid, &line, message)?,
                        None => break,
                    },
                }
            }
            Ok(())
        }
        .await;
        if self.proxies.leave(&uid, line.number) && !self.stopping.now() {
            match leaves {
                true => self.registry.forget(&uid).map_err(refused)?,
                false => self.registry.suspect(&uid),
            }
        }
        ended
    }

    async fn hello(&self, identity: &Identity, incoming: &mut Streaming<FromProxy>) -> Result<Hello, Status> {
        let first = tokio::time::timeout(HELLO_LIMIT, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the first message, Hello, did not come in time"))??;
        let Some(FromProxy { say: Some(from_proxy::Say::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        if hello.namespace != identity.namespace || hello.service_account != identity.service_account {
            return Err(Status::permission_denied(format!(
                "the workload says it is namespace {:?}, service account {:?}, but its certificate is {identity}",
                hello.namespace, hello.service_account
            )));
        }
        Ok(hello)
    }

    /// The newer of two proxies of one name and identity wins when the older one is dead. That is asked, not told by what
    /// the newer one says about itself: it could say anything.
    async fn refuse_a_double(&self, uid: &str, hello: &Hello) -> Result<(), Status> {
        let Some(before) = self.proxies.get(uid) else { return Ok(()) };
        let account = &before.hello.service_account;
        if *account != hello.service_account {
            return Err(Status::already_exists(format!(
                "the name {uid} is taken by a connected workload of service account {account:?}, and this one runs as {:?}; choose another --name",
                hello.service_account
            )));
        }
        match before.line.is_alive(PROBE_LIMIT).await {
            false => Ok(()),
            true => Err(Status::already_exists(format!(
                "a workload {uid} is already there with its proxy at {}; give this one another name",
                before.hello.peer
            ))),
        }
    }

    async fn welcome(&self, uid: &str, outgoing: &Outgoing) -> Result<(), Status> {
        let welcome =
            Welcome { trust_domain: self.trust_domain.to_string(), uid: uid.to_owned(), control_plane_version: env!("CARGO_PKG_VERSION").to_owned() };
        send(outgoing, to_proxy::Say::Welcome(welcome)).await
    }

    /// True when the workload leaves for good.
    fn listen(&self, uid: &str, line: &Line, message: FromProxy) -> Result<bool, Status> {
        match message.say {
            Some(from_proxy::Say::Acknowledge(said)) => {
                let published = self.published.borrow().clone();
                self.proxies.acknowledge(uid, line.number, said, &published);
            }
            Some(from_proxy::Say::Readiness(said)) => return self.readiness(uid, line, &said),
            Some(from_proxy::Say::Answer(answer)) => line.answered(answer.id, answer.json),
            Some(from_proxy::Say::Holding(holding)) => self.proxies.holds(uid, line.number, holding),
            Some(from_proxy::Say::Hello(_)) => return Err(Status::invalid_argument("Hello may be said only once on a stream")),
            // A newer proxy may say what this control plane does not know yet.
            None => {}
        }
        Ok(false)
    }

    fn readiness(&self, uid: &str, line: &Line, said: &Readiness) -> Result<bool, Status> {
        let state = readiness::State::try_from(said.state).unwrap_or(readiness::State::NotReady);
        let Some(presence) = Presence::said(state) else { return Ok(true) };
        self.proxies.readiness(uid, line.number, presence.reason());
        self.registry.judge(uid, presence, &shortened(said.why.clone(), LONGEST_REASON)).map_err(refused)?;
        Ok(false)
    }
}

async fn send(outgoing: &Outgoing, say: to_proxy::Say) -> Result<(), Status> {
    outgoing.send(Ok(ToProxy { say: Some(say) })).await.map_err(|_| Status::cancelled("the proxy closed its stream"))
}

fn refused(fault: RegistryFault) -> Status {
    match fault {
        RegistryFault::Hello(_) => Status::invalid_argument(fault.to_string()),
        RegistryFault::NotPermitted(_) => Status::permission_denied(fault.to_string()),
        RegistryFault::Taken(_) => Status::already_exists(fault.to_string()),
        RegistryFault::Store(_) => Status::unavailable(fault.to_string()),
    }
}
