//! How much the authority issues: at most so much for one identity and in all, so that neither a loop nor a stolen key makes more than
//! somebody can look through; and how much it was.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_model::identity::Identity;
use taut_observe::names;
use taut_plan::rate::{Buckets, Due, Limit};

/// So many seconds' worth may come at once: all replicas of a workload start together, and renew together when another authority signs.
const BURST: u32 = 10;

/// Certificates and tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuanceLimits {
    /// For each identity.
    pub each: u32,
    pub all: u32,
}

impl Default for IssuanceLimits {
    fn default() -> Self {
        Self { each: 50, all: 1000 }
    }
}

/// What is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Certificate,
    Token,
}

impl Kind {
    /// As audit entries and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Token => "jwt",
        }
    }
}

/// There is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooMany {
    limit: String,
    wait: Duration,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more is asked for than the authority issues ({}); try again in {:.1} s", self.limit, self.wait.as_secs_f64())
    }
}
impl std::error::Error for TooMany {}

pub struct Limits {
    each: Arc<Limit>,
    all: Arc<Limit>,
    buckets: Mutex<Buckets>,
    counts: [Counts; 2],
}

#[derive(Default)]
struct Counts {
    issued: AtomicU64,
    limited: AtomicU64,
    refused: AtomicU64,
}

impl Limits {
    pub fn new(wanted: IssuanceLimits) -> Self {
        let limit = |name, requests: u32| Arc::new(Limit::own(name, requests, Duration::from_secs(1), requests.saturating_mul(BURST)));
        let (each, all) = (limit("each", wanted.each), limit("all", wanted.all));
        Self { each, all, buckets: Mutex::default(), counts: Default::default() }
    }

    /// Takes the room for one more.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, kind: Kind, identity: &Identity, now: Duration) -> Result<(), TooMany> {
        let due = [Due::new(self.each.clone(), identity.to_string().as_bytes()), Due::new(self.all.clone(), b"")];
        let full = match self.buckets.lock().take(&due, now) {
            Ok(()) => return Ok(()),
            Err(full) => full,
        };
        self.of(kind).limited.fetch_add(1, Ordering::Relaxed);
        let whose = if Arc::ptr_eq(&full.limit, &self.each) { "for one identity" } else { "in all" };
        Err(TooMany { limit: format!("{} a second {whose}", full.limit.requests), wait: full.wait })
    }

    pub fn issued(&self, kind: Kind) {
        self.of(kind).issued.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self, kind: Kind) {
        self.of(kind).refused.fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, kind: Kind) -> &Counts {
        match kind {
            Kind::Certificate => &self.counts[0],
            Kind::Token => &self.counts[1],
        }
    }

    /// For Prometheus.
    pub fn metrics(&self) -> String {
        type Row = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);
        let rows: [Row; 3] = [
            (names::CONTROL_ISSUED, "Certificates and tokens that were issued.", |counts| &counts.issued),
            (names::CONTROL_ISSUANCE_REFUSED, "Certificates and tokens that were asked for and refused.", |counts| &counts.refused),
            (names::CONTROL_ISSUANCE_LIMITED, "Of these, for the limits of issuance.", |counts| &counts.limited),
        ];
        let mut text = String::new();
        for (name, help, count) in rows {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n"));
            for kind in [Kind::Certificate, Kind::Token] {
                text.push_str(&format!("{name}{{kind=\"{}\"}} {}\n", kind.name(), count(self.of(kind)).load(Ordering::Relaxed)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_its_share_and_all_together_have_theirs() {
        let limits = Limits::new(IssuanceLimits { each: 1, all: 2 });
        let take = |name: &str, at: u64| limits.take(Kind::Certificate, &Identity::new("m", "default", name), Duration::from_secs(at));
        let given = |name: &str| (0..100).take_while(|_| take(name, 100).is_ok()).count();
        assert_eq!((given("a"), given("b"), given("c")), (10, 10, 0));
        assert!(take("a", 100).unwrap_err().to_string().contains("1 a second for one identity"));
        assert!(take("c", 100).unwrap_err().to_string().contains("2 a second in all"));
        assert_eq!((take("a", 101), take("a", 101).is_err()), (Ok(()), true));
        assert!(limits.metrics().contains("taut_control_issuance_limited_total{kind=\"certificate\"} 6"), "{}", limits.metrics());
    }
}
