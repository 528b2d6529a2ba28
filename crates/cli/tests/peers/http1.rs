//! HTTP/1 through two sidecars as no tool sends it: raw requests to an application that answers by the letter.

use crate::app::{pattern, serve};
use crate::message::{Message, Silent};
use crate::pair::Pair;
use crate::support::PATIENCE;
use crate::table::Report;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

const TOOL: &str = "raw HTTP/1";

fn pair() -> Pair {
    Pair::prepare().listen(9080, "http", serve).start(&[])
}

/// A client that writes what it is told, and reads responses.
struct Client {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Client {
    fn open(pair: &Pair) -> Self {
        let to = TcpStream::connect(pair.at(9080)).unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        to.set_nodelay(true).unwrap();
        Self { from: BufReader::new(to.try_clone().unwrap()), to }
    }

    fn say(&mut self, text: &str) {
        self.to.write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, request: &str) -> Message {
        self.say(request);
        self.hear()
    }

    fn hear(&mut self) -> Message {
        Message::read(&mut self.from, Silent::AtClose).unwrap().expect("a response")
    }

    /// A response to HEAD, and the like.
    fn hear_head(&mut self) -> Message {
        Message::read_head(&mut self.from).unwrap().expect("a response")
    }

    fn ended(&mut self) -> bool {
        matches!(self.from.read(&mut [0]), Ok(0) | Err(_))
    }

    /// The connection carries another request.
    fn goes_on(&mut self) {
        let next = self.ask("GET /next HTTP/1.1\r\nHost: server\r\n\r\n");
        assert_eq!(next.status(), 200);
        assert!(next.text().starts_with("GET /next HTTP/1.1\n"), "{}", next.text());
    }
}

#[test]
fn old_clients_are_served() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("HTTP/1.0, no keep-alive", || {
        let mut client = Client::open(&pair);
        let response = client.ask("GET /a HTTP/1.0\r\n\r\n");
        assert!(response.start.starts_with("HTTP/1.0 200"), "{}", response.start);
        assert!(client.ended());
        "answered in 1.0, then closed".to_owned()
    });
    report.case("HTTP/1.0, keep-alive", || {
        let mut client = Client::open(&pair);
        for _ in 0..3 {
            let response = client.ask("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            assert_eq!((response.status(), response.field("connection")), (200, Some("keep-alive")), "{response:?}");
        }
        client.say("GET /a HTTP/1.0\r\n\r\n");
        assert_eq!(client.hear().status(), 200);
        assert!(client.ended());
        "4 requests on one connection".to_owned()
    });
    report.case("HTTP/1.0, chunked answer", || {
        let mut client = Client::open(&pair);
        let response = client.ask("GET /trailers HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("abcde", None), "{response:?}");
        "unchunked, ends by close".to_owned()
    });
    report.case("an HTTP/1.0 server", || {
        let mut client = Client::open(&pair);
        for _ in 0..2 {
            assert_eq!(client.ask("GET /old HTTP/1.1\r\nHost: server\r\n\r\n").text(), "an old server");
        }
        "answers in 1.1, connection kept".to_owned()
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("pipelining: 5 in one write", || {
        let mut client = Client::open(&pair);
        let body = "POST /echo HTTP/1.1\r\nHost: server\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "POST /echo HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: server\r\n\r\n");
        client.say(&[&get("/1"), body, &get("/2"), chunked, &get("/3")].map(|s: &str| s.to_owned()).concat());
        let answers: Vec<String> = (0..5).map(|_| client.hear().text()).collect();
        let first: Vec<&str> = answers.iter().map(|text| text.split('\n').next().unwrap()).collect();
        assert_eq!(first, ["GET /1 HTTP/1.1", "hello", "GET /2 HTTP/1.1", "abc", "GET /3 HTTP/1.1"]);
        client.goes_on();
        "answered in order".to_owned()
    });
    report.case("pipelining: 200 in one write", || {
        let mut client = Client::open(&pair);
        client.say(&(0..200).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: server\r\n\r\n")).collect::<String>());
        for at in 0..200 {
            assert!(client.hear().text().starts_with(&format!("GET /{at} ")));
        }
        "answered in order".to_owned()
    });
    report.case("a head byte by byte", || {
        let mut client = Client::open(&pair);
        for byte in "GET /slow HTTP/1.1\r\nHost: server\r\nX-A: b\r\n\r\n".bytes() {
            client.to.write_all(&[byte]).unwrap();
        }
        assert!(client.hear().text().starts_with("GET /slow"));
        "answered".to_owned()
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("chunked request with trailers, echoed", || {
        let mut client = Client::open(&pair);
        client.say("POST /echo HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
        client.say("5;a=b\r\nhello\r\n");
        client.say("6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n");
        let response = client.hear();
        assert_eq!(response.text(), "hello world");
        assert_eq!(response.trailers, [("x-sum".to_owned(), "11".to_owned())], "{response:?}");
        client.goes_on();
        "trailer arrived and came back".to_owned()
    });
    report.case("many chunks of all sizes", || {
        let mut client = Client::open(&pair);
        let all = pattern(2_000_000);
        let (mut sender, sent) = (client.to.try_clone().unwrap(), all.clone());
        let sending = std::thread::spawn(move || {
            sender.write_all(b"POST /echo HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            let (mut rest, mut size) = (&sent[..], 1);
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(size.min(rest.len()));
                sender.write_all(&[format!("{:X}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).unwrap();
                (rest, size) = (more, size * 7 % 70_001 + 1);
            }
            sender.write_all(b"0\r\n\r\n").unwrap();
        });
        let response = client.hear();
        sending.join().unwrap();
        assert!(response.body == all, "{} bytes", response.body.len());
        client.goes_on();
        "2 MB, equal".to_owned()
    });
    report.case("chunked response with trailers", || {
        let mut client = Client::open(&pair);
        let response = client.ask("GET /trailers HTTP/1.1\r\nHost: server\r\nTE: trailers\r\n\r\n");
        assert_eq!((response.text().as_str(), &*response.trailers), ("abcde", &[("x-sum".to_owned(), "5".to_owned())][..]));
        client.goes_on();
        "trailer arrived".to_owned()
    });
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    let expect = "Host: server\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    report.case("Expect: 100-continue", || {
        let mut client = Client::open(&pair);
        client.say(&format!("POST /echo HTTP/1.1\r\n{expect}"));
        assert_eq!(client.hear_head().status(), 100);
        assert_eq!(client.ask("hello").text(), "hello");
        client.goes_on();
        "100, then 200".to_owned()
    });
    report.case("Expect: 100-continue, body sent at once", || {
        let mut client = Client::open(&pair);
        client.say(&format!("POST /echo HTTP/1.1\r\n{expect}hello"));
        let first = client.hear_head();
        let last = if first.status() == 100 {
            client.hear()
        } else {
            let mut whole = first;
            whole.read_body(&mut client.from, Silent::None).unwrap();
            whole
        };
        assert_eq!(last.text(), "hello");
        client.goes_on();
        "200".to_owned()
    });
    report.case("interim 103 from the server", || {
        let mut client = Client::open(&pair);
        assert_eq!(client.ask("GET /interim HTTP/1.1\r\nHost: server\r\n\r\n").text(), "ok");
        client.goes_on();
        "passed over, 200 arrived".to_owned()
    });
}

#[test]
fn what_has_no_body_has_none() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    for (what, request, status, length) in
        [("HEAD", "HEAD /large", 200, Some("52428800")), ("204", "GET /204", 204, None), ("304 with a length", "GET /304", 304, Some("1000"))]
    {
        report.case(what, || {
            let mut client = Client::open(&pair);
            client.say(&format!("{request} HTTP/1.1\r\nHost: server\r\n\r\n"));
            let response = client.hear_head();
            assert_eq!((response.status(), response.field("content-length")), (status, length), "{response:?}");
            assert_eq!(response.field("transfer-encoding"), None);
            client.goes_on();
            "no body, connection kept".to_owned()
        });
    }
}

#[test]
fn a_response_may_end_with_its_connection() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("response that ends by close", || {
        let mut client = Client::open(&pair);
        let response = client.ask("GET /close HTTP/1.1\r\nHost: server\r\n\r\n");
        assert_eq!(response.text(), "ends with the connection");
        client.goes_on();
        "whole, client's connection kept".to_owned()
    });
    for path in ["/cut", "/cut-chunks"] {
        report.case(&format!("response cut off ({path})"), || {
            let mut client = Client::open(&pair);
            client.say(&format!("GET {path} HTTP/1.1\r\nHost: server\r\n\r\n"));
            let mut head = client.hear_head();
            assert!(head.read_body(&mut client.from, Silent::None).is_err(), "{head:?}");
            assert!(client.ended());
            "the client sees that it is cut".to_owned()
        });
    }
}

#[test]
fn an_answer_may_come_before_the_upload_has_ended() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("early 413 to an unfinished upload", || {
        let mut client = Client::open(&pair);
        client.say("POST /early HTTP/1.1\r\nHost: server\r\nContent-Length: 10000000\r\n\r\n");
        client.to.write_all(&[0; 4096]).unwrap();
        let response = client.hear();
        assert_eq!((response.status(), response.text().as_str()), (413, "too large"));
        "413 while the client still sends".to_owned()
    });
    report.case("early 413 to a client that sends all before it reads", || {
        let mut client = Client::open(&pair);
        client.say("POST /early HTTP/1.1\r\nHost: server\r\nContent-Length: 10000000\r\n\r\n");
        client.to.write_all(&vec![0; 10_000_000]).unwrap();
        let response = client.hear();
        assert_eq!((response.status(), response.text().as_str()), (413, "too large"));
        "413, 10 MB read over".to_owned()
    });
}

/// A request, and what its answer must be: status and body.
fn any_request(dice: &mut fastrand::Rng, number: usize) -> (Vec<u8>, u16, Option<Vec<u8>>) {
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: server\r\n").into_bytes();
    let most = if dice.u8(..8) == 0 { 200_000 } else { 300 };
    let body = pattern(dice.usize(..most));
    match dice.u8(..6) {
        0 => ([head("GET /204"), b"\r\n".to_vec()].concat(), 204, Some(vec![])),
        1 => ([head("HEAD /large"), b"\r\n".to_vec()].concat(), 200, None),
        2 => ([head("GET /trailers"), b"\r\n".to_vec()].concat(), 200, Some(b"abcde".to_vec())),
        3 => {
            let mut request = [head("POST /echo"), b"Transfer-Encoding: chunked\r\n\r\n".to_vec()].concat();
            let mut rest = &body[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(dice.usize(1..=rest.len()));
                request.extend([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
                rest = more;
            }
            request.extend(b"0\r\n\r\n");
            (request, 200, Some(body))
        }
        4 => {
            let length = format!("Content-Length: {}\r\n\r\n", body.len());
            ([head("POST /echo"), length.into_bytes(), body.clone()].concat(), 200, Some(body))
        }
        _ => {
            let line = format!("GET /number-{number}");
            ([head(&line), b"\r\n".to_vec()].concat(), 200, Some(line.into_bytes()))
        }
    }
}

#[test]
fn no_request_is_taken_for_another_however_the_stream_is_cut() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("2,000 mixed requests, pipelined, cut at random", || {
        for seed in 0..8 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let asked: Vec<_> = (0..250).map(|number| any_request(&mut dice, number)).collect();
            let stream: Vec<u8> = asked.iter().flat_map(|(request, ..)| request.clone()).collect();
            let mut client = Client::open(&pair);
            let mut sender = client.to.try_clone().unwrap();
            let sending = std::thread::spawn(move || {
                let mut rest = &stream[..];
                while !rest.is_empty() {
                    let most = if dice.bool() { 40 } else { 30_000 };
                    let (piece, more) = rest.split_at(dice.usize(1..=most.min(rest.len())));
                    sender.write_all(piece).unwrap();
                    rest = more;
                }
            });
            for (at, (_, status, body)) in asked.iter().enumerate() {
                let mut head = client.hear_head();
                assert_eq!(head.status(), *status, "seed {seed}, request {at}: {head:?}");
                let Some(body) = body else { continue };
                head.read_body(&mut client.from, Silent::None).unwrap();
                let same = if body.starts_with(b"GET ") { head.body.starts_with(body) } else { head.body == *body };
                assert!(same, "seed {seed}, request {at}: {} bytes instead of {}", head.body.len(), body.len());
            }
            sending.join().unwrap();
        }
        "each got its own answer".to_owned()
    });
}

#[test]
fn large_bodies_arrive_as_they_were_sent() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    report.case("50 MB down to a slow reader", || {
        let mut client = Client::open(&pair);
        client.say("GET /large HTTP/1.1\r\nHost: server\r\n\r\n");
        let mut head = client.hear_head();
        // What is not read for a while is not lost.
        std::thread::park_timeout(std::time::Duration::from_millis(1500));
        head.read_body(&mut client.from, Silent::None).unwrap();
        assert!(head.body == pattern(50 << 20), "{} bytes", head.body.len());
        client.goes_on();
        "equal".to_owned()
    });
}

#[test]
fn what_is_not_http_is_refused() {
    let mut report = Report::new(TOOL);
    let pair = pair();
    for (what, request) in [
        ("two lengths", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        ("length and chunked", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("chunked, twice", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
        ("bare LF", "GET /x HTTP/1.1\nHost: a\n\n"),
        ("obs-fold", "GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"),
        ("space before the colon", "GET /x HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("no host", "GET /x HTTP/1.1\r\n\r\n"),
    ] {
        report.case(what, || {
            let response = Client::open(&pair).ask(request);
            assert_eq!(response.status(), 400, "{response:?}");
            "400".to_owned()
        });
    }
}
