//! Finds out whether the application is ready, by probing its first port.

use crate::options::{OwnWorkload, Probe};
use crate::status::{Readiness, Status};
use crate::world::World;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const UNTIL_READY: Duration = Duration::from_millis(200);
const WHILE_READY: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(1);
/// Probes in a row that must fail before a ready application counts as not ready: one may be lost under load.
const FAILURES: u32 = 2;

/// Runs for ever.
pub async fn watch(world: &World, status: &Arc<Status>, probe: &Probe) {
    let own = status.current().workload().clone();
    let Some(port) = own.ports.first() else {
        // Nothing is served, so nothing has to come up.
        status.say(Readiness::Ready);
        return std::future::pending().await;
    };
    let address = SocketAddr::new(own.address, port.target);
    let mut failures = FAILURES;
    loop {
        match timeout(LIMIT, ask(world, address, &own, probe)).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))) {
            Ok(()) => {
                failures = 0;
                status.say(Readiness::Ready);
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures >= FAILURES {
                    status.say(Readiness::NotReady(format!("the application does not answer on {address}: {error}")));
                }
            }
        }
        tokio::time::sleep(if failures == 0 { WHILE_READY } else { UNTIL_READY }).await;
    }
}

async fn ask(world: &World, address: SocketAddr, own: &OwnWorkload, probe: &Probe) -> io::Result<()> {
    let mut stream = world.network.connect(address).await?;
    let Probe::Http(path) = probe else { return Ok(()) };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: taut-probe\r\nConnection: close\r\n\r\n", own.name);
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`: twelve bytes.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|digits| std::str::from_utf8(digits).ok());
    match status.and_then(|digits| digits.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(other) => Err(io::Error::other(format!("GET {path} answered {other}"))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1")),
    }
}
