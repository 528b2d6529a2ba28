//! Headers that standing taps ask about: of requests that come while somebody asks, their values are kept beside the record. A tap asks
//! again every second; what was not asked for lately is forgotten.

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Headers at a time, over all taps.
const MOST: usize = 8;
/// How long after a tap has asked.
const LEASE: Duration = Duration::from_secs(5);
/// Values that are longer are not kept, and so fit nothing.
const LONGEST_VALUE: usize = 1024;

/// Costs a request one look at a flag while nobody taps by header.
#[derive(Default)]
pub struct Watched {
    any: AtomicBool,
    /// Each with the time until which it is asked for.
    names: Mutex<Vec<(HeaderName, Duration)>>,
}

impl Watched {
    /// A tap asks for a header; false when too many others are asked for.
    pub fn ask(&self, name: &HeaderName, now: Duration) -> bool {
        let mut names = self.names.lock();
        names.retain(|(_, until)| *until > now);
        let (until, room) = (now + LEASE, names.len() < MOST);
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, lease)) => *lease = until,
            None if room => names.push((name.clone(), until)),
            None => return false,
        }
        self.any.store(true, Ordering::Relaxed);
        true
    }

    /// Copies what is asked for and not there yet.
    pub fn copy(&self, from: &HeaderMap, into: &mut HeaderMap, now: impl Fn() -> Duration) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut names = self.names.lock();
        let now = now();
        names.retain(|(_, until)| *until > now);
        if names.is_empty() {
            self.any.store(false, Ordering::Relaxed);
        }
        for (name, _) in names.iter().filter(|(name, _)| !into.contains_key(name)).collect::<Vec<_>>() {
            let short = from.get_all(name).iter().filter(|value| value.len() <= LONGEST_VALUE);
            // A copy: the value shares the memory of the whole head.
            for value in short.filter_map(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
                into.append(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> HeaderName {
        HeaderName::try_from(format!("x-{number}")).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_kept_as_long_as_it_is_asked_for() {
        let watched = Watched::default();
        let head: HeaderMap = [(name(1), "jason"), (name(1), "anna"), (name(2), "no")].into_iter().map(|(n, v)| (n, v.parse().unwrap())).fold(
            HeaderMap::new(),
            |mut head, (name, value)| {
                head.append(name, value);
                head
            },
        );
        let kept = |at: u64| {
            let mut kept = HeaderMap::new();
            watched.copy(&head, &mut kept, || Duration::from_secs(at));
            kept.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(kept(0), "");
        assert!(watched.ask(&name(1), Duration::from_secs(1)));
        assert_eq!(kept(5), "x-1=jason x-1=anna");
        assert!(watched.ask(&name(1), Duration::from_secs(5)));
        assert_eq!(kept(9), "x-1=jason x-1=anna");
        assert_eq!(kept(11), "");
        assert!(!watched.any.load(Ordering::Relaxed));
    }

    #[test]
    fn taps_cannot_ask_for_more_than_there_is_room_for() {
        let watched = Watched::default();
        assert!((0..MOST).all(|number| watched.ask(&name(number), Duration::ZERO)));
        assert!(!watched.ask(&name(MOST), Duration::ZERO));
        assert!(watched.ask(&name(0), Duration::from_secs(1)));
        assert!(watched.ask(&name(MOST), LEASE), "others are asked for no more");
    }

    #[test]
    fn what_is_too_long_or_there_already_is_not_copied() {
        let watched = Watched::default();
        watched.ask(&name(1), Duration::ZERO);
        let head = HeaderMap::from_iter([(name(1), "a".repeat(LONGEST_VALUE + 1).parse().unwrap())]);
        let mut kept = HeaderMap::new();
        watched.copy(&head, &mut kept, || Duration::ZERO);
        assert!(kept.is_empty());
        let (head, mut kept) = (HeaderMap::from_iter([(name(1), "a".parse().unwrap())]), HeaderMap::from_iter([(name(1), "b".parse().unwrap())]));
        watched.copy(&head, &mut kept, || Duration::ZERO);
        assert_eq!(kept.get_all(name(1)).iter().collect::<Vec<_>>(), ["b"]);
    }
}
