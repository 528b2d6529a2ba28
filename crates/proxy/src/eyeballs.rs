//! Connecting to a name that has several addresses: Happy Eyeballs (RFC 8305). Which connection is needed, and what is said
//! on it, is `dial`'s.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How long one address has the field to itself (section 5, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// The first connection that stands. Attempts begin one after the other, the next one [`STAGGER`] after the last or as soon as one
/// fails; those still under way are dropped. No limit on the whole: the caller sets one.
///
/// # Errors
/// Why the last attempt failed; `None` when there was no address.
pub async fn first<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> Result<T, Option<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = in_turns(addresses);
    let attempt = |address: SocketAddr| {
        let connecting = connect(address);
        async move { (address, connecting.await) }
    };
    let mut under_way = FuturesUnordered::new();
    let mut failure = None;
    loop {
        match waiting.pop_front() {
            Some(address) => under_way.push(attempt(address)),
            None if under_way.is_empty() => return Err(failure),
            None => {}
        }
        let patience = async {
            match waiting.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(STAGGER).await,
            }
        };
        tokio::select! {
            biased;
            Some((address, outcome)) = under_way.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some((address, error)),
            },
            () = patience => {}
        }
    }
}

/// IPv6 first, then one of each family in turn, each family in the order of the resolver (section 4).
fn in_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let (mut six, mut four): (VecDeque<_>, VecDeque<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let mut turns = VecDeque::with_capacity(six.len() + four.len());
    while !(six.is_empty() && four.is_empty()) {
        turns.extend(six.pop_front());
        turns.extend(four.pop_front());
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::time::Instant;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let mixed = addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(in_turns(mixed), addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "10.0.0.3:1"]));
        assert_eq!(in_turns(addresses(&["10.0.0.1:1"])), addresses(&["10.0.0.1:1"]));
    }

    #[derive(Clone, Copy)]
    enum Behaviour {
        Connects(u64),
        Fails(u64),
        Hangs,
    }
    use Behaviour::{Connects, Fails, Hangs};

    /// The clock of these tests stands still until everybody waits.
    async fn after_milliseconds(milliseconds: u64) {
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), std::future::pending::<()>()).await;
    }

    /// What a client sees of servers that behave so: which one it got, after how many milliseconds, and when each was tried.
    async fn race(servers: &[(&str, Behaviour)]) -> (Option<String>, u64, Vec<u64>) {
        let start = Instant::now();
        let tried = RefCell::new(Vec::new());
        let milliseconds = || u64::try_from(start.elapsed().as_millis()).unwrap();
        let connected = first(servers.iter().map(|(address, _)| address.parse().unwrap()).collect(), |address| {
            tried.borrow_mut().push(milliseconds());
            let behaviour = servers.iter().find(|(text, _)| text.parse() == Ok(address)).unwrap().1;
            async move {
                match behaviour {
                    Connects(after) => after_milliseconds(after).await,
                    Fails(after) => {
                        after_milliseconds(after).await;
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    Hangs => std::future::pending().await,
                }
                Ok(address.to_string())
            }
        });
        let connected = connected.await;
        (connected.ok(), milliseconds(), tried.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_family_costs_a_quarter_of_a_second() {
        let got = race(&[("10.0.0.1:1", Connects(5)), ("[::1]:1", Hangs)]).await;
        assert_eq!(got, (Some("10.0.0.1:1".to_owned()), 255, vec![0, 250]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_nothing_more() {
        let got = race(&[("10.0.0.1:1", Connects(5)), ("[::1]:1", Fails(1))]).await;
        assert_eq!(got, (Some("10.0.0.1:1".to_owned()), 6, vec![0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_attempt_may_still_win() {
        let got = race(&[("10.0.0.1:1", Connects(500)), ("[::1]:1", Connects(300))]).await;
        assert_eq!(got, (Some("[::1]:1".to_owned()), 300, vec![0, 250]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_told_when_all_have_failed() {
        let got = race(&[("10.0.0.1:1", Fails(400)), ("[::1]:1", Fails(300))]).await;
        assert_eq!(got, (None, 650, vec![0, 250]));
        assert_eq!(race(&[]).await, (None, 0, vec![]));
    }
}
