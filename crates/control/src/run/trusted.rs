//! The authority with the files that it follows, and the tasks that tend it.

use super::Options;
use crate::audit;
use crate::authority::{Authority, AuthoritySettings};
use crate::fault::Fault;
use crate::proxies::Proxies;
use crate::publish::Published;
use crate::side::Side;
use crate::signals;
use crate::store::Store;
use crate::trust::{COMING_BACK, Sources, Trust};
use crate::world::World;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(super) fn authority(options: &Options, world: &World) -> Result<Arc<Authority>, Fault> {
    let settings =
        AuthoritySettings { trust_domain: options.trust_domain.clone(), leaf_lifetime: options.leaf_lifetime, limits: options.issuance_limits };
    Authority::open(options.state.as_deref(), options.ca_directory.as_deref(), settings, world.wall()).map(Arc::new)
}

/// The authority's files as they are at the start: a revocation list that cannot be used keeps the control plane from starting, since
/// without it more would be believed.
pub(super) fn trust(
    options: &Options,
    authority: &Arc<Authority>,
    proxies: &Proxies,
    published: &watch::Receiver<Arc<Published>>,
    world: &World,
) -> Result<Trust, Fault> {
    let sources = Sources::new(options.ca_directory.clone(), options.revocation_lists.clone());
    for lists in sources.needed(authority, world.wall()) {
        authority.take_lists(lists)?;
    }
    sources.look(authority, world.wall());
    let (authority, proxies, published, back_by) = (authority.clone(), proxies.clone(), published.clone(), world.now() + COMING_BACK);
    Ok(Trust { authority, proxies, published, world: world.clone(), sources: Arc::new(sources), back_by })
}

/// What is kept for a long time: signals, trust, the audit log. `kubeconfig`: keeps it up to date.
pub(super) fn tend(tending: &mut JoinSet<()>, side: &Side, store: &Store, kubeconfig: Option<impl Future<Output = ()> + Send + 'static>) {
    tending.spawn(signals::keep(side.signals.clone(), side.world.clone()));
    tending.spawn(side.trust.clone().tend(side.audit.clone()));
    tending.spawn(audit::follow(side.audit.clone(), store.clone(), side.world.clone()));
    if let Some(kubeconfig) = kubeconfig {
        tending.spawn(kubeconfig);
    }
}
