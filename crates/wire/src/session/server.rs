//! The control plane's end of one stream: what this client subscribed to, what it has, and what to send it next.

use crate::generated::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Item};
use crate::resource::ResourceType;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// See [`crate::resource::version`].
pub type Version = String;

/// All that a client may know of one type: name -> version and bytes.
pub type View = BTreeMap<String, (Version, Arc<[u8]>)>;

/// How many names one stream may subscribe to, or claim to have, per type, and how many bytes these names may have in all: far
/// above any use, so that a peer cannot fill memory. What is beyond is not taken in.
const MOST_NAMES: usize = 100_000;
const MOST_BYTES: usize = 16 << 20;
/// Kind, namespace and name of any object fit (20 + 253 + 253), and so does any host.
const LONGEST_NAME: usize = 600;
/// Versions are digests in hexadecimal.
const LONGEST_VERSION: usize = 128;

/// The state of one stream. After every request, offer the view of the request's type; after every change, offer those that
/// changed. Offers that come while a response is in flight are not lost: the next one, after the ACK, sends what is then new.
#[derive(Debug, Default)]
pub struct ServerSession {
    types: BTreeMap<ResourceType, Subscription>,
    last_nonce: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    /// Bytes of `names`.
    bytes: usize,
    /// What the client has, once it has read all that was sent; versions it refused included, so that they are not sent again.
    has: BTreeMap<String, Version>,
    /// Subscribed names that it has been told do not exist.
    told_absent: BTreeSet<String>,
    /// The nonce of the response that it has not answered yet.
    in_flight: Option<String>,
    /// It waits for a response even if that is empty.
    owed: bool,
}

/// What a request said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    pub of_type: ResourceType,
    pub subscribed: BTreeSet<String>,
    pub unsubscribed: BTreeSet<String>,
    /// How many names were not taken in, because there are too many or they are too long.
    pub ignored: usize,
    /// Set when it answers the response that was in flight.
    pub verdict: Option<Verdict>,
}

/// What the client made of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Some of it was refused, for the reason given. It is not sent again until it changes.
    Refused(String),
}

/// Why a request cannot be served. The client is at fault; end its stream with this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolFault {
    UnknownType(String),
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(url) => {
                let shown: String = url.chars().take(200).collect();
                write!(f, "the client asks for resources of type {shown:?}, which this control plane does not serve")
            }
        }
    }
}
impl std::error::Error for ProtocolFault {}

impl ServerSession {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a request in. Nonces that are not in flight are stale and answer nothing; the rest of the request still counts.
    pub fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<Requested, ProtocolFault> {
        let of_type = ResourceType::from_type_url(&request.type_url).ok_or(ProtocolFault::UnknownType(request.type_url))?;
        let first = !self.types.contains_key(&of_type);
        let state = self.types.entry(of_type).or_default();
        let mut subscribed: BTreeSet<_> = request.resource_names_subscribe.into_iter().collect();
        let unsubscribed: BTreeSet<_> = request.resource_names_unsubscribe.into_iter().collect();
        if first {
            state.wildcard = subscribed.is_empty() && !of_type.by_name();
            state.owed = true;
        }
        state.unsubscribe(&unsubscribed);
        let mut ignored = state.keep_within_limits(&mut subscribed);
        state.subscribe(&subscribed);
        if first {
            // After `subscribe`, which takes what is subscribed to as not there yet. What is not believed is sent again.
            let claimed = request.initial_resource_versions.len();
            state.has = believed(request.initial_resource_versions);
            ignored += claimed - state.has.len();
        }
        let answers = state.in_flight.as_deref().is_some_and(|nonce| nonce == request.response_nonce);
        let verdict = answers.then(|| {
            state.in_flight = None;
            request.error_detail.map_or(Verdict::Accepted, |status| Verdict::Refused(status.message))
        });
        Ok(Requested { of_type, subscribed, unsubscribed, ignored, verdict })
    }

    /// The names that the client subscribed to one by one.
    pub fn subscribed(&self, of_type: ResourceType) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.types.get(&of_type).map_or(&NONE, |state| &state.names)
    }

    /// Whether the client subscribed to all there is.
    pub fn wildcard(&self, of_type: ResourceType) -> bool {
        self.types.get(&of_type).is_some_and(|state| state.wildcard)
    }

    /// Whether the client has all of `of_type` that was offered and has answered for it.
    pub fn settled(&self, of_type: ResourceType) -> bool {
        self.types.get(&of_type).is_some_and(|state| state.in_flight.is_none() && !state.owed)
    }

    /// The response that brings the client to `view`; `None` when it is there already, when it has not asked for this type
    /// yet, or when it has not answered the last response of this type: offer again after that.
    pub fn offer(&mut self, of_type: ResourceType, view: &View) -> Option<DeltaDiscoveryResponse> {
        let state = self.types.get_mut(&of_type)?;
        if state.in_flight.is_some() {
            return None;
        }
        let resources = state.changed(of_type, view);
        let removed_resources = state.removed(view);
        if resources.is_empty() && removed_resources.is_empty() && !state.owed {
            return None;
        }
        self.last_nonce += 1;
        let nonce = self.last_nonce.to_string();
        state.owed = false;
        state.in_flight = Some(nonce.clone());
        Some(DeltaDiscoveryResponse {
            system_version_info: String::new(),
            resources,
            type_url: of_type.type_url().to_owned(),
            nonce,
            removed_resources,
        })
    }
}

/// What a client says it has, as far as it is within the limits.
fn believed(claimed: impl IntoIterator<Item = (String, Version)>) -> BTreeMap<String, Version> {
    let mut bytes = 0;
    let plausible = claimed.into_iter().filter(|(name, version)| name.len() <= LONGEST_NAME && version.len() <= LONGEST_VERSION);
    let within = plausible.take(MOST_NAMES).take_while(|(name, version)| {
        bytes += name.len() + version.len();
        bytes <= MOST_BYTES
    });
    within.collect()
}

impl Subscription {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whoever subscribes to a name again has lost it, so it is sent again.
    fn subscribe(&mut self, names: &BTreeSet<String>) {
        for name in names {
            if name == "*" {
                self.wildcard = true;
                continue;
            }
            self.has.remove(name);
            self.told_absent.remove(name);
            if self.names.insert(name.clone()) {
                self.bytes += name.len();
            }
        }
    }

    /// Takes out of `names` what there is no room for, and says how many that are.
    fn keep_within_limits(&self, names: &mut BTreeSet<String>) -> usize {
        let (before, mut count, mut bytes) = (names.len(), self.names.len(), self.bytes);
        names.retain(|name| {
            if name == "*" || self.names.contains(name) {
                return true;
            }
            let fits = name.len() <= LONGEST_NAME && count < MOST_NAMES && bytes + name.len() <= MOST_BYTES;
            if fits {
                (count, bytes) = (count + 1, bytes + name.len());
            }
            fits
        });
        before - names.len()
    }

    /// The client forgets these by itself. Under a wildcard it keeps them, which the next response confirms.
    fn unsubscribe(&mut self, names: &BTreeSet<String>) {
        for name in names {
            if name == "*" {
                self.wildcard = false;
                let names = &self.names;
                self.has.retain(|name, _| names.contains(name));
                continue;
            }
            if self.names.remove(name) {
                self.bytes -= name.len();
            }
            self.told_absent.remove(name);
            self.has.remove(name);
        }
    }

    /// Takes what the client lacks of `view` as sent.
    fn changed(&mut self, of_type: ResourceType, view: &View) -> Vec<Item> {
        let mut items = Vec::new();
        for (name, (version, bytes)) in view {
            if !self.wants(name) || self.has.get(name) == Some(version) {
                continue;
            }
            self.has.insert(name.clone(), version.clone());
            self.told_absent.remove(name);
            let value = prost_types::Any { type_url: of_type.type_url().to_owned(), value: bytes.to_vec() };
            items.push(Item { version: version.clone(), resource: Some(value), name: name.clone() });
        }
        items
    }

    /// Takes what the client has too much, and what it asked for that does not exist, as told.
    fn removed(&mut self, view: &View) -> Vec<String> {
        let gone = |name: &String| !view.contains_key(name) || !self.wants(name);
        let mut removed: BTreeSet<String> = self.has.keys().filter(|name| gone(name)).cloned().collect();
        let absent = |name: &&String| !view.contains_key(*name) && !self.told_absent.contains(*name);
        removed.extend(self.names.iter().filter(absent).cloned());
        for name in &removed {
            self.has.remove(name);
            if self.names.contains(name) {
                self.told_absent.insert(name.clone());
            }
        }
        removed.into_iter().collect()
    }
}
