//! JWT-SVIDs on their way to the application: each is used until half of its life has passed, so that calls need not wait for the control
//! plane, nor for its coming back.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Sets of audiences at the same time.
const MOST: usize = 64;

#[derive(Clone)]
struct Kept {
    token: String,
    /// Seconds since 1970: from then on a new one is asked for, and from then on this one is good no more.
    renew_at: i64,
    expires: i64,
}

/// By audiences.
#[derive(Default)]
pub struct Tokens(Mutex<BTreeMap<Vec<String>, Kept>>);

impl Tokens {
    /// One that is fresh; or with `any`, one that is good.
    pub fn get(&self, audiences: &[String], now: i64, any: bool) -> Option<String> {
        let kept = self.0.lock();
        let one = kept.get(audiences)?;
        (now < if any { one.expires } else { one.renew_at }).then(|| one.token.clone())
    }

    pub fn put(&self, audiences: Vec<String>, token: String, expires: i64, now: i64) {
        let mut kept = self.0.lock();
        kept.retain(|_, one| now < one.expires);
        if kept.len() < MOST || kept.contains_key(&audiences) {
            kept.insert(audiences, Kept { token, renew_at: now + (expires - now) / 2, expires });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fresh_for_half_of_its_life_and_good_for_all_of_it() {
        let (tokens, shop) = (Tokens::default(), vec!["shop".to_owned()]);
        tokens.put(shop.clone(), "one".to_owned(), 400, 100);
        let got = |at, any| tokens.get(&shop, at, any).is_some();
        assert_eq!((got(249, false), got(250, false), got(250, true), got(400, true)), (true, false, true, false));
        assert_eq!(tokens.get(&["bank".to_owned()], 100, true), None);
        for number in 0..2 * MOST {
            tokens.put(vec![number.to_string()], "x".to_owned(), 1000, 500);
        }
        assert_eq!(tokens.0.lock().len(), MOST);
    }
}
