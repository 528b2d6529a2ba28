//! Workloads that register themselves: their WorkloadEntry, Service, ServiceAccount and Namespace, and when they are forgotten.
//!
//! Fail static: a workload whose stream is gone keeps its state for a while (longer after a restart of the control plane,
//! when every stream is gone), is then not ready, and is forgotten much later. What users wrote themselves is never deleted.

mod claim;

use crate::fault::Fault;
use crate::store::{Store, StoreError, Write};
use crate::world::World;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;
use taut_wire::desk::{Hello, Port, readiness};
use tokio::sync::Notify;

/// How long a workload without a stream keeps its state.
pub const RECONNECT: Duration = Duration::from_secs(3);
/// The same, for workloads known from before the control plane started.
pub const RESTART_GRACE: Duration = Duration::from_secs(30);
/// How long a workload without a stream is remembered.
pub const FORGET: Duration = Duration::from_secs(300);

/// `host:port` where the workload's proxy takes mutual TLS.
pub const PEER: &str = "tautline.dev/peer";
/// On an entry that a user writes: the SPIFFE id of a workload of another trust domain.
pub const IDENTITY: &str = "tautline.dev/identity";
/// Marks what this module created and may delete.
pub const AUTO_REGISTERED: &str = "tautline.dev/auto-registered";
/// Limits of what one hello may put into the store: label keys have at most 317 bytes (a prefix of 253, a slash, 63).
const LONGEST_TEXT: usize = 317;
const MOST_PARTS: usize = 256;
const MANAGER: &str = "workload-registry";

/// Whether a workload can take traffic, as its `Healthy` condition says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Ready,
    NotReady,
    Draining,
    /// Its proxy is gone without a word.
    Disconnected,
}

impl Presence {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::NotReady => "NotReady",
            Self::Draining => "Draining",
            Self::Disconnected => "Disconnected",
        }
    }

    /// `None` for a workload that leaves for good.
    pub fn said(state: readiness::State) -> Option<Self> {
        match state {
            readiness::State::Ready => Some(Self::Ready),
            readiness::State::NotReady => Some(Self::NotReady),
            readiness::State::Draining => Some(Self::Draining),
            readiness::State::Gone => None,
        }
    }
}

/// Why a workload was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// The hello itself is wrong.
    Hello(String),
    /// The name is another identity's.
    Taken(String),
    /// A service is another identity's.
    NotPermitted(String),
    Store(String),
}

impl fmt::Display for RegistryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(why) | Self::Taken(why) | Self::NotPermitted(why) => write!(f, "the workload cannot be registered: {why}"),
            Self::Store(why) => write!(f, "the workload could not be written down: {why}"),
        }
    }
}
impl std::error::Error for RegistryFault {}

impl From<StoreError> for RegistryFault {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// The kinds that are written here.
#[derive(Clone, Copy)]
struct Kinds {
    namespace: &'static Kind,
    account: &'static Kind,
    service: &'static Kind,
    service_entry: &'static Kind,
    entry: &'static Kind,
}

/// A workload without a stream, and when what happens to it (time since the world began).
#[derive(Clone, Copy, Debug)]
struct Suspect {
    not_ready_at: Duration,
    forget_at: Duration,
    judged: bool,
}

/// Cheap to clone; all clones are one registry.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    world: World,
    kinds: Kinds,
    suspects: Arc<Mutex<BTreeMap<String, Suspect>>>,
    /// Held while a workload is written down, so that two that claim the same are seen one after the other.
    registering: Arc<Mutex<()>>,
    changed: Arc<Notify>,
}

impl Registry {
    /// Workloads that registered before this control plane started are suspects from now on.
    ///
    /// # Errors
    /// The program was built without one of the kinds it needs.
    pub fn new(store: Store, world: World) -> Result<Self, Fault> {
        let kind = |api_version, kind| {
            kinds::by_kind(api_version, kind).ok_or_else(|| Fault::new(format!("the kind {kind} is not built in"), "Please report it"))
        };
        let kinds = Kinds {
            namespace: kind("v1", "Namespace")?,
            account: kind("v1", "ServiceAccount")?,
            service: kind("v1", "Service")?,
            service_entry: kind("networking.istio.io/v1", "ServiceEntry")?,
            entry: kind("networking.istio.io/v1", "WorkloadEntry")?,
        };
        let now = world.now();
        let known = store.list(kinds.entry).0;
        let suspect = Suspect { not_ready_at: now + RESTART_GRACE, forget_at: now + RESTART_GRACE + FORGET, judged: false };
        let suspects = known.iter().filter(|entry| is_ours(entry)).map(|entry| (uid(entry), suspect)).collect();
        Ok(Self { store, world, kinds, suspects: Arc::new(Mutex::new(suspects)), registering: Arc::default(), changed: Arc::default() })
    }

    fn write(&self, status_only: bool) -> Write {
        Write { manager: MANAGER.to_owned(), now: self.world.wall_text(), uid_seed: self.world.unique(), places: None, status_only, author: None }
    }

    /// Whether [`register`](Self::register) would take this hello. Nothing is written.
    ///
    /// # Errors
    /// As for `register`.
    pub fn permit(&self, hello: &Hello) -> Result<(), RegistryFault> {
        check(hello)?;
        let known = self.store.get(self.kinds.entry, &hello.namespace, &hello.name);
        if let Some(known) = &known {
            claim::name(known, hello)?;
        }
        // What a user wrote about a workload stays, its labels included.
        let labels = match known.filter(|known| !is_ours(known)) {
            Some(known) => known.value["spec"]["labels"].clone(),
            None => labels(hello).into(),
        };
        self.permit_services(hello, &labels)
    }

    /// Every service that labels make the workload an endpoint of, and the one that it asks to be created or extended, must be
    /// one that its account may serve.
    fn permit_services(&self, hello: &Hello, labels: &Value) -> Result<(), RegistryFault> {
        let of_namespace = |kind| {
            let all = self.store.list(kind).0.into_iter();
            all.filter(|object| object.namespace == hello.namespace).collect::<Vec<_>>()
        };
        let entries = of_namespace(self.kinds.entry);
        let mut services = of_namespace(self.kinds.service);
        let named = |service: &Object| service.kind.kind == "Service" && service.name == hello.service;
        if !hello.service.is_empty() && !services.iter().any(|service| named(service)) {
            // Not there yet; entries with its label would be its endpoints as soon as it is.
            services.push(Arc::new(self.service_of(hello)));
        }
        services.extend(of_namespace(self.kinds.service_entry));
        for service in &services {
            let selector = claim::selector(service);
            if named(service) || selector.is_some_and(|selector| claim::selects(selector, labels)) {
                let serves = |entry: &&Arc<Object>| selector.is_some_and(|selector| claim::selects(selector, &entry.value["spec"]["labels"]));
                let serving: Vec<_> = entries.iter().filter(serves).cloned().collect();
                claim::service(service, &serving, hello)?;
            }
        }
        Ok(())
    }

    /// The service that a hello asks for.
    fn service_of(&self, hello: &Hello) -> Object {
        let ports: Vec<_> = hello.ports.iter().map(service_port).collect();
        let body = json!({"spec": {"selector": {"app": hello.service}, "ports": ports}});
        let value = object_value(self.kinds.service, &hello.namespace, &hello.service, body);
        Object { kind: self.kinds.service, namespace: hello.namespace.clone(), name: hello.service.clone(), value, places: None }
    }

    /// Writes the workload down as its hello says, with what it needs to be found. Returns its uid, `namespace/name`.
    /// The caller has proven the hello's namespace and service account.
    ///
    /// # Errors
    /// A hello without a usable name, address or ports, or that claims a name or a service of another service account
    /// (a service without workloads may be joined by any account of its namespace, unless it lists its accounts in the
    /// annotation `tautline.dev/service-accounts`); a store that cannot write.
    pub fn register(&self, hello: &Hello) -> Result<String, RegistryFault> {
        let _turn = self.registering.lock();
        self.permit(hello)?;
        let uid = format!("{}/{}", hello.namespace, hello.name);
        // One that starts anew may have been ready a moment ago: nobody is to hear of its new place as if it still were.
        let said = hello.readiness.as_ref().and_then(|said| Presence::said(said.state()));
        if let Some(presence) = said.filter(|presence| *presence != Presence::Ready) {
            self.judge(&uid, presence, "")?;
        }
        self.ensure(self.kinds.namespace, "", &hello.namespace, json!({}))?;
        self.ensure(self.kinds.account, &hello.namespace, &hello.service_account, json!({}))?;
        let ports = self.service_ports(hello)?;
        self.write_entry(hello, &entry_value(self.kinds.entry, hello, &ports))?;
        self.suspects.lock().remove(&uid);
        Ok(uid)
    }

    fn write_entry(&self, hello: &Hello, entry: &Value) -> Result<(), RegistryFault> {
        let kind = self.kinds.entry;
        let object = Object { kind, namespace: hello.namespace.clone(), name: hello.name.clone(), value: entry.clone(), places: None };
        match self.store.create(object, &self.write(false)) {
            Err(StoreError::AlreadyExists { .. }) => {}
            done => return Ok(done.map(drop)?),
        }
        // Users write entries too, and may have done so after the hello was permitted.
        let mut permitted = Ok(());
        let renewal = self.store.update(kind, &hello.namespace, &hello.name, &self.write(false), &mut |now| {
            permitted = claim::name(now, hello);
            if permitted.is_ok() { Ok(renewed(now, entry)) } else { Err(StoreError::Declined) }
        });
        permitted?;
        Ok(renewal.map(drop)?)
    }

    fn ensure(&self, kind: &'static Kind, namespace: &str, name: &str, body: Value) -> Result<(), RegistryFault> {
        if self.store.get(kind, namespace, name).is_some() {
            return Ok(());
        }
        let value = object_value(kind, namespace, name, body);
        self.create(Object { kind, namespace: namespace.to_owned(), name: name.to_owned(), value, places: None })
    }

    /// That it is there already is as good.
    fn create(&self, object: Object) -> Result<(), RegistryFault> {
        match self.store.create(object, &self.write(false)) {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the service that the hello asks for, or adds the hello's ports to one that was created here before.
    /// Returns the names of the hello's ports, as the service calls them.
    fn service_ports(&self, hello: &Hello) -> Result<Vec<(String, u32)>, RegistryFault> {
        let named = |existing: Option<&Object>| hello.ports.iter().map(|port| (port_name(port, existing), port.target)).collect::<Vec<_>>();
        if hello.service.is_empty() {
            return Ok(named(None));
        }
        if let Some(service) = self.store.get(self.kinds.service, &hello.namespace, &hello.service) {
            if !is_ours(&service) {
                return Ok(named(Some(&service)));
            }
            let write = self.write(false);
            let grown = self.store.update(self.kinds.service, &hello.namespace, &hello.service, &write, &mut |now| Ok(with_ports(now, hello)))?;
            return Ok(named(Some(&grown)));
        }
        self.create(self.service_of(hello))?;
        Ok(named(None))
    }

    /// Sets the workload's `Healthy` condition; nothing happens when it says so already, or the workload is not known.
    ///
    /// # Errors
    /// The store could not write.
    pub fn judge(&self, uid: &str, presence: Presence, message: &str) -> Result<(), RegistryFault> {
        let Some((namespace, name)) = uid.split_once('/') else { return Ok(()) };
        let now = self.world.wall_text();
        let done =
            self.store.update(self.kinds.entry, namespace, name, &self.write(true), &mut |entry| Ok(with_health(entry, presence, message, &now)));
        match done {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The workload left for good.
    ///
    /// # Errors
    /// The store could not write.
    pub fn forget(&self, uid: &str) -> Result<(), RegistryFault> {
        self.suspects.lock().remove(uid);
        let Some((namespace, name)) = uid.split_once('/') else { return Ok(()) };
        match self.store.get(self.kinds.entry, namespace, name) {
            Some(entry) if is_ours(&entry) => match self.store.delete(self.kinds.entry, namespace, name, None) {
                Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Some(_) => self.judge(uid, Presence::Disconnected, "the workload said that it leaves"),
            None => Ok(()),
        }
    }

    /// The workload's stream ended without a word: it has a short time to come back.
    pub fn suspect(&self, uid: &str) {
        let now = self.world.now();
        let suspect = Suspect { not_ready_at: now + RECONNECT, forget_at: now + FORGET, judged: false };
        self.suspects.lock().insert(uid.to_owned(), suspect);
        self.changed.notify_one();
    }

    /// Judges and forgets suspects when their time is up. Runs for ever.
    pub async fn tend(&self) {
        loop {
            let now = self.world.now();
            let (due, next) = self.due(now);
            for (uid, forget) in due {
                let done = match forget {
                    true => self.forget(&uid),
                    false => self.judge(&uid, Presence::Disconnected, "its proxy lost the connection to the control plane"),
                };
                if let Err(fault) = done {
                    tracing::warn!(%uid, %fault, "a workload without a proxy could not be judged");
                }
            }
            let wait = next.map_or(FORGET, |at| at.saturating_sub(now));
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Who is due at `now` (true: to be forgotten), and when the next one is.
    fn due(&self, now: Duration) -> (Vec<(String, bool)>, Option<Duration>) {
        let mut suspects = self.suspects.lock();
        let mut due = Vec::new();
        for (uid, suspect) in suspects.iter_mut() {
            if suspect.forget_at <= now {
                due.push((uid.clone(), true));
            } else if !suspect.judged && suspect.not_ready_at <= now {
                suspect.judged = true;
                due.push((uid.clone(), false));
            }
        }
        suspects.retain(|_, suspect| suspect.forget_at > now);
        let next = suspects.values().map(|suspect| if suspect.judged { suspect.forget_at } else { suspect.not_ready_at }).min();
        (due, next)
    }
}

fn uid(entry: &Object) -> String {
    format!("{}/{}", entry.namespace, entry.name)
}

fn is_ours(object: &Object) -> bool {
    object.value["metadata"]["annotations"][AUTO_REGISTERED] == "true"
}

/// RFC 1123 label, as Kubernetes wants names to be.
fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn check(hello: &Hello) -> Result<(), RegistryFault> {
    let wrong = |why: String| Err(RegistryFault::Hello(why));
    let names = [("namespace", &hello.namespace), ("name", &hello.name), ("service account", &hello.service_account)];
    for (what, name) in names.into_iter().chain((!hello.service.is_empty()).then_some(("service", &hello.service))) {
        // Names of pods and accounts may hold dots (RFC 1123 subdomain); each part is a label.
        if name.len() > 253 || !name.split('.').all(is_label) {
            return wrong(format!("its {what} {name:?} is not a name: use a-z, 0-9 and '-'"));
        }
    }
    if hello.address.is_empty() {
        return wrong("it names no address".to_owned());
    }
    // Without it, others would send to the workload in plain text.
    if hello.peer.parse::<std::net::SocketAddr>().is_err() {
        return wrong(format!("its peer address {:?}, where its proxy takes mutual TLS, is not an IP address and port", hello.peer));
    }
    let texts =
        [&hello.address, &hello.locality, &hello.admin, &hello.proxy_version].into_iter().chain(hello.labels.keys()).chain(hello.labels.values());
    let texts = texts.chain(hello.ports.iter().flat_map(|port| [&port.name, &port.app_protocol]));
    if let Some(long) = texts.max_by_key(|text| text.len()).filter(|text| text.len() > LONGEST_TEXT) {
        let start: String = long.chars().take(20).collect();
        return wrong(format!("a text in it that starts with {start:?} is longer than {LONGEST_TEXT} bytes"));
    }
    if hello.labels.len() > MOST_PARTS || hello.ports.len() > MOST_PARTS {
        return wrong(format!("it has more than {MOST_PARTS} labels or ports"));
    }
    let port = |number: u32| (1..=65535).contains(&number);
    match hello.ports.iter().find(|one| !port(one.port) || !port(one.target)) {
        Some(bad) => wrong(format!("its port {}:{} is not between 1 and 65535", bad.port, bad.target)),
        None => Ok(()),
    }
}

fn object_value(kind: &'static Kind, namespace: &str, name: &str, body: Value) -> Value {
    let mut metadata = json!({"name": name, "annotations": {AUTO_REGISTERED: "true"}});
    if kind.namespaced {
        metadata["namespace"] = namespace.into();
    }
    let mut value = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata});
    if let (Value::Object(value), Value::Object(body)) = (&mut value, body) {
        value.extend(body);
    }
    value
}

/// The name of a hello's port: what the service with that port calls it, else what the hello says, else one made up from
/// the protocol, so that it declares the same.
fn port_name(port: &Port, service: Option<&Object>) -> String {
    let known = service.and_then(|service| service.value["spec"]["ports"].as_array()).into_iter().flatten();
    let known = known.filter(|one| one["port"].as_u64() == Some(port.port.into())).find_map(|one| one["name"].as_str());
    match (known, port.name.as_str(), port.app_protocol.as_str()) {
        (Some(name), ..) => name.to_owned(),
        (None, "", "") => format!("port-{}", port.port),
        (None, "", protocol) if protocol.chars().all(|c| c.is_ascii_alphanumeric()) => format!("{}-{}", protocol.to_ascii_lowercase(), port.port),
        (None, "", _) => format!("port-{}", port.port),
        (None, name, _) => name.to_owned(),
    }
}

fn service_port(port: &Port) -> Value {
    let mut value = json!({"name": port_name(port, None), "port": port.port, "targetPort": port.target, "protocol": "TCP"});
    if !port.app_protocol.is_empty() {
        value["appProtocol"] = port.app_protocol.clone().into();
    }
    value
}

/// The service with those of the hello's ports that it lacks.
fn with_ports(service: &Object, hello: &Hello) -> Value {
    let mut value = service.value.clone();
    let Some(ports) = value["spec"]["ports"].as_array_mut() else { return value };
    for port in &hello.ports {
        if !ports.iter().any(|known| known["port"].as_u64() == Some(port.port.into())) {
            ports.push(service_port(port));
        }
    }
    value
}

/// The labels of the workload's entry.
fn labels(hello: &Hello) -> Map<String, Value> {
    let mut labels: Map<String, Value> = hello.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    if !hello.service.is_empty() {
        labels.entry("app").or_insert_with(|| hello.service.clone().into());
    }
    labels
}

fn entry_value(kind: &'static Kind, hello: &Hello, ports: &[(String, u32)]) -> Value {
    let labels = labels(hello);
    let ports: Map<String, Value> = ports.iter().map(|(name, target)| (name.clone(), (*target).into())).collect();
    let mut spec = json!({"address": hello.address, "ports": ports, "labels": labels, "serviceAccount": hello.service_account});
    if !hello.locality.is_empty() {
        spec["locality"] = hello.locality.clone().into();
    }
    let mut value = object_value(kind, &hello.namespace, &hello.name, json!({"spec": spec}));
    value["metadata"]["labels"] = labels.into();
    value["metadata"]["annotations"][PEER] = hello.peer.clone().into();
    value
}

/// What an entry that exists becomes when its workload says hello again. One that a user wrote keeps the user's word, and
/// only learns where the proxy is, if the user did not say that too.
fn renewed(now: &Object, entry: &Value) -> Value {
    let mut value = now.value.clone();
    if is_ours(now) {
        value["spec"] = entry["spec"].clone();
        value["metadata"]["labels"] = entry["metadata"]["labels"].clone();
    } else if !claim::may_say_peer(now) {
        return value;
    }
    if !value["metadata"]["annotations"].is_object() {
        value["metadata"]["annotations"] = json!({});
    }
    value["metadata"]["annotations"][PEER] = entry["metadata"]["annotations"][PEER].clone();
    value
}

fn with_health(entry: &Object, presence: Presence, message: &str, now: &str) -> Value {
    let mut value = entry.value.clone();
    let status = if presence == Presence::Ready { "True" } else { "False" };
    let condition = json!({"type": "Healthy", "status": status, "reason": presence.reason(), "message": message, "lastTransitionTime": now});
    crate::condition::set(&mut value["status"], condition);
    value
}

#[cfg(test)]
mod tests;
