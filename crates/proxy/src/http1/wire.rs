//! One HTTP/1 connection's bytes: what was read and not yet understood, and what is to be written.

use crate::io::Io;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// What is read at once at first: most requests fit.
const FIRST_READ: usize = 2 * 1024;
/// Less room than this is too little to read into.
const LEAST_READ: usize = 512;
/// What is read at once when a peer sends more than that.
const LARGEST_READ: usize = 64 * 1024;
/// Data up to this size is copied behind what is to be written, so that head and body leave in one write.
const COPIED: usize = 4 * 1024;
/// More than this is written out before more is taken.
const WRITTEN_AT: usize = 16 * 1024;
/// Of a message that is longer than this, no more is read at once than it takes to have it whole: the next begins in memory of its own.
const LONG: usize = 16 * 1024;
/// Pieces that leave in one write.
const PIECES: usize = 16;

pub struct Wire {
    io: Io,
    pub(crate) inbound: BytesMut,
    /// Where the search for the end of a head goes on.
    pub(super) searched: usize,
    outbound: Outbound,
    read_size: usize,
    ended: bool,
    /// Bytes have left since this was last set to false.
    pub(super) wrote: bool,
    /// All bytes that have left.
    flushed: u64,
}

/// Written in this order.
#[derive(Default)]
struct Outbound {
    /// Data that is not copied, and what goes before it.
    pieces: VecDeque<Bytes>,
    /// Bytes in them.
    queued: usize,
    text: BytesMut,
}

impl Wire {
    pub fn new(io: Io) -> Self {
        Self {
            io,
            inbound: BytesMut::new(),
            searched: 0,
            outbound: Outbound::default(),
            read_size: FIRST_READ,
            ended: false,
            wrote: false,
            flushed: 0,
        }
    }

    /// The stream below, with what was read ahead.
    pub fn into_io(mut self) -> Io {
        self.io.unread(self.inbound.split().freeze());
        self.io
    }

    /// Reads what there is; 0 at the end of the stream, also when asked again.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_fill_room(cx, LEAST_READ)
    }

    /// As [`Wire::poll_fill`], while a head that was read is still in use: makes do with what room is left behind it.
    pub(super) fn poll_fill_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_fill_room(cx, 1)
    }

    fn poll_fill_room(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let room = self.inbound.capacity() - self.inbound.len();
        // Heads that are being looked at hold the memory they came in: as long as there is room behind them, nothing is allocated.
        if room < least || (room < self.read_size && self.read_size > FIRST_READ) {
            self.inbound.reserve(self.read_size);
        }
        let room = self.inbound.capacity() - self.inbound.len();
        let read = ready!(pin!(self.io.read_buf(&mut self.inbound)).poll(cx))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        }
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// As [`Wire::poll_fill`], when it is known that the message which is being read is so many bytes long, and that they have not all come.
    pub(crate) fn poll_fill_message(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let missing = length.saturating_sub(self.inbound.len());
        if length <= LONG || missing == 0 || self.ended {
            return self.poll_fill(cx);
        }
        self.read_size = self.read_size.max(length.min(LARGEST_READ));
        self.inbound.reserve(missing);
        let mut room = (&mut self.inbound).limit(missing);
        // It keeps nothing between two polls.
        let read = ready!(pin!(self.io.read_buf(&mut room)).poll(cx))?;
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Whether the peer has neither closed nor said anything, as it should between two messages. Asks without waiting.
    pub fn is_quiet(&mut self) -> bool {
        self.inbound.is_empty() && self.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Lets go of memory that an idle connection does not need.
    pub fn rest(&mut self) {
        if self.inbound.is_empty() {
            self.inbound = BytesMut::new();
            self.read_size = FIRST_READ;
        }
        if self.outbound.is_empty() {
            self.outbound = Outbound::default();
        }
    }

    /// Where a head is written to.
    pub(crate) fn text(&mut self) -> &mut BytesMut {
        &mut self.outbound.text
    }

    /// Bytes that wait to be written.
    pub(crate) fn backlog(&self) -> usize {
        self.outbound.queued + self.outbound.text.len()
    }

    /// Bytes that have left since the connection was opened.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Whether more may be put in before [`Wire::poll_flush`].
    pub(super) fn has_room(&self) -> bool {
        self.outbound.pieces.is_empty() && self.outbound.text.len() < WRITTEN_AT
    }

    /// `tail` follows the data.
    pub(super) fn put(&mut self, mut data: Bytes, tail: &'static [u8]) {
        let length = data.len();
        self.put_first(&mut data, length);
        self.outbound.text.extend_from_slice(tail);
    }

    /// Takes the first `length` bytes off `data`. What is long is not copied.
    pub(crate) fn put_first(&mut self, data: &mut Bytes, length: usize) {
        if length <= COPIED {
            self.outbound.text.extend_from_slice(&data[..length]);
            data.advance(length);
        } else {
            self.outbound.push(data.split_to(length));
        }
    }

    /// Resolves when all is written.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = Pin::new(&mut self.io);
        while !self.outbound.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let written = match self.outbound.slices(&mut slices) {
                [one] => ready!(io.as_mut().poll_write(cx, one))?,
                several => ready!(io.as_mut().poll_write_vectored(cx, several))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.advance(written);
            self.wrote = true;
            self.flushed += written as u64;
        }
        io.poll_flush(cx)
    }

    /// Whether the peer has closed, and nothing is left to say.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.outbound.is_empty()
    }

    /// Lets the peer see that what it reads was cut: whoever drops this afterwards does not end it well.
    pub fn cut(&mut self) {
        self.io.cut();
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Outbound {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.text.is_empty()
    }

    fn push(&mut self, piece: Bytes) {
        self.queued += self.text.len() + piece.len();
        if !self.text.is_empty() {
            self.pieces.push_back(self.text.split().freeze());
        }
        self.pieces.push_back(piece);
    }

    /// What comes first, as far as there is room for it in `slices`.
    fn slices<'a, 'b>(&'a self, slices: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
        let text = Some(&self.text[..]).filter(|text| !text.is_empty());
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(self.pieces.iter().map(|piece| &piece[..]).chain(text)) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        &slices[..count]
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let part = written.min(piece.len());
            self.queued -= part;
            written -= part;
            if part < piece.len() {
                return piece.advance(part);
            }
            self.pieces.pop_front();
        }
        if written == self.text.len() {
            self.text.clear();
        } else {
            self.text.advance(written);
        }
    }
}
