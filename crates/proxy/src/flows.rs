//! Bytes of connections and tunnels while they go on: counted where they pass, told to the tally once a second.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use taut_observe::tally::{Place, Tally};

/// Those of one worker.
#[derive(Default)]
pub struct Flows {
    open: RefCell<Vec<(Place, Weak<Counts>)>>,
}

impl Flows {
    /// Has the bytes of a connection told while it goes on.
    pub fn watch(&self, place: Place, counts: &Rc<Counts>) {
        self.open.borrow_mut().push((place, Rc::downgrade(counts)));
    }

    /// Tells what the connections that go on have carried since the last time.
    pub fn tell(&self, tally: &Tally) {
        self.open.borrow_mut().retain(|(place, counts)| {
            let Some(counts) = counts.upgrade() else { return false };
            let (received, sent) = counts.news();
            if received + sent > 0 {
                tally.carried(*place, received, sent);
            }
            true
        });
    }
}

/// Bytes carried by a tunnel so far. An exchange that opens none has nowhere to count them.
#[derive(Clone, Debug, Default)]
pub struct Carried(Option<Rc<Counts>>);

#[derive(Debug, Default)]
pub struct Counts {
    /// From the client.
    pub received: Cell<u64>,
    /// To the client.
    pub sent: Cell<u64>,
    /// What of both the tally has been told.
    told: Cell<(u64, u64)>,
}

impl Counts {
    /// What was counted so far is told by others.
    pub fn skip_news(&self) {
        self.told.set((self.received.get(), self.sent.get()));
    }

    /// What the tally was not told yet; from now on it was.
    pub fn news(&self) -> (u64, u64) {
        let now = (self.received.get(), self.sent.get());
        let before = self.told.replace(now);
        (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
    }
}

impl Carried {
    /// Where a tunnel counts.
    pub fn counts(&mut self) -> Rc<Counts> {
        self.0.get_or_insert_default().clone()
    }

    /// What the tally was told while it went on.
    pub fn told(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |counts| counts.told.get())
    }

    pub fn received(&self) -> u64 {
        self.0.as_ref().map_or(0, |counts| counts.received.get())
    }

    pub fn sent(&self) -> u64 {
        self.0.as_ref().map_or(0, |counts| counts.sent.get())
    }
}
