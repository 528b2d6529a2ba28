//! Open loop: requests leave at times set in advance, and latency counts from the time a request should have left.
//!
//! So a proxy that stalls is charged for every request that had to wait, and not only for the one that hit the stall (coordinated omission).

use super::http::Client;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Before the first request, so that all threads are ready.
const LEAD: Duration = Duration::from_millis(50);

/// Latencies of what was answered, and how many were not.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failed: u64,
    why: Option<String>,
}

pub fn run(to: SocketAddr, rate: u32, lasting: Duration, connections: u32) -> Result<Value, String> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = Client::connect(to)?;
        client.exchange()?;
        clients.push(client);
    }
    let total = (f64::from(rate) * lasting.as_secs_f64()) as u32;
    let begin = Instant::now() + LEAD;
    let step = Duration::from_secs(1) / rate.max(1);
    let threads: Vec<_> = clients
        .into_iter()
        .zip(0..connections)
        .map(|(client, first)| {
            let times = (first..total).step_by(connections as usize).map(move |number| begin + step * number);
            std::thread::spawn(move || paced(to, client, times))
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a thread of the load generator ended early".to_owned())?;
        all.latencies.extend(seen.latencies);
        all.failed += seen.failed;
        all.why = all.why.or(seen.why);
    }
    if all.latencies.is_empty() {
        return Err(format!("no request succeeded: {}", all.why.unwrap_or_default()));
    }
    all.latencies.sort();
    let at = |quantile: f64| percentile(&all.latencies, quantile).as_secs_f64() * 1e6;
    Ok(json!({
        "requests": u64::from(connections) + all.latencies.len() as u64 + all.failed,
        "failed": all.failed,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
    }))
}

/// One connection's share of the schedule. When it is late, it sends at once, and the lateness is part of the latency.
fn paced(to: SocketAddr, client: Client, times: impl Iterator<Item = Instant>) -> Seen {
    let mut seen = Seen::default();
    let mut client = Some(client);
    for scheduled in times {
        std::thread::sleep(scheduled.saturating_duration_since(Instant::now()));
        let mut current = match client.take().map_or_else(|| Client::connect(to), Ok) {
            Ok(current) => current,
            Err(why) => {
                seen.failed += 1;
                seen.why = Some(why);
                continue;
            }
        };
        match current.exchange() {
            Ok(()) => {
                seen.latencies.push(scheduled.elapsed());
                client = Some(current);
            }
            Err(why) => {
                seen.failed += 1;
                seen.why = Some(why);
            }
        }
    }
    seen
}

/// The smallest value that this share of all values does not exceed (nearest rank).
fn percentile(sorted: &[Duration], quantile: f64) -> Duration {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Client, paced, percentile};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<Duration> = (1..=1000).map(Duration::from_micros).collect();
        assert_eq!(percentile(&sorted, 0.5), Duration::from_micros(500));
        assert_eq!(percentile(&sorted, 0.999), Duration::from_micros(999));
        assert_eq!(percentile(&sorted[..1], 0.99), Duration::from_micros(1));
    }

    #[test]
    fn requests_that_waited_behind_a_slow_one_count_from_when_they_should_have_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..3 {
                let _ = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        // As if the first answer had taken 100 ms: all three should have left by then.
        let due = Instant::now().checked_sub(Duration::from_millis(100)).unwrap();
        let seen = paced(to, Client::connect(to).unwrap(), [due, due, due].into_iter());
        server.join().unwrap();
        assert_eq!(seen.failed, 0);
        assert!(seen.latencies.iter().all(|latency| *latency >= Duration::from_millis(100)), "{:?}", seen.latencies);
    }
}
