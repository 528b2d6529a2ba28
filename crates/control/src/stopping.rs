//! The word that the control plane stops, as its tasks hear it.

use tokio::sync::watch;

/// Says it. Dropping it says it too.
pub struct Stop(watch::Sender<bool>);

/// Hears it. Cheap to clone.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<bool>);

pub fn stopping() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    pub fn now(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is said, at once if it was said before. Dropping the future loses nothing.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, which says the same.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}
