//! Raw TCP through two sidecars: one side may end before the other, and a server may speak first.

use crate::pair::Pair;
use crate::table::Report;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Reads all there is, then says how much it was.
fn count(mut stream: TcpStream) {
    let counted = std::io::copy(&mut stream, &mut std::io::sink());
    // The test misses what cannot be said.
    let _ = counted.and_then(|counted| write!(stream, "{counted} bytes"));
}

/// As SMTP and MySQL do.
fn greet(mut stream: TcpStream) {
    let mut line = [0; 5];
    let _ = stream.write_all(b"220 ready\r\n").and_then(|()| stream.read_exact(&mut line)).and_then(|()| stream.write_all(&line));
}

#[test]
fn one_side_may_end_first() {
    let mut report = Report::new("raw TCP");
    let pair = Pair::prepare().listen(7000, "tcp-count", count).start(&[]);
    report.case("half-close: 8 MB, end, answer", || {
        let mut stream = TcpStream::connect(pair.at(7000)).unwrap();
        stream.write_all(&vec![7; 8_000_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "8000000 bytes");
        answer
    });
}

#[test]
fn a_server_may_speak_first() {
    let mut report = Report::new("raw TCP");
    let pair = Pair::prepare().listen(7000, "tcp-greet", greet).listen(7001, "", greet).start(&[]);
    for (port, what) in [(7000, "declared tcp"), (7001, "nothing declared")] {
        report.case(&format!("server speaks first, {what}"), || {
            let times: Vec<Duration> = (0..5).map(|_| greeted(&pair.at(port))).collect();
            assert!(times[4] < Duration::from_secs(1), "{times:?}");
            format!("greeted after {} ms at first, {} ms the fifth time", times[0].as_millis(), times[4].as_millis())
        });
    }
}

fn greeted(at: &str) -> Duration {
    let started = Instant::now();
    let mut stream = TcpStream::connect(at).unwrap();
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).unwrap();
    let took = started.elapsed();
    stream.write_all(b"hello").unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).unwrap();
    assert_eq!((&greeting, echo.as_str()), (b"220 ready\r\n", "hello"));
    took
}
