//! Which ports without a declared protocol belong to servers that speak first, as their last connections showed. On those,
//! nobody waits for the client's first bytes. Owns what is known; how it is found out is `capture::first_word`'s, and who waits
//! is `connection`'s.
//!
//! Only a server can teach this, and only by a greeting that no HTTP or TLS server sends: clients that stay silent, or send
//! what they like, teach nothing. What is learned spares a wait and allows nothing: such a connection is judged as TCP, and
//! HTTP on it is cut off where policies would have wanted to see it (`late`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use taut_plan::Direction;

/// Ports that one worker remembers.
const MOST: usize = 1024;
/// What was not seen for this long is found out again.
const AGE: Duration = Duration::from_secs(600);

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination<'a> {
    pub direction: Direction,
    pub host: &'a str,
    pub port: u16,
}

impl<'a> Destination<'a> {
    pub fn new(direction: Direction, destination: Option<&'a (Arc<str>, u16)>) -> Self {
        let (host, port) = destination.map_or(("", 0), |(host, port)| (&**host, *port));
        Self { direction, host, port }
    }
}

/// Who broke the silence after the connection stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstWord {
    /// The server, with what only a server-first protocol says.
    Greeting,
    /// The client, in HTTP.
    Http,
    /// Anything else, which teaches nothing.
    Other,
}

#[derive(Debug, Default)]
pub struct Learned {
    hasher: RandomState,
    /// By a hash of the destination: when its server was last heard to speak first.
    greeted: HashMap<u64, Duration>,
}

impl Learned {
    /// Whether the server there speaks first.
    pub fn greets(&self, to: Destination<'_>, now: Duration) -> bool {
        self.greeted.get(&self.hasher.hash_one(to)).is_some_and(|last| now < *last + AGE)
    }

    pub fn note(&mut self, to: Destination<'_>, word: FirstWord, now: Duration) {
        let key = self.hasher.hash_one(to);
        match word {
            FirstWord::Other => {}
            FirstWord::Http => drop(self.greeted.remove(&key)),
            FirstWord::Greeting => {
                if self.greeted.len() >= MOST && !self.greeted.contains_key(&key) {
                    self.make_room(now);
                }
                self.greeted.insert(key, now);
            }
        }
    }

    fn make_room(&mut self, now: Duration) {
        self.greeted.retain(|_, last| now < *last + AGE);
        if self.greeted.len() >= MOST
            && let Some(oldest) = self.greeted.iter().min_by_key(|(key, last)| (**last, **key)).map(|(key, _)| *key)
        {
            self.greeted.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp() -> Destination<'static> {
        Destination { direction: Direction::Outbound, host: "smtp.example.com", port: 25 }
    }

    #[test]
    fn a_greeting_is_remembered_for_a_while_and_http_ends_it() {
        let mut learned = Learned::default();
        let start = Duration::from_secs(1);
        assert!(!learned.greets(smtp(), start));
        learned.note(smtp(), FirstWord::Greeting, start);
        assert!(learned.greets(smtp(), start + AGE - Duration::from_secs(1)) && !learned.greets(smtp(), start + AGE));
        assert!(
            !learned.greets(Destination { port: 26, ..smtp() }, start)
                && !learned.greets(Destination { direction: Direction::Inbound, ..smtp() }, start)
        );
        learned.note(smtp(), FirstWord::Other, start);
        assert!(learned.greets(smtp(), start));
        learned.note(smtp(), FirstWord::Http, start);
        assert!(!learned.greets(smtp(), start));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut learned = Learned::default();
        let nth = |second: usize| Destination { direction: Direction::Outbound, host: "many", port: u16::try_from(second).unwrap() };
        let at = |second: usize| Duration::from_millis(second as u64);
        for second in 0..2 * MOST {
            learned.note(nth(second), FirstWord::Greeting, at(second));
        }
        assert_eq!(learned.greeted.len(), MOST);
        assert!(!learned.greets(nth(MOST - 1), at(2 * MOST)) && learned.greets(nth(MOST), at(2 * MOST)));
    }
}
