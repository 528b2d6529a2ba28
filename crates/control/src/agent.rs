//! The mesh's identities as a SPIFFE Workload API gives them (SPIRE): the control plane's own certificate, and the roots that the mesh believes.

use crate::authority::Authority;
use crate::tls::Held;
use crate::upstream::Trouble;
use crate::upstream::{answer, roots};
use crate::world::World;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_wire::agent::{AgentAddress, AgentSays, AgentSvid, follow};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub struct Agent {
    address: AgentAddress,
    world: World,
    authority: Arc<Authority>,
    held: Held,
    state: Mutex<State>,
    /// Whether there is a certificate.
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    last_said: Option<Timestamp>,
    until: Option<Timestamp>,
    trouble: Option<Trouble>,
}

impl Agent {
    /// From now on nothing is believed but what the agent will say.
    pub fn new(address: AgentAddress, authority: Arc<Authority>, world: World) -> Self {
        Self { address, world, authority, held: Held::default(), state: Mutex::default(), ready: watch::Sender::new(false) }
    }

    pub fn address(&self) -> &AgentAddress {
        &self.address
    }

    /// What the listener for proxies shows.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Takes over all that the agent says. Runs for ever.
    pub async fn tend(self: Arc<Self>) {
        follow(&self.address, |said| self.hear(said)).await;
    }

    /// Resolves when there is a first certificate.
    pub async fn ready(&self) {
        // The sender lives as long as `self`.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn hear(&self, said: Result<AgentSays, String>) {
        let now = self.world.wall();
        let taken = said
            .and_then(|said| self.take(said, now).map_err(|why| format!("what the SPIFFE Workload API at {} says is not used: {why}", self.address)));
        let mut state = self.state.lock();
        match taken {
            Ok(until) => {
                (state.last_said, state.until, state.trouble) = (Some(now), Some(until), None);
                tracing::info!(%until, "the control plane has a certificate from the SPIFFE Workload API");
                self.ready.send_replace(true);
            }
            Err(text) => {
                let since = state.trouble.as_ref().map_or(now, |trouble| trouble.since);
                if state.trouble.as_ref().is_none_or(|trouble| trouble.text != text) {
                    tracing::warn!("{text}");
                }
                state.trouble = Some(Trouble { since, text });
            }
        }
    }

    /// Until when the certificate is good.
    fn take(&self, said: AgentSays, now: Timestamp) -> Result<Timestamp, String> {
        let wanted = self.authority.control_identity();
        let svid = chosen(said, &wanted)?;
        let bundle: Vec<_> = svid.bundle.iter().map(|root| CertificateDer::from(root.clone())).collect();
        for root in &bundle {
            roots::is_root(root).map_err(|why| format!("a certificate of its bundle {why}"))?;
        }
        let mut chain = svid.chain.iter().map(|one| CertificateDer::from(one.clone()));
        let leaf = chain.next().ok_or("there is no certificate")?;
        let until = own(&leaf, &wanted, now)?;
        let (root, above) = answer::way(&leaf, &chain.collect::<Vec<_>>(), &bundle, now).map_err(|why| format!("it is {why}"))?;
        // The agent itself says for how long an old root stays.
        self.authority.believe(&bundle, now, now).map_err(|fault| fault.to_string())?;
        self.authority.signed_by(&root, &above, true).map_err(|fault| fault.to_string())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(svid.key.as_slice()));
        let chain = [leaf].into_iter().chain(above).chain([root]).collect();
        self.held.put(chain, &key).map_err(|error| format!("its key cannot be used: {error}"))?;
        Ok(until)
    }

    /// Why nothing new comes; and that what there is comes to its end.
    pub fn trouble(&self) -> Option<Trouble> {
        let state = self.state.lock();
        let held = state.until.map_or("the control plane has no certificate".to_owned(), |until| format!("its certificate is good until {until}"));
        state.trouble.as_ref().map(|trouble| Trouble { since: trouble.since, text: format!("{} (since {:.0}; {held})", trouble.text, trouble.since) })
    }

    pub fn last_said(&self) -> Option<Timestamp> {
        self.state.lock().last_said
    }
}

fn chosen(said: AgentSays, wanted: &Identity) -> Result<AgentSvid, String> {
    let given: Vec<String> = said.iter().map(|svid| svid.id.clone()).collect();
    said.into_iter()
        .find(|svid| svid.id == wanted.to_string())
        .ok_or_else(|| format!("it gives {}, and the control plane is {wanted}: register an entry of that id for it", given.join(" and ")))
}

/// The leaf must be what the answer says it is: one name, and good now.
fn own(leaf: &CertificateDer<'_>, wanted: &Identity, now: Timestamp) -> Result<Timestamp, String> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    if (uris.next(), uris.next()) != (Some(wanted.to_string().as_str()), None) {
        return Err(format!("its certificate does not name {wanted} alone"));
    }
    let until = Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|error| error.to_string())?;
    if until > now { Ok(until) } else { Err(format!("its certificate expired at {until}")) }
}
