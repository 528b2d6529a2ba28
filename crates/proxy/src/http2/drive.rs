//! Keeps a connection going: asks whether a silent peer is there, and gives up what keeps it waiting.

use super::Patience;
use super::reason::Reason;
use super::session::Line;
use super::stream::{Failure, has_stalled};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A peer has this long for its first SETTINGS. How often a connection with open streams is asked whether it is still there when nothing comes, and how long it may take to say so.
const INTERVAL: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
/// For the last words of a connection to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub struct Drive {
    pub line: Rc<Line>,
    patience: Patience,
    clock: Pin<Box<Sleep>>,
    pinged: bool,
}

impl Drive {
    pub fn new(line: Rc<Line>, patience: Patience) -> Self {
        Self { line, patience, clock: Box::pin(tokio::time::sleep(INTERVAL)), pinged: false }
    }

    /// Reads what has come. `true`: there is more, and others are to have their turn first.
    pub fn read(&mut self, cx: &mut Context<'_>) -> bool {
        self.line.run(|session| {
            session.set_running(Some(cx));
            session.poll_read(cx).is_ready()
        })
    }

    /// Writes what there is to write. Ready when the connection has nothing left to do.
    pub fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.line.run(|session| {
            let flushed = session.poll_flush(cx);
            session.set_running(None);
            match session.is_over() || (session.is_finished() && flushed.is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
    }

    /// Looks at the clock. `true`: it is a time to let go of what is not needed.
    pub fn tick(&mut self, cx: &mut Context<'_>) -> bool {
        let mut idle = false;
        while self.clock.as_mut().poll(cx).is_ready() {
            let next = self.line.run(|session| {
                if session.takes_extended_connect().is_none() {
                    session.end("the peer does not begin to speak HTTP/2");
                    return INTERVAL;
                }
                let heard = std::mem::take(&mut session.heard);
                if self.pinged && !heard {
                    session.end("the peer does not answer");
                    return INTERVAL;
                }
                if !heard && !session.streams.is_empty() && !self.pinged && session.may_ping() {
                    session.ping();
                    self.pinged = true;
                    return ANSWER;
                }
                self.pinged = false;
                if session.is_announced() {
                    session.say_last();
                }
                let body = self.patience.body;
                let most = u32::try_from(self.patience.stalled.as_secs() / INTERVAL.as_secs()).unwrap_or(u32::MAX);
                let stalled = session.streams.iter_mut().filter_map(|(id, stream)| has_stalled(stream, body, most).then_some(*id));
                for id in stalled.collect::<Vec<_>>() {
                    session.fail_stream(id, Reason::Cancel, Failure::Stalled);
                }
                idle = session.streams.is_empty();
                if idle {
                    session.rest();
                    if session.used.elapsed() >= self.patience.idle {
                        session.leave();
                    }
                }
                INTERVAL
            });
            self.clock.as_mut().reset(Instant::now() + next);
        }
        idle
    }

    /// Says the last words, so that the peer hears them.
    pub async fn close(&self) {
        let closing = async {
            poll_fn(|cx| self.line.run(|session| session.wire.poll_flush(cx))).await?;
            poll_fn(|cx| self.line.run(|session| session.wire.poll_shutdown(cx))).await
        };
        // A peer that does not listen is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, closing).await;
    }
}

/// Runs a connection that streams are only opened on from here.
pub async fn run(line: Rc<Line>, patience: Patience) {
    let mut drive = Drive::new(line, patience);
    poll_fn(|cx| {
        let more = drive.read(cx);
        drive.tick(cx);
        let flushed = drive.flush(cx);
        if more {
            cx.waker().wake_by_ref();
        }
        flushed
    })
    .await;
    drive.line.run(|session| session.end("the connection was closed"));
    drive.close().await;
}
