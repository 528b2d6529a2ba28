//! New raw TCP connections: connect, one byte each way, close; closed loop.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub fn run(to: SocketAddr, lasting: Duration, connections: u32) -> Result<Value, String> {
    let begin = Instant::now();
    let threads: Vec<_> = (0..connections).map(|_| std::thread::spawn(move || until(to, begin + lasting))).collect();
    let (mut made, mut failed) = (0_u64, 0_u64);
    for thread in threads {
        let (ours, lost) = thread.join().map_err(|_| "a thread of the load generator ended early".to_owned())?;
        made += ours;
        failed += lost;
    }
    match made {
        0 => Err(format!("no connection to {to} carried a byte each way")),
        _ => Ok(json!({ "connections": made, "failed": failed, "per_second": made as f64 / begin.elapsed().as_secs_f64() })),
    }
}

fn until(to: SocketAddr, end: Instant) -> (u64, u64) {
    let (mut made, mut failed) = (0, 0);
    while Instant::now() < end {
        match once(to) {
            Ok(()) => made += 1,
            Err(_) => failed += 1,
        }
    }
    (made, failed)
}

fn once(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"e")?;
    stream.read_exact(&mut [0])
}
