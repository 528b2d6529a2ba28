//! What can be wrong with a process of the bookstore on purpose: read from a file while it runs. Without `--faults` nothing can.

use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The longest a process stands still at a time, whatever the file says: it must hear that it may go on.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is wrong. An empty file, or none, means that nothing is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Trouble {
    /// Of the requests that match, the share that is concerned, 0 to 1.
    pub share: f64,
    /// Only requests whose `user-agent` this is: the service that calls.
    pub caller: Option<String>,
    /// Only requests whose path begins so.
    pub path: Option<String>,
    pub delay_ms: u64,
    /// Time on the CPU for each request, which keeps all others waiting.
    pub burn_ms: u64,
    /// So many requests at a time; the others wait in line, as before a lock.
    pub at_once: Option<usize>,
    /// The answer, instead of the service's.
    pub status: Option<u16>,
    pub hang: bool,
    /// The answer breaks off in its middle, and the connection with it.
    pub cut: bool,
    /// White space after the answer.
    pub pad_bytes: usize,
    /// Nobody listens any more; connections end.
    pub refuse: bool,
    /// The whole process stands still for so long, as while garbage is collected …
    pub pause_ms: u64,
    /// … after it has worked for so long.
    pub pause_every_ms: u64,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            share: 1.0,
            caller: None,
            path: None,
            delay_ms: 0,
            burn_ms: 0,
            at_once: None,
            status: None,
            hang: false,
            cut: false,
            pad_bytes: 0,
            refuse: false,
            pause_ms: 0,
            pause_every_ms: 0,
        }
    }
}

impl Trouble {
    /// Writes it for the process that watches `file`; it knows a moment later.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string(self).map_err(std::io::Error::other)?;
        // A reader must not find half of it.
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(fresh, file)
    }

    /// Nothing is wrong any more.
    pub fn end(file: &Path) -> std::io::Result<()> {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn concerns(&self, headers: &HeaderMap, path: &str) -> bool {
        let caller = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.caller.as_deref().is_none_or(|name| name == caller)
            && self.path.as_deref().is_none_or(|start| path.starts_with(start))
            && (self.share >= 1.0 || fastrand::f64() < self.share)
    }
}

/// What to do with a request after it has suffered what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Served {
        pad_bytes: usize,
    },
    /// Served, and broken off.
    Cut,
    Answered(StatusCode),
}

#[derive(Debug, Default)]
struct Now {
    trouble: Trouble,
    line: Option<Arc<Semaphore>>,
}

/// The trouble of this process, as it is now.
#[derive(Clone, Debug)]
pub struct Faults(watch::Receiver<Arc<Now>>);

impl Faults {
    /// Nothing is ever wrong.
    pub fn none() -> Self {
        Self(watch::channel(Arc::default()).1)
    }

    /// Follows the file for as long as the runtime lives.
    pub fn follow(file: PathBuf) -> Self {
        let (tell, told) = watch::channel(Arc::new(Now::of(read(&file).unwrap_or_default())));
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            while !tell.is_closed() {
                looks.tick().await;
                // What cannot be read changes nothing.
                let Some(trouble) = read(&file) else { continue };
                tell.send_if_modified(|now| {
                    let differs = now.trouble != trouble;
                    if differs {
                        *now = Arc::new(Now::of(trouble));
                    }
                    differs
                });
            }
        });
        tokio::spawn(stand_still(told.clone()));
        Self(told)
    }

    /// Makes a request wait, or never go on, as is due; then says what becomes of it. What is held must be held until it is answered.
    pub async fn suffer(&self, headers: &HeaderMap, path: &str) -> (Fate, Option<OwnedSemaphorePermit>) {
        let now = self.0.borrow().clone();
        let trouble = &now.trouble;
        if !trouble.concerns(headers, path) {
            return (Fate::Served { pad_bytes: 0 }, None);
        }
        let place = match &now.line {
            Some(line) => line.clone().acquire_owned().await.ok(),
            None => None,
        };
        let busy = Instant::now() + Duration::from_millis(trouble.burn_ms);
        while trouble.burn_ms > 0 && Instant::now() < busy {
            std::hint::spin_loop();
        }
        if trouble.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(trouble.delay_ms)).await;
        }
        if trouble.hang {
            std::future::pending::<()>().await;
        }
        let fate = match trouble.status.and_then(|code| StatusCode::from_u16(code).ok()) {
            Some(status) => Fate::Answered(status),
            None if trouble.cut => Fate::Cut,
            None => Fate::Served { pad_bytes: trouble.pad_bytes },
        };
        (fate, place)
    }

    /// Returns when nobody must listen, or, with `false`, when somebody may.
    pub async fn refuses(&self, refuse: bool) {
        let mut told = self.0.clone();
        if told.wait_for(|now| now.trouble.refuse == refuse).await.is_err() {
            // Nothing changes any more, and it is not so now.
            std::future::pending::<()>().await;
        }
    }
}

impl Now {
    fn of(trouble: Trouble) -> Self {
        let line = trouble.at_once.map(|many| Arc::new(Semaphore::new(many.clamp(1, Semaphore::MAX_PERMITS))));
        Self { trouble, line }
    }
}

/// None: it cannot be read, which is logged.
fn read(file: &Path) -> Option<Trouble> {
    let read = match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(Trouble::default()),
        Ok(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Trouble::default()),
        Err(error) => Err(error.to_string()),
    };
    read.inspect_err(|why| tracing::warn!("{}: {why}", file.display())).ok()
}

async fn stand_still(mut told: watch::Receiver<Arc<Now>>) {
    loop {
        let (work, pause) = {
            let now = told.borrow_and_update();
            (Duration::from_millis(now.trouble.pause_every_ms), Duration::from_millis(now.trouble.pause_ms))
        };
        if pause.is_zero() {
            if told.changed().await.is_err() {
                return;
            }
        } else {
            tokio::time::sleep(work).await;
            // All tasks of the process share this thread: they are to stand still with it.
            std::thread::sleep(pause.min(LONGEST_PAUSE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn from(caller: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static(caller))])
    }

    fn with(trouble: Trouble) -> (watch::Sender<Arc<Now>>, Faults) {
        let (tell, told) = watch::channel(Arc::new(Now::of(trouble)));
        (tell, Faults(told))
    }

    #[tokio::test(start_paused = true)]
    async fn only_whom_it_concerns_suffers() {
        let (_tell, faults) = with(Trouble { caller: Some("reviews".to_owned()), delay_ms: 300, status: Some(500), ..Trouble::default() });
        let began = tokio::time::Instant::now();
        assert_eq!(faults.suffer(&from("productpage"), "/ratings/0").await.0, Fate::Served { pad_bytes: 0 });
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(faults.suffer(&from("reviews"), "/ratings/0").await.0, Fate::Answered(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(began.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_line_goes_on_when_the_one_before_is_answered() {
        let (_tell, faults) = with(Trouble { at_once: Some(1), ..Trouble::default() });
        let first = faults.suffer(&HeaderMap::new(), "/").await;
        let second = tokio::time::timeout(Duration::from_secs(1), faults.suffer(&HeaderMap::new(), "/")).await;
        assert!(second.is_err(), "the line is full");
        drop(first);
        assert_eq!(faults.suffer(&HeaderMap::new(), "/").await.0, Fate::Served { pad_bytes: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_begins_and_ends_it() {
        let file = std::env::temp_dir().join(format!("taut-trouble-{}-{}.json", std::process::id(), fastrand::u64(..)));
        let faults = Faults::follow(file.clone());
        Trouble { refuse: true, ..Trouble::default() }.write(&file).unwrap();
        faults.refuses(true).await;
        std::fs::write(&file, "{ no JSON").unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(5), faults.refuses(false)).await.is_err(), "what cannot be read changes nothing");
        Trouble::end(&file).unwrap();
        faults.refuses(false).await;
    }
}
