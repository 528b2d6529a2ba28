//! The proxy's certificates from a SPIFFE Workload API (SPIRE's agent): each is taken over as it comes. By whom peers are checked stays the control
//! plane's to say; the agent's bundle counts until it has said so, so that it can be recognised.

use crate::current::Current;
use crate::options::Options;
use crate::renewal::{self, Refused};
use crate::world::World;
use rustls_pki_types::CertificateDer;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::agent::{AgentAddress, AgentSays, follow};

/// The same trouble is told once, then this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// # Errors
/// Something else is wanted that an agent's identity does not go with: what, and what to do.
pub fn may_be_followed(options: &Options) -> Result<(), (String, String)> {
    let Some(address) = &options.identity_from else { return Ok(()) };
    let refused = |what: &str, help: &str| Err((format!("--identity-from and {what} are given together"), help.to_owned()));
    match () {
        () if options.token.is_some() => refused("a join token", "leave the token out: the certificate from the Workload API proves this workload"),
        () if options.pod.is_some() => {
            refused("--service-account-token", "leave the token out: the certificate from the Workload API proves this workload")
        }
        () if options.workload_api.is_some() => refused("--workload-api", &format!("let the application ask {address} itself")),
        () => Ok(()),
    }
}

/// Keeps the proxy's own certificate as the agent gives it. Runs for ever; while the agent is away, what is held stays.
pub async fn keep(world: &World, current: &Current, address: &AgentAddress) {
    let told: RefCell<Option<(Duration, String)>> = RefCell::default();
    let take = |said: Result<AgentSays, String>| match said.and_then(|said| chosen(said, world, current).map_err(|refused| refused.0)) {
        Ok(()) => *told.borrow_mut() = None,
        Err(why) => {
            let now = world.now();
            if told.borrow().as_ref().is_none_or(|(at, before)| *before != why || now >= *at + TELL_EVERY) {
                let held = current.identity().map_or("none yet".to_owned(), |held| format!("valid until {}", held.not_after));
                tracing::warn!(certificate = %held, "no new certificate: {why}");
                *told.borrow_mut() = Some((now, why));
            }
        }
    };
    follow(address, take).await;
}

/// Takes up the one of the identities that is this workload's.
fn chosen(said: AgentSays, world: &World, current: &Current) -> Result<(), Refused> {
    let own = current.workload();
    let given: Vec<String> = said.iter().map(|svid| svid.id.clone()).collect();
    let is_own =
        |id: &str| Identity::parse(id).is_ok_and(|identity| identity.namespace == own.namespace && identity.service_account == own.service_account);
    let Some(svid) = said.into_iter().find(|svid| is_own(&svid.id)) else {
        return Err(Refused(format!(
            "the SPIFFE Workload API gives {}, and this workload is spiffe://TRUST-DOMAIN/ns/{}/sa/{}: register an entry of that id for it, or start with the --namespace and --service-account of the entry",
            given.join(" and "),
            own.namespace,
            own.service_account
        )));
    };
    let certificates = |all: Vec<Vec<u8>>| all.into_iter().map(CertificateDer::from).collect::<Vec<_>>();
    let (chain, roots) = (certificates(svid.chain), certificates(svid.bundle));
    for root in &roots {
        webpki::anchor_from_trusted_cert(root)
            .map_err(|error| Refused(format!("a root of the SPIFFE Workload API's bundle cannot be used: {error}")))?;
    }
    let held = renewal::given(chain, roots, &svid.key, current, world.wall())?;
    if held.identity.to_string() != svid.id {
        return Err(Refused(format!("the SPIFFE Workload API says {} of a certificate of {}", svid.id, held.identity)));
    }
    tracing::info!(identity = %held.identity, not_after = %held.not_after, "holds a certificate of the SPIFFE Workload API");
    current.hold(Arc::new(held));
    Ok(())
}

#[cfg(test)]
mod tests;
