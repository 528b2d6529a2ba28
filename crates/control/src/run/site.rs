//! The dashboard's part of starting up: its listener, its link, and the address to open.

use super::{Options, address, bind, dialled, keys};
use crate::access::Access;
use crate::authority::write_private;
use crate::dashboard::{self, Counts, Dashboard, Here};
use crate::fault::Fault;
use crate::https;
use crate::serve::tls::OwnCertificate;
use crate::stopping::Stopping;
use crate::world::World;
use axum::Router;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use taut_wire::net::Listener;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// In the state directory.
const URL_FILE: &str = "dashboard.url";

/// A dashboard whose port is taken, and that does not serve yet.
pub(super) struct Site {
    listener: Listener,
    here: Here,
    link: Option<Zeroizing<String>>,
    pub counts: Arc<Counts>,
}

/// `None` where no dashboard is wanted. Plain HTTP is for loopback alone, and so is the link that signs in whoever has it.
pub(super) async fn open(world: &World, options: &Options) -> Result<Option<Site>, Fault> {
    let Some(wanted) = options.dashboard else { return Ok(None) };
    let listener = bind(world, wanted, "--dashboard").await?;
    let bound = address(&listener)?;
    let loopback = bound.ip().is_loopback();
    let link = loopback.then(|| keys::kept_token(options.state.as_deref(), "dashboard.token")).transpose()?;
    let here = Here { bound, tls: !loopback, names: options.dashboard_names.clone() };
    Ok(Some(Site { listener, here, link, counts: Arc::default() }))
}

impl Site {
    pub fn ip(&self) -> IpAddr {
        self.here.bound.ip()
    }

    /// What to open in a browser.
    fn url(&self) -> Zeroizing<String> {
        let bare = format!("{}://{}/", self.here.scheme(), dialled(self.here.bound));
        Zeroizing::new(self.link.as_ref().map_or(bare.clone(), |link| format!("{bare}?token={}", link.as_str())))
    }

    /// Writes the address where `taut demo` and people find it again: for the owner of the state alone, as it may hold the link.
    ///
    /// # Errors
    /// A disk that cannot be written.
    fn keep_url(&self, state: Option<&Path>) -> Result<(), Fault> {
        state.map_or(Ok(()), |state| write_private(&state.join(URL_FILE), format!("{}\n", self.url().as_str()).as_bytes()))
    }

    /// Serves the pages, and `behind` to those who signed in. Says what to open.
    ///
    /// # Errors
    /// TLS cannot be set up, or the state cannot be written.
    pub fn serve(
        self,
        serving: &mut JoinSet<()>,
        options: &Options,
        access: Access,
        certificate: &OwnCertificate,
        behind: Router,
        stopping: Stopping,
    ) -> Result<Zeroizing<String>, Fault> {
        self.keep_url(options.state.as_deref())?;
        let (tls, url) = (self.here.tls, self.url());
        let site = Dashboard { access, link: self.link, assets: options.assets, here: self.here, counts: self.counts };
        let router = dashboard::router(Arc::new(site), behind);
        match tls {
            true => serving.spawn(https::serve(self.listener, certificate.server_config(&https::ALPN)?, router, stopping)),
            false => serving.spawn(https::serve_plain(self.listener, router, stopping)),
        };
        Ok(url)
    }
}
