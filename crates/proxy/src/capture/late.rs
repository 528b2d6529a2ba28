//! Finds HTTP in a byte stream that is already being carried as something else: by the end of its first line.

/// Longest line ending looked at: ` HTTP/1.1` with a carriage return and some blanks that lenient servers take.
const TAIL: usize = 16;

/// Looks at a stream as it passes, until its first line that is not empty has ended.
///
/// What passed before the line's end does no harm: no server acts on half a request line.
#[derive(Debug, Default)]
pub struct FirstLine {
    tail: Vec<u8>,
    over: bool,
}

impl FirstLine {
    /// Goes on where [`unended`](Self::unended) of another process has left off.
    pub fn resume(tail: Vec<u8>) -> Self {
        Self { tail, over: false }
    }

    /// The last bytes of a first line that has not ended; `None` when there is nothing to look for any more.
    pub fn unended(&self) -> Option<Vec<u8>> {
        (!self.over).then(|| self.tail.clone())
    }

    /// Whether these next bytes end a request line (RFC 9112 section 3; the preface of HTTP/2 looks like one too).
    pub fn ends_as_http(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                _ if self.over => return false,
                b'\n' => {
                    // RFC 9112 section 2.2: servers skip empty lines before a request.
                    self.over = !self.tail.iter().all(u8::is_ascii_whitespace);
                    if names_http(&self.tail) {
                        return true;
                    }
                    self.tail.clear();
                }
                _ => {
                    if self.tail.len() >= TAIL {
                        self.tail.remove(0);
                    }
                    self.tail.push(*byte);
                }
            }
        }
        false
    }
}

/// Whether it ends with ` HTTP/1.1`, ` HTTP/2.0`, or another version.
fn names_http(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let before = line.len().checked_sub(b" HTTP/1.1".len());
    match before.map(|before| &line[before..]) {
        Some([blank, name @ .., _, b'.', _]) => blank.is_ascii_whitespace() && name.eq_ignore_ascii_case(b"HTTP/"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_known_by_its_end() {
        for (stream, want) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"\r\n\nGET / HTTP/1.1\r\n", true),
            (b"get\t/a/very/long/path/indeed HTTP/1.0 \n", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM", true),
            (b"GET / HTTP/1.1", false),
            (b"EHLO mail.example.com\r\nGET / HTTP/1.1\r\n", false),
            (b"OPTIONS rtsp://a RTSP/1.0\r\n", false),
            (b"GET /XHTTP/1.1\r\n", false),
            (b"\x16\x03\x01\n", false),
            (b"\r\n\r\n", false),
        ] {
            let mut line = FirstLine::default();
            assert_eq!(line.ends_as_http(stream), want, "{:?}", String::from_utf8_lossy(stream));
            // The same, byte by byte.
            let mut line = FirstLine::default();
            assert_eq!(stream.iter().any(|byte| line.ends_as_http(&[*byte])), want, "{:?}", String::from_utf8_lossy(stream));
            // The same, in another process half way.
            let (first, second) = stream.split_at(stream.len() / 2);
            let mut line = FirstLine::default();
            let early = line.ends_as_http(first);
            let late = line.unended().is_some_and(|tail| FirstLine::resume(tail).ends_as_http(second));
            assert_eq!(early || late, want, "{:?}", String::from_utf8_lossy(stream));
        }
    }
}
