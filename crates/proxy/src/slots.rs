//! Futures that live in one task and are polled only when they themselves were woken. Their memory is used again.

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The exchanges of one connection.
pub struct Slots<F> {
    slots: Vec<Slot<F>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    /// Taken from `ready`, and polled one after the other.
    turn: Vec<usize>,
    running: usize,
}

struct Slot<F> {
    future: Pin<Box<Option<F>>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Which slots were woken.
#[derive(Default)]
struct Ready {
    woken: Mutex<Vec<usize>>,
    task: AtomicWaker,
}

/// Wakes one slot.
struct Bell {
    slot: usize,
    rung: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.ready.woken.lock().push(self.slot);
            self.ready.task.wake();
        }
    }
}

impl<F> Default for Slots<F> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ready: Arc::default(), turn: Vec::new(), running: 0 }
    }
}

impl<F: Future<Output = ()>> Slots<F> {
    /// Takes a future in; it is polled with the next [`Slots::poll`].
    pub fn push(&mut self, future: F) {
        let slot = self.free.pop().unwrap_or_else(|| self.add());
        self.slots[slot].future.set(Some(future));
        self.running += 1;
        self.slots[slot].bell.rung.store(true, Ordering::Release);
        self.ready.woken.lock().push(slot);
    }

    fn add(&mut self) -> usize {
        let slot = self.slots.len();
        let bell = Arc::new(Bell { slot, rung: AtomicBool::new(false), ready: self.ready.clone() });
        self.slots.push(Slot { future: Box::pin(None), waker: bell.clone().into(), bell });
        slot
    }

    /// Whether a future was woken since [`Slots::poll`] looked.
    pub fn has_woken(&self) -> bool {
        !self.ready.woken.lock().is_empty()
    }

    /// Polls each future that was woken, once. Says whether there was one.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.ready.task.register(cx.waker());
        let mut turn = std::mem::take(&mut self.turn);
        std::mem::swap(&mut *self.ready.woken.lock(), &mut turn);
        let any = !turn.is_empty();
        for at in turn.drain(..) {
            let Some(slot) = self.slots.get_mut(at) else { continue };
            slot.bell.rung.store(false, Ordering::Release);
            let Some(future) = slot.future.as_mut().as_pin_mut() else { continue };
            if let Poll::Ready(()) = future.poll(&mut Context::from_waker(&slot.waker)) {
                slot.future.set(None);
                self.running -= 1;
                self.free.push(at);
            }
        }
        self.turn = turn;
        any
    }

    /// Lets go of memory that an idle connection does not need.
    pub fn rest(&mut self) {
        if self.running == 0 && !self.has_woken() {
            *self = Self::default();
        }
    }
}
