//! A socket below TLS that reads far ahead while much comes. TLS asks for 4 KiB at a time, and each would be a system call.

use bytes::{Buf, BytesMut};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use taut_wire::net::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What is read at once while much comes: eight TLS records.
const MUCH: usize = 128 * 1024;
/// When less than this comes at once, what comes next is read as it is asked for.
const LITTLE: usize = 8 * 1024;

pub struct Ahead {
    stream: Stream,
    /// Read, and not asked for yet. No memory is held while nothing comes.
    ahead: BytesMut,
    /// All that was asked for last came at once: there is more.
    flows: bool,
}

impl Ahead {
    pub fn new(stream: Stream) -> Self {
        Self { stream, ahead: BytesMut::new(), flows: false }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(MUCH);
        // It keeps nothing between two polls.
        match pin!(self.stream.read_buf(&mut self.ahead)).poll(cx)? {
            Poll::Ready(read) => {
                self.flows = read >= LITTLE;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                self.ahead = BytesMut::new();
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            if !this.flows || buf.remaining() >= MUCH {
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.flows = buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_fill(cx))?;
        }
        let taken = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..taken]);
        this.ahead.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    /// Reads in pieces as TLS does; says how much lay ahead at most.
    async fn read_all(near: tokio::io::DuplexStream) -> (Vec<u8>, usize) {
        let mut ahead = Ahead::new(Stream::Other(Box::pin(near)));
        let (mut all, mut most, mut piece) = (Vec::new(), 0, [0; 4096]);
        loop {
            let read = ahead.read(&mut piece).await.unwrap();
            most = most.max(ahead.ahead.len());
            if read == 0 {
                assert_eq!(ahead.ahead.len(), 0);
                return (all, most);
            }
            all.extend_from_slice(&piece[..read]);
        }
    }

    #[tokio::test]
    async fn much_is_read_in_few_reads_and_little_as_it_is_asked_for() {
        for (size, lies_ahead) in [(0, 0), (100, 0), (4096, 0), (5000, 0), (1_000_000, MUCH - 4096)] {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            let said: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            far.write_all(&said).await.unwrap();
            drop(far);
            let (all, most) = read_all(near).await;
            assert!(all == said, "{size}");
            assert!(most >= lies_ahead && (most > 0) == (lies_ahead > 0), "{size}: {most}");
        }
    }

    #[tokio::test]
    async fn nothing_is_held_while_nothing_comes() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut ahead = Ahead::new(Stream::Other(Box::pin(near)));
        far.write_all(&[1; 100_000]).await.unwrap();
        let mut piece = [0; 4096];
        let mut left = 100_000;
        while left > 0 {
            left -= ahead.read(&mut piece).await.unwrap();
        }
        assert!(ahead.read(&mut piece).now_or_never().is_none());
        assert_eq!(ahead.ahead.capacity(), 0);
    }
}
