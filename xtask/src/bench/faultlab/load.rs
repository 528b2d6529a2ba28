//! The users of the mesh under test: a mix of visits at a rate that follows a pattern, and what became of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// People open the page; programs ask for one part, and see its failure as it is.
const VISITS: [&str; 10] = [
    "/productpage",
    "/api/v1/products/0/ratings",
    "/productpage",
    "/api/v1/products/0/reviews",
    "/productpage",
    "/api/v1/products/0",
    "/productpage",
    "/api/v1/products/0/ratings",
    "/productpage",
    "/api/v1/products/0/reviews",
];
const PATIENCE: Duration = Duration::from_secs(15);
/// More visits than this at a time are not sent, and counted as bad: a stuck mesh is not buried.
const OPEN: usize = 512;
/// How finely visits are spread.
const TICK: Duration = Duration::from_millis(10);

/// How the rate goes, as a multiple of the usual, by the time since the pattern began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    Steady(f64),
    /// From the usual to this, over so many seconds.
    Ramp {
        to: f64,
        seconds: f64,
    },
    /// This for a second, then the usual for two.
    Bursts(f64),
    /// Waves with this as their highest.
    Spike {
        to: f64,
        every: f64,
        length: f64,
    },
}

impl Rate {
    fn at(self, seconds: f64) -> f64 {
        match self {
            Self::Steady(rate) => rate,
            Self::Ramp { to, seconds: over } => 1.0 + (to - 1.0) * (seconds / over).min(1.0),
            Self::Bursts(high) => {
                if seconds % 3.0 < 1.0 {
                    high
                } else {
                    1.0
                }
            }
            Self::Spike { to, every, length } => {
                if seconds % every < length {
                    to
                } else {
                    1.0
                }
            }
        }
    }
}

/// Whether visitors wait for their answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Patient,
    /// A tenth leave at once.
    LeaveEarly,
    /// A tenth take the answer at a trickle.
    ReadSlowly,
}

/// Besides the visits: a request that somebody sends five times a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub to: SocketAddr,
    /// The request's target: a path, or a whole URL for a proxy.
    pub target: String,
    pub host: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub rate: Rate,
    pub manner: Manner,
    pub probe: Option<Probe>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self { rate: Rate::Steady(1.0), manner: Manner::Patient, probe: None }
    }
}

/// What visitors saw since it was last taken.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub good: usize,
    pub bad: usize,
    /// Milliseconds of each that was answered.
    pub took: Vec<f64>,
}

pub struct Load {
    pattern: watch::Sender<Pattern>,
    seen: Arc<Mutex<Seen>>,
}

impl Load {
    pub fn start(runtime: &Handle, site: SocketAddr, usual: f64) -> Self {
        let (pattern, told) = watch::channel(Pattern::default());
        let seen = Arc::new(Mutex::new(Seen::default()));
        runtime.spawn(visits(site, usual, told.clone(), seen.clone()));
        runtime.spawn(probes(told));
        Self { pattern, seen }
    }

    pub fn follow(&self, pattern: Pattern) {
        self.pattern.send_replace(pattern);
    }

    /// Visits that failed since they were last taken.
    pub fn failed(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).bad
    }

    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn visits(site: SocketAddr, usual: f64, mut told: watch::Receiver<Pattern>, seen: Arc<Mutex<Seen>>) {
    let open = Arc::new(Semaphore::new(OPEN));
    let (mut since, mut pattern) = (Instant::now(), told.borrow().clone());
    let (mut last, mut due, mut turn) = (Instant::now(), 0.0, 0usize);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        if told.has_changed().unwrap_or(false) {
            (since, pattern) = (Instant::now(), told.borrow_and_update().clone());
        }
        due += usual * pattern.rate.at(since.elapsed().as_secs_f64()) * last.elapsed().as_secs_f64();
        last = Instant::now();
        while due >= 1.0 {
            due -= 1.0;
            turn += 1;
            let manner = if turn % 10 == 7 { pattern.manner } else { Manner::Patient };
            match open.clone().try_acquire_owned() {
                Ok(place) => drop(tokio::spawn(visit(site, VISITS[turn % VISITS.len()], manner, seen.clone(), place))),
                Err(_) => seen.lock().unwrap_or_else(PoisonError::into_inner).bad += 1,
            }
        }
    }
}

async fn visit(site: SocketAddr, path: &'static str, manner: Manner, seen: Arc<Mutex<Seen>>, _place: OwnedSemaphorePermit) {
    let began = Instant::now();
    let answered = tokio::time::timeout(PATIENCE, ask(site, path, "productpage", manner)).await;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match answered {
        // Who leaves has no opinion.
        Ok(Ok(None)) => {}
        Ok(Ok(Some(status))) if status < 500 && status != 403 => {
            seen.good += 1;
            seen.took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        _ => seen.bad += 1,
    }
}

async fn probes(told: watch::Receiver<Pattern>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let probe = told.borrow().probe.clone();
        if let Some(probe) = probe {
            // What becomes of it is for the mesh to say.
            tokio::spawn(async move { tokio::time::timeout(PATIENCE, ask(probe.to, &probe.target, &probe.host, Manner::Patient)).await });
        }
    }
}

/// The status of the answer once all of it is there, or none when the visitor left before.
async fn ask(to: SocketAddr, target: &str, host: &str, manner: Manner) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    if manner == Manner::LeaveEarly {
        return Ok(None);
    }
    let mut answer = Vec::new();
    let mut piece = vec![0; if manner == Manner::ReadSlowly { 256 } else { 16 * 1024 }];
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
        if manner == Manner::ReadSlowly {
            tokio::time::sleep(TICK).await;
        }
    }
    let status = std::str::from_utf8(answer.get(9..12).unwrap_or_default()).ok().and_then(|code| code.parse().ok());
    status.map(Some).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_their_pattern() {
        assert_eq!([0.0, 10.0, 99.0].map(|t| Rate::Ramp { to: 3.0, seconds: 20.0 }.at(t)), [1.0, 2.0, 3.0]);
        assert_eq!([0.5, 1.5, 3.5].map(|t| Rate::Bursts(4.0).at(t)), [4.0, 1.0, 4.0]);
        assert_eq!([1.0, 6.0, 16.0].map(|t| Rate::Spike { to: 4.0, every: 15.0, length: 5.0 }.at(t)), [4.0, 1.0, 4.0]);
    }
}
