//! Passes bytes on in both directions, until the connection has ended or nothing is on its way.

use crate::capture::late::FirstLine;
use crate::fault::{Fault, Kind};
use crate::flows::Counts;
use crate::hbone::PIECE;
use crate::io::Io;
use bytes::{Bytes, BytesMut};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// What is read at once, from at first (with the head of a frame, a TLS record) to when there is much: a read costs a system call, and an
/// acknowledgement on the network.
const READS: [usize; 3] = [16 * 1024 - 9, PIECE, 4 * PIECE];
/// How long the sides of a connection that is to move may take for the bytes that were read already.
const QUIET_LIMIT: Duration = Duration::from_secs(1);

/// Two sides of a connection that is carried.
pub(super) struct Joined {
    pub client: Io,
    pub upstream: Io,
    pub idle: Duration,
    /// When it ends, whatever it carries.
    pub until: Option<Instant>,
    /// Being looked at in what the client says, where HTTP must not pass.
    pub first_line: Option<FirstLine>,
}

/// How a copying has come to its end.
pub(super) enum Ended {
    Here(Option<Fault>),
    /// Every byte that was read has been written, and both sockets hold the rest.
    Quiet(Joined),
}

/// Copies until both directions have ended, one fails, or neither has carried a byte for `idle`; or, after `moves`, until no byte is
/// on its way through here. With `first_line`, a client that turns out to speak HTTP is not heard.
pub(super) async fn copy(joined: Joined, carried: &Counts, moves: impl Future<Output = ()>) -> Ended {
    let Joined { mut client, mut upstream, idle, until, mut first_line } = joined;
    let (last, gate) = (Cell::new(Instant::now()), Gate::default());
    let (to_upstream, to_client) = (Cell::new(0), Cell::new(0));
    let quiet = async {
        moves.await;
        gate.until_quiet(|| to_upstream.get() == 0 && to_client.get() == 0).await;
    };
    let copying = async {
        let mut there = Way::new(&carried.received, &to_upstream);
        let mut back = Way::new(&carried.sent, &to_client);
        poll_fn(|cx| {
            let mut heard = |bytes: &[u8]| !first_line.as_mut().is_some_and(|first_line| first_line.ends_as_http(bytes));
            let there = there.poll(cx, &mut client, &mut upstream, &gate, &last, &mut heard).map_err(|broken| broken.seen_from(true))?;
            let back = back.poll(cx, &mut upstream, &mut client, &gate, &last, &mut |_| true).map_err(|broken| broken.seen_from(false))?;
            if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    };
    let copied = tokio::select! {
        biased;
        copied = copying => Ok(Some(copied)),
        () = idled(&last, idle) => Ok(None),
        () = aged(until) => Ok(Some(Err(Fault::new(Kind::Closed, "the connection is as old as maxConnectionDuration allows")))),
        () = quiet => Err(()),
    };
    match copied {
        Ok(Some(Ok(()))) => Ended::Here(None),
        Ok(Some(Err(fault))) => Ended::Here(Some(fault)),
        Ok(None) => Ended::Here(Some(Fault::new(Kind::Closed, format!("no byte in either direction for {idle:?}")))),
        Err(()) => Ended::Quiet(Joined { client, upstream, idle, until, first_line }),
    }
}

async fn aged(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// One direction.
struct Way<'a> {
    /// All that was read, for the record.
    read: &'a Cell<u64>,
    /// What was read and is not written yet.
    inside: &'a Cell<usize>,
    chunk: Bytes,
    /// Held only while there is something to read.
    buffer: BytesMut,
    /// Which of [`READS`] is asked for next.
    size: usize,
    unflushed: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Carrying,
    Ending,
    Ended,
}

/// What went wrong, and on which side of a way.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
    SpeaksHttp,
}

impl Broken {
    /// `onward`: the way leads from the client to the upstream.
    fn seen_from(self, onward: bool) -> Fault {
        match (self, onward) {
            (Self::SpeaksHttp, _) => {
                let why =
                    "the client speaks HTTP, which was not known when the connection was let in: declare the port's appProtocol, or speak at once";
                Fault::new(Kind::LateHttp, why)
            }
            (Self::Source(error), true) | (Self::Sink(error), false) => Fault::new(Kind::ClientLeft, format!("the client's side broke off: {error}")),
            (Self::Source(error), false) | (Self::Sink(error), true) => {
                Fault::broken_off(Kind::Reset, format!("the upstream's side broke off: {error}"))
            }
        }
    }
}

impl<'a> Way<'a> {
    fn new(read: &'a Cell<u64>, inside: &'a Cell<usize>) -> Self {
        let stage = Stage::Carrying;
        Self { read, inside, chunk: Bytes::new(), buffer: BytesMut::new(), size: 0, unflushed: false, stage }
    }

    /// Ready when all has been carried, and the end too.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Io,
        sink: &mut Io,
        gate: &Gate,
        last: &Cell<Instant>,
        heard: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self.stage {
                Stage::Carrying => {
                    while !self.chunk.is_empty() {
                        let count = ready!(sink.poll_pass(cx, &mut self.chunk)).map_err(Broken::Sink)?;
                        self.inside.set(self.inside.get().saturating_sub(count));
                        self.unflushed = true;
                        last.set(Instant::now());
                    }
                    match self.poll_read(cx, source, gate, heard)? {
                        Poll::Ready(chunk) if chunk.is_empty() => self.stage = Stage::Ending,
                        Poll::Ready(chunk) => self.chunk = chunk,
                        Poll::Pending => {
                            if self.unflushed {
                                ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(Broken::Sink)?;
                                self.unflushed = false;
                            }
                            return Poll::Pending;
                        }
                    }
                    last.set(Instant::now());
                }
                Stage::Ending => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Broken::Sink)?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, source: &mut Io, gate: &Gate, heard: &mut dyn FnMut(&[u8]) -> bool) -> Poll<Result<Bytes, Broken>> {
        if gate.closed.get() {
            // Whoever opens it has the copying polled again.
            return Poll::Pending;
        }
        let Poll::Ready(chunk) = source.poll_take(cx, &mut self.buffer, READS[self.size]).map_err(Broken::Source)? else {
            // A connection on which nothing happens keeps no buffer.
            self.buffer = BytesMut::new();
            return Poll::Pending;
        };
        self.size = next_read(self.size, chunk.len());
        if !heard(&chunk) {
            return Poll::Ready(Err(Broken::SpeaksHttp));
        }
        self.read.set(self.read.get() + chunk.len() as u64);
        self.inside.set(self.inside.get() + chunk.len());
        Poll::Ready(Ok(chunk))
    }
}

/// After a read of `READS[size]` that brought so much: what fills a read may be followed by more, and one less than half full of the size
/// below is not.
fn next_read(size: usize, came: usize) -> usize {
    if came >= READS[size] {
        return (size + 1).min(READS.len() - 1);
    }
    let below = size.saturating_sub(1);
    if came < READS[below] / 2 { below } else { size }
}

/// Closed, nothing more is read.
#[derive(Default)]
struct Gate {
    closed: Cell<bool>,
}

impl Gate {
    /// Resolves at a moment when all that was read is written. Never, when a side does not take it in time: then the copying goes on.
    /// To be polled after the copying, in the same task.
    async fn until_quiet(&self, quiet: impl Fn() -> bool) {
        self.closed.set(true);
        let quiet = poll_fn(|_| if quiet() { Poll::Ready(()) } else { Poll::Pending });
        if tokio::time::timeout(QUIET_LIMIT, quiet).await.is_ok() {
            return;
        }
        self.closed.set(false);
        // The copying is polled again, and finds the gate open.
        tokio::task::yield_now().await;
        std::future::pending().await
    }
}

/// Resolves when nothing has moved for `idle`.
async fn idled(last: &Cell<Instant>, idle: Duration) {
    while last.get().elapsed() < idle {
        tokio::time::sleep_until(last.get() + idle).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_as_large_as_what_comes() {
        let sizes = |came: &[usize]| {
            let reads = came.iter().scan(0, |size, came| {
                *size = next_read(*size, (*came).min(READS[*size]));
                Some(*size)
            });
            reads.collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[1, 100, 5000]), [0, 0, 0]);
        assert_eq!(sizes(&[1 << 20; 4]), [1, 2, 2, 2]);
        assert_eq!(sizes(&[1 << 20, 1 << 20, 100_000, 40_000, 1 << 20, 20_000, 20_000, 100, 100]), [1, 2, 2, 2, 2, 1, 1, 0, 0]);
    }
}
