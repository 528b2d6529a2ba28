//! Reads more from a socket at once than its reader asks for, as long as there is more: TLS asks for a record at a time, and each
//! read costs a system call and an acknowledgement on the network.

use bytes::{Buf, BytesMut};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use taut_wire::net::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const MOST: usize = 128 * 1024;

pub struct ReadAhead {
    stream: Stream,
    /// Read, and not asked for yet. Held only while there is much to read.
    ahead: BytesMut,
    /// The last read took all that was asked for, so there may be more.
    more: bool,
}

impl From<Stream> for ReadAhead {
    fn from(stream: Stream) -> Self {
        Self { stream, ahead: BytesMut::new(), more: false }
    }
}

impl ReadAhead {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.reserve(MOST);
        // It keeps nothing between two polls.
        pin!(self.stream.read_buf(&mut self.ahead)).poll(cx)
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            if !this.more {
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.more = buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            let filled = this.poll_fill(cx);
            if !matches!(filled, Poll::Ready(Ok(1..))) {
                (this.ahead, this.more) = (BytesMut::new(), false);
            }
            ready!(filled)?;
        }
        let take = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..take]);
        this.ahead.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    #[tokio::test]
    async fn what_is_read_is_what_came_in_any_sizes() {
        for seed in 0..50 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let (mut far, near) = duplex(300_000);
            let said: Vec<u8> = (0..dice.usize(..600_000)).map(|at| (at % 251) as u8).collect();
            let (sent, mut sizes) = (said.clone(), dice.fork());
            let writing = tokio::spawn(async move {
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let size = sizes.usize(1..100_000).min(rest.len());
                    far.write_all(&rest[..size]).await.unwrap();
                    rest = &rest[size..];
                }
            });
            let (mut reader, mut came) = (ReadAhead::from(Stream::Other(Box::pin(near))), Vec::new());
            loop {
                let mut piece = vec![0; dice.usize(1..20_000)];
                match reader.read(&mut piece).await.unwrap() {
                    0 => break,
                    count => came.extend_from_slice(&piece[..count]),
                }
            }
            writing.await.unwrap();
            assert!(came == said && reader.ahead.capacity() == 0, "seed {seed}");
        }
    }
}
