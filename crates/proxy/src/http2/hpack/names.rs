//! The names that the encoder knows beforehand: where the static table has them, and whether their values come again.

use super::table::STATIC;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// The same value often comes again: worth an entry once it has.
    Repeats,
    /// Nearly every message has another value, which would only push better entries out.
    Changes,
    /// Whoever can make requests on this connection must not find it out by guessing (RFC 7541 section 7.1.3).
    Secret,
}

#[derive(Clone, Copy, Debug)]
pub struct Known {
    name: &'static str,
    /// Its number among the known names, below [`MOST`].
    pub place: usize,
    /// 0: it is not in the static table.
    pub static_index: usize,
    pub habit: Habit,
}

/// Known for what their values do. Those that the static table lacks get an entry for the sake of their name.
const CHANGES: [&str; 22] = [
    "age",
    "content-length",
    "content-range",
    "date",
    "etag",
    "expires",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "last-modified",
    "location",
    "range",
    "retry-after",
    "traceparent",
    "tracestate",
    "x-b3-parentspanid",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-envoy-upstream-service-time",
    "x-request-id",
    "idempotency-key",
];
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
/// Common in a mesh, and not in the static table.
const REPEATS: [&str; 14] = [
    ":protocol",
    "baggage",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "te",
    "x-b3-sampled",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-taut-destination",
    "x-taut-source",
];

/// Room for all of the above; [`KNOWN`] is filled from the front.
pub const MOST: usize = 96;
const SLOTS: usize = 256;

const NOBODY: Known = Known { name: "", place: 0, static_index: 0, habit: Habit::Repeats };

struct Names {
    known: [Known; MOST],
    /// One more than the place in `known`, at the name's hash or the next free slot after it.
    slots: [u8; SLOTS],
}

static NAMES: Names = gather();

const fn gather() -> Names {
    let mut names = Names { known: [NOBODY; MOST], slots: [0; SLOTS] };
    let (mut count, mut at) = (0, 0);
    while at < STATIC.len() {
        count = add(&mut names, count, STATIC[at].0, at + 1, Habit::Repeats);
        at += 1;
    }
    at = 0;
    while at < REPEATS.len() {
        count = add(&mut names, count, REPEATS[at], 0, Habit::Repeats);
        at += 1;
    }
    at = 0;
    while at < CHANGES.len() {
        count = add(&mut names, count, CHANGES[at], 0, Habit::Changes);
        at += 1;
    }
    at = 0;
    while at < SECRET.len() {
        count = add(&mut names, count, SECRET[at], 0, Habit::Secret);
        at += 1;
    }
    names
}

/// Adds a name, or tells the habit of one that is there. The static table's first entry of a name is the one to refer to.
const fn add(names: &mut Names, count: usize, name: &'static str, static_index: usize, habit: Habit) -> usize {
    let mut slot = hash(name.as_bytes());
    while names.slots[slot] != 0 {
        let there = names.slots[slot] as usize - 1;
        if same(names.known[there].name.as_bytes(), name.as_bytes()) {
            if static_index == 0 {
                names.known[there].habit = habit;
            }
            return count;
        }
        slot = (slot + 1) % SLOTS;
    }
    names.known[count] = Known { name, place: count, static_index, habit };
    names.slots[slot] = count as u8 + 1;
    count + 1
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    one.len() == other.len() && at == one.len()
}

const fn hash(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let (first, middle, last) = (name[0] as usize, name[name.len() / 2] as usize, name[name.len() - 1] as usize);
    (first.wrapping_mul(5) ^ middle.wrapping_mul(29) ^ last.wrapping_mul(83) ^ name.len().wrapping_mul(17)) % SLOTS
}

/// What is known of a name.
pub fn find(name: &[u8]) -> Option<&'static Known> {
    let mut slot = hash(name);
    while let Some(place) = usize::from(NAMES.slots[slot]).checked_sub(1) {
        let known = &NAMES.known[place];
        if known.name.as_bytes() == name {
            return Some(known);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_first_static_entry_and_their_habit() {
        let told = |name: &str| find(name.as_bytes()).map(|known| (known.static_index, known.habit));
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let first = STATIC.iter().position(|(other, _)| other == name).unwrap();
            assert_eq!(told(name).map(|(index, _)| index), Some(first + 1), "{name} at {at}");
        }
        for (names, habit) in [(&REPEATS[..], Habit::Repeats), (&CHANGES, Habit::Changes), (&SECRET, Habit::Secret)] {
            for name in names {
                assert_eq!(told(name).map(|(_, habit)| habit), Some(habit), "{name}");
            }
        }
        assert_eq!(told("accept-encoding"), Some((16, Habit::Repeats)));
        assert_eq!(told("accept-encodinh"), None);
        assert_eq!(told(""), None);
    }

    #[test]
    fn few_steps_find_a_name() {
        let steps = |name: &str| {
            (0..).take_while(|step| NAMES.known[usize::from(NAMES.slots[(hash(name.as_bytes()) + step) % SLOTS]) - 1].name != name).count()
        };
        let all: Vec<usize> = NAMES.known.iter().filter(|known| !known.name.is_empty()).map(|known| steps(known.name)).collect();
        assert!(all.iter().sum::<usize>() < all.len(), "{all:?}");
    }
}
