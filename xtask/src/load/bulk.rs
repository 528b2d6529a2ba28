//! Bulk: as many bytes as go through one connection in the time given.

use super::Direction;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub fn run(to: SocketAddr, lasting: Duration, direction: Direction) -> Result<Value, String> {
    let begin = Instant::now();
    let moved = match direction {
        Direction::Down => down(to, begin + lasting),
        Direction::Up => up(to, begin + lasting),
    };
    let bytes = moved.map_err(|error| format!("bulk transfer with {to}: {error}"))?;
    Ok(json!({ "bytes": bytes, "seconds": begin.elapsed().as_secs_f64() }))
}

fn down(to: SocketAddr, end: Instant) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"d")?;
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    while Instant::now() < end {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes += read as u64,
        }
    }
    Ok(bytes)
}

/// What was sent counts when all of it has arrived: the server answers the half-close with its own.
fn up(to: SocketAddr, end: Instant) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"u")?;
    let buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    while Instant::now() < end {
        stream.write_all(&buffer)?;
        bytes += buffer.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(bytes),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
