//! Which hosts are in use, noted cheaply by the data path, and which have not been for so long that the control plane need not
//! tell of them any more. Owns no subscription.

use foldhash::quality::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// A host that is no service is forgotten when nobody has asked for it for this long, so that a typing error costs little,
const ABSENT_AGE: Duration = Duration::from_secs(120);
/// and a service that was learned by use after this long.
const SERVICE_AGE: Duration = Duration::from_secs(1800);
/// How many hosts that are no service are remembered. Clients choose these names, so there must be a bound.
const MOST_ABSENT: usize = 4096;
/// What is left when the bound is passed: some more than one goes at a time, so that each does not cost a search.
const FEWER_ABSENT: usize = MOST_ABSENT / 8 * 7;
/// Uses are told apart no finer than this.
const GRAIN: Duration = Duration::from_secs(1);
/// How many hosts a worker notes per grain before it begins anew.
const MOST_NOTED: usize = 4096;

/// The hosts that one worker has noted as used in the current second, so that only the first use in it costs more than a look.
#[derive(Debug, Default)]
pub struct Noted {
    since: Duration,
    hosts: HashSet<Box<str>, RandomState>,
}

impl Noted {
    /// Whether this use is to be told.
    pub fn is_news(&mut self, host: &str, now: Duration) -> bool {
        if now >= self.since + GRAIN || self.hosts.len() >= MOST_NOTED {
            self.since = now;
            self.hosts.clear();
        }
        !self.hosts.contains(host) && self.hosts.insert(host.into())
    }
}

/// When each subscribed host was last used. Times are since the start of the world.
#[derive(Debug, Default)]
pub struct Usage {
    last: BTreeMap<String, Duration>,
}

/// What is subscribed to, to be looked through.
pub struct Subscriptions<'a> {
    pub hosts: &'a BTreeSet<String>,
    /// Whether a host is a service; one that is not is absent, or not answered for yet.
    pub is_service: &'a dyn Fn(&str) -> bool,
    /// Hosts that stay however little they are used.
    pub needed: &'a BTreeSet<String>,
}

impl Usage {
    pub fn used<'a>(&mut self, hosts: impl IntoIterator<Item = &'a str>, now: Duration) {
        for host in hosts {
            match self.last.get_mut(host) {
                Some(last) => *last = now,
                None => {
                    self.last.insert(host.to_owned(), now);
                }
            }
        }
    }

    pub fn forget(&mut self, hosts: &[String]) {
        for host in hosts {
            self.last.remove(host);
        }
    }

    /// Hosts that nobody has used for long. One that is needed counts as used: its time begins when it is not needed any more.
    pub fn stale(&mut self, of: &Subscriptions<'_>, now: Duration) -> Vec<String> {
        self.last.retain(|host, _| of.hosts.contains(host));
        self.used(of.needed.iter().map(String::as_str), now);
        let mut stale = Vec::new();
        for host in of.hosts {
            let last = *self.last.entry(host.clone()).or_insert(now);
            let age = if (of.is_service)(host) { SERVICE_AGE } else { ABSENT_AGE };
            if now >= last + age {
                stale.push(host.clone());
            }
        }
        stale
    }

    /// Hosts to forget since there are too many that are no service: those whose last use is the longest ago.
    pub fn too_many(&self, of: &Subscriptions<'_>) -> Vec<String> {
        if of.hosts.len() <= MOST_ABSENT {
            return Vec::new();
        }
        let absent = of.hosts.iter().filter(|host| !of.needed.contains(*host) && !(of.is_service)(host));
        let mut absent: Vec<_> = absent.map(|host| (self.last.get(host).copied().unwrap_or_default(), host)).collect();
        if absent.len() <= MOST_ABSENT {
            return Vec::new();
        }
        absent.sort_unstable();
        absent.truncate(absent.len() - FEWER_ABSENT);
        absent.into_iter().map(|(_, host)| host.clone()).collect()
    }
}

#[cfg(test)]
impl Usage {
    pub fn size(&self) -> usize {
        self.last.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn set(hosts: &[&str]) -> BTreeSet<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn a_use_is_told_once_a_second() {
        let mut noted = Noted::default();
        assert!(noted.is_news("reviews", seconds(5)) && noted.is_news("ratings", seconds(5)));
        assert!(!noted.is_news("reviews", seconds(5)));
        assert!(noted.is_news("reviews", seconds(6)));
        for number in 0..3 * MOST_NOTED {
            noted.is_news(&number.to_string(), seconds(6));
        }
        assert!(noted.hosts.len() <= MOST_NOTED);
    }

    #[test]
    fn unused_hosts_go_after_their_time_and_needed_ones_stay() {
        let hosts = set(&["absent", "called", "needed", "service"]);
        let needed = set(&["needed"]);
        let of = Subscriptions { hosts: &hosts, is_service: &|host| host == "service", needed: &needed };
        let mut usage = Usage::default();
        assert!(usage.stale(&of, seconds(0)).is_empty());
        assert!(usage.stale(&of, ABSENT_AGE - seconds(1)).is_empty());
        usage.used(["called"], seconds(60));
        assert_eq!(usage.stale(&of, ABSENT_AGE), ["absent"]);
        assert_eq!(usage.stale(&of, ABSENT_AGE + seconds(60)), ["absent", "called"]);
        assert_eq!(usage.stale(&of, SERVICE_AGE), ["absent", "called", "service"]);
        // Not needed any more: as if it had been used until now.
        let of = Subscriptions { needed: &BTreeSet::new(), ..of };
        assert!(!usage.stale(&of, SERVICE_AGE + seconds(1)).contains(&"needed".to_owned()));
    }

    #[test]
    fn what_is_forgotten_is_not_remembered_here() {
        let (hosts, none) = (set(&["a"]), BTreeSet::new());
        let mut usage = Usage::default();
        usage.used(["a"], seconds(1));
        usage.stale(&Subscriptions { hosts: &none, is_service: &|_| false, needed: &none }, seconds(2));
        assert!(usage.last.is_empty());
        assert!(usage.stale(&Subscriptions { hosts: &hosts, is_service: &|_| false, needed: &none }, seconds(500)).is_empty());
    }

    #[test]
    fn of_too_many_absent_hosts_the_oldest_go() {
        let hosts: BTreeSet<String> = (0..=MOST_ABSENT + 2).map(|number| format!("{number:05}")).collect();
        let mut usage = Usage::default();
        for (position, host) in hosts.iter().enumerate() {
            usage.used([host.as_str()], Duration::from_millis(position as u64));
        }
        usage.used(["00001"], seconds(1000));
        let needed = set(&["00000"]);
        let of = Subscriptions { hosts: &hosts, is_service: &|host| host == "00002", needed: &needed };
        let gone = usage.too_many(&of);
        assert_eq!(gone.len(), MOST_ABSENT + 1 - FEWER_ABSENT);
        assert_eq!((gone[0].as_str(), gone[1].as_str()), ("00003", "00004"));
        let fewer: BTreeSet<String> = hosts.iter().take(MOST_ABSENT).cloned().collect();
        assert!(usage.too_many(&Subscriptions { hosts: &fewer, ..of }).is_empty());
    }
}
