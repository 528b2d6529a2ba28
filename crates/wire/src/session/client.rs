//! The proxy's end, across reconnects: what it subscribes to, what it holds, and what to answer.

use crate::convert::Malformed;
use crate::generated::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource as Item, Status};
use crate::resource::{self, Resource, ResourceType};
use std::collections::{BTreeMap, BTreeSet};

/// gRPC's code for "the client cannot use this" (google.rpc.Code).
const INVALID_ARGUMENT: i32 = 3;

/// How much of the reasons an answer carries, in bytes.
const MOST_REASON: usize = 4096;

/// Outlives its streams: call [`connect`](Self::connect) at the start of each.
#[derive(Debug)]
pub struct ClientSession {
    node: String,
    hosts: BTreeSet<String>,
    held: BTreeMap<ResourceType, BTreeMap<String, Held>>,
    /// The types that the current stream has sent a response for.
    answered: BTreeSet<ResourceType>,
}

#[derive(Debug)]
struct Held {
    version: String,
    resource: Resource,
}

/// What a response brought.
#[derive(Debug)]
pub struct Received {
    /// To be sent, whatever else happens: the control plane waits for it.
    pub ack: DeltaDiscoveryRequest,
    /// In the response's order; resources that are held at that version already are left out.
    pub changed: Vec<Change>,
    /// No longer there, or asked for and not there.
    pub removed: Vec<(ResourceType, String)>,
}

/// One resource of a response. When it was refused, the last good one stays held at its own version.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub of_type: ResourceType,
    pub name: String,
    pub version: String,
    pub outcome: Result<Resource, Malformed>,
}

impl ClientSession {
    /// `node` names the proxy in the control plane's logs; its certificate says who it is.
    pub fn new(node: impl Into<String>) -> Self {
        Self { node: node.into(), hosts: BTreeSet::new(), held: BTreeMap::new(), answered: BTreeSet::new() }
    }

    /// The requests that open a stream, to be sent in this order: every subscription, and what is held from before.
    pub fn connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.answered.clear();
        ResourceType::all().into_iter().map(|of_type| self.opening(of_type)).collect()
    }

    fn opening(&self, of_type: ResourceType) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: Some(Node { id: self.node.clone(), cluster: String::new() }),
            resource_names_subscribe: match of_type.by_name() {
                true => self.hosts.iter().cloned().collect(),
                false => vec!["*".to_owned()],
            },
            initial_resource_versions: self.held(of_type).map(|(name, version, _)| (name.to_owned(), version.to_owned())).collect(),
            ..of(of_type)
        }
    }

    /// Subscribes to services. `None` when it is subscribed to all of them. Between streams the request is not needed:
    /// `connect` subscribes to everything.
    pub fn subscribe(&mut self, hosts: impl IntoIterator<Item = String>) -> Option<DeltaDiscoveryRequest> {
        let new: Vec<_> = hosts.into_iter().filter(|host| self.hosts.insert(host.clone())).collect();
        (!new.is_empty()).then(|| DeltaDiscoveryRequest { resource_names_subscribe: new, ..of(ResourceType::Service) })
    }

    /// Forgets services. `None` when it was subscribed to none of them.
    pub fn unsubscribe(&mut self, hosts: impl IntoIterator<Item = String>) -> Option<DeltaDiscoveryRequest> {
        let old: Vec<_> = hosts.into_iter().filter(|host| self.hosts.remove(host)).collect();
        if let Some(held) = self.held.get_mut(&ResourceType::Service) {
            old.iter().for_each(|name| drop(held.remove(name)));
        }
        (!old.is_empty()).then(|| DeltaDiscoveryRequest { resource_names_unsubscribe: old, ..of(ResourceType::Service) })
    }

    /// The hosts that are subscribed to.
    pub fn subscribed(&self) -> &BTreeSet<String> {
        &self.hosts
    }

    /// Holds a resource from a snapshot of an earlier life, as if a stream had brought it.
    pub fn hold(&mut self, name: impl Into<String>, version: impl Into<String>, resource: Resource) {
        let name = name.into();
        let of_type = resource.of_type();
        if of_type.by_name() {
            self.hosts.insert(name.clone());
        }
        self.held.entry(of_type).or_default().insert(name, Held { version: version.into(), resource });
    }

    /// Name, version and resource of everything held of a type, by name.
    pub fn held(&self, of_type: ResourceType) -> impl Iterator<Item = (&str, &str, &Resource)> {
        let all = self.held.get(&of_type).into_iter().flatten();
        all.map(|(name, held)| (name.as_str(), held.version.as_str(), &held.resource))
    }

    pub fn holds(&self, of_type: ResourceType, name: &str) -> bool {
        self.held.get(&of_type).is_some_and(|held| held.contains_key(name))
    }

    /// Whether the current stream has sent what there is of every type.
    pub fn complete(&self) -> bool {
        ResourceType::all().iter().all(|of_type| self.answered.contains(of_type))
    }

    /// Takes a response in. A resource that cannot be used is refused alone.
    pub fn response(&mut self, response: DeltaDiscoveryResponse) -> Received {
        let ack = DeltaDiscoveryRequest { type_url: response.type_url, response_nonce: response.nonce, ..Default::default() };
        let Some(of_type) = ResourceType::from_type_url(&ack.type_url) else {
            let ack = refusing(ack, vec!["this proxy did not ask for this type and does not know it".to_owned()]);
            return Received { ack, changed: Vec::new(), removed: Vec::new() };
        };
        self.answered.insert(of_type);
        let changed: Vec<_> = response.resources.into_iter().filter_map(|item| self.change(of_type, item)).collect();
        let removed = response.removed_resources;
        if let Some(held) = self.held.get_mut(&of_type) {
            removed.iter().for_each(|name| drop(held.remove(name)));
        }
        let why = |change: &Change| change.outcome.as_ref().err().map(|fault| format!("{}: {fault}", change.name));
        let reasons: Vec<_> = changed.iter().filter_map(why).collect();
        Received { ack: refusing(ack, reasons), changed, removed: removed.into_iter().map(|name| (of_type, name)).collect() }
    }

    /// `None` for what was unsubscribed from while it was on its way, and for what is held already.
    fn change(&mut self, of_type: ResourceType, item: Item) -> Option<Change> {
        let Item { version, resource, name } = item;
        let held = self.held.entry(of_type).or_default();
        if of_type.by_name() && !self.hosts.contains(&name) || held.get(&name).is_some_and(|held| held.version == version) {
            return None;
        }
        let outcome = decoded(of_type, resource);
        if let Ok(resource) = &outcome {
            held.insert(name.clone(), Held { version: version.clone(), resource: resource.clone() });
        }
        Some(Change { of_type, name, version, outcome })
    }
}

fn of(of_type: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: of_type.type_url().to_owned(), ..Default::default() }
}

fn decoded(of_type: ResourceType, value: Option<prost_types::Any>) -> Result<Resource, Malformed> {
    let value = value.ok_or_else(|| Malformed::missing("resource"))?;
    if value.type_url != of_type.type_url() {
        return Err(Malformed::new("", format!("a {of_type} was announced, but this is a {:?}", value.type_url)));
    }
    resource::decode(of_type, &value.value)
}

fn refusing(ack: DeltaDiscoveryRequest, reasons: Vec<String>) -> DeltaDiscoveryRequest {
    if reasons.is_empty() {
        return ack;
    }
    let mut message = reasons.join("; ");
    message.truncate(message.floor_char_boundary(MOST_REASON));
    DeltaDiscoveryRequest { error_detail: Some(Status { code: INVALID_ARGUMENT, message }), ..ack }
}
