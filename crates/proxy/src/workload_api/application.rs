//! The application's own certificate and key, from the moment it asks for them on.

use crate::identity::HeldIdentity;
use crate::renewal::Holder;
use std::sync::Arc;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// What the application holds. The key is wiped when the last who has it lets go.
pub struct Svid {
    pub held: Arc<HeldIdentity>,
    /// PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
}

#[derive(Default)]
pub struct Application {
    wanted: watch::Sender<bool>,
    svid: watch::Sender<Option<Arc<Svid>>>,
}

impl Application {
    /// From now on there is to be one.
    pub fn want(&self) {
        self.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
    }

    /// Resolves when somebody has asked.
    pub async fn wanted(&self) {
        // The sender lives as long as `self`.
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await;
    }

    pub fn svid(&self) -> watch::Receiver<Option<Arc<Svid>>> {
        self.svid.subscribe()
    }
}

impl Holder for Application {
    fn held(&self) -> Option<Arc<HeldIdentity>> {
        self.svid.borrow().as_ref().map(|svid| svid.held.clone())
    }

    fn take(&self, held: Arc<HeldIdentity>, key: Zeroizing<Vec<u8>>) {
        self.svid.send_replace(Some(Arc::new(Svid { held, key })));
    }
}
