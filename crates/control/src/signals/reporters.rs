//! Who reports: how far each proxy has been heard, so that nothing counts twice and what is missing is known.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use taut_model::signal::Second;

/// Lives of one proxy that are told apart: the one that runs, those that end, and some that were not heard of again.
const MOST_LIVES: usize = 4;
/// Proxies that are kept in mind, those not heard for longest going first.
const MOST_PROXIES: usize = 20_000;
/// Gaps that are kept, the oldest going first.
const MOST_GAPS: usize = 1000;
/// A proxy that was not heard for so long without having said that it ends is missing.
pub const MISSING_AFTER: Second = 60;

/// Seconds of which not all is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: Second,
    /// The first second after it.
    pub to: Second,
    pub why: String,
    /// Whose reports are missing; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// One life of a proxy, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub epoch: u64,
    /// Of the newest batch that was taken.
    pub sequence: u64,
    /// The second it was about.
    pub second: Second,
    /// When it was heard last, by the store's clock.
    pub heard: Second,
    /// It has said that it ends.
    pub ended: bool,
    /// Known from before a restart of the store, and not heard since.
    pub recalled: bool,
    /// Batches that are not sealed yet: in order.
    open: VecDeque<u64>,
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    New,
    /// It was taken before.
    Repeat,
}

#[derive(Debug, Default)]
pub struct Reporters {
    proxies: BTreeMap<String, Vec<Life>>,
    gaps: VecDeque<Gap>,
    /// Gaps that are not on disk yet.
    fresh: Vec<Gap>,
}

impl Reporters {
    /// Notes a batch of a proxy and what is missing before it.
    pub fn hear(&mut self, proxy: &str, epoch: u64, sequence: u64, second: Second, lost: u64, now: Second) -> Heard {
        let lives = self.proxies.entry(proxy.to_owned()).or_default();
        let missing = match lives.iter_mut().find(|life| life.epoch == epoch) {
            Some(life) if sequence <= life.sequence => {
                life.heard = now;
                return Heard::Repeat;
            }
            Some(life) => {
                let missing = sequence - life.sequence - 1;
                (life.sequence, life.second, life.heard) = (sequence, second, now);
                life.recalled = false;
                life.open.push_back(sequence);
                missing
            }
            None => {
                lives.push(Life { epoch, sequence, second, heard: now, ended: false, recalled: false, open: VecDeque::from([sequence]) });
                if lives.len() > MOST_LIVES {
                    lives.remove(0);
                }
                lost
            }
        };
        if missing > 0 {
            let why = format!("{proxy} could not deliver {missing} s and had no room to keep them");
            self.note(Gap { from: second.saturating_sub(missing), to: second, why, proxy: Some(proxy.to_owned()) });
        }
        self.forget_too_many();
        Heard::New
    }

    fn forget_too_many(&mut self) {
        while self.proxies.len() > MOST_PROXIES {
            let silent = self.proxies.iter().min_by_key(|(_, lives)| lives.iter().map(|life| life.heard).max());
            let Some(proxy) = silent.map(|(proxy, _)| proxy.clone()) else { return };
            self.proxies.remove(&proxy);
        }
    }

    /// A second that is not before what the same life has open, so that its batches are sealed in their order.
    pub fn in_order(&self, proxy: &str, epoch: u64, second: Second) -> Second {
        match self.life(proxy, epoch) {
            Some(life) if !life.open.is_empty() => second.max(life.second),
            _ => second,
        }
    }

    pub fn life(&self, proxy: &str, epoch: u64) -> Option<&Life> {
        self.proxies.get(proxy)?.iter().find(|life| life.epoch == epoch)
    }

    fn life_mut(&mut self, proxy: &str, epoch: u64) -> Option<&mut Life> {
        self.proxies.get_mut(proxy)?.iter_mut().find(|life| life.epoch == epoch)
    }

    pub fn ended(&mut self, proxy: &str, epoch: u64) {
        if let Some(life) = self.life_mut(proxy, epoch) {
            life.ended = true;
        }
    }

    /// A batch is kept for good.
    pub fn sealed(&mut self, proxy: &str, epoch: u64, sequence: u64) {
        if let Some(life) = self.life_mut(proxy, epoch) {
            life.open.retain(|open| *open != sequence);
        }
    }

    /// Up to which batch all is kept for good; what the proxy may forget.
    pub fn kept(&self, proxy: &str, epoch: u64) -> u64 {
        let Some(life) = self.life(proxy, epoch) else { return 0 };
        life.open.front().map_or(life.sequence, |first| first.saturating_sub(1))
    }

    /// What was written before a restart: nothing of it is open.
    pub fn recall(&mut self, proxy: &str, epoch: u64, sequence: u64, second: Second, last: bool) {
        let lives = self.proxies.entry(proxy.to_owned()).or_default();
        let (open, recalled) = (VecDeque::new(), true);
        match lives.iter_mut().find(|life| life.epoch == epoch) {
            Some(life) if sequence > life.sequence => (life.sequence, life.second, life.heard) = (sequence, second, second),
            Some(_) => {}
            None => lives.push(Life { epoch, sequence, second, heard: second, ended: false, recalled, open }),
        }
        if let Some(life) = lives.iter_mut().find(|life| life.epoch == epoch) {
            life.ended |= last;
        }
        if lives.len() > MOST_LIVES {
            lives.remove(0);
        }
    }

    /// The gaps that were noted since the last time.
    pub fn take_fresh(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.fresh)
    }

    pub fn note(&mut self, gap: Gap) {
        self.fresh.push(gap.clone());
        self.remember(gap);
    }

    /// Of a gap that is on disk already.
    pub fn remember(&mut self, gap: Gap) {
        let continues = |last: &&mut Gap| last.proxy == gap.proxy && last.to == gap.from;
        if let Some(last) = self.gaps.back_mut().filter(continues) {
            last.to = gap.to;
            return;
        }
        self.gaps.push_back(gap);
        if self.gaps.len() > MOST_GAPS {
            self.gaps.pop_front();
        }
    }

    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// What is missing of proxies that have fallen silent without a word, up to `now`.
    pub fn missing(&self, now: Second) -> Vec<Gap> {
        let silent = |life: &&Life| !life.ended && (life.recalled || life.heard.saturating_add(MISSING_AFTER) < now);
        let of_proxy = |(proxy, lives): (&String, &Vec<Life>)| {
            // One that was started again has a newer life: then the gap ends with its start.
            let newest = lives.iter().map(|life| life.heard).max().unwrap_or_default();
            let gap = |life: &Life| {
                let to = if newest > life.heard { life.heard.saturating_add(MISSING_AFTER).min(newest) } else { now };
                let why = match life.recalled {
                    true => format!("the control plane was not there, and what {proxy} has seen since has not come"),
                    false => format!("{proxy} has stopped reporting without having said that it ends"),
                };
                Gap { from: life.second + 1, to: to.max(life.second + 2), why, proxy: Some(proxy.clone()) }
            };
            lives.iter().filter(silent).map(gap).collect::<Vec<_>>()
        };
        self.proxies.iter().flat_map(of_proxy).collect()
    }

    /// Forgets lives that ended, or are missing, for an hour.
    pub fn forget_old(&mut self, now: Second) {
        const LONG: Second = 3600;
        let mut gone = Vec::new();
        self.proxies.retain(|proxy, lives| {
            lives.retain(|life| {
                let stays = life.heard.saturating_add(LONG) >= now || !life.open.is_empty();
                if !stays && !life.ended {
                    let why = format!("{proxy} has stopped reporting without having said that it ends");
                    gone.push(Gap { from: life.second + 1, to: life.heard + MISSING_AFTER, why, proxy: Some(proxy.clone()) });
                }
                stays
            });
            !lives.is_empty()
        });
        gone.into_iter().for_each(|gap| self.note(gap));
    }

    pub fn proxies(&self) -> usize {
        self.proxies.len()
    }
}
