//! A response's body as gzip: nothing waits in here for more to come, and one that breaks off is not taken for whole.

use crate::incoming::{BoxError, Incoming};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What one turn reads, so that a response that never ends takes turns with others.
const TURN: usize = 64 * 1024;
/// Enough to send on.
const CHUNK: usize = 16 * 1024;

/// A body as gzip. What has come is sent on as soon as nothing more is there.
pub struct Gzip {
    body: Incoming,
    encoder: Option<GzEncoder<Vec<u8>>>,
    trailers: Option<HeaderMap>,
    /// Bytes of the body that were read.
    read: u64,
    /// Something was written that is not sent on yet.
    unsent: bool,
    _place: Rc<()>,
}

impl Gzip {
    /// `place` is held until the body has ended.
    pub fn new(body: Incoming, place: Rc<()>) -> Self {
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        Self { body, encoder, trailers: None, read: 0, unsent: false, _place: place }
    }

    pub fn read(&self) -> u64 {
        self.read
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Frame<Bytes>, BoxError> {
        self.trailers = trailers;
        let rest = self.encoder.take().map(GzEncoder::finish).transpose()?;
        Ok(Frame::data(rest.unwrap_or_default().into()))
    }
}

impl Body for Gzip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let gzip = &mut *self;
        let mut turn = 0;
        loop {
            let Some(encoder) = &mut gzip.encoder else { return Poll::Ready(gzip.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))) };
            if encoder.get_ref().len() >= CHUNK {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(encoder.get_mut()).into()))));
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match Pin::new(&mut gzip.body).poll_frame(cx) {
                Poll::Pending if gzip.unsent => {
                    gzip.unsent = false;
                    encoder.flush()?;
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(encoder.get_mut()).into()))));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Some(gzip.end(None))),
                Poll::Ready(Some(Err(error))) => {
                    // Without its end, so that nobody takes it for whole.
                    gzip.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        encoder.write_all(&data)?;
                        gzip.read += data.len() as u64;
                        gzip.unsent = true;
                        turn += data.len();
                    }
                    Err(frame) => return Poll::Ready(Some(gzip.end(frame.into_trailers().ok()))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
