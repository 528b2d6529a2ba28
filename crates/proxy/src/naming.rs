//! The names that records are made of: made once and shared, since most exchanges of a worker are between the same few parties.

use crate::identity::HeldIdentity;
use crate::metadata;
use crate::options::OwnWorkload;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use taut_model::host;
use taut_model::workload::Workload;
use taut_observe::names::UNKNOWN;
use taut_observe::record::{Edge, Party};
use taut_observe::text::Text;
use taut_plan::cluster::Dial;

/// Names of services and addresses that are kept: clients choose some of them.
const MOST: usize = 1024;
/// Introductions of upstreams that are kept, the oldest going first.
const MOST_INTRODUCED: usize = 32;

#[derive(Default)]
pub struct Names {
    plain: Option<Arc<Party>>,
    proven: Option<(u64, Arc<Party>)>,
    /// By the address of the workload, which each entry keeps alive.
    endpoints: HashMap<(usize, bool), Endpoint, RandomState>,
    services: HashMap<Text, Service, RandomState>,
    addresses: HashMap<Dial, Text, RandomState>,
    introduced: Vec<Introduced>,
    unknown: Option<Text>,
}

struct Endpoint {
    party: Arc<Party>,
    _workload: Arc<Workload>,
}

struct Service {
    host: Text,
    name: Text,
    namespace: Text,
}

struct Introduced {
    known: Arc<Party>,
    said: Box<[u8]>,
    as_said: Arc<Party>,
}

impl Names {
    /// Lets go of what an old plan knew.
    pub fn forget(&mut self) {
        self.endpoints.clear();
        self.introduced.clear();
    }

    pub fn own(&mut self, own: &OwnWorkload, held: Option<&HeldIdentity>) -> Arc<Party> {
        let Some(held) = held else {
            return self.plain.get_or_insert_with(|| Arc::new(metadata::own_party(own, None))).clone();
        };
        match &self.proven {
            Some((serial, party)) if *serial == held.serial => party.clone(),
            _ => {
                let party = Arc::new(metadata::own_party(own, Some(held.identity.to_string())));
                self.proven = Some((held.serial, party.clone()));
                party
            }
        }
    }

    pub fn endpoint(&mut self, workload: &Arc<Workload>, proven: bool) -> Arc<Party> {
        let known = self.endpoints.entry((Arc::as_ptr(workload) as usize, proven));
        known.or_insert_with(|| Endpoint { party: Arc::new(metadata::endpoint_party(workload, proven)), _workload: workload.clone() }).party.clone()
    }

    /// Fills in which service was asked for.
    pub fn service(&mut self, edge: &mut Edge, asked: &str, namespace: &str) {
        if self.services.len() >= MOST && !self.services.contains_key(asked) {
            self.services.clear();
        }
        if self.services.get(asked).is_none_or(|known| *known.namespace != *namespace) {
            let host: Text = asked.into();
            let service = Service { host: host.clone(), name: host::short(asked).into(), namespace: namespace.into() };
            self.services.insert(host, service);
        }
        if let Some(Service { host, name, namespace }) = self.services.get(asked) {
            (edge.service_host, edge.service_name, edge.service_namespace) = (host.clone(), name.clone(), namespace.clone());
        }
    }

    pub fn unknown(&mut self) -> Text {
        self.unknown.get_or_insert_with(|| UNKNOWN.into()).clone()
    }

    /// An address as text.
    pub fn address(&mut self, dial: &Dial) -> Text {
        if let Some(text) = self.addresses.get(dial) {
            return text.clone();
        }
        if self.addresses.len() >= MOST {
            self.addresses.clear();
        }
        let text: Text = match dial {
            Dial::Address(address) => address.to_string(),
            Dial::Name(host, port) => format!("{host}:{port}"),
        }
        .into();
        self.addresses.insert(dial.clone(), text.clone());
        text
    }

    /// An upstream that is `known` to be who it is, as it introduces itself. Its namespace is proven, not said.
    pub fn introduced(&mut self, known: &Arc<Party>, said: &[u8]) -> Arc<Party> {
        let same = |kept: &&Introduced| Arc::ptr_eq(&kept.known, known) && *kept.said == *said;
        if let Some(kept) = self.introduced.iter().find(same) {
            return kept.as_said.clone();
        }
        let named = std::str::from_utf8(said).ok().and_then(metadata::parse).filter(|named| named.namespace == known.namespace);
        let as_said = named.map_or_else(|| known.clone(), |named| Arc::new(Party { principal: known.principal.clone(), ..named }));
        if self.introduced.len() >= MOST_INTRODUCED {
            self.introduced.remove(0);
        }
        self.introduced.push(Introduced { known: known.clone(), said: said.into(), as_said: as_said.clone() });
        as_said
    }
}
