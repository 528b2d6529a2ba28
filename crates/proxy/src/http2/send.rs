//! Sends a body on a stream, as its windows allow.

use super::handle::{Handle, Rest};
use super::head;
use super::reason::Reason;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body was not sent as a whole.
pub enum Unsent {
    /// The stream ended; it says why.
    Stream,
    /// The body itself broke off; the stream was reset for it.
    Body(BoxError),
}

/// A body on its way out.
pub struct Sending<B> {
    body: Option<B>,
    piece: Bytes,
    trailers: Option<HeaderMap>,
    /// What was announced and has not been sent.
    left: Option<u64>,
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// `None`: the head has said that there is none.
    pub fn new(body: Option<B>) -> Self {
        let left = body.as_ref().and_then(|body| body.size_hint().exact());
        Self { body, piece: Bytes::new(), trailers: None, left }
    }

    pub fn is_over(&self) -> bool {
        self.body.is_none() && self.piece.is_empty() && self.trailers.is_none()
    }

    /// Ready when all is written, or cannot be.
    pub fn poll(&mut self, handle: &Handle, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            if !self.piece.is_empty() {
                let room = ready!(handle.line.run(|session| session.poll_room(handle.id, self.piece.len(), cx))).map_err(|_| Unsent::Stream)?;
                let last = room == self.piece.len() && self.trailers.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream);
                self.write(handle, room, last && !self.is_short_after(room));
                if last {
                    return Poll::Ready(self.ended(handle));
                }
                continue;
            }
            if let Some(trailers) = self.trailers.take() {
                if self.is_short_after(0) {
                    return Poll::Ready(self.ended(handle));
                }
                handle.line.with(|session| {
                    session.write_head(handle.id, true, |encoder, out| head::write_trailers(encoder, out, &trailers));
                });
                return Poll::Ready(self.ended(handle));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.body = None;
                    }
                },
                Some(Err(error)) => {
                    self.body = None;
                    handle.reset(Reason::InternalError);
                    return Poll::Ready(Err(Unsent::Body(error.into())));
                }
                None => {
                    ready!(handle.line.run(|session| session.poll_room(handle.id, 0, cx))).map_err(|_| Unsent::Stream)?;
                    self.write(handle, 0, !self.is_short_after(0));
                    return Poll::Ready(self.ended(handle));
                }
            }
        }
    }

    fn write(&mut self, handle: &Handle, length: usize, end: bool) {
        handle.line.with(|session| session.write_data(handle.id, &mut self.piece, length, end));
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
    }

    /// Whether what was announced is more than what there will have been when `length` bytes more are written.
    fn is_short_after(&self, length: usize) -> bool {
        self.left.is_some_and(|left| left > length as u64)
    }

    /// A body that is shorter than was announced is no whole one.
    fn ended(&mut self, handle: &Handle) -> Result<(), Unsent> {
        self.body = None;
        match self.left {
            Some(1..) => {
                handle.reset(Reason::InternalError);
                Err(Unsent::Body("the body is shorter than its Content-Length".into()))
            }
            _ => Ok(()),
        }
    }
}

impl<B> Rest for Sending<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    fn poll(&mut self, handle: &Handle, cx: &mut Context<'_>) -> Poll<()> {
        Sending::poll(self, handle, cx).map(|_| ())
    }
}
