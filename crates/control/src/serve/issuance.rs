//! What all that is issued has in common: who asks, whether there is room, and that it is written down, refused or not.

use super::accept::Client;
use crate::audit::Audit;
use crate::authority::limits::Kind;
use crate::authority::{Authority, CertificateFault, Issued, Requested};
use crate::signing::Signing;
use crate::upstream::NotSigned;
use crate::world::World;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::istio::TRUST_DOMAIN;
use tonic::{Request, Status};

#[derive(Clone)]
pub struct Issuance {
    pub authority: Arc<Authority>,
    pub world: World,
    signing: Signing,
    audit: Audit,
    refusals: Refusals,
}

const ASK_THE_AGENT: &str = "identities of this mesh come from a SPIFFE Workload API and not from the control plane: start the sidecar with --identity-from, and let applications ask that API themselves";

fn refused(fault: &CertificateFault) -> Status {
    match fault {
        CertificateFault::Reserved => Status::permission_denied(fault.to_string()),
        CertificateFault::Signing(_) | CertificateFault::Foreign => Status::internal(fault.to_string()),
        fault => Status::invalid_argument(fault.to_string()),
    }
}

/// Refusals are noted once a second, with how many were not: anybody can be refused, and nobody is to push what matters out of the log by it.
#[derive(Clone, Default)]
struct Refusals(Arc<Mutex<(Option<Duration>, u64)>>);

impl Refusals {
    fn say(&self, now: Duration) -> Option<u64> {
        let mut last = self.0.lock();
        if last.0.is_some_and(|last| now < last + Duration::from_secs(1)) {
            last.1 += 1;
            return None;
        }
        let (_, unsaid) = std::mem::replace(&mut *last, (Some(now), 0));
        Some(unsaid)
    }
}

impl Issuance {
    pub fn new(authority: Arc<Authority>, signing: Signing, world: World, audit: Audit) -> Self {
        Self { authority, world, signing, audit, refusals: Refusals::default() }
    }

    /// A certificate for an identity that was proven, from whoever signs.
    pub async fn sign(&self, csr: &str, asked: &Requested, identity: &Identity, lifetime: Option<Duration>) -> Result<Issued, Status> {
        match &self.signing {
            Signing::Own => self.authority.issue(csr, identity, lifetime, self.world.wall()).map_err(|fault| refused(&fault)),
            Signing::Upstream(upstream) => {
                self.names_it(asked, identity)?;
                upstream.sign(csr, asked, identity, lifetime).await.map_err(|why| match why {
                    NotSigned::Request(fault) => refused(&fault),
                    NotSigned::Away(_) => Status::unavailable(format!("the upstream CA {} {why}", upstream.address())),
                    NotSigned::Refused(_) => Status::failed_precondition(format!("the upstream CA {} {why}", upstream.address())),
                    NotSigned::Untrue(_) => Status::internal(format!("the upstream CA {} {why}", upstream.address())),
                })
            }
            Signing::Agent(_) => Err(Status::failed_precondition(ASK_THE_AGENT)),
        }
    }

    /// The upstream CA takes names from the request, which only its sender can sign: one that does not know the trust domain yet is told it.
    fn names_it(&self, asked: &Requested, identity: &Identity) -> Result<(), Status> {
        if asked.wish.as_ref() == Some(identity) {
            return Ok(());
        }
        let mut status =
            Status::failed_precondition(format!("another CA signs for this mesh, so the certificate request itself must name {identity}"));
        if let Ok(trust_domain) = self.authority.trust_domain().parse() {
            status.metadata_mut().insert(TRUST_DOMAIN, trust_domain);
        }
        Err(status)
    }

    /// # Errors
    /// The mesh's tokens are signed by others.
    pub fn signs_tokens(&self) -> Result<(), Status> {
        match self.signing {
            Signing::Own | Signing::Upstream(_) => Ok(()),
            Signing::Agent(_) => Err(Status::failed_precondition(ASK_THE_AGENT)),
        }
    }

    /// Who the caller's certificate proves it to be, under the trust domain's name of now. A connection may have been opened before the certificate was revoked.
    pub fn proven<T>(&self, request: &Request<T>) -> Result<Option<Identity>, Status> {
        let Some(client) = request.extensions().get::<Client>() else { return Ok(None) };
        match client.leaf.as_ref().is_some_and(|leaf| self.authority.standing().is_revoked(std::slice::from_ref(&**leaf))) {
            true => Err(Status::permission_denied("the certificate is revoked: join again with a new token (`taut token`)")),
            false => Ok(client.identity.clone().map(|identity| self.authority.renamed(identity))),
        }
    }

    pub fn room(&self, kind: Kind, identity: &Identity) -> Result<(), Status> {
        self.authority.limits.take(kind, identity, self.world.now()).map_err(|full| Status::resource_exhausted(full.to_string()))
    }

    /// Writes down what came of a request. `given`: for whom, and what about it.
    pub fn note(&self, kind: Kind, client: Option<&Client>, given: Result<(&Identity, Value), &Status>) {
        let from = client.map(|client| client.address.to_string());
        let what = |outcome: &str| format!("{}.{outcome}", kind.name());
        match given {
            Ok((identity, mut about)) => {
                self.authority.limits.issued(kind);
                about["from"] = from.into();
                self.audit.note(self.world.wall(), &identity.to_string(), &what("issued"), about);
            }
            // The sender asks again at once, by the name that it has been told.
            Err(status) if status.metadata().contains_key(TRUST_DOMAIN) => {
                tracing::info!(from, why = status.message(), "a request is to be made anew")
            }
            Err(status) => {
                self.authority.limits.refused(kind);
                let who = client.and_then(|client| client.identity.as_ref()).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(kind = kind.name(), from, who, why = status.message(), "what was asked for was not issued");
                if let Some(unsaid) = self.refusals.say(self.world.now()) {
                    let about = json!({"why": status.message(), "from": from, "unsaid": unsaid});
                    self.audit.note(self.world.wall(), &who, &what("refused"), about);
                }
            }
        }
    }
}
