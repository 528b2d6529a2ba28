//! The authority with the files that it follows, and the tasks that tend it.

use super::{Foreign, Options};
use crate::agent::Agent;
use crate::audit;
use crate::authority::{Authority, AuthoritySettings};
use crate::fault::Fault;
use crate::proxies::Proxies;
use crate::publish::Published;
use crate::serve::tls::OwnCertificate;
use crate::side::Side;
use crate::signals;
use crate::signing::Signing;
use crate::store::Store;
use crate::tls::Held;
use crate::trust::{COMING_BACK, Sources, Trust};
use crate::upstream::Upstream;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the first answer of an agent is waited for at the start.
const AGENT_LIMIT: Duration = Duration::from_secs(30);

/// The authority, and who signs.
pub(super) async fn open(options: &Options, world: &World) -> Result<(Arc<Authority>, Signs), Fault> {
    let authority = authority(options, world)?;
    let signing = signing(options, &authority, world).await?;
    Ok((authority, signing))
}

fn authority(options: &Options, world: &World) -> Result<Arc<Authority>, Fault> {
    if let (Some(foreign), Some(_)) = (&options.foreign, &options.ca_directory) {
        return Err(Fault::new(
            format!("--ca-dir and {} are given together, and only one can sign for the mesh", foreign.option()),
            "Leave one of the two out",
        ));
    }
    let settings =
        AuthoritySettings { trust_domain: options.trust_domain.clone(), leaf_lifetime: options.leaf_lifetime, limits: options.issuance_limits };
    Authority::open(options.state.as_deref(), options.ca_directory.as_deref(), settings, world.wall()).map(Arc::new)
}

/// Who signs for the mesh, what the listener for proxies shows where that is not the authority here, and the tasks that tend it.
pub(super) struct Signs {
    pub signing: Signing,
    shown: Option<Held>,
    tending: JoinSet<()>,
}

impl Signs {
    /// TLS of the listener for proxies.
    pub fn tls(&self, own: &OwnCertificate) -> Result<Arc<rustls::ServerConfig>, Fault> {
        match &self.shown {
            Some(shown) => own.showing(shown, &[b"h2"]),
            None => own.server_config(&[b"h2"]),
        }
    }

    /// Runs as long as its tasks do; they end with it.
    async fn tend(mut self) {
        while self.tending.join_next().await.is_some() {}
    }
}

/// Who is wanted to sign. Where it is an agent, its first answer is waited for: without it nothing could be believed.
async fn signing(options: &Options, authority: &Arc<Authority>, world: &World) -> Result<Signs, Fault> {
    let mut tending = JoinSet::new();
    match &options.foreign {
        None => Ok(Signs { signing: Signing::Own, shown: None, tending }),
        Some(Foreign::Upstream(wanted)) => {
            let upstream = Arc::new(Upstream::open(wanted.clone(), authority.clone(), world.clone())?);
            let held = Held::default();
            tending.spawn(upstream.clone().keep_own(held.clone()));
            tending.spawn(upstream.clone().tend());
            Ok(Signs { signing: Signing::Upstream(upstream), shown: Some(held), tending })
        }
        Some(Foreign::Agent(address)) => {
            let agent = Arc::new(Agent::new(address.clone(), authority.clone(), world.clone()));
            tending.spawn(agent.clone().tend());
            if tokio::time::timeout(AGENT_LIMIT, agent.ready()).await.is_err() {
                let why = agent.trouble().map_or_else(|| format!("{address} says nothing"), |trouble| trouble.text);
                return Err(Fault::new(
                    format!("the control plane got no certificate in {} s: {why}", AGENT_LIMIT.as_secs()),
                    format!("Start the agent, and register {} for the control plane", authority.control_identity()),
                ));
            }
            let held = agent.held().clone();
            Ok(Signs { signing: Signing::Agent(agent), shown: Some(held), tending })
        }
    }
}

/// The authority's files as they are at the start: a revocation list that cannot be used keeps the control plane from starting, since
/// without it more would be believed.
pub(super) fn trust(
    options: &Options,
    authority: &Arc<Authority>,
    proxies: &Proxies,
    published: &watch::Receiver<Arc<Published>>,
    world: &World,
    signing: Signing,
) -> Result<Trust, Fault> {
    let sources = Sources::new(options.ca_directory.clone(), options.revocation_lists.clone());
    for lists in sources.needed(authority, world.wall()) {
        authority.take_lists(lists)?;
    }
    sources.look(authority, world.wall());
    let (authority, proxies, published, back_by) = (authority.clone(), proxies.clone(), published.clone(), world.now() + COMING_BACK);
    Ok(Trust { authority, proxies, published, world: world.clone(), sources: Arc::new(sources), signing, back_by })
}

/// What is kept for a long time: signals, trust, the audit log. `kubeconfig`: keeps it up to date.
pub(super) fn tend(
    tending: &mut JoinSet<()>,
    side: &Side,
    store: &Store,
    kubeconfig: Option<impl Future<Output = ()> + Send + 'static>,
    signing: Signs,
) {
    tending.spawn(signing.tend());
    tending.spawn(signals::keep(side.signals.clone(), side.world.clone()));
    tending.spawn(side.trust.clone().tend(side.audit.clone()));
    tending.spawn(audit::follow(side.audit.clone(), store.clone(), side.world.clone()));
    if let Some(kubeconfig) = kubeconfig {
        tending.spawn(kubeconfig);
    }
}
