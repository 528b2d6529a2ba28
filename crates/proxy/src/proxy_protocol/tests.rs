//! Headers as HAProxy, AWS and hostile clients write them.

use super::*;
use tokio::io::{AsyncWriteExt, duplex};

fn ends(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A version 2 header.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap();
    [V2_START, &[command, family], &length.to_be_bytes(), rest].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn a_line_of_version_1_says_who_the_client_is() {
    let six = ends("[2001:db8::1]:56324", "[2001:db8::2]:443");
    for (line, want) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Some(ends("192.0.2.1:56324", "198.51.100.2:443"))),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", Some(six)),
        // A dual-stack load balancer's IPv4 client is an IPv4 client.
        ("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1 2\r\n", Some(ends("192.0.2.1:1", "198.51.100.2:2"))),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    ] {
        let bytes = [line.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(read(&bytes), Ok(Start::Header { length: line.len(), ends: want }), "{line}");
    }
}

#[test]
fn version_2_says_the_same_in_bytes() {
    let six = [Ipv6Addr::LOCALHOST.octets().as_slice(), &Ipv6Addr::LOCALHOST.octets(), &[0, 1, 0, 2]].concat();
    let aws = [&TCP4[..], &[0xea, 0, 4, 1, b'v', b'p', b'c']].concat();
    for (header, want) in [
        (v2(0x21, 0x11, &TCP4), Some(ends("192.0.2.1:56324", "198.51.100.2:443"))),
        (v2(0x21, 0x11, &aws), Some(ends("192.0.2.1:56324", "198.51.100.2:443"))),
        (v2(0x21, 0x21, &six), Some(ends("[::1]:1", "[::1]:2"))),
        (v2(0x21, 0x31, &[b'x'; 216]), None),
        (v2(0x21, 0x00, b"whatever"), None),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, b"skipped"), None),
    ] {
        let bytes = [&header[..], b"\x16\x03\x01"].concat();
        assert_eq!(read(&bytes), Ok(Start::Header { length: header.len(), ends: want }), "{header:?}");
    }
}

#[test]
fn a_checksum_must_fit() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
    let zeroed = v2(0x21, 0x11, &[&TCP4[..], &[CHECKSUM, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 0]].concat());
    let at = V2_HEAD + TCP4.len() + 3;
    let mut right = zeroed.clone();
    right[at..at + 4].copy_from_slice(&crc32c(zeroed.iter().copied()).to_be_bytes());
    assert!(matches!(read(&right), Ok(Start::Header { ends: Some(_), .. })));
    right[V2_HEAD] ^= 1;
    assert_eq!(read(&right), Err(NotAHeader("the PROXY protocol header does not fit its checksum")));
}

#[test]
fn what_is_not_a_header_is_refused_as_soon_as_that_is_sure() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(100));
    for bytes in [
        &b"G"[..],
        b"PROXI",
        b"proxy ",
        b"\r\n\r\nX",
        b"\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 x\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY \xff\r\n",
        long.as_bytes(),
        &v2(0x11, 0x11, &TCP4),
        &v2(0x22, 0x11, &TCP4),
        &v2(0x21, 0x12, &TCP4),
        &v2(0x21, 0x41, &TCP4),
        &v2(0x21, 0x11, &TCP4[..11]),
        &v2(0x21, 0x21, &TCP4),
        &v2(0x21, 0x11, &[&TCP4[..], &[1]].concat()),
        &v2(0x21, 0x11, &[&TCP4[..], &[1, 0, 2, 0]].concat()),
        &v2(0x21, 0x11, &[&TCP4[..], &[CHECKSUM, 0, 1, 0]].concat()),
        &[V2_START, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ] {
        assert!(read(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_is_written_is_read_back() {
    for (source, destination, family) in [
        ("192.0.2.1:56324", "198.51.100.2:443", "TCP4 192.0.2.1 198.51.100.2"),
        ("[2001:db8::1]:56324", "[2001:db8::2]:443", "TCP6 2001:db8::1 2001:db8::2"),
        ("[2001:db8::1]:56324", "198.51.100.2:443", "TCP6 2001:db8::1 ::ffff:198.51.100.2"),
    ] {
        let ends = ends(source, destination);
        let v1 = Preface { version: ProxyProtocol::V1, ends }.encode();
        assert_eq!(String::from_utf8(v1.clone()).unwrap(), format!("PROXY {family} 56324 443\r\n"));
        for bytes in [v1, Preface { version: ProxyProtocol::V2, ends }.encode()] {
            assert_eq!(read(&bytes), Ok(Start::Header { length: bytes.len(), ends: Some(ends) }));
        }
    }
}

#[tokio::test]
async fn a_header_is_taken_and_not_a_byte_more() {
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(), b"PROXY UNKNOWN\r\n".to_vec(), v2(0x21, 0x11, &TCP4)] {
        let (mut client, server) = duplex(1024);
        client.write_all(&[&header[..], b"hello"].concat()).await.unwrap();
        drop(client);
        let mut stream = Stream::Other(Box::pin(server));
        assert!(take(&mut stream).await.unwrap().is_some());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "hello");
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_is_told_from_one_that_says_nothing() {
    for (said, want) in [(&b""[..], Ok(None)), (b"PROXY TCP4", Err(io::ErrorKind::UnexpectedEof)), (b"GET / ", Err(io::ErrorKind::InvalidData))] {
        let (mut client, server) = duplex(1024);
        client.write_all(said).await.unwrap();
        drop(client);
        assert_eq!(take(&mut Stream::Other(Box::pin(server))).await.map_err(|error| error.kind()), want);
    }
}
