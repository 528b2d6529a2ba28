//! A clock that runs while a peer keeps us waiting, and costs next to nothing while it does not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

#[derive(Default)]
pub struct Stall {
    since: Option<Instant>,
    /// Set forward only when it fires, so that a peer that stops and goes does not keep the timer busy.
    clock: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// There is nothing to wait for any more.
    pub fn over(&mut self) {
        self.since = None;
    }

    /// Ready when the wait has taken `limit`; it begins with the first call.
    pub fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + limit;
        let clock = self.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            ready!(clock.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            clock.as_mut().reset(due);
        }
    }

    /// Lets go of the timer.
    pub fn rest(&mut self) {
        self.clock = None;
    }
}
