//! The way into one application: who goes at once, who waits and in which order, and who is sent away. The least urgent go first
//! when not all can be served.
//!
//! Those who wait are served by urgency. Among equals the first to come is the first to go, until somebody has been waiting for
//! longer than bursts last: then the queue stands, and the last to come goes first, since the others' clients are the likeliest
//! to have given up (CoDel with adaptive LIFO, as in "Fail at Scale", ACM Queue 13.8). Whoever waits too long is sent away, and
//! never without proof that load is the cause ([`Concurrency::is_proven`]): until then all who waited go.

use super::concurrency::Concurrency;
use super::priority::{LEAST, USUAL};
use std::collections::VecDeque;
use std::time::Duration;

/// How long bursts last: this many latencies, within these bounds. Nobody waits longer.
const PATIENCE: u32 = 4;
const PATIENCE_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Nobody waits longer while it is not known whether there is overload.
const PATIENCE_ON_TRIAL: Duration = Duration::from_secs(2);
/// Part of the patience that is left when the queue stands.
const STANDING: u32 = 8;
/// So many wait until it is known whether there is overload; more go on.
const MOST_ON_TRIAL: usize = 4096;
/// So many probes pass beside the limit: an application that is busy is not dead.
const PROBES: u32 = 2;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// 0 (most urgent) to 7.
    pub urgency: u8,
    /// Asks how the application is.
    pub probe: bool,
    /// Was sent before and failed: the first tries of others go before it.
    pub retry: bool,
    /// From then on the answer is of no use.
    pub deadline: Option<Duration>,
}

impl Default for Caller {
    fn default() -> Self {
        Self { urgency: USUAL, probe: false, retry: false, deadline: None }
    }
}

impl Caller {
    fn rank(self) -> usize {
        if self.probe { 0 } else { usize::from(self.urgency.saturating_add(u8::from(self.retry)).min(LEAST)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Go,
    /// Until [`Entrance::next`] names the ticket, and no longer than `until`: then [`Entrance::wait_is_over`] says what happens.
    Wait {
        ticket: u64,
        until: Duration,
    },
    Shed(Shed),
}

/// Why a request is sent away. It has not reached the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// It waited for as long as one may.
    Waited,
    /// As many wait as may, and none of them is less urgent.
    Full,
    /// It waited, and a more urgent one took its place.
    Outranked,
    /// Its deadline is over, or too near for an answer to come in time.
    Deadline,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: u64,
    since: Duration,
    until: Duration,
    deadline: Option<Duration>,
}

#[derive(Debug)]
pub struct Entrance {
    concurrency: Concurrency,
    /// By rank, each in the order they came.
    waiting: [VecDeque<Waiter>; LEAST as usize + 1],
    count: usize,
    /// Since when somebody has been waiting for longer than a moment, without a break: clients that ask again as soon as they are
    /// answered may keep a queue that moves quickly from ever being empty.
    waited_on: Option<Duration>,
    outranked: Vec<u64>,
    tickets: u64,
}

impl Entrance {
    pub fn new(now: Duration) -> Self {
        let (waiting, outranked) = (Default::default(), Vec::new());
        Self { concurrency: Concurrency::new(now), waiting, count: 0, waited_on: None, outranked, tickets: 0 }
    }

    pub fn limit(&self) -> Option<u32> {
        self.concurrency.limit()
    }

    /// See [`Concurrency::proven_limit`].
    pub fn proven_limit(&self) -> Option<u32> {
        self.concurrency.proven_limit()
    }

    /// With the application, and waiting here.
    pub fn load(&self) -> (u32, usize) {
        (self.concurrency.in_flight(), self.count)
    }

    pub fn arrive(&mut self, now: Duration, caller: Caller) -> Arrival {
        if caller.deadline.is_some_and(|deadline| deadline <= now) {
            return Arrival::Shed(Shed::Deadline);
        }
        let Some(limit) = self.limit() else { return self.go(now) };
        let free = self.concurrency.in_flight() < limit;
        if free && self.count == 0 || caller.probe && self.concurrency.in_flight() < limit.saturating_add(PROBES) {
            return self.go(now);
        }
        self.concurrency.held();
        let proven = self.concurrency.is_proven();
        let latest = caller.deadline.map(|deadline| deadline.saturating_sub(self.needs()));
        if proven && latest.is_some_and(|latest| latest <= now) {
            return Arrival::Shed(Shed::Deadline);
        }
        match proven {
            true if self.count >= self.most_waiting(limit) && !self.make_room(caller.rank()) => return Arrival::Shed(Shed::Full),
            false if self.count >= MOST_ON_TRIAL => return self.go(now),
            _ => {}
        }
        let until = now + self.patience(now, caller.deadline.map(|deadline| deadline.saturating_sub(now)));
        self.tickets += 1;
        let waiter = Waiter { ticket: self.tickets, since: now, until, deadline: caller.deadline };
        if let Some(queue) = self.waiting.get_mut(caller.rank()) {
            queue.push_back(waiter);
            self.count += 1;
            self.waited_on.get_or_insert(now);
        }
        Arrival::Wait { ticket: waiter.ticket, until }
    }

    /// A request goes, whatever the limit: it is counted.
    pub fn pass_by(&mut self, now: Duration) -> Arrival {
        self.go(now)
    }

    /// Whether an answer that takes this long is one of an overloaded application.
    pub fn is_long(&self, latency: Duration) -> bool {
        self.concurrency.usual_latency().is_some_and(|usual| latency > usual * 2)
    }

    /// A request has left the application (its response began, it failed, its client left). `latency`: if it says something of the
    /// application's speed. [`Entrance::next`] is to be asked afterwards.
    pub fn leave(&mut self, now: Duration, latency: Option<Duration>) {
        self.concurrency.ended(now, latency);
    }

    /// The next of those who waited whose fate is decided now: it goes, or it is sent away. To be asked until there is none.
    pub fn next(&mut self, now: Duration) -> Option<(u64, Result<(), Shed>)> {
        if let Some(ticket) = self.outranked.pop() {
            return Some((ticket, Err(Shed::Outranked)));
        }
        let limit = self.limit();
        if self.count == 0 || limit.is_some_and(|limit| self.concurrency.in_flight() >= limit) {
            return None;
        }
        self.note_short(now);
        let stands = self.stands(now);
        let queue = self.waiting.iter_mut().find(|queue| !queue.is_empty())?;
        let waiter = if stands { queue.pop_back() } else { queue.pop_front() }?;
        self.fewer(1);
        let fate = self.fate(now, &waiter);
        if fate.is_ok() {
            self.concurrency.started(now);
        }
        Some((waiter.ticket, fate))
    }

    /// A waiter's time is up. `None`: it is not waiting any more. `Ok`: it goes all the same.
    pub fn wait_is_over(&mut self, now: Duration, ticket: u64) -> Option<Result<(), Shed>> {
        let waiter = self.take_out(ticket)?;
        let fate = self.fate(now.max(waiter.until), &waiter);
        if fate.is_ok() {
            self.concurrency.started(now);
        }
        Some(fate)
    }

    /// A waiter's client has left. `false`: it was not waiting any more; if it was told to go, [`Entrance::leave`] is due.
    pub fn give_up(&mut self, ticket: u64) -> bool {
        self.outranked.retain(|outranked| *outranked != ticket);
        self.take_out(ticket).is_some()
    }

    fn go(&mut self, now: Duration) -> Arrival {
        self.concurrency.started(now);
        Arrival::Go
    }

    /// Those who waited too long were not served in time; without proof of overload they go nonetheless.
    fn fate(&self, now: Duration, waiter: &Waiter) -> Result<(), Shed> {
        let proven = self.concurrency.is_proven();
        match waiter.deadline {
            Some(deadline) if deadline <= now => Err(Shed::Deadline),
            Some(deadline) if proven && deadline.saturating_sub(self.needs()) <= now => Err(Shed::Deadline),
            _ if proven && waiter.until <= now => Err(Shed::Waited),
            _ => Ok(()),
        }
    }

    /// Sends the least urgent of all that wait away, the one that has waited longest, if it is less urgent than `rank`.
    fn make_room(&mut self, rank: usize) -> bool {
        let least = self.waiting.iter_mut().enumerate().rev().find(|(_, queue)| !queue.is_empty());
        let Some(out) = least.filter(|(least, _)| *least > rank).and_then(|(_, queue)| queue.pop_front()) else { return false };
        self.fewer(1);
        self.outranked.push(out.ticket);
        true
    }

    fn take_out(&mut self, ticket: u64) -> Option<Waiter> {
        // The ticket is most often the oldest of its queue.
        let found = self.waiting.iter_mut().find_map(|queue| {
            let position = queue.iter().position(|waiter| waiter.ticket == ticket)?;
            queue.remove(position)
        });
        self.fewer(usize::from(found.is_some()));
        found
    }

    fn fewer(&mut self, by: usize) {
        self.count = self.count.saturating_sub(by);
        if self.count == 0 {
            self.waited_on = None;
        }
    }

    /// Half of what an answer usually takes: what is nearer to its deadline than this comes too late.
    fn needs(&self) -> Duration {
        self.concurrency.usual_latency().unwrap_or_default() / 2
    }

    /// As many as can be served in the time that they may wait.
    fn most_waiting(&self, limit: u32) -> usize {
        let usual = self.concurrency.usual_latency().unwrap_or_default().max(Duration::from_micros(100));
        let turns = (self.burst().as_micros() / usual.as_micros()).clamp(u128::from(PATIENCE), MOST_ON_TRIAL as u128) as usize;
        (limit as usize).saturating_mul(turns).saturating_add(16).min(MOST_ON_TRIAL)
    }

    fn burst(&self) -> Duration {
        let (least, most) = PATIENCE_BOUNDS;
        (self.concurrency.usual_latency().unwrap_or_default() * PATIENCE).clamp(least, most)
    }

    /// The queue is short while even who has waited longest has not waited long (CoDel, RFC 8289 section 3.1).
    fn note_short(&mut self, now: Duration) {
        let oldest = self.waiting.iter().filter_map(VecDeque::front).map(|waiter| waiter.since).min();
        if oldest.is_some_and(|since| now.saturating_sub(since) <= self.burst() / STANDING) {
            self.waited_on = Some(now);
        }
    }

    fn stands(&self, now: Duration) -> bool {
        self.waited_on.is_some_and(|since| now.saturating_sub(since) > self.burst())
    }

    /// `left`: until the deadline. A part of it is left for the answer.
    fn patience(&self, now: Duration, left: Option<Duration>) -> Duration {
        let patience = match self.concurrency.is_proven() {
            // The question whether there is overload at all may take a moment, and costs nobody more than that.
            false => PATIENCE_ON_TRIAL,
            true if self.stands(now) => self.burst() / STANDING,
            true => self.burst(),
        };
        left.map_or(patience, |left| patience.min(left / 10 * 9))
    }
}
