//! The limit on connections to one cluster (`Limits::max_connections`), and the count of those who wait for one.

use crate::fault::{Fault, Kind};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use taut_plan::{Cluster, Live};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Gate {
    most: Cell<u32>,
    open: Cell<u32>,
    changed: Notify,
}

/// A connection that counts, until dropped.
pub struct Permit(Rc<Gate>);

impl Gate {
    /// Follows the plan: the limit of now holds for who comes from now on.
    pub fn allow(&self, most: u32) {
        self.most.set(most);
    }

    /// `first`: the endpoint has no connection yet, and may have one whatever the limit says (as in Envoy), so that
    /// connections to others cannot shut it out.
    pub fn enter(self: &Rc<Self>, first: bool) -> Option<Permit> {
        (first || self.open.get() < self.most.get()).then(|| {
            self.open.set(self.open.get() + 1);
            Permit(self.clone())
        })
    }

    /// A connection has become idle: those who wait look again.
    pub fn announce(&self) {
        self.changed.notify_waiters();
    }

    /// Resolves at the next announcement after the call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Permit {
    pub fn gate(&self) -> &Rc<Gate> {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.announce();
    }
}

/// A request that waits for a connection, counted until dropped.
pub struct Waiting {
    live: Rc<RefCell<Live>>,
    cluster: Arc<Cluster>,
}

impl Waiting {
    pub fn begin(live: &Rc<RefCell<Live>>, cluster: &Arc<Cluster>) -> Result<Self, Fault> {
        live.borrow_mut().begin_wait(cluster).map_err(|overflow| Fault::new(Kind::Overflow, overflow.to_string()))?;
        Ok(Self { live: live.clone(), cluster: cluster.clone() })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.live.borrow_mut().finish_wait(&self.cluster);
    }
}
