//! Request bodies on their way to an upstream: streamed, counted, and kept as far as a retry or a mirror may need them.

use crate::fault::Kind;
use crate::http1::{BadBody, clean_trailers};
use crate::incoming::{BoxError, Incoming};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// How much of a request body is kept so that it can be sent again.
pub const KEPT_BYTES: usize = 64 * 1024;

/// The body of one request, read by one attempt at a time. `None`: there is none, as for most requests.
#[derive(Clone)]
pub struct Source(Option<Rc<RefCell<State>>>);

/// How much of what is read stays readable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// Up to [`KEPT_BYTES`].
    Some,
    /// Whoever reads knows when to stop.
    All,
}

/// Everything that is read stays readable, until dropped.
struct KeepsAll<'a>(&'a RefCell<State>, Keep);

impl<'a> KeepsAll<'a> {
    fn begin(state: &'a RefCell<State>) -> Self {
        let before = std::mem::replace(&mut state.borrow_mut().keep, Keep::All);
        Self(state, before)
    }
}

impl Drop for KeepsAll<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().keep = self.1;
    }
}

struct State {
    incoming: Option<Incoming>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    /// Bytes passed on that were not kept: the body cannot be sent again.
    lost: bool,
    keep: Keep,
    /// The client broke off, or said too much: what it did.
    broken: Option<Kind>,
    /// The most bytes that it may have.
    most: u64,
    bytes: u64,
    /// The attempt that reads now; bodies of earlier ones end with an error.
    reader: u32,
}

impl Source {
    pub fn new(incoming: Incoming) -> Self {
        Self((!incoming.is_end_stream()).then(|| Rc::new(RefCell::new(State { incoming: Some(incoming), ..State::empty() }))))
    }

    /// A body that is there as a whole.
    pub fn of(bytes: Bytes) -> Self {
        let whole = || State { kept: vec![bytes.clone()], ..State::empty() };
        Self((!bytes.is_empty()).then(|| Rc::new(RefCell::new(whole()))))
    }

    /// Has the body read as `into` makes it. Before anything of it is read.
    pub fn translate(&self, into: impl FnOnce(Incoming) -> Incoming) {
        if let Some(state) = &self.0 {
            let mut state = state.borrow_mut();
            state.incoming = state.incoming.take().map(into);
        }
    }

    /// From here on keeps what is read, up to [`KEPT_BYTES`].
    pub fn keep(&self) {
        if let Some(state) = &self.0 {
            state.borrow_mut().keep = Keep::Some;
        }
    }

    /// The body from its start, for one attempt. `None` when its start is gone.
    pub fn read(&self) -> Option<RequestBody> {
        let mut reader = 0;
        if let Some(state) = &self.0 {
            let mut state = state.borrow_mut();
            if state.lost {
                return None;
            }
            state.reader += 1;
            reader = state.reader;
        }
        Some(RequestBody { source: self.clone(), reader, next: 0, trailers_given: false })
    }

    /// Reads the beginning, at least `most` bytes of it if there are so many, and keeps it for those who read after. Whether that is all.
    ///
    /// # Errors
    /// The body broke off.
    pub async fn beginning(&self, most: usize) -> Result<(Vec<u8>, bool), BoxError> {
        let Some(state) = &self.0 else { return Ok((Vec::new(), true)) };
        // Also when nobody waits for it any more.
        let _before = KeepsAll::begin(state);
        let mut beginning = Vec::new();
        let read = async {
            let Some(mut body) = self.read() else { return Err("the beginning of the request body is gone".into()) };
            while beginning.len() <= most {
                match body.frame().await {
                    Some(frame) => frame?.data_ref().into_iter().for_each(|data| beginning.extend_from_slice(data)),
                    None => return Ok(true),
                }
            }
            Ok(false)
        };
        let whole: Result<bool, BoxError> = read.await;
        Ok((beginning, whole?))
    }

    /// There is no body.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub fn can_be_read_again(&self) -> bool {
        self.0.as_ref().is_none_or(|state| {
            let state = state.borrow();
            !state.lost && state.broken.is_none()
        })
    }

    /// A copy of the whole body, once it has ended and if all of it was kept.
    pub fn copy(original: &Self) -> Option<Self> {
        let Some(state) = &original.0 else { return Some(Self(None)) };
        let state = state.borrow();
        let ended = state.incoming.as_ref().is_none_or(Body::is_end_stream);
        (ended && !state.lost && state.broken.is_none()).then(|| {
            let copy = State { incoming: None, kept: state.kept.clone(), trailers: state.trailers.clone(), ..State::empty() };
            Self(Some(Rc::new(RefCell::new(copy))))
        })
    }

    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| state.borrow().bytes)
    }

    /// From here on ends in an error once more than `most` bytes were read. A body that announces more is not begun: `false`.
    pub fn bound(&self, most: u64) -> bool {
        let Some(state) = &self.0 else { return true };
        let mut state = state.borrow_mut();
        state.most = most;
        state.incoming.as_ref().is_none_or(|incoming| incoming.size_hint().lower() <= most)
    }

    /// Whether more was said than [`Source::bound`] allows.
    pub fn is_too_large(&self) -> bool {
        self.0.as_ref().is_some_and(|state| {
            let state = state.borrow();
            state.bytes > state.most
        })
    }

    /// What the client did, if its body broke off.
    pub fn broken(&self) -> Option<Kind> {
        self.0.as_ref().and_then(|state| state.borrow().broken.clone())
    }
}

impl State {
    fn empty() -> Self {
        Self {
            incoming: None,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            lost: false,
            keep: Keep::Nothing,
            broken: None,
            most: u64::MAX,
            bytes: 0,
            reader: 0,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let stalled = error.downcast_ref() == Some(&BadBody::Stalled);
                self.broken = Some(if stalled { Kind::ClientStalled } else { Kind::ClientBroke });
                self.incoming = None;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.incoming = None;
                return Poll::Ready(None);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                self.bytes += data.len() as u64;
                if self.bytes > self.most {
                    (self.broken, self.incoming) = (Some(Kind::ClientBroke), None);
                    return Poll::Ready(Some(Err("the request body is longer than a limit allows".into())));
                }
                self.remember(&data);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                let Ok(mut trailers) = frame.into_trailers() else { return Poll::Ready(None) };
                clean_trailers(&mut trailers);
                self.trailers = Some(trailers.clone());
                self.incoming = None;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn remember(&mut self, data: &Bytes) {
        if self.lost {
            return;
        }
        let keeps = match self.keep {
            Keep::Nothing => false,
            Keep::Some => self.kept_bytes + data.len() <= KEPT_BYTES,
            Keep::All => true,
        };
        if keeps {
            self.kept_bytes += data.len();
            self.kept.push(data.clone());
        } else {
            self.lost = true;
            self.kept = Vec::new();
            self.kept_bytes = 0;
        }
    }
}

/// What is sent upstream: the body as one attempt reads it.
pub struct RequestBody {
    source: Source,
    reader: u32,
    /// The kept chunk that comes next.
    next: usize,
    trailers_given: bool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = &mut *self;
        let Some(state) = &body.source.0 else { return Poll::Ready(None) };
        let mut state = state.borrow_mut();
        if state.reader != body.reader {
            return Poll::Ready(Some(Err("another attempt reads this body now".into())));
        }
        if let Some(chunk) = state.kept.get(body.next) {
            body.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if state.broken.is_some() {
            return Poll::Ready(Some(Err("the client broke off its request body".into())));
        }
        if state.incoming.is_none() {
            let trailers = if body.trailers_given { None } else { state.trailers.clone() };
            body.trailers_given = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(state.poll_next(cx));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => body.next = state.kept.len(),
            _ => body.trailers_given = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let Some(state) = &self.source.0 else { return true };
        let state = state.borrow();
        let all_read = self.next >= state.kept.len() && (self.trailers_given || state.trailers.is_none()) && state.broken.is_none();
        all_read && state.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(state) = &self.source.0 else { return SizeHint::with_exact(0) };
        let state = state.borrow();
        let kept: u64 = state.kept.iter().skip(self.next).map(|chunk| chunk.len() as u64).sum();
        let rest = state.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(kept + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept + upper);
        }
        hint
    }
}
