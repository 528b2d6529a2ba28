//! The doors of the applications beside this proxy, one per port and worker: who waits for its turn, who is sent away, and how loaded
//! the application is, for peers to hear. `taut_plan::overload` decides; this tells those who wait.

use crate::fault::{Fault, Kind};
use crate::sink::Sink;
use crate::world::World;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;
use taut_plan::Report;
use taut_plan::overload::{Arrival, Caller, Entrance, Shed};
use tokio::sync::oneshot;

/// Between proxies, with every response: requests with the application or before it, and microseconds that an answer takes.
pub static LOAD: HeaderName = HeaderName::from_static("x-taut-load");

/// What one more answer changes of the latency that is told.
const WEIGHT: f64 = 0.1;
/// A told latency is good until the true one differs by this share.
const SAME: f64 = 0.05;
const LONGEST_REPORT: usize = 32;

type Fate = Result<(), Shed>;

pub struct Doors {
    world: World,
    sink: Sink,
    /// What this worker sees is told times this, as what the proxy sees.
    workers: u32,
    doors: RefCell<BTreeMap<u16, Rc<Door>>>,
    /// Seconds; 0 before the first answer.
    latency: Cell<f64>,
    told: RefCell<Option<(u32, f64, HeaderValue)>>,
}

struct Door {
    entrance: RefCell<Entrance>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Fate>>>,
    /// Of the application.
    port: u16,
    /// As metrics have it; 0 for none.
    limit: Cell<u32>,
    /// As the control plane hears of it.
    proven: Cell<Option<u32>>,
}

impl Doors {
    pub fn new(world: World, sink: Sink, workers: u32) -> Self {
        Self { world, sink, workers, doors: RefCell::default(), latency: Cell::default(), told: RefCell::default() }
    }

    /// Waits until the application at `port` can take the request. Without `protected` it goes at once, and is counted.
    ///
    /// # Errors
    /// It is sent away.
    pub async fn enter(self: &Rc<Self>, port: u16, caller: Caller, protected: bool) -> Result<Pass, Fault> {
        let now = self.world.now();
        let open = || {
            self.sink.door_opened(port);
            Rc::new(Door::new(now, port))
        };
        let door = self.doors.borrow_mut().entry(port).or_insert_with(open).clone();
        let arrival = match protected {
            true => door.entrance.borrow_mut().arrive(now, caller),
            false => door.entrance.borrow_mut().pass_by(now),
        };
        let pass = |door| Pass { doors: self.clone(), door, arrived: now, went: self.world.now(), gone: false };
        match arrival {
            Arrival::Go => Ok(pass(door)),
            Arrival::Shed(shed) => Err(self.shed(&door, caller, shed)),
            // Rare, and not part of every request's future.
            Arrival::Wait { ticket, until } => {
                self.sink.waited();
                let fate = self.wait(door.clone(), ticket, until).boxed_local().await;
                fate.map_err(|shed| self.shed(&door, caller, shed))?;
                Ok(pass(door))
            }
        }
    }

    async fn wait(&self, door: Rc<Door>, ticket: u64, until: Duration) -> Fate {
        let (tell, told) = oneshot::channel();
        door.waiting.borrow_mut().insert(ticket, tell);
        let mut waiting = Waiting { doors: self, door, ticket, told, over: false };
        // A less urgent one may have lost its place to this one.
        waiting.door.call_in(self.world.now());
        let left = until.saturating_sub(self.world.now());
        let fate = tokio::select! {
            biased;
            fate = &mut waiting.told => fate.ok(),
            () = tokio::time::sleep(left) => waiting.door.entrance.borrow_mut().wait_is_over(self.world.now(), ticket),
        };
        let fate = match fate {
            Some(fate) => fate,
            // Its fate is on its way. Nobody lets go of a sender without telling.
            None => (&mut waiting.told).await.unwrap_or(Ok(())),
        };
        waiting.over = true;
        waiting.door.waiting.borrow_mut().remove(&ticket);
        fate
    }

    fn shed(&self, door: &Door, caller: Caller, shed: Shed) -> Fault {
        self.sink.shed();
        let ((working, waiting), limit) = (door.entrance.borrow().load(), door.entrance.borrow().limit());
        let limit = limit.map_or_else(String::new, |limit| format!(" of {limit} that it can"));
        let state = format!("the application works on {working}{limit}, {waiting} wait");
        let text = match shed {
            Shed::Deadline => {
                let detail = format!("no answer could come within the time that the caller allowed, so the request was not passed on: {state}");
                return Fault::new(Kind::DeadlineOver, detail);
            }
            Shed::Waited => "it had waited for as long as bursts last",
            Shed::Full => "as many wait as may, and none is less urgent",
            Shed::Outranked => "it waited, and a more urgent one took its place",
        };
        Fault::new(
            Kind::Overloaded { again: caller.retry },
            format!("not passed on to the application: {text} ({state}; urgency {})", caller.urgency),
        )
    }

    /// How loaded the applications are, for peers.
    pub fn report(&self) -> Option<HeaderValue> {
        let loads = self.doors.borrow().values().map(|door| door.entrance.borrow().load()).collect::<smallvec::SmallVec<[_; 4]>>();
        let in_flight = loads
            .iter()
            .fold(0_u32, |all, (working, waiting)| all.saturating_add(*working).saturating_add(u32::try_from(*waiting).unwrap_or(u32::MAX)));
        let (in_flight, latency) = (in_flight.saturating_mul(self.workers), self.latency.get());
        let mut told = self.told.borrow_mut();
        if let Some((_, _, value)) = told.as_ref().filter(|(told, at, _)| *told == in_flight && (latency - at).abs() <= SAME * at) {
            return Some(value.clone());
        }
        let value = HeaderValue::from_str(&format!("{in_flight};{}", (latency * 1e6) as u64)).ok()?;
        Some(told.insert((in_flight, latency, value)).2.clone())
    }

    fn note(&self, took: Duration) {
        let (took, latency) = (took.as_secs_f64(), self.latency.get());
        self.latency.set(if latency == 0.0 { took } else { latency + (took - latency) * WEIGHT });
    }
}

/// What a peer's proxy says of its application. What cannot be read says nothing.
pub fn read_report(headers: &HeaderMap) -> Option<Report> {
    let text = headers.get(&LOAD).filter(|value| value.len() <= LONGEST_REPORT)?.to_str().ok()?;
    let (in_flight, latency) = text.split_once(';')?;
    Some(Report { in_flight: in_flight.parse().ok()?, latency: Duration::from_micros(latency.parse().ok()?) })
}

impl Door {
    fn new(now: Duration, port: u16) -> Self {
        let entrance = RefCell::new(Entrance::new(now));
        Self { entrance, waiting: RefCell::default(), port, limit: Cell::new(0), proven: Cell::new(None) }
    }

    fn leave(&self, sink: &Sink, now: Duration, latency: Option<Duration>) {
        self.entrance.borrow_mut().leave(now, latency);
        self.call_in(now);
        let limit = self.entrance.borrow().limit().unwrap_or(0);
        let before = self.limit.replace(limit);
        if before != limit {
            sink.limit_changed(i64::from(limit) - i64::from(before));
        }
        let proven = self.entrance.borrow().proven_limit();
        let before = self.proven.replace(proven);
        if before != proven {
            sink.proven_limit_changed(self.port, before, proven);
        }
    }

    /// Tells those whose fate is decided.
    fn call_in(&self, now: Duration) {
        loop {
            let Some((ticket, fate)) = self.entrance.borrow_mut().next(now) else { return };
            let told = self.waiting.borrow_mut().remove(&ticket).is_some_and(|tell| tell.send(fate).is_ok());
            if !told && fate.is_ok() {
                self.entrance.borrow_mut().leave(now, None);
            }
        }
    }
}

/// One that waits; dropped before its fate is known, its client has left.
struct Waiting<'d> {
    doors: &'d Doors,
    door: Rc<Door>,
    ticket: u64,
    told: oneshot::Receiver<Fate>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.door.waiting.borrow_mut().remove(&self.ticket);
        let waited = self.door.entrance.borrow_mut().give_up(self.ticket);
        if !waited && matches!(self.told.try_recv(), Ok(Ok(()))) {
            self.door.leave(&self.doors.sink, self.doors.world.now(), None);
        }
    }
}

/// A request that is with the application, until the head of its response has come; dropped before that, it was given up.
pub struct Pass {
    doors: Rc<Doors>,
    door: Rc<Door>,
    arrived: Duration,
    went: Duration,
    gone: bool,
}

impl Pass {
    /// How long it waited for its turn.
    pub fn waited(&self) -> Duration {
        self.went.saturating_sub(self.arrived)
    }

    /// `worked`: this was an answer that took work, not an error, which says nothing about how fast the application is.
    pub fn answered(mut self, worked: bool) {
        let now = self.doors.world.now();
        self.gone = true;
        if worked {
            self.doors.note(now.saturating_sub(self.arrived));
        }
        self.door.leave(&self.doors.sink, now, worked.then(|| now.saturating_sub(self.went)));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let now = self.doors.world.now();
        let took = now.saturating_sub(self.went);
        // Without those that were given up because they took so long, an overloaded application would look fast.
        let long = self.door.entrance.borrow().is_long(took);
        self.door.leave(&self.doors.sink, now, Some(took).filter(|_| long));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_or_passed_over() {
        for (value, want) in [
            ("3;1500", Some((3, 1500))),
            ("0;0", Some((0, 0))),
            ("3", None),
            ("3;", None),
            ("-1;5", None),
            ("99999999999;5", None),
            ("1;2;3", None),
            ("000000000000000000000000000000001;5", None),
        ] {
            let headers = HeaderMap::from_iter([(LOAD.clone(), HeaderValue::from_str(value).unwrap())]);
            let want = want.map(|(in_flight, us)| Report { in_flight, latency: Duration::from_micros(us) });
            assert_eq!(read_report(&headers), want, "{value}");
        }
    }
}
