//! The network between two sidecars: a relay before each peer port, which passes everything on at once until it is told to be worse.
//!
//! It works on any machine, without rights. A lost packet is what TCP makes of one: everything behind it waits for a retransmission.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What Linux waits at least before it sends a packet again (`TCP_RTO_MIN`).
const RETRANSMISSION: Duration = Duration::from_millis(200);
const PIECE: usize = 16 * 1024;

/// How bad the way to one sidecar is; it may change at any time.
#[derive(Debug, Default)]
pub struct Way {
    pub delay_ms: AtomicU32,
    /// Of the pieces, in thousandths.
    pub lost: AtomicU32,
    /// Nothing comes through any more, and nobody is told.
    pub severed: AtomicBool,
}

impl Way {
    pub fn mend(&self) {
        self.delay_ms.store(0, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
        self.severed.store(false, Ordering::Relaxed);
    }

    /// How long a piece takes more than it must; none: it never arrives.
    fn toll(&self) -> Option<Duration> {
        if self.severed.load(Ordering::Relaxed) {
            return None;
        }
        let mut toll = Duration::from_millis(u64::from(self.delay_ms.load(Ordering::Relaxed)));
        let (lost, mut wait) = (u64::from(self.lost.load(Ordering::Relaxed)), RETRANSMISSION);
        while lost > 0 && fastrand::u64(..1000) < lost && wait < 8 * RETRANSMISSION {
            toll += wait;
            wait *= 2;
        }
        Some(toll)
    }
}

/// Relays from one address to the other for as long as the runtime lives.
pub async fn start(from: SocketAddr, to: SocketAddr) -> Result<Arc<Way>, String> {
    let listener = TcpListener::bind(from).await.map_err(|error| format!("cannot listen on {from}: {error}"))?;
    let way = Arc::<Way>::default();
    let own = way.clone();
    tokio::spawn(async move {
        loop {
            let Ok((near, _)) = listener.accept().await else { continue };
            let way = own.clone();
            tokio::spawn(async move {
                if way.severed.load(Ordering::Relaxed) {
                    // As if the first packet had been lost: the caller waits.
                    std::future::pending::<()>().await;
                }
                if let Ok(far) = TcpStream::connect(to).await {
                    carry(near, far, way).await;
                }
            });
        }
    });
    Ok(way)
}

async fn carry(near: TcpStream, far: TcpStream, way: Arc<Way>) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::join!(one_way(near_read, far_write, &way), one_way(far_read, near_write, &way));
}

/// Pieces keep their order; a delay is on the way, not at the sender: what follows is read meanwhile.
async fn one_way(mut read: impl AsyncReadExt + Unpin, mut write: impl AsyncWriteExt + Unpin, way: &Way) {
    let (send, mut under_way) = tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(64);
    let reading = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            let Some(toll) = way.toll() else { std::future::pending().await };
            if send.send((tokio::time::Instant::now() + toll, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = under_way.recv().await {
            // Not even a timer's coarseness for a network that is well.
            if due > tokio::time::Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_takes_its_toll() {
        let way = Way::default();
        assert_eq!(way.toll(), Some(Duration::ZERO));
        way.delay_ms.store(150, Ordering::Relaxed);
        assert_eq!(way.toll(), Some(Duration::from_millis(150)));
        way.lost.store(100, Ordering::Relaxed);
        let lost = (0..10_000).filter(|_| way.toll() > Some(Duration::from_millis(150))).count();
        assert!((900..1100).contains(&lost), "{lost} of 10,000");
        way.severed.store(true, Ordering::Relaxed);
        assert_eq!(way.toll(), None);
        way.mend();
        assert_eq!(way.toll(), Some(Duration::ZERO));
    }
}
