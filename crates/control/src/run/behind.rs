//! The routes behind the guard, as both the resource API's listener and the dashboard's serve them.

use crate::access;
use crate::api::{self, Api};
use crate::audit;
use crate::changes::{self, Changes};
use crate::incidents;
use crate::least;
use crate::pages::{self, Pages};
use crate::prometheus::{self, Mesh, Prometheus, Traffic};
use crate::proposal::{self, Proposals};
use crate::recording::{self, Recordings};
use crate::side::{self, Side};
use crate::signals;
use crate::store::Store;
use crate::translate::Settings;
use crate::trust;
use axum::Router;
use std::sync::Arc;

pub(super) fn routes(side: Arc<Side>, api: Arc<Api>, store: &Store, signals: &signals::Store) -> Router {
    let changes = Changes { store: store.clone(), board: side.board.clone(), world: side.world.clone() };
    let pages = Pages {
        published: side.published.clone(),
        proxies: side.proxies.clone(),
        board: side.board.clone(),
        authority: side.authority.clone(),
        signals: signals.clone(),
        decisions: Arc::default(),
        world: side.world.clone(),
    };
    let proposals = Proposals {
        store: store.clone(),
        published: side.published.clone(),
        proxies: side.proxies.clone(),
        signals: signals.clone(),
        settings: Settings { trust_domain: side.authority.trust_domain().to_owned(), ..Settings::default() },
        world: side.world.clone(),
    };
    let traffic = Arc::new(Traffic::new(signals.clone()));
    let promised = side.incidents.clone();
    let objectives = Arc::new(move |window: &_, namespace: Option<&str>| promised.recorded(window, namespace));
    let recordings = Recordings::new(signals.clone(), store.clone(), side.authority.trust_domain(), objectives);
    let mesh = Arc::new(Mesh::new(signals.clone()));
    let prometheus = Prometheus::new(traffic, mesh, side.proxies.clone(), side.world.clone(), side.authenticate.clone());
    let access = side.access.clone();
    let all = access::routes::router(access.clone())
        .merge(changes::router(changes))
        .merge(pages::router(pages))
        .merge(least::router(proposals.clone()))
        .merge(proposal::router(proposals))
        .merge(prometheus::router(prometheus))
        .merge(incidents::router(side.incidents.clone(), side.trust.clone()))
        .merge(trust::routes::router(side.trust.clone(), side.audit.clone()))
        .merge(audit::routes::router(side.audit.clone()))
        .merge(side::router(side, recording::router(recordings)))
        // Last: it answers every path that nobody else does.
        .merge(api::router(api));
    access::guarded(all, access)
}
