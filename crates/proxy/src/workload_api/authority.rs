//! Callers that name the socket's path as the authority, as gRPC's C core (Python, C++, Ruby) does: `tmp%2Fapi.sock`. That is no authority of
//! a URI (RFC 3986 section 3.2.2), and hyper ends such streams, so the percent signs are replaced on the way in; nobody here looks at it.

use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::{Connected, UdsConnectInfo};

/// RFC 9113 section 3.4, and the head of a frame (section 4.1).
const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Longer frames than may come are not waited for: the server refuses them by itself.
const LONGEST: usize = 16 << 10;

/// A caller's connection.
pub struct Caller {
    stream: UnixStream,
    walk: Walk,
}

impl Caller {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, walk: Walk::default() }
    }
}

/// What a caller sends, frame by frame.
struct Walk {
    /// Read, and not looked at yet.
    raw: BytesMut,
    /// Looked at, and not handed on yet.
    mended: BytesMut,
    /// Bytes to come that nothing is looked for in.
    passing: usize,
}

impl Default for Walk {
    fn default() -> Self {
        Self { raw: BytesMut::new(), mended: BytesMut::new(), passing: PREFACE }
    }
}

impl Walk {
    /// Hands on what is whole.
    fn look(&mut self) {
        loop {
            let passing = self.passing.min(self.raw.len());
            self.mended.unsplit(self.raw.split_to(passing));
            self.passing -= passing;
            if self.passing > 0 || self.raw.len() < HEAD {
                return;
            }
            let length = usize::from(self.raw[0]) << 16 | usize::from(self.raw[1]) << 8 | usize::from(self.raw[2]);
            let whole = HEAD + length;
            if self.raw[3] != HEADERS || length > LONGEST {
                self.passing = whole;
            } else if self.raw.len() < whole {
                return;
            } else {
                mend(&mut self.raw[..whole]);
                self.passing = whole;
            }
        }
    }
}

/// A whole HEADERS frame (RFC 9113 section 6.2).
fn mend(frame: &mut [u8]) {
    let flags = frame[4];
    let start = HEAD + usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    if let Some(block) = frame.get_mut(start..) {
        // What cannot be walked is the server's to refuse.
        let _ = mend_block(block);
    }
}

/// Field by field (RFC 7541 section 6). `None`: it is none, or ends too soon.
fn mend_block(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while at < block.len() {
        let prefix = match block[at] {
            // All of it is in a table.
            0x80.. => {
                number(block, &mut at, 7)?;
                continue;
            }
            0x40.. => 6,
            // A change of the table's size.
            0x20.. => {
                number(block, &mut at, 5)?;
                continue;
            }
            _ => 4,
        };
        // 1 is `:authority` in the static table (appendix A).
        let mut is_authority = match number(block, &mut at, prefix)? {
            0 => {
                let (coded, name) = text(block, &mut at)?;
                !coded && block.get(name)? == b":authority"
            }
            index => index == 1,
        };
        let (coded, value) = text(block, &mut at)?;
        is_authority &= !coded;
        if is_authority {
            block.get_mut(value)?.iter_mut().filter(|byte| **byte == b'%').for_each(|byte| *byte = b'-');
        }
    }
    Some(())
}

/// RFC 7541 section 5.1.
fn number(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541 section 5.2: whether it is coded, and where it is.
fn text(block: &[u8], at: &mut usize) -> Option<(bool, std::ops::Range<usize>)> {
    let coded = block.get(*at)? & 0x80 != 0;
    let length = number(block, at, 7)?;
    let range = *at..*at + length;
    *at = range.end;
    Some((coded, range))
}

impl AsyncRead for Caller {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, walk } = &mut *self;
        while walk.mended.is_empty() {
            let mut piece = [0; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                // The end. Of a frame that broke off the server makes what it makes of any.
                walk.mended = walk.raw.split();
                break;
            }
            walk.raw.extend_from_slice(piece.filled());
            walk.look();
        }
        let count = walk.mended.len().min(out.remaining());
        out.put_slice(&walk.mended[..count]);
        walk.mended.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Caller {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Caller {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

/// Feeds bytes as they come from a caller: however they come, as many go on, and only percent signs may be others.
pub fn fuzz(bytes: &[u8]) {
    let whole = looked_at(bytes, bytes.len().max(1));
    assert_eq!(looked_at(bytes, 3), whole, "it depends on the pieces");
    assert!(bytes.iter().zip(&whole).all(|(came, went)| came == went || (*came, *went) == (b'%', b'-')), "something else was changed");
    assert_eq!(bytes.len(), whole.len());
}

fn looked_at(bytes: &[u8], step: usize) -> Vec<u8> {
    let mut walk = Walk::default();
    for piece in bytes.chunks(step) {
        walk.raw.extend_from_slice(piece);
        walk.look();
    }
    walk.mended.unsplit(walk.raw);
    walk.mended.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As grpcio 1.85 sends it, after the preface and its settings.
    fn greeting(flags: u8, before: &[u8], authority: &str) -> Vec<u8> {
        let mut block = b"@\x05:path\x01/@\x0a:authority".to_vec();
        block.push(authority.len() as u8);
        block.extend(authority.as_bytes());
        block.extend(b"\x83\x86@\x02te\x03a%b");
        let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        all.extend([0, 0, (before.len() + block.len()) as u8, HEADERS, 0x4 | flags, 0, 0, 0, 1]);
        all.extend(before);
        all.extend(block);
        all.extend(b"\0\0\x02\0\x01\0\0\0\x01%%");
        all
    }

    #[test]
    fn the_path_in_an_authority_is_mended_and_nothing_else() {
        for (flags, before) in [(0, &[][..]), (PRIORITY, &[0, 0, 0, 0, 7]), (PADDED, &[0])] {
            let came = greeting(flags, before, "tmp%2Fapi%2Fx.sock");
            assert_eq!(looked_at(&came, came.len()), greeting(flags, before, "tmp-2Fapi-2Fx.sock"));
            fuzz(&came);
            for end in 0..came.len() {
                fuzz(&came[..end]);
            }
        }
        let came = greeting(0, &[], "localhost");
        assert_eq!(looked_at(&came, 1), came);
    }
}
