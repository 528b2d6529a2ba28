//! The tokens that were verified lately, by their hash: a client sends the same one many times.

use aws_lc_rs::digest::{SHA256, digest as hash};
use foldhash::fast::RandomState;
use http::{HeaderName, HeaderValue};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use taut_plan::token::Token;

/// Of each generation, so twice as many in all.
const MOST: usize = 512;

pub type Digest = [u8; 32];

pub fn digest(token: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash(&SHA256, token.as_bytes()).as_ref());
    bytes
}

pub struct Entry {
    pub token: Arc<Token>,
    /// The rule that vouched for it.
    pub position: (usize, usize),
    /// Seconds since 1970.
    pub until: f64,
    /// What the application is told.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether it gets the token.
    pub forward: bool,
}

/// When the young are many they become the old, and the old of before are forgotten.
#[derive(Default)]
pub struct Verified {
    young: HashMap<Digest, Rc<Entry>, RandomState>,
    old: HashMap<Digest, Rc<Entry>, RandomState>,
}

impl Verified {
    pub fn get(&mut self, digest: &Digest, now: f64) -> Option<Rc<Entry>> {
        if let Some(entry) = self.young.get(digest) {
            return Some(entry.clone()).filter(|entry| now < entry.until);
        }
        let entry = self.old.remove(digest).filter(|entry| now < entry.until)?;
        self.insert(*digest, entry.clone());
        Some(entry)
    }

    pub fn insert(&mut self, digest: Digest, entry: Rc<Entry>) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, entry);
    }
}
