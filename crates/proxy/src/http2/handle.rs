//! How those who have to do with a stream read it, and end it when they are gone.

use super::reason::Reason;
use super::session::Line;
use super::stream::{Failure, Stream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Somebody's part in a stream. When the last is dropped, the stream is ended if it has not.
pub struct Handle {
    pub line: Rc<Line>,
    pub id: u32,
}

impl Handle {
    pub fn new(line: Rc<Line>, id: u32) -> Self {
        line.run(|session| {
            if let Some(stream) = session.streams.get_mut(&id) {
                stream.holders += 1;
            }
        });
        Self { line, id }
    }

    /// Resolves when the peer has reset the stream, or the connection is over.
    pub fn poll_failed(&self, cx: &Context<'_>) -> Poll<Failure> {
        self.line.run(|session| match session.streams.get_mut(&self.id) {
            None => Poll::Ready(Failure::Ended),
            Some(stream) => match &stream.failure {
                Some(failure) => Poll::Ready(failure.clone()),
                None => {
                    stream.wait(cx);
                    Poll::Pending
                }
            },
        })
    }

    pub fn reset(&self, reason: Reason) {
        self.line.with(|session| session.fail_stream(self.id, reason, Failure::Ended));
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(self.line.clone(), self.id)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.line.with(|session| {
            let Some(stream) = session.streams.get_mut(&self.id) else { return };
            stream.holders = stream.holders.saturating_sub(1);
            if stream.holders == 0 {
                session.forget(self.id);
            }
        });
    }
}

/// What is left to be sent of a message whose other half is read already.
pub trait Rest {
    fn poll(&mut self, handle: &Handle, cx: &mut Context<'_>) -> Poll<()>;
}

/// What comes in on a stream, read as it is asked for.
pub struct Received {
    handle: Handle,
    /// What comes is no body: after CONNECT the stream is a connection, if it is granted.
    bodiless: bool,
    pub rest: Option<Box<dyn Rest>>,
}

impl Received {
    pub fn new(handle: Handle) -> Self {
        Self { handle, bodiless: false, rest: None }
    }

    pub fn bodiless(handle: Handle) -> Self {
        Self { bodiless: true, ..Self::new(handle) }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { handle, rest, bodiless } = &mut *self;
        if *bodiless {
            return Poll::Ready(None);
        }
        if rest.as_mut().is_some_and(|unsent| unsent.poll(handle, cx).is_ready()) {
            *rest = None;
        }
        handle.line.with(|session| match session.poll_data(handle.id, cx) {
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Poll::Ready(Some(Err(failure))) => Poll::Ready(Some(Err(failure.to_string().into()))),
            Poll::Ready(None) => {
                let trailers = session.streams.get_mut(&handle.id).and_then(|stream| stream.trailers.take());
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Poll::Pending => Poll::Pending,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.bodiless || self.handle.line.run(|session| session.streams.get(&self.handle.id).is_none_or(Stream::is_read))
    }

    fn size_hint(&self) -> SizeHint {
        if self.bodiless {
            return SizeHint::with_exact(0);
        }
        self.handle.line.run(|session| session.streams.get(&self.handle.id).map_or(SizeHint::with_exact(0), Stream::size_hint))
    }
}
