//! The proxies that are connected now: who they are, what they asked for, what they say they run, and a line to ask them.

use crate::publish::Published;
use crate::view::Viewer;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_wire::desk::{Acknowledge, Ask, Hello, Holding, ask};
use taut_wire::resource::ResourceType;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Type and name of a resource.
pub type Key = (ResourceType, String);

/// Versions are digests in hexadecimal.
const LONGEST_VERSION: usize = 128;
/// Bytes kept of a reason that a proxy gives.
const LONGEST_REASON: usize = 512;

/// What a proxy last said about one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub version: String,
    pub accepted: bool,
    /// Why not, when not.
    pub why: String,
}

/// A line to one proxy: questions go out on its desk stream, answers come back by number.
pub struct Line {
    /// Which stream this is; numbers are never used twice.
    pub number: u64,
    questions: mpsc::Sender<Ask>,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<String>>>,
    next: AtomicU64,
    /// Told when another stream took this one's place.
    pub displaced: Notify,
}

impl Line {
    /// Asks, and waits for the answer (JSON) at most `limit`. `None`: no answer, or the proxy has nothing to say.
    pub async fn ask(&self, what: ask::What, limit: Duration) -> Option<String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(id, answer);
        let sent = self.questions.try_send(Ask { id, what: Some(what) });
        let heard = match sent {
            Ok(()) => tokio::time::timeout(limit, answered).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        self.waiting.lock().remove(&id);
        heard.filter(|json| !json.is_empty())
    }

    /// Whether the proxy at the other end answers at all, within `limit`.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(id, answer);
        // No exchange has the empty id; what counts is that something comes back.
        let sent = self.questions.try_send(Ask { id, what: Some(ask::What::Exchange(String::new())) });
        let alive = sent.is_ok()
            && tokio::select! {
                biased;
                answer = answered => answer.is_ok(),
                () = self.questions.closed() => false,
                () = tokio::time::sleep(limit) => false,
            };
        self.waiting.lock().remove(&id);
        alive
    }

    pub fn answered(&self, id: u64, json: String) {
        if let Some(waiting) = self.waiting.lock().remove(&id) {
            // Whoever asked may have given up meanwhile.
            let _ = waiting.send(json);
        }
    }
}

/// One connected proxy as others see it.
#[derive(Clone)]
pub struct Proxy {
    pub uid: String,
    pub hello: Arc<Hello>,
    pub line: Arc<Line>,
    pub acknowledged: Arc<BTreeMap<Key, Said>>,
    /// The plan it runs, by its own count; 0 before the first.
    pub plan: u64,
    /// RFC 3339.
    pub since: String,
    pub readiness: &'static str,
    pub viewer: Viewer,
    pub asked: Arc<Asked>,
    /// The certificate that it says it shows, and by which roots it checks others'. `None`: it has not said.
    pub holding: Option<Arc<Holding>>,
}

/// The hosts that a proxy asked for, and which version of the mesh was published then; 0 for those it may have had before.
pub type Asked = BTreeMap<String, u64>;

#[derive(Default)]
struct Table {
    proxies: BTreeMap<String, Proxy>,
    /// Hosts that each ADS stream asked for, by workload and stream number: streams come and go apart from desks.
    subscriptions: BTreeMap<String, (u64, Arc<Asked>)>,
}

/// Cheap to clone; all clones are one table.
#[derive(Clone, Default)]
pub struct Proxies {
    table: Arc<Mutex<Table>>,
    numbers: Arc<AtomicU64>,
    changes: Arc<watch::Sender<u64>>,
}

impl Proxies {
    /// A number for a new stream.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Grows with every change of the table.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A proxy has said hello. One that was there under the same name is displaced.
    pub fn arrive(&self, uid: &str, hello: Hello, since: String, questions: mpsc::Sender<Ask>) -> Arc<Line> {
        let line = Arc::new(Line { number: self.number(), questions, waiting: Mutex::default(), next: AtomicU64::new(1), displaced: Notify::new() });
        let mut table = self.table.lock();
        let asked = table.subscriptions.get(uid).map(|(_, asked)| asked.clone()).unwrap_or_default();
        let viewer = Viewer { uid: uid.to_owned(), namespace: hello.namespace.clone(), hosts: asked.keys().cloned().collect() };
        let proxy = Proxy {
            uid: uid.to_owned(),
            hello: Arc::new(hello),
            line: line.clone(),
            acknowledged: Arc::default(),
            plan: 0,
            since,
            readiness: "NotReady",
            viewer,
            asked,
            holding: None,
        };
        if let Some(before) = table.proxies.insert(uid.to_owned(), proxy) {
            before.line.displaced.notify_one();
        }
        drop(table);
        self.changed();
        line
    }

    /// The stream has ended. False when another one had already taken its place.
    pub fn leave(&self, uid: &str, number: u64) -> bool {
        let mut table = self.table.lock();
        let ours = table.proxies.get(uid).is_some_and(|proxy| proxy.line.number == number);
        if ours {
            table.proxies.remove(uid);
        }
        drop(table);
        self.changed();
        ours
    }

    /// Notes what the proxy says it runs, of what is published: it could say anything. Nothing, when the stream is no longer
    /// the proxy's own.
    pub fn acknowledge(&self, uid: &str, number: u64, said: Acknowledge, published: &Published) {
        self.with(uid, number, |proxy| {
            proxy.plan = said.plan;
            let acknowledged = Arc::make_mut(&mut proxy.acknowledged);
            for one in said.resources {
                let Some(of_type) = ResourceType::from_type_url(&one.type_url) else { continue };
                let known = published.version_of(of_type, &one.name).is_some() && one.version.len() <= LONGEST_VERSION;
                let key = (of_type, one.name);
                match (one.removed, known) {
                    (true, _) => drop(acknowledged.remove(&key)),
                    (false, false) => {}
                    (false, true) => {
                        let why = shortened(one.why, LONGEST_REASON);
                        acknowledged.insert(key, Said { version: one.version, accepted: one.accepted, why });
                    }
                }
            }
        });
    }

    pub fn readiness(&self, uid: &str, number: u64, readiness: &'static str) {
        self.with(uid, number, |proxy| proxy.readiness = readiness);
    }

    /// What it says of its certificate; longer than any is what is not one.
    pub fn holds(&self, uid: &str, number: u64, holding: Holding) {
        let sound = holding.serial.len() <= 64
            && holding.signer.len() <= 32
            && holding.roots.len() <= 16
            && holding.roots.iter().all(|root| root.len() <= 32)
            && holding.application.as_ref().is_none_or(|leaf| leaf.serial.len() <= 64 && leaf.signer.len() <= 32);
        if sound {
            self.with(uid, number, |proxy| proxy.holding = Some(Arc::new(holding)));
        }
    }

    fn with(&self, uid: &str, number: u64, change: impl FnOnce(&mut Proxy)) {
        if let Some(proxy) = self.table.lock().proxies.get_mut(uid).filter(|proxy| proxy.line.number == number) {
            change(proxy);
        }
        self.changed();
    }

    /// What ADS stream `number` of this workload has asked for.
    pub fn subscribed(&self, uid: &str, number: u64, asked: &Asked) {
        let mut table = self.table.lock();
        match table.subscriptions.get(uid) {
            Some((newest, _)) if *newest > number => return,
            Some((newest, known)) if *newest == number && **known == *asked => return,
            _ => {}
        }
        let asked = Arc::new(asked.clone());
        table.subscriptions.insert(uid.to_owned(), (number, asked.clone()));
        if let Some(proxy) = table.proxies.get_mut(uid) {
            proxy.viewer.hosts = asked.keys().cloned().collect();
            proxy.asked = asked;
        }
        drop(table);
        self.changed();
    }

    pub fn unsubscribed(&self, uid: &str, number: u64) {
        let mut table = self.table.lock();
        if table.subscriptions.get(uid).is_some_and(|(newest, _)| *newest == number) {
            table.subscriptions.remove(uid);
        }
    }

    pub fn get(&self, uid: &str) -> Option<Proxy> {
        self.table.lock().proxies.get(uid).cloned()
    }

    /// In the order of their names.
    pub fn all(&self) -> Vec<Proxy> {
        self.table.lock().proxies.values().cloned().collect()
    }
}

/// At most `longest` bytes of a text from outside, cut between two characters.
pub fn shortened(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text.shrink_to_fit();
    text
}
