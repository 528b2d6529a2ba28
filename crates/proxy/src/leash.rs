//! Connections that were opened to peers, each on a leash: when what its peer has proven itself by is not believed any more, it ends, with
//! all that is under way on it. One collection per worker. Connections that peers have opened are ended by who serves them.

use crate::identity::HeldIdentity;
use crate::trust::Shown;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What is said of a connection that was ended so.
pub const DISOWNED: &str = "the peer's certificate was revoked, or its trust domain is not believed any more: the connection was ended";

/// Of one connection: held by it.
#[derive(Default)]
pub struct Leash {
    pulled: Cell<bool>,
    /// Who reads, and who writes.
    waiting: [Cell<Option<Waker>>; 2],
}

/// Which half of a connection waits.
#[derive(Clone, Copy)]
pub enum Half {
    Reads,
    Writes,
}

impl Leash {
    /// To be asked before anything is read or written.
    ///
    /// # Errors
    /// It was pulled.
    pub fn holds(&self) -> io::Result<()> {
        if self.pulled.get() { Err(io::Error::new(io::ErrorKind::ConnectionAborted, DISOWNED)) } else { Ok(()) }
    }

    /// What came of a read or write; one that waits is woken when the leash is pulled.
    pub fn noting<T>(&self, half: Half, cx: &Context<'_>, outcome: Poll<T>) -> Poll<T> {
        if outcome.is_pending() {
            let slot = &self.waiting[half as usize];
            let known = slot.take().filter(|waker| waker.will_wake(cx.waker()));
            slot.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
        }
        outcome
    }

    fn pull(&self) {
        self.pulled.set(true);
        self.waiting.iter().filter_map(Cell::take).for_each(Waker::wake);
    }
}

/// All leashes of a worker, and by what its peers were judged last.
#[derive(Default)]
pub struct Leashes {
    all: RefCell<Vec<(Shown, Weak<Leash>)>>,
    judged_by: RefCell<Option<Arc<HeldIdentity>>>,
}

/// So many are looked through for those that are over before there is room for more.
const FEW: usize = 64;

impl Leashes {
    /// For a connection to a peer that has shown this of itself.
    pub fn add(&self, shown: Shown) -> Rc<Leash> {
        let leash = Rc::new(Leash::default());
        // The handshake may have begun before what is known by now.
        if self.judged_by.borrow().as_ref().is_some_and(|held| held.disowns(&shown)) {
            leash.pull();
            return leash;
        }
        let mut all = self.all.borrow_mut();
        if all.len() == all.capacity() && all.len() >= FEW {
            all.retain(|(_, leash)| leash.strong_count() > 0);
        }
        all.push((shown, Rc::downgrade(&leash)));
        leash
    }

    /// Ends the connections to those who are not believed any more. How many.
    pub fn judge(&self, held: &Arc<HeldIdentity>) -> usize {
        *self.judged_by.borrow_mut() = Some(held.clone());
        let mut pulled = Vec::new();
        self.all.borrow_mut().retain(|(shown, leash)| {
            let Some(leash) = leash.upgrade() else { return false };
            let stays = !held.disowns(shown);
            if !stays {
                pulled.push(leash);
            }
            stays
        });
        pulled.iter().for_each(|leash| leash.pull());
        pulled.len()
    }
}
