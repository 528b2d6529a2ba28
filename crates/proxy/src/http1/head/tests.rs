//! Which heads are taken, and which are refused because somebody could read them otherwise.

use super::*;

fn read(text: &str) -> Result<Option<RequestHead>, BadHead> {
    let mut searched = 0;
    request(&mut BytesMut::from(text), &mut searched)
}

fn answer(text: &str, method: Method) -> Result<Option<ResponseHead>, BadHead> {
    let mut searched = 0;
    response(&mut BytesMut::from(text), &mut searched, &method)
}

#[test]
fn a_head_may_arrive_in_any_pieces_and_leaves_what_follows_it() {
    let text = "POST /a?b=c HTTP/1.1\r\nHost: reviews:9080\r\nX-Request-Id: 7\r\ncontent-length: 3\r\n\r\nabcGET";
    for step in [1, 2, 5, 100] {
        let (mut buffer, mut searched, mut found) = (BytesMut::from("\r\n\r\n"), 0, None);
        for piece in text.as_bytes().chunks(step) {
            buffer.extend_from_slice(piece);
            if found.is_none() {
                found = request(&mut buffer, &mut searched).unwrap();
            }
        }
        let head = found.unwrap();
        assert_eq!((head.parts.method, head.parts.uri.to_string().as_str(), head.framing), (Method::POST, "/a?b=c", Framing::Length(3)));
        assert_eq!((head.parts.headers["host"].as_bytes(), head.parts.headers["x-request-id"].as_bytes()), (&b"reviews:9080"[..], &b"7"[..]));
        assert_eq!((&buffer[..], head.keep_alive, head.expects_continue), (&b"abcGET"[..], true, false), "{step}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for fields in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: 1\r\n Transfer-Encoding: chunked\r\n",
        "X: 1\nTransfer-Encoding: chunked\r\n",
        "X: 1\rTransfer-Encoding: chunked\r\n",
        "X: a\0b\r\n",
        "X\0: a\r\n",
        "X Y: a\r\n",
        "(X): a\r\n",
        ": a\r\n",
        "Host: other\r\n",
    ] {
        let refused = read(&format!("POST / HTTP/1.1\r\nHost: reviews\r\n{fields}\r\n"));
        assert!(matches!(&refused, Err(bad) if bad.status() == 400), "{fields:?}");
    }
    for line in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GE\tT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let refused = read(line);
        assert!(matches!(&refused, Err(bad) if bad.status() == 400), "{line:?}");
    }
    assert!(matches!(read("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(BadHead::Version)));
}

#[test]
fn nonsense_is_refused_before_it_ends() {
    for start in ["\0\0\0", "EHLO\x01", "GET / HTTP/1.1\r\nHost a\r\n"] {
        assert!(read(start).is_err(), "{start:?}");
    }
    assert!(read("GET / HT").unwrap().is_none());
}

#[test]
fn heads_have_limits() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", "x".repeat(HEAD_BYTES));
    assert!(matches!(read(&long), Err(BadHead::TooLarge)));
    assert!(matches!(read(&format!("{long}\r\n\r\n")), Err(BadHead::TooLarge)));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: 1\r\n".repeat(MOST_FIELDS));
    assert!(matches!(read(&many), Err(BadHead::TooLarge)));
}

#[test]
fn connections_persist_as_their_version_says() {
    for (line, keep) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
    ] {
        assert_eq!(read(line).unwrap().unwrap().keep_alive, keep, "{line}");
    }
    let waits = read("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n").unwrap().unwrap();
    assert!(waits.expects_continue);
}

#[test]
fn a_response_says_where_it_ends() {
    for (text, method, framing, keep) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::GET, Framing::Length(5), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD, Framing::None, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::GET, Framing::None, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::GET, Framing::None, true),
        ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Method::GET, Framing::Chunked, true),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, Framing::UntilClose, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Method::GET, Framing::Length(5), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", Method::GET, Framing::Length(5), true),
    ] {
        let head = answer(text, method).unwrap().unwrap();
        assert_eq!((head.framing, head.keep_alive), (framing, keep), "{text}");
    }
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\nX: 1\n\n",
        "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
    ] {
        assert!(answer(text, Method::GET).is_err(), "{text:?}");
    }
}

#[test]
fn a_head_is_written_with_one_framing() {
    let mut head = read("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").unwrap().unwrap().parts;
    let mut out = BytesMut::new();
    write_request(&mut out, &head, Framing::Length(5));
    assert_eq!(out, "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
    out.clear();
    write_request(&mut out, &head, Framing::Chunked);
    assert_eq!(out, "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    out.clear();
    head.method = Method::GET;
    write_request(&mut out, &head, Framing::None);
    assert_eq!(out, "GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    let (head, ()) = Response::builder().status(299).header("x-a", "1").body(()).unwrap().into_parts();
    out.clear();
    write_response(&mut out, Version::HTTP_10, &head, Framing::Length(u64::MAX), true);
    assert_eq!(out, "HTTP/1.0 299 \r\nx-a: 1\r\ncontent-length: 18446744073709551615\r\nconnection: close\r\n\r\n");
}
