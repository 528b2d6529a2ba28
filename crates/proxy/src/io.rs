//! One byte stream, whatever carries it: a socket, TLS over one, or a stream of HTTP/2; with bytes that were read ahead.

use crate::ahead::Ahead;
use crate::leash::{Half, Leash};
use crate::tls::Spoken;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use taut_wire::net::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// What is encrypted at most before it is written.
const ENCRYPTED: usize = 256 * 1024;

pub struct Io {
    /// Bytes that were looked at to learn the protocol; read first.
    ahead: Bytes,
    carrier: Carrier,
}

enum Carrier {
    Plain(Stream),
    TlsServer(Box<server::TlsStream<Ahead>>),
    TlsClient(Box<client::TlsStream<Ahead>>),
    /// To a peer of the mesh.
    Leashed(Box<Leashed>),
    Strand(Box<dyn Strand>),
}

/// TLS with a peer that must go on being believed.
struct Leashed {
    stream: client::TlsStream<Ahead>,
    leash: Rc<Leash>,
}

/// A stream of a connection that carries many. What it brings and takes lies in pieces, which need not be copied.
pub trait Strand: AsyncRead + AsyncWrite + Unpin {
    /// Reads what has come, in one piece; empty at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;
    /// Writes the first bytes of `chunk`, and takes them from it; says how many.
    fn poll_pass(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>>;
}

impl From<Stream> for Io {
    fn from(stream: Stream) -> Self {
        Self { ahead: Bytes::new(), carrier: Carrier::Plain(stream) }
    }
}

impl From<server::TlsStream<Ahead>> for Io {
    fn from(mut stream: server::TlsStream<Ahead>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
        Self { ahead: Bytes::new(), carrier: Carrier::TlsServer(Box::new(stream)) }
    }
}

impl From<client::TlsStream<Ahead>> for Io {
    fn from(mut stream: client::TlsStream<Ahead>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
        Self { ahead: Bytes::new(), carrier: Carrier::TlsClient(Box::new(stream)) }
    }
}

impl Io {
    /// A connection to a peer, for as long as it is believed.
    pub fn leashed(mut stream: client::TlsStream<Ahead>, leash: Rc<Leash>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
        Self { ahead: Bytes::new(), carrier: Carrier::Leashed(Box::new(Leashed { stream, leash })) }
    }

    pub fn over(strand: impl Strand + 'static) -> Self {
        Self { ahead: Bytes::new(), carrier: Carrier::Strand(Box::new(strand)) }
    }

    /// What the other end of a connection that was opened to it has agreed to speak. `None`: nothing that the mesh has a name for.
    pub fn spoken(&self) -> Option<Spoken> {
        match &self.carrier {
            Carrier::TlsClient(stream) => stream.get_ref().1.alpn_protocol().and_then(Spoken::from_alpn),
            Carrier::Leashed(leashed) => leashed.stream.get_ref().1.alpn_protocol().and_then(Spoken::from_alpn),
            Carrier::Plain(_) | Carrier::TlsServer(_) | Carrier::Strand(_) => None,
        }
    }

    /// Reads until `enough` says so of the bytes so far, which stay to be read again. Returns them; fewer than enough
    /// at the end of the stream or when `limit` bytes are there.
    pub async fn peek(&mut self, limit: usize, mut enough: impl FnMut(&[u8]) -> bool) -> io::Result<&[u8]> {
        while self.ahead.len() < limit && (self.ahead.is_empty() || !enough(&self.ahead)) {
            let mut more = BytesMut::with_capacity(limit);
            // Cancel-safe: nothing is taken from the carrier unless this read completes.
            if self.carrier.read_buf(&mut more).await? == 0 {
                break;
            }
            self.ahead = match self.ahead.is_empty() {
                true => more.freeze(),
                false => {
                    let mut both = BytesMut::from(&self.ahead[..]);
                    both.extend_from_slice(&more);
                    both.freeze()
                }
            };
        }
        Ok(&self.ahead)
    }

    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Puts back what was read, to be read again.
    pub fn unread(&mut self, read: Bytes) {
        self.ahead = match (self.ahead.is_empty(), read.is_empty()) {
            (true, _) => read,
            (_, true) => return,
            (false, false) => [&read[..], &self.ahead[..]].concat().into(),
        };
    }

    /// Reads what has come, in one piece: at most about `size` bytes, into `buffer` unless they lie somewhere already. Empty at the end.
    pub fn poll_take(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut, size: usize) -> Poll<io::Result<Bytes>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.ahead)));
        }
        if let Carrier::Strand(strand) = &mut self.carrier {
            return strand.poll_take(cx);
        }
        buffer.reserve(size);
        let mut room = buffer.limit(size);
        // It keeps nothing between two polls.
        ready!(pin!(self.carrier.read_buf(&mut room)).poll(cx))?;
        Poll::Ready(Ok(buffer.split().freeze()))
    }

    /// Writes the first bytes of `chunk`, and takes them from it; says how many.
    pub fn poll_pass(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        if let Carrier::Strand(strand) = &mut self.carrier {
            return strand.poll_pass(cx, chunk);
        }
        let count = ready!(Pin::new(&mut self.carrier).poll_write(cx, chunk))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        chunk.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Before this is dropped: the peer is to take it for cut, not for ended. TLS tells the two apart by its close_notify
    /// (RFC 8446 section 6.1), which nobody sends for what is merely dropped, and HTTP/2 by its streams' resets.
    pub fn cut(&mut self) {
        if let Carrier::Plain(Stream::Tcp(stream)) = &self.carrier {
            // A system that does not reset closes instead, and cannot be helped.
            let _ = stream.set_zero_linger();
        }
    }

    /// Whether this is a TCP socket, once what was read ahead has been taken.
    pub fn is_socket(&self) -> bool {
        matches!(self.carrier, Carrier::Plain(Stream::Tcp(_)))
    }

    /// The TCP socket that this is.
    ///
    /// # Errors
    /// It is something else: here it is again.
    pub fn into_plain(self) -> Result<TcpStream, Self> {
        match self.carrier {
            Carrier::Plain(Stream::Tcp(stream)) if self.ahead.is_empty() => Ok(stream),
            carrier => Err(Self { ahead: self.ahead, carrier }),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let take = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..take]);
            self.ahead.advance(take);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.carrier).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_shutdown(cx)
    }
}

impl Leashed {
    fn read<T>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(Pin<&mut client::TlsStream<Ahead>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.leash.holds()?;
        let outcome = read(Pin::new(&mut self.stream), cx);
        self.leash.noting(Half::Reads, cx, outcome)
    }

    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut client::TlsStream<Ahead>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.leash.holds()?;
        let outcome = write(Pin::new(&mut self.stream), cx);
        self.leash.noting(Half::Writes, cx, outcome)
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::TlsServer(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::TlsClient(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Leashed(leashed) => leashed.read(cx, |stream, cx| stream.poll_read(cx, buf)),
            Self::Strand(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::TlsServer(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::TlsClient(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Leashed(leashed) => leashed.write(cx, |stream, cx| stream.poll_write(cx, buf)),
            Self::Strand(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::TlsServer(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::TlsClient(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Leashed(leashed) => leashed.write(cx, |stream, cx| stream.poll_write_vectored(cx, bufs)),
            Self::Strand(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::TlsServer(stream) => stream.is_write_vectored(),
            Self::TlsClient(stream) => stream.is_write_vectored(),
            Self::Leashed(leashed) => leashed.stream.is_write_vectored(),
            Self::Strand(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsServer(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsClient(stream) => Pin::new(stream).poll_flush(cx),
            Self::Leashed(leashed) => leashed.write(cx, |stream, cx| stream.poll_flush(cx)),
            Self::Strand(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsServer(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsClient(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Leashed(leashed) => leashed.write(cx, |stream, cx| stream.poll_shutdown(cx)),
            Self::Strand(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
