//! The chunked transfer coding (RFC 9112 section 7.1), read strictly: what a lenient reader could take for another size is refused.

use super::MOST_FIELDS;
use super::framing::{BadBody, Decoded};
use super::head::field;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};
use std::io::Write;

/// Longest line with a chunk's size. Extensions are read over.
const LONGEST_LINE: usize = 1024;
/// Extensions of one body: they cost work and carry nothing.
const MOST_EXTENSION_BYTES: usize = 16 * 1024;
const TRAILER_BYTES: usize = 16 * 1024;

/// Fields that must not come after the body they are about (RFC 9110 section 6.5.1), or would be taken for the proxy's.
static NOT_IN_TRAILERS: [HeaderName; 23] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::HOST,
    header::EXPECT,
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::COOKIE,
    header::SET_COOKIE,
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-taut-source"),
    HeaderName::from_static("x-taut-destination"),
    HeaderName::from_static("x-taut-reason"),
    HeaderName::from_static("x-taut-load"),
    HeaderName::from_static("x-taut-again"),
];

/// Takes away what trailers must not say, whatever protocol brought them.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    for name in &NOT_IN_TRAILERS {
        trailers.remove(name);
    }
}

#[derive(Debug, Default)]
pub struct Chunks {
    next: Next,
    extensions: usize,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Chunks {
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, BadBody> {
        loop {
            match &mut self.next {
                Next::Size => {
                    let Some(line) = line(read, LONGEST_LINE, "a chunk's size line is too long")? else { return Ok(Decoded::More) };
                    let (size, extension) = size(&line)?;
                    self.extensions += extension;
                    if self.extensions > MOST_EXTENSION_BYTES {
                        return Err(BadBody::TooLarge("the chunks have too many extensions"));
                    }
                    self.next = if size == 0 { Next::Trailers } else { Next::Data(size) };
                }
                Next::Data(left) => {
                    if read.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.next = Next::DataEnd;
                    }
                    return Ok(Decoded::Data(read.split_to(take).freeze()));
                }
                Next::DataEnd => match read.get(..2) {
                    Some(b"\r\n") => {
                        read.advance(2);
                        self.next = Next::Size;
                    }
                    Some(_) => return Err(BadBody::Chunk("a chunk is longer than its size says")),
                    None => return Ok(Decoded::More),
                },
                Next::Trailers => return trailers(read),
            }
        }
    }
}

/// The next line without its end, when it is there as a whole.
fn line(read: &mut BytesMut, longest: usize, too_long: &'static str) -> Result<Option<BytesMut>, BadBody> {
    let searched = &read[..read.len().min(longest)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return if read.len() >= longest { Err(BadBody::TooLarge(too_long)) } else { Ok(None) };
    };
    if end == 0 || read[end - 1] != b'\r' {
        return Err(BadBody::Chunk("a line of the chunked body ends without CR"));
    }
    let mut line = read.split_to(end + 1);
    line.truncate(end - 1);
    Ok(Some(line))
}

/// A chunk's size, and how many bytes of extensions follow it.
fn size(line: &[u8]) -> Result<(u64, usize), BadBody> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let extension = match rest.first() {
        None | Some(b';') => rest,
        // RFC 9112 section 7.1.1 has senders not send this white space, and readers suffer it, before an extension only.
        Some(b' ' | b'\t') if rest.trim_ascii_start().first() == Some(&b';') => rest,
        Some(_) => return Err(BadBody::Chunk("a chunk's size is not a hexadecimal number")),
    };
    if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(BadBody::Chunk("a chunk's extension holds control characters"));
    }
    if digits.is_empty() || digits.len() > 15 {
        return Err(BadBody::Chunk("a chunk's size is missing or too large"));
    }
    let size = digits.iter().fold(0_u64, |size, digit| size * 16 + u64::from((*digit as char).to_digit(16).unwrap_or(0)));
    Ok((size, extension.len()))
}

fn trailers(read: &mut BytesMut) -> Result<Decoded, BadBody> {
    match read.get(..2) {
        None => return Ok(Decoded::More),
        Some(b"\r\n") => {
            read.advance(2);
            return Ok(Decoded::End);
        }
        Some(_) => {}
    }
    let searched = &read[..read.len().min(TRAILER_BYTES)];
    let Some(end) = memchr::memmem::find(searched, b"\r\n\r\n") else {
        return if read.len() >= TRAILER_BYTES { Err(BadBody::TooLarge("the trailer section is too large")) } else { Ok(Decoded::More) };
    };
    let section = read.split_to(end + 4).freeze();
    parse(&section).map(Decoded::Trailers)
}

fn parse(section: &Bytes) -> Result<HeaderMap, BadBody> {
    let bad = BadBody::Chunk("the trailer section is not made of fields");
    if memchr::memchr_iter(b'\n', section).any(|end| end == 0 || section[end - 1] != b'\r') {
        return Err(bad);
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields) else { return Err(bad) };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for parsed in fields {
        let (name, value) = field(section, parsed).map_err(|_| bad)?;
        if !NOT_IN_TRAILERS.contains(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

/// Announces a chunk of `length` bytes, which are followed by CRLF.
pub fn begin(out: &mut BytesMut, length: usize) {
    let mut line = [0_u8; 18];
    let mut rest = &mut line[..];
    // A usize has at most 16 hexadecimal digits.
    let _ = write!(rest, "{length:x}\r\n");
    let left = rest.len();
    out.extend_from_slice(&line[..line.len() - left]);
}

/// The last chunk, with the fields that come after the body.
pub fn end(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| !NOT_IN_TRAILERS.contains(name)) {
        super::head::write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoding = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// All data and the trailers of a body that comes in pieces of `step` bytes, and what is left over.
    fn decode(body: &[u8], step: usize) -> Result<Decoding, BadBody> {
        let (mut chunks, mut read, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
        let mut pieces = body.chunks(step);
        loop {
            match chunks.decode(&mut read)? {
                Decoded::Data(piece) => data.extend_from_slice(&piece),
                Decoded::Trailers(trailers) => return Ok((data, Some(trailers), [&read, pieces.collect::<Vec<_>>().concat().as_slice()].concat())),
                Decoded::End => return Ok((data, None, [&read, pieces.collect::<Vec<_>>().concat().as_slice()].concat())),
                Decoded::More => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => return Err(BadBody::Cut),
                },
            }
        }
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let body = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0\r\nx-sum: 1\r\nContent-Length: 9\r\n\r\nGET /next";
        for step in [1, 2, 3, 7, 100] {
            let (data, trailers, rest) = decode(body, step).unwrap();
            let trailers = trailers.unwrap();
            assert_eq!((data.as_slice(), rest.as_slice()), (&b"hello world"[..], &b"GET /next"[..]), "{step}");
            assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, &b"1"[..]));
        }
        assert_eq!(decode(b"00\r\n\r\n", 1).unwrap(), (vec![], None, vec![]));
    }

    #[test]
    fn a_size_that_two_readers_could_read_differently_is_refused() {
        for body in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5 \r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"5_0\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\nhello",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"5;a\0b\r\nhello\r\n0\r\n\r\n",
            b"0\r\nx: 1\n\r\n\r\n",
            b"0\r\n x: 1\r\n\r\n",
            b"0\r\nx y: 1\r\n\r\n",
        ] {
            let refused = decode(body, 100);
            assert!(matches!(refused, Err(BadBody::Chunk(_))), "{:?} {refused:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = "e".repeat(900);
        let body = format!("1;{extension}\r\nx\r\n").repeat(20);
        assert!(matches!(decode(body.as_bytes(), 5000), Err(BadBody::TooLarge(_))));
        let long = format!("1;{}", "e".repeat(2000));
        assert!(matches!(decode(long.as_bytes(), 5000), Err(BadBody::TooLarge(_))));
        let trailers = format!("0\r\nx: {}", "v".repeat(TRAILER_BYTES));
        assert!(matches!(decode(trailers.as_bytes(), 5000), Err(BadBody::TooLarge(_))));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut out = BytesMut::new();
        for data in [&b"a"[..], &[b'x'; 70_000]] {
            begin(&mut out, data.len());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
        end(&mut out, Some(&HeaderMap::from_iter([(HeaderName::from_static("x-a"), "1".parse().unwrap())])));
        let (data, trailers, rest) = decode(&out, 999).unwrap();
        assert_eq!((data.len(), trailers.unwrap().len(), rest.len()), (70_001, 1, 0));
    }
}
