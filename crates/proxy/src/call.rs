//! What a request says of itself that matters when not all can be served: how urgent it is, whether it was sent before, and until
//! when an answer is of use. Read once, passed on with what is left.

use crate::fault::{Fault, Kind};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use taut_plan::overload::{Caller, Deadline, priority};
use tokio::time::Instant;

/// Between proxies: the request was sent before, and failed.
pub static AGAIN: HeaderName = HeaderName::from_static("x-taut-again");

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub urgency: u8,
    pub again: bool,
    pub deadline: Option<Instant>,
}

impl Call {
    /// Takes away what only proxies say to each other. How urgent it is counts from a peer of the mesh only: others would all be urgent.
    pub fn read(headers: &mut HeaderMap, from_peer: bool) -> Self {
        let again = headers.remove(&AGAIN).is_some();
        let deadline = Deadline::read(headers).and_then(|Deadline(left)| Instant::now().checked_add(left));
        let urgency = if from_peer { priority::urgency(headers) } else { priority::USUAL };
        Self { urgency, again: from_peer && again, deadline }
    }

    /// `now`: of the world that `Caller`'s deadline is told in.
    pub fn caller(&self, probe: bool, now: Duration) -> Caller {
        let deadline = self.deadline.map(|deadline| now.saturating_add(deadline.saturating_duration_since(Instant::now())));
        Caller { urgency: self.urgency, probe, retry: self.again, deadline }
    }

    /// Narrows the deadline to a timeout from now on.
    pub fn within(&mut self, timeout: Option<Duration>) {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.deadline = self.deadline.into_iter().chain(end).min();
    }

    /// Says in the head of an attempt how much is left for it. To what is outside the mesh nothing is said that the client had not.
    ///
    /// # Errors
    /// The deadline is over.
    pub fn pass_on(&self, headers: &mut HeaderMap, to: To, is_grpc: bool, attempt: Option<Duration>) -> Result<(), Fault> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(over());
        }
        let Some(left) = left.into_iter().chain(attempt).min() else { return Ok(()) };
        match to {
            To::Mesh => Deadline::write(left, is_grpc, headers),
            To::Outside => Deadline::rewrite(left, headers),
        }
        Ok(())
    }
}

/// Who gets an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A proxy or an application of the mesh.
    Mesh,
    Outside,
}

pub fn over() -> Fault {
    Fault::new(Kind::DeadlineOver, "the time that the caller allowed was over before the request was sent on; it was not sent")
}

/// Marks an attempt after a failed one.
pub fn mark_again(headers: &mut HeaderMap) {
    headers.insert(AGAIN.clone(), HeaderValue::from_static("1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_shrinks_on_its_way() {
        let mut head = headers(&[("grpc-timeout", "2S"), ("x-taut-again", "1"), ("priority", "u=1")]);
        let mut call = Call::read(&mut head, true);
        assert_eq!((call.urgency, call.again, head.contains_key(&AGAIN)), (1, true, false));
        tokio::time::advance(Duration::from_millis(500)).await;
        call.within(Some(Duration::from_secs(10)));
        call.pass_on(&mut head, To::Mesh, true, None).unwrap();
        assert_eq!(
            (head["grpc-timeout"].to_str().unwrap(), &head["x-envoy-expected-rq-timeout-ms"]),
            ("1500000u", &"1500".parse::<HeaderValue>().unwrap())
        );
        call.pass_on(&mut head, To::Mesh, true, Some(Duration::from_millis(20))).unwrap();
        assert_eq!(head["x-envoy-expected-rq-timeout-ms"], "20");
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(call.pass_on(&mut head, To::Mesh, true, None).unwrap_err().kind, Kind::DeadlineOver);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_not_believed_and_told_nothing_new() {
        let mut head = headers(&[("x-taut-again", "1"), ("x-taut-priority", "0")]);
        let mut call = Call::read(&mut head, false);
        assert_eq!((call.urgency, call.again, head.contains_key(&AGAIN)), (priority::USUAL, false, false));
        call.within(Some(Duration::from_secs(3)));
        let before = head.clone();
        call.pass_on(&mut head, To::Outside, true, None).unwrap();
        assert_eq!(head, before);
    }
}
