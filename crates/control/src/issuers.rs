//! The keys of token issuers (RequestAuthentication, `jwksUri`), and the bundles and revocation lists of other trust domains (MeshSettings): fetched, kept, fetched
//! again. A server that hangs, lies or is gone changes nothing about what is known; the object's status says what is the matter with it.

use crate::crl;
use crate::outside::Outside;
use crate::publish::Published;
use crate::translate::{Fetched, authorities, key_set};
use crate::world::World;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use taut_model::policy::TokenKeys;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Istio's.
const EVERY: Duration = Duration::from_secs(20 * 60);
/// Who rotates a root publishes the new one long before it signs; SPIFFE's own default hint is five minutes.
const BUNDLES_EVERY: Duration = Duration::from_secs(5 * 60);
/// However often somebody wants to be asked.
const NOT_BEFORE: Duration = Duration::from_secs(2);
const FILES_EVERY: Duration = Duration::from_secs(5);
const BUNDLE_PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_FILE: u64 = 256 << 10;
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// Servers that are asked; objects that name more are told so.
const MOST: usize = 256;
/// Of those, at the same time.
const AT_ONCE: usize = 16;
const FILE: &str = "issuer-keys.json";

pub type Known = Arc<BTreeMap<String, Fetched>>;

pub struct Issuers {
    world: World,
    published: watch::Receiver<Arc<Published>>,
    known: watch::Sender<Known>,
    /// Where the last good keys outlive this process.
    file: Option<PathBuf>,
    asked: BTreeMap<String, Asked>,
    running: JoinSet<(String, Result<String, String>)>,
}

/// What is to be found at a URI; several things, if it is named for several.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    keys: bool,
    bundle: bool,
    /// Revocation lists that are proven by these roots (DER).
    lists: Option<Arc<Vec<Vec<u8>>>>,
    timeout: Duration,
}

impl Wanted {
    /// What is asked of other trust domains; nothing yet.
    fn of_others() -> Self {
        Self { keys: false, bundle: false, lists: None, timeout: BUNDLE_PATIENCE }
    }
}

/// One server, by its URI.
struct Asked {
    wanted: Wanted,
    /// `None` while it is being asked.
    next: Option<Instant>,
    failures: u32,
    /// How often the last good bundle says that it should be looked at.
    hint: Option<Duration>,
}

/// What is known of earlier runs.
pub fn kept(state: Option<&std::path::Path>) -> Known {
    let text = state.and_then(|state| std::fs::read_to_string(state.join(FILE)).ok());
    let kept: BTreeMap<String, String> = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Arc::new(kept.into_iter().map(|(uri, text)| (uri, Fetched { text: Some(text), problem: None })).collect())
}

impl Issuers {
    pub fn new(world: World, published: watch::Receiver<Arc<Published>>, known: watch::Sender<Known>, state: Option<PathBuf>) -> Self {
        let file = state.map(|state| state.join(FILE));
        Self { world, published, known, file, asked: BTreeMap::new(), running: JoinSet::new() }
    }

    /// Fetches what is published. Ends with the publisher.
    pub async fn run(mut self) {
        loop {
            self.follow();
            self.ask();
            let due = self.asked.values().filter_map(|asked| asked.next).min();
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.published.changed() => if changed.is_err() { return },
                Some(done) = self.running.join_next() => if let Ok((uri, answer)) = done { self.heard(&uri, answer) },
                () = due => {}
            }
        }
    }

    /// Asks whom the objects of now name. What is known of others is kept, a few servers' worth: an object may come back.
    fn follow(&mut self) {
        let published = self.published.borrow_and_update().clone();
        let named = named(&published);
        self.asked.retain(|uri, _| named.contains_key(uri));
        for (uri, wanted) in named {
            if let Some(asked) = self.asked.get_mut(uri) {
                asked.wanted = wanted;
            } else if self.asked.len() < MOST {
                self.asked.insert(uri.clone(), Asked { wanted, next: Some(Instant::now()), failures: 0, hint: None });
            } else {
                self.note(uri, |known| known.problem = Some(format!("keys are fetched from {MOST} servers at most, and this is one more")));
            }
        }
    }

    fn ask(&mut self) {
        let now = Instant::now();
        for (uri, asked) in &mut self.asked {
            if self.running.len() >= AT_ONCE {
                return;
            }
            if asked.next.is_none_or(|next| next > now) {
                continue;
            }
            asked.next = None;
            let (outside, uri, wanted) = (Outside::new(self.world.clone()), uri.clone(), asked.wanted.clone());
            self.running.spawn(async move {
                let answer = tokio::time::timeout(wanted.timeout, fetch(&outside, &uri, &wanted)).await;
                let answer = answer.unwrap_or_else(|_| Err(format!("{uri} did not answer within {:?}", wanted.timeout)));
                (uri, answer)
            });
        }
    }

    fn heard(&mut self, uri: &str, answer: Result<String, String>) {
        let Some(asked) = self.asked.get_mut(uri) else { return };
        if let Some(found) = answer.as_ref().ok().filter(|_| asked.wanted.bundle).and_then(|text| authorities(text).ok()) {
            asked.hint = found.refresh_hint.map(Duration::from_secs);
        }
        asked.failures = if answer.is_ok() { 0 } else { asked.failures.saturating_add(1) };
        let wait = match asked.failures {
            0 => asked.every(uri),
            failures => FIRST_RETRY.saturating_mul(1 << failures.min(12)).min(asked.every(uri)),
        };
        asked.next = Some(Instant::now() + wait);
        if let Err(problem) = &answer {
            tracing::warn!(problem, "what others are believed by was not fetched");
        }
        self.note(uri, |known| match answer {
            Ok(keys) => *known = Fetched { text: Some(keys), problem: None },
            Err(problem) => known.problem = Some(problem),
        });
        self.keep();
    }

    fn note(&self, uri: &str, change: impl FnOnce(&mut Fetched)) {
        self.known.send_if_modified(|all| {
            let mut one = all.get(uri).cloned().unwrap_or_default();
            change(&mut one);
            let changed = all.get(uri) != Some(&one);
            if changed {
                let all = Arc::make_mut(all);
                if all.len() >= 2 * MOST {
                    all.retain(|uri, _| self.asked.contains_key(uri));
                }
                all.insert(uri.to_owned(), one);
            }
            changed
        });
    }

    /// So that a restart in an outage of the issuer refuses nobody.
    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let known = self.known.borrow().clone();
        let good: BTreeMap<&String, &String> = known.iter().filter_map(|(uri, known)| Some((uri, known.text.as_ref()?))).collect();
        let next = file.with_extension("next");
        let written = serde_json::to_vec(&good).map_err(std::io::Error::other).and_then(|text| std::fs::write(&next, text));
        if let Err(error) = written.and_then(|()| std::fs::rename(&next, file)) {
            tracing::warn!(%error, file = %file.display(), "issuers' keys are not kept for the next start");
        }
    }
}

impl Asked {
    fn every(&self, uri: &str) -> Duration {
        match () {
            () if uri.starts_with(FILE_SCHEME) => FILES_EVERY,
            () if self.wanted.bundle => self.hint.unwrap_or(BUNDLES_EVERY).clamp(NOT_BEFORE, BUNDLES_EVERY),
            () if self.wanted.lists.is_some() => BUNDLES_EVERY,
            () => EVERY,
        }
    }
}

const FILE_SCHEME: &str = "file://";

/// What the objects of now name.
fn named(published: &Published) -> BTreeMap<&String, Wanted> {
    let rules = published.translation.tokens.values().flat_map(|policy| &policy.rules);
    let mut named: BTreeMap<&String, Wanted> = rules
        .filter_map(|rule| match &rule.keys {
            TokenKeys::Fetched { uri, timeout, .. } => Some((uri, Wanted { keys: true, timeout: *timeout, ..Wanted::of_others() })),
            TokenKeys::Inline(_) => None,
        })
        .collect();
    for url in &published.translation.bundle_urls {
        named.entry(url).or_insert(Wanted::of_others()).bundle = true;
    }
    for (url, roots) in &published.translation.list_urls {
        named.entry(url).or_insert(Wanted::of_others()).lists = Some(roots.clone());
    }
    named
}

/// What is there, if it is what is wanted.
async fn fetch(outside: &Outside, uri: &str, wanted: &Wanted) -> Result<String, String> {
    let text = match uri.strip_prefix(FILE_SCHEME) {
        Some(path) => read(path).map_err(|error| format!("{uri}: {error}"))?,
        None => outside.get(uri).await?,
    };
    let refused = |why: String| format!("what {uri} answers {why}");
    if wanted.keys {
        key_set(&text).map_err(refused)?;
    }
    if wanted.bundle {
        authorities(&text).map_err(refused)?;
    }
    if let Some(roots) = &wanted.lists {
        let roots: Vec<_> = roots.iter().map(|root| CertificateDer::from(root.as_slice())).collect();
        crl::lists(text.as_bytes(), &roots).map_err(refused)?;
    }
    Ok(text)
}

fn read(path: &str) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > LONGEST_FILE {
        return Err(std::io::Error::other(format!("it is longer than {LONGEST_FILE} bytes")));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
