//! Both ends against each other: stories first, then random ones.

use super::*;
use crate::generated::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status};
use crate::resource::{self, Resource, ResourceType};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use taut_model::policy::PeerAuthentication;
use taut_model::service::{Place, Resolution, Service};

fn policy(created: &str) -> Resource {
    Resource::PeerAuthentication(Arc::new(PeerAuthentication {
        origin: Default::default(),
        namespace: "default".into(),
        selector: BTreeMap::new(),
        mode: None,
        ports: BTreeMap::new(),
        created: created.into(),
    }))
}

fn service(host: &str, name: &str) -> Resource {
    Resource::Service(Arc::new(Service {
        origin: Default::default(),
        host: host.into(),
        name: name.into(),
        namespace: "default".into(),
        ports: Vec::new(),
        place: Place::Mesh,
        resolution: Resolution::Static,
        addresses: Vec::new(),
        distribution: Default::default(),
        affinity: Default::default(),
    }))
}

fn view(resources: &[(&str, Resource)]) -> View {
    let entry = |(name, resource): &(&str, Resource)| {
        let bytes = resource::encode(resource);
        ((*name).to_owned(), (resource::version(&bytes), bytes.into()))
    };
    resources.iter().map(entry).collect()
}

const POLICY: ResourceType = ResourceType::PeerAuthentication;
const SERVICE: ResourceType = ResourceType::Service;

/// A client that has just opened a stream.
fn connected(client: &mut ClientSession) -> ServerSession {
    let mut server = ServerSession::new();
    for request in client.connect() {
        server.request(request).unwrap();
    }
    server
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|item| item.name.as_str()).collect()
}

/// Offers until the client has nothing more to answer.
fn settle(client: &mut ClientSession, server: &mut ServerSession, of_type: ResourceType, view: &View) {
    while let Some(response) = server.offer(of_type, view) {
        server.request(client.response(response).ack).unwrap();
    }
}

#[test]
fn the_first_response_comes_even_if_there_is_nothing() {
    let mut client = ClientSession::new("a");
    let mut server = connected(&mut client);
    for of_type in ResourceType::all() {
        assert!(!client.complete());
        let response = server.offer(of_type, &View::new()).unwrap();
        let verdict = server.request(client.response(response).ack).unwrap().verdict;
        assert_eq!(verdict, Some(Verdict::Accepted));
        assert_eq!(server.offer(of_type, &View::new()), None);
        assert!(server.settled(of_type));
    }
    assert!(client.complete());
}

#[test]
fn changes_during_a_flight_are_sent_as_one_after_the_ack() {
    let mut client = ClientSession::new("a");
    let mut server = connected(&mut client);
    let first = server.offer(POLICY, &view(&[("x", policy("1"))])).unwrap();
    assert_eq!(server.offer(POLICY, &view(&[("x", policy("2"))])), None);
    assert_eq!(server.offer(POLICY, &view(&[("y", policy("3"))])), None);
    server.request(client.response(first).ack).unwrap();
    let second = server.offer(POLICY, &view(&[("y", policy("3"))])).unwrap();
    assert_eq!((names(&second), &second.removed_resources[..]), (vec!["y"], &["x".to_owned()][..]));
}

#[test]
fn a_reconnect_brings_only_differences_and_removals() {
    let mut client = ClientSession::new("a");
    let mut server = connected(&mut client);
    settle(&mut client, &mut server, POLICY, &view(&[("same", policy("1")), ("changed", policy("1")), ("gone", policy("1"))]));

    let mut server = connected(&mut client);
    let response = server.offer(POLICY, &view(&[("same", policy("1")), ("changed", policy("2"))])).unwrap();
    assert_eq!((names(&response), &response.removed_resources[..]), (vec!["changed"], &["gone".to_owned()][..]));
    client.response(response);
    assert_eq!(client.held(POLICY).map(|(name, _, _)| name).collect::<Vec<_>>(), ["changed", "same"]);
}

#[test]
fn services_come_by_name_and_missing_ones_are_said_to_be_missing_once() {
    let mut client = ClientSession::new("a");
    let mut server = connected(&mut client);
    let all = view(&[("a.b", service("a.b", "a")), ("c.d", service("c.d", "c"))]);
    let empty = server.offer(SERVICE, &all).unwrap();
    assert!(empty.resources.is_empty());
    server.request(client.response(empty).ack).unwrap();

    let asked = client.subscribe(["a.b".to_owned(), "no.where".to_owned()]).unwrap();
    assert_eq!(client.subscribe(["a.b".to_owned()]), None);
    server.request(asked).unwrap();
    assert_eq!(server.subscribed(SERVICE).len(), 2);
    let response = server.offer(SERVICE, &all).unwrap();
    assert_eq!((names(&response), &response.removed_resources[..]), (vec!["a.b"], &["no.where".to_owned()][..]));
    let received = client.response(response);
    assert_eq!(received.removed, [(SERVICE, "no.where".to_owned())]);
    server.request(received.ack).unwrap();
    assert_eq!(server.offer(SERVICE, &all), None);

    let appeared = view(&[("a.b", service("a.b", "a")), ("no.where", service("no.where", "no"))]);
    assert_eq!(names(&server.offer(SERVICE, &appeared).unwrap()), ["no.where"]);
}

#[test]
fn what_was_unsubscribed_from_on_its_way_is_not_held_and_comes_when_asked_again() {
    let mut client = ClientSession::new("a");
    client.subscribe(["a.b".to_owned()]);
    let mut server = connected(&mut client);
    let all = view(&[("a.b", service("a.b", "a"))]);
    let late = server.offer(SERVICE, &all).unwrap();
    let leave = client.unsubscribe(["a.b".to_owned()]).unwrap();
    let received = client.response(late);
    assert!(received.changed.is_empty() && client.held(SERVICE).next().is_none());
    server.request(leave).unwrap();
    server.request(received.ack).unwrap();
    server.request(client.subscribe(["a.b".to_owned()]).unwrap()).unwrap();
    settle(&mut client, &mut server, SERVICE, &all);
    assert_eq!(client.held(SERVICE).count(), 1);
}

#[test]
fn one_malformed_resource_is_refused_alone_and_not_sent_in_a_loop() {
    let mut client = ClientSession::new("a");
    let mut server = connected(&mut client);
    settle(&mut client, &mut server, POLICY, &view(&[("x", policy("1"))]));
    let (_, good, _) = client.held(POLICY).next().unwrap();
    let good = good.to_owned();

    let mut broken = view(&[("x", policy("2")), ("y", policy("2"))]);
    broken.insert("x".into(), ("bad".into(), vec![0xff].into()));
    let received = client.response(server.offer(POLICY, &broken).unwrap());
    let outcomes: Vec<_> = received.changed.iter().map(|change| (change.name.as_str(), change.outcome.is_ok())).collect();
    assert_eq!(outcomes, [("x", false), ("y", true)]);
    assert_eq!(client.held(POLICY).map(|(name, version, _)| (name, version == good)).next(), Some(("x", true)));
    let verdict = server.request(received.ack).unwrap().verdict;
    assert!(matches!(verdict, Some(Verdict::Refused(why)) if why.starts_with("x: ")));
    assert_eq!(server.offer(POLICY, &broken), None);

    settle(&mut client, &mut server, POLICY, &view(&[("x", policy("3"))]));
    assert_eq!(client.held(POLICY).map(|(name, _, resource)| (name, resource.clone())).collect::<Vec<_>>(), [("x", policy("3"))]);
}

#[test]
fn names_beyond_the_limits_are_ignored_and_the_stream_goes_on() {
    let mut server = ServerSession::new();
    let of_type = ResourceType::Service;
    let request = |names: Vec<String>| DeltaDiscoveryRequest {
        type_url: of_type.type_url().into(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    };
    assert_eq!(server.request(request(vec!["n".repeat(601), "reviews".into()])).unwrap().ignored, 1);
    assert_eq!(server.subscribed(of_type).len(), 1);
    // Many names, one of which is known already.
    let many = (0..100_000).map(|number| format!("host-{number}")).chain(["reviews".to_owned()]).collect();
    assert_eq!(server.request(request(many)).unwrap().ignored, 1);
    assert_eq!(server.subscribed(of_type).len(), 100_000);
    // Room that is given back can be used, also under a limit of bytes.
    let all: Vec<String> = server.subscribed(of_type).iter().cloned().collect();
    let none = DeltaDiscoveryRequest { type_url: of_type.type_url().into(), resource_names_unsubscribe: all, ..DeltaDiscoveryRequest::default() };
    server.request(none).unwrap();
    let long = (0..30_000).map(|number| format!("{number:0>600}")).collect();
    let ignored = server.request(request(long)).unwrap().ignored;
    assert_eq!((ignored, server.subscribed(of_type).len()), (30_000 - (16 << 20) / 600, (16 << 20) / 600));
}

#[test]
fn what_a_client_claims_to_have_is_believed_within_the_limits() {
    let mut server = ServerSession::new();
    let request = DeltaDiscoveryRequest {
        type_url: ResourceType::Workload.type_url().into(),
        initial_resource_versions: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "v".repeat(129)), ("c".repeat(601), "1".to_owned())].into(),
        ..DeltaDiscoveryRequest::default()
    };
    assert_eq!(server.request(request).unwrap().ignored, 2);
    let response = server.offer(ResourceType::Workload, &View::new()).unwrap();
    assert_eq!(response.removed_resources, ["a"]);
}

#[test]
fn stale_nonces_answer_nothing_and_unknown_types_are_faults() {
    let mut client = ClientSession::new("a");
    let mut server = connected(&mut client);
    server.offer(POLICY, &View::new()).unwrap();
    let error_detail = Some(Status::default());
    let stale = DeltaDiscoveryRequest { type_url: POLICY.type_url().into(), response_nonce: "77".into(), error_detail, ..Default::default() };
    assert_eq!(server.request(stale).unwrap().verdict, None);
    assert!(!server.settled(POLICY));

    let unknown = DeltaDiscoveryRequest { type_url: "x".into(), ..Default::default() };
    assert_eq!(server.request(unknown), Err(ProtocolFault::UnknownType("x".into())));
    let odd = DeltaDiscoveryResponse { type_url: "x".into(), nonce: "1".into(), ..Default::default() };
    assert!(client.response(odd).ack.error_detail.is_some());
}

/// One thing that happens to a mesh of one proxy.
#[derive(Clone, Debug)]
enum Event {
    Set(usize, u8),
    Remove(usize),
    Subscribe(usize),
    Unsubscribe(usize),
    /// The server reads one request, if one is on its way.
    ServerReads,
    /// The client reads one response, if one is on its way.
    ClientReads,
    /// The stream breaks: all that is on its way, ACKs included, is lost.
    Reconnect,
}

const HOSTS: [&str; 4] = ["a.b", "c.d", "e.f", "g.h"];

fn event() -> impl Strategy<Value = Event> {
    let host = 0..HOSTS.len();
    prop_oneof![
        3 => (host.clone(), any::<u8>()).prop_map(|(host, value)| Event::Set(host, value)),
        2 => host.clone().prop_map(Event::Remove),
        2 => host.clone().prop_map(Event::Subscribe),
        1 => host.prop_map(Event::Unsubscribe),
        6 => Just(Event::ServerReads),
        6 => Just(Event::ClientReads),
        1 => Just(Event::Reconnect),
    ]
}

/// A client, a server, and the two directions of the stream between them. Services and policies have the same names.
struct Stream {
    client: ClientSession,
    server: ServerSession,
    requests: VecDeque<DeltaDiscoveryRequest>,
    responses: VecDeque<DeltaDiscoveryResponse>,
    truth: BTreeMap<&'static str, u8>,
}

impl Stream {
    fn new() -> Self {
        let mut client = ClientSession::new("a");
        let requests = client.connect().into();
        Self { client, server: ServerSession::new(), requests, responses: VecDeque::new(), truth: BTreeMap::new() }
    }

    fn view(&self, of_type: ResourceType) -> View {
        let resource = |host: &str, value: u8| match of_type {
            SERVICE => service(host, &value.to_string()),
            _ => policy(&value.to_string()),
        };
        view(&self.truth.iter().map(|(host, value)| (*host, resource(host, *value))).collect::<Vec<_>>())
    }

    fn offer(&mut self) {
        for of_type in [SERVICE, POLICY] {
            let view = self.view(of_type);
            self.responses.extend(self.server.offer(of_type, &view));
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Set(host, value) => drop(self.truth.insert(HOSTS[host], value)),
            Event::Remove(host) => drop(self.truth.remove(HOSTS[host])),
            Event::Subscribe(host) => self.requests.extend(self.client.subscribe([HOSTS[host].to_owned()])),
            Event::Unsubscribe(host) => self.requests.extend(self.client.unsubscribe([HOSTS[host].to_owned()])),
            Event::ServerReads => {
                if let Some(request) = self.requests.pop_front() {
                    self.server.request(request).unwrap();
                }
            }
            Event::ClientReads => {
                if let Some(response) = self.responses.pop_front() {
                    self.requests.push_back(self.client.response(response).ack);
                }
            }
            Event::Reconnect => {
                self.server = ServerSession::new();
                self.responses.clear();
                self.requests = self.client.connect().into();
            }
        }
        self.offer();
    }
}

proptest! {
    #[test]
    fn when_all_is_quiet_the_client_holds_what_the_server_offers(events in prop::collection::vec(event(), 0..120)) {
        let mut stream = Stream::new();
        for event in events {
            stream.apply(event);
        }
        let mut rounds = 0;
        while !(stream.requests.is_empty() && stream.responses.is_empty()) {
            stream.apply(Event::ServerReads);
            stream.apply(Event::ClientReads);
            rounds += 1;
            prop_assert!(rounds < 1000, "the ends never stop talking");
        }
        let subscribed: BTreeSet<_> = stream.client.subscribed().clone();
        for (of_type, wanted) in [(SERVICE, Some(subscribed)), (POLICY, None)] {
            let view = stream.view(of_type);
            let want: Vec<_> = view
                .iter()
                .filter(|(name, _)| wanted.as_ref().is_none_or(|names| names.contains(*name)))
                .map(|(name, (version, bytes))| (name.as_str(), version.as_str(), resource::decode(of_type, bytes).unwrap()))
                .collect();
            let have: Vec<_> = stream.client.held(of_type).map(|(name, version, held)| (name, version, held.clone())).collect();
            prop_assert_eq!(have, want);
        }
    }
}
