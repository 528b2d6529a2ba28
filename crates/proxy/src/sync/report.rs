//! Tells the control plane what passed, second by second, and keeps what it could not tell for a while. Each second is sent until the
//! control plane says that it is kept; its number makes that harmless.

use super::Sync;
use crate::options::Signals;
use crate::status::Readiness;
use crate::world::World;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use taut_model::signal::{self, Edge};
use taut_wire::desk::desk_client::DeskClient;
use taut_wire::desk::{Kept, Report};
use taut_wire::signals::{Speaker, Written};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// What is kept for a control plane that is away: five minutes, if they fit.
pub(crate) const MOST_SECONDS: usize = 300;
pub(crate) const MOST_BYTES: usize = 16 << 20;
/// Reports on their way into the stream.
const AHEAD: usize = 8;
/// How long to wait before a stream is tried again on a connection that stands.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long the last words may take.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
const SALT: u64 = 0x5349_474e;
/// Proxies end their seconds at slightly different times, so that the control plane is not told by all at once.
const SPREAD_MS: u64 = 400;

/// The connection of the moment, if there is one.
pub(super) type Lines = watch::Receiver<Option<Channel>>;

enum Ended {
    /// All was said.
    Gone,
    Lost(Status),
    /// The connection is another one, or there is none any more.
    Moved,
}

/// Until the proxy is gone.
pub(super) async fn run(sync: &Sync, mut lines: Lines) {
    if sync.options.signals == Signals::Off {
        return;
    }
    let mut reporter = Reporter::new(sync);
    let mut readiness = sync.status.readiness();
    let mut told = false;
    loop {
        let line = lines.borrow_and_update().clone();
        let ended = match line {
            Some(channel) => reporter.attend(channel, &mut lines, &mut readiness).await,
            None => Ended::Moved,
        };
        let again = match ended {
            Ended::Gone => return,
            Ended::Moved => None,
            Ended::Lost(status) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(code = ?status.code(), why = status.message(), "signals are not taken; they are kept for a while");
                }
                Some(Instant::now() + TRY_AGAIN)
            }
        };
        if reporter.wait(&mut lines, &mut readiness, again).await {
            return;
        }
    }
}

/// Seconds that are not known to be kept, the oldest first, numbered without a gap but for those that had to go.
#[derive(Default)]
pub(crate) struct Buffer {
    seconds: VecDeque<(Written, Duration)>,
    weight: usize,
    sequence: u64,
}

impl Buffer {
    /// Takes a second that ended at `now`; how many had to go for it.
    pub fn push(&mut self, mut written: Written, now: Duration) -> u64 {
        self.sequence += 1;
        written.sequence = self.sequence;
        self.weight += written.weight();
        self.seconds.push_back((written, now));
        let mut dropped = 0;
        while self.seconds.len() > MOST_SECONDS || (self.weight > MOST_BYTES && self.seconds.len() > 1) {
            let Some((oldest, _)) = self.seconds.pop_front() else { break };
            self.weight -= oldest.weight();
            dropped += 1;
            if let Some((next, _)) = self.seconds.front_mut() {
                next.lost += oldest.lost + 1;
            }
        }
        dropped
    }

    /// All up to this one is kept.
    pub fn kept(&mut self, sequence: u64) {
        while let Some((oldest, _)) = self.seconds.front().filter(|(oldest, _)| oldest.sequence <= sequence) {
            self.weight -= oldest.weight();
            self.seconds.pop_front();
        }
    }

    /// The first from a number on, and when it ended.
    pub fn from(&self, sequence: u64) -> Option<&(Written, Duration)> {
        let at = self.seconds.partition_point(|(written, _)| written.sequence < sequence);
        self.seconds.get(at)
    }

    pub fn len(&self) -> usize {
        self.seconds.len()
    }
}

struct Reporter<'a> {
    sync: &'a Sync,
    uid: String,
    epoch: u64,
    buffer: Buffer,
    /// When in a second this proxy ends its own.
    offset_ms: u64,
    /// When that is next.
    due: Instant,
}

impl<'a> Reporter<'a> {
    fn new(sync: &'a Sync) -> Self {
        let mut dice = sync.world.dice(SALT);
        let own = sync.current.workload();
        let epoch = sync.world.wall().as_millisecond().unsigned_abs() << 16 | dice.u64(..1 << 16);
        let offset_ms = dice.u64(..SPREAD_MS);
        let uid = format!("{}/{}", own.namespace, own.name);
        Self { sync, uid, epoch, buffer: Buffer::default(), offset_ms, due: next_second(&sync.world, offset_ms) }
    }

    /// One stream, until it ends.
    async fn attend(&mut self, channel: Channel, lines: &mut Lines, readiness: &mut watch::Receiver<Readiness>) -> Ended {
        let (say, said) = mpsc::channel(AHEAD);
        let mut client = DeskClient::new(channel);
        let opened = match timeout(OPEN_LIMIT, client.report(ReceiverStream::new(said))).await {
            Ok(opened) => opened,
            Err(_) => Err(Status::deadline_exceeded("the control plane did not answer")),
        };
        let mut answers = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return Ended::Lost(status),
        };
        let mut speaker = Speaker::new(self.uid.clone(), self.epoch);
        let mut next = 0;
        loop {
            let waiting = self.buffer.from(next).is_some();
            tokio::select! {
                biased;
                Ok(_) = readiness.wait_for(|readiness| *readiness == Readiness::Gone) => break,
                Ok(()) = lines.changed() => return Ended::Moved,
                answer = answers.message() => match answer {
                    Ok(Some(Kept { epoch, sequence })) if epoch == self.epoch => self.kept(sequence),
                    Ok(Some(_)) => {}
                    Ok(None) => return Ended::Lost(Status::unavailable("the control plane closed the stream of signals")),
                    Err(status) => return Ended::Lost(status),
                },
                Ok(room) = say.reserve(), if waiting => {
                    if let Some((report, number)) = self.report(&mut speaker, next) {
                        room.send(report);
                        next = number + 1;
                    }
                }
                () = sleep_until(self.due) => self.end_second(false),
            }
        }
        self.end_second(true);
        // A control plane that does not listen any more finds out that this proxy is gone.
        let _ = timeout(GOODBYE_LIMIT, self.say_the_rest(&mut speaker, say, next, answers)).await;
        Ended::Gone
    }

    fn report(&self, speaker: &mut Speaker, from: u64) -> Option<(Report, u64)> {
        let (written, ended) = self.buffer.from(from)?;
        let age = self.sync.world.now().saturating_sub(*ended);
        Some((speaker.say(written, u64::try_from(age.as_millis()).unwrap_or(u64::MAX)), written.sequence))
    }

    /// All that was not said yet, then waits until the control plane has read it and closes the stream.
    async fn say_the_rest(&self, speaker: &mut Speaker, say: mpsc::Sender<Report>, mut next: u64, mut answers: Streaming<Kept>) {
        while let Some((report, number)) = self.report(speaker, next) {
            if say.send(report).await.is_err() {
                return;
            }
            next = number + 1;
        }
        drop(say);
        while let Ok(Some(_)) = answers.message().await {}
    }

    /// Waits for another connection, or for a time, and ends seconds meanwhile. True: the proxy is gone.
    async fn wait(&mut self, lines: &mut Lines, readiness: &mut watch::Receiver<Readiness>, until: Option<Instant>) -> bool {
        loop {
            if until.is_none() && lines.borrow().is_some() {
                return false;
            }
            tokio::select! {
                biased;
                Ok(_) = readiness.wait_for(|readiness| *readiness == Readiness::Gone) => return true,
                Ok(()) = lines.changed() => {
                    lines.mark_changed();
                    return false;
                }
                () = sleep_until(until.unwrap_or(self.due)), if until.is_some_and(|until| until <= self.due) => return false,
                () = sleep_until(self.due) => self.end_second(false),
            }
        }
    }

    /// Takes what all workers have summed.
    fn end_second(&mut self, last: bool) {
        let world = &self.sync.world;
        let wall_ms = world.wall().as_millisecond().unsigned_abs();
        let second = (wall_ms.saturating_sub(self.offset_ms) / 1000).saturating_sub(u64::from(!last));
        self.due = next_second(world, self.offset_ms);
        let tallies = self.sync.sink.tallies();
        let mut overflow = 0;
        let mut sums: HashMap<Arc<Edge>, signal::Signals> = HashMap::new();
        for tally in &tallies {
            let (taken, without_room) = tally.take();
            overflow += without_room;
            for (edge, signals) in taken {
                sums.entry(edge).and_modify(|sum| sum.merge(&signals)).or_insert(signals);
            }
        }
        let mut written = Written::of(second, last);
        written.concurrency_limit = self.sync.sink.registry().proven_limit().unwrap_or(0);
        for (edge, signals) in &sums {
            written.push(edge.clone(), signals);
        }
        let dropped = self.buffer.push(written, world.now());
        self.sync.status.signals().note(self.buffer.len(), dropped, overflow);
    }

    fn kept(&mut self, sequence: u64) {
        self.buffer.kept(sequence);
        self.sync.status.signals().note_waiting(self.buffer.len());
    }
}

/// When the second that runs now ends for a proxy.
fn next_second(world: &World, offset_ms: u64) -> Instant {
    let into = world.wall().as_millisecond().unsigned_abs().wrapping_sub(offset_ms) % 1000;
    Instant::now() + Duration::from_millis(1000 - into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, seconds: u64) -> u64 {
        (0..seconds).map(|second| buffer.push(Written::of(second, false), Duration::from_secs(second))).sum()
    }

    #[test]
    fn what_is_kept_is_forgotten_and_the_rest_is_sent_again() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, 10);
        buffer.kept(4);
        assert_eq!((buffer.len(), buffer.from(0).unwrap().0.sequence, buffer.from(8).unwrap().0.sequence), (6, 5, 8));
        assert!(buffer.from(11).is_none());
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_and_the_next_says_so() {
        let mut buffer = Buffer::default();
        assert_eq!(fill(&mut buffer, MOST_SECONDS as u64 + 50), 50);
        let (oldest, _) = buffer.from(0).unwrap();
        assert_eq!((buffer.len(), oldest.sequence, oldest.lost), (MOST_SECONDS, 51, 50));
    }
}
