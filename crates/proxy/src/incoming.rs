//! Bodies as they come in, whatever protocol brings them.

use crate::grpc_web;
use crate::http1;
use crate::http2::{self, client::Answered};
use crate::io::Io;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub enum Incoming {
    /// Of an HTTP/1 client.
    Http1Request(http1::server::RequestBody),
    /// Of an HTTP/1 upstream, with the connection that it comes on.
    Http1Response(http1::client::ResponseBody),
    Http2(http2::Received),
    /// Of a client of gRPC-Web that sends text.
    WebText(Box<grpc_web::Decoded<Incoming>>),
    /// Made here, whole.
    Made(Option<Bytes>),
    /// What an HTTP/2 stream became when the upstream granted a CONNECT.
    Switched(Box<Io>),
}

impl Incoming {
    /// The response of an HTTP/2 upstream. A granted CONNECT reads as `101 Switching Protocols`, whose connection is the stream.
    pub fn of_http2(answered: Answered) -> Response<Self> {
        match answered {
            Answered::Body(response) => response.map(Self::Http2),
            Answered::Stream(response, stream) => {
                let mut response = response.map(|()| Self::Switched(Box::new(stream)));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response
            }
        }
    }

    /// After `101 Switching Protocols` from an upstream: the connection.
    pub fn into_io(self) -> Option<Io> {
        match self {
            Self::Http1Response(body) => body.into_io(),
            Self::Switched(io) => Some(*io),
            Self::Http1Request(_) | Self::Http2(_) | Self::WebText(_) | Self::Made(_) => None,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Http1Request(body) => Pin::new(body).poll_frame(cx),
            Self::Http1Response(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
            Self::WebText(body) => Pin::new(body).poll_frame(cx),
            Self::Made(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1Request(body) => body.is_end_stream(),
            Self::Http1Response(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::WebText(body) => body.is_end_stream(),
            Self::Made(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1Request(body) => body.size_hint(),
            Self::Http1Response(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::WebText(body) => body.size_hint(),
            Self::Made(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Switched(_) => SizeHint::with_exact(0),
        }
    }
}
