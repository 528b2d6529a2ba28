//! What all that is issued has in common: who asks, whether there is room, and that it is written down, refused or not.

use super::accept::Client;
use crate::audit::Audit;
use crate::authority::Authority;
use crate::authority::limits::Kind;
use crate::world::World;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use tonic::{Request, Status};

#[derive(Clone)]
pub struct Issuance {
    pub authority: Arc<Authority>,
    pub world: World,
    audit: Audit,
    refusals: Refusals,
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
    pub fn new(authority: Arc<Authority>, world: World, audit: Audit) -> Self {
        Self { authority, world, audit, refusals: Refusals::default() }
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
