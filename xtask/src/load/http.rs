//! A small HTTP/1.1 client: one GET at a time on a connection that is kept, the answer read to its end.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> Result<Self, String> {
        let connect = || -> std::io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error| format!("cannot connect to {to}: {error}"))?;
        let request = format!("GET / HTTP/1.1\r\nhost: {to}\r\nuser-agent: taut-bench\r\naccept: */*\r\n\r\n").into_bytes();
        Ok(Self { stream, request, buffer: Vec::with_capacity(4096) })
    }

    /// One request; an error is anything but a whole answer with status 200.
    pub fn exchange(&mut self) -> Result<(), String> {
        self.stream.write_all(&self.request).map_err(|error| format!("cannot send: {error}"))?;
        self.buffer.clear();
        loop {
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).map_err(|error| format!("cannot read the answer: {error}"))?;
            if read == 0 {
                return Err("the connection ended before the answer did".to_owned());
            }
            self.buffer.extend_from_slice(&chunk[..read]);
            if let Some(whole) = whole(&self.buffer)? {
                return match whole {
                    200 => Ok(()),
                    status => Err(format!("status {status}")),
                };
            }
        }
    }
}

/// The status, once head and body are there.
fn whole(bytes: &[u8]) -> Result<Option<u16>, String> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..head]);
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse::<u16>().ok());
    let status = status.ok_or_else(|| format!("not an HTTP answer: {text:?}"))?;
    let header = |line: &str, name: &str| -> Option<String> {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
    };
    let body = &bytes[head + 4..];
    for line in lines {
        if let Some(length) = header(line, "content-length") {
            let length: usize = length.parse().map_err(|_| format!("content-length is {length:?}"))?;
            return Ok((body.len() >= length).then_some(status));
        }
        if header(line, "transfer-encoding").is_some_and(|coding| coding == "chunked") {
            return Ok(body.ends_with(b"0\r\n\r\n").then_some(status));
        }
    }
    Err(format!("an answer without length: {text:?}"))
}

/// Milliseconds until the first request is answered with 200, tried anew every half millisecond.
pub fn wait(to: SocketAddr, patience: Duration) -> Result<Value, String> {
    let begin = Instant::now();
    loop {
        match Client::connect(to).and_then(|mut client| client.exchange()) {
            Ok(()) => return Ok(json!({ "ms": begin.elapsed().as_secs_f64() * 1e3 })),
            Err(why) if begin.elapsed() > patience => return Err(format!("{to} does not answer with 200: {why}")),
            Err(_) => std::thread::sleep(Duration::from_micros(500)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec();
        assert_eq!(whole(&head[..20]), Ok(None));
        assert_eq!(whole(&[&head[..], b"hell"].concat()), Ok(None));
        assert_eq!(whole(&[&head[..], b"hello"].concat()), Ok(Some(200)));
    }

    #[test]
    fn a_chunked_answer_ends_with_its_last_chunk() {
        let head = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        assert_eq!(whole(head), Ok(None));
        assert_eq!(whole(&[&head[..], b"0\r\n\r\n"].concat()), Ok(Some(503)));
    }

    #[test]
    fn what_has_no_length_is_no_answer_to_count() {
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(whole(b"hello\r\n\r\n").is_err());
    }
}
