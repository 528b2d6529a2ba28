//! Delivery: one delta ADS stream per proxy, which brings it to its view of the published mesh and keeps it there.

use super::desk::{proven, until_revoked};
use crate::authority::Authority;
use crate::proxies::{Asked, Proxies};
use crate::publish::{Encoded, Published};
use crate::stopping::Stopping;
use crate::view::{Viewer, view};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use taut_wire::discovery::aggregated_discovery_service_server::AggregatedDiscoveryService;
use taut_wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use taut_wire::resource::ResourceType;
use taut_wire::session::{ServerSession, Verdict};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// What a plan needs before it can use the next: a service is announced when all that belongs to it is on its way, a route
/// when the endpoints and subsets are that it sends to.
const ORDER: [ResourceType; 11] = [
    ResourceType::TrustBundle,
    ResourceType::MeshSettings,
    ResourceType::Telemetry,
    ResourceType::Workload,
    ResourceType::Destination,
    ResourceType::PeerAuthentication,
    ResourceType::AuthorizationPolicy,
    ResourceType::RequestAuthentication,
    ResourceType::RateLimit,
    ResourceType::Route,
    ResourceType::Service,
];

/// How long a new stream may take to ask for all types before services are announced without the others.
const OPENING: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub struct AdsService {
    pub published: watch::Receiver<Arc<Published>>,
    pub proxies: Proxies,
    pub stopping: Stopping,
    pub authority: Arc<Authority>,
}

type Outgoing = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for AdsService {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let identity = proven(&request)?;
        let revoked = until_revoked(self.authority.clone(), &request);
        let (outgoing, stream) = mpsc::channel(64);
        let (ads, incoming) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut delivery = Delivery::new(identity.namespace);
            let number = ads.proxies.number();
            let ended = tokio::select! {
                biased;
                status = revoked => Err(status),
                ended = ads.deliver(&mut delivery, number, incoming, &outgoing) => ended,
            };
            ads.proxies.unsubscribed(&delivery.viewer.uid, number);
            if let Err(status) = ended {
                tracing::info!(uid = %delivery.viewer.uid, code = ?status.code(), why = status.message(), "a delivery stream was closed");
                // The proxy may be gone already.
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl AdsService {
    async fn deliver(
        &self,
        delivery: &mut Delivery,
        number: u64,
        mut incoming: Streaming<DeltaDiscoveryRequest>,
        outgoing: &Outgoing,
    ) -> Result<(), Status> {
        let (mut published, mut stopping) = (self.published.clone(), self.stopping.clone());
        let opened = Instant::now() + OPENING;
        loop {
            let waits = delivery.opening;
            tokio::select! {
                biased;
                () = stopping.wait() => return Err(Status::unavailable("the control plane is stopping")),
                request = incoming.message() => match request? {
                    Some(request) => {
                        let at = published.borrow().version;
                        delivery.request(request, at)?;
                        self.proxies.subscribed(&delivery.viewer.uid, number, &delivery.hosts);
                    }
                    None => return Ok(()),
                },
                changed = published.changed() => if changed.is_err() {
                    return Err(Status::unavailable("the control plane is stopping"));
                },
                () = tokio::time::sleep_until(opened), if waits => delivery.opening = false,
            }
            let now = published.borrow_and_update().clone();
            for response in delivery.offers(&now) {
                outgoing.send(Ok(response)).await.map_err(|_| Status::cancelled("the proxy closed its stream"))?;
            }
        }
    }
}

/// One stream's state, without its I/O.
struct Delivery {
    viewer: Viewer,
    hosts: Asked,
    session: ServerSession,
    asked: BTreeSet<ResourceType>,
    /// What was last brought on its way, by type.
    sent: BTreeMap<ResourceType, Encoded>,
    /// The client may still be asking for its first types.
    opening: bool,
}

impl Delivery {
    fn new(namespace: String) -> Self {
        let viewer = Viewer { namespace, ..Viewer::default() };
        Self { viewer, hosts: Asked::new(), session: ServerSession::new(), asked: BTreeSet::new(), sent: BTreeMap::new(), opening: true }
    }

    /// `at`: the version of the mesh that is published; no older one is offered from here on.
    fn request(&mut self, request: DeltaDiscoveryRequest, at: u64) -> Result<(), Status> {
        if let Some(node) = &request.node {
            self.name(&node.id)?;
        }
        // What it says that it has, it may have as it was long ago.
        let had: BTreeSet<String> = request.initial_resource_versions.keys().cloned().collect();
        let requested = self.session.request(request).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        if requested.ignored > 0 {
            tracing::warn!(uid = %self.viewer.uid, of_type = %requested.of_type, ignored = requested.ignored, "a proxy names too much; the excess is ignored");
        }
        self.asked.insert(requested.of_type);
        if self.asked.len() == ORDER.len() {
            self.opening = false;
        }
        if let Some(Verdict::Refused(why)) = requested.verdict {
            tracing::warn!(uid = %self.viewer.uid, of_type = %requested.of_type, why, "a proxy refused resources and keeps the last good ones");
        }
        if requested.of_type == ResourceType::Service {
            self.viewer.hosts = self.session.subscribed(ResourceType::Service).clone();
            let asked = |host: &String| (host.clone(), self.hosts.get(host).copied().unwrap_or(if had.contains(host) { 0 } else { at }));
            self.hosts = self.viewer.hosts.iter().map(asked).collect();
        }
        Ok(())
    }

    /// Takes the workload's name from the first request that has one: `namespace/name`, or the name alone.
    fn name(&mut self, node: &str) -> Result<(), Status> {
        if node.is_empty() || !self.viewer.uid.is_empty() {
            return Ok(());
        }
        let (namespace, name) = node.split_once('/').unwrap_or((&self.viewer.namespace, node));
        if namespace != self.viewer.namespace {
            return Err(Status::permission_denied(format!(
                "node {node:?} is not of namespace {:?}, which the certificate proves",
                self.viewer.namespace
            )));
        }
        self.viewer.uid = format!("{namespace}/{name}");
        Ok(())
    }

    /// The responses that are due, in the order that keeps every plan in between whole: a type waits while one that it
    /// builds on cannot be sent yet (its last response is not answered).
    fn offers(&mut self, published: &Published) -> Vec<DeltaDiscoveryResponse> {
        let names = view(&published.translation, &published.index, &self.viewer);
        let mut responses = Vec::new();
        let mut ground_is_there = true;
        for of_type in ORDER {
            let builds = matches!(of_type, ResourceType::Route | ResourceType::Service);
            if builds && !ground_is_there {
                continue;
            }
            if !self.asked.contains(&of_type) {
                ground_is_there &= !self.opening;
                continue;
            }
            let wanted = published.of(&names, of_type);
            let response = self.session.offer(of_type, &wanted);
            if response.is_some() || self.session.settled(of_type) {
                self.sent.insert(of_type, wanted);
            } else {
                ground_is_there &= self.sent.get(&of_type) == Some(&wanted);
            }
            responses.extend(response);
        }
        responses
    }
}

#[cfg(test)]
mod tests;
