//! When a rotation takes its steps: not before every connected proxy is ready, and not by what one says that it could not know.

use super::*;
use crate::authority::AuthoritySettings;
use crate::publish::Publisher;
use crate::store::Store;
use crate::translate::Settings;
use taut_wire::desk::{Acknowledge, Hello, Holding, ResourceAck};

const DOMAIN: &str = "mesh.local";

/// A control plane without its sockets.
struct Mesh {
    trust: Trust,
    publisher: Publisher,
}

impl Mesh {
    fn new() -> Self {
        let world = World::os();
        let authority = Arc::new(Authority::open(None, None, AuthoritySettings::new(DOMAIN), world.wall()).unwrap());
        let publisher =
            Publisher::new(Store::open(None).unwrap(), Settings { trust_domain: DOMAIN.into(), ..Settings::default() }).trusting(authority.bundle());
        let (published, sources) = (publisher.subscribe(), Arc::new(Sources::new(None, None)));
        let trust = Trust { authority, proxies: Proxies::default(), published, world, sources, signing: Signing::Own, back_by: Duration::ZERO };
        Self { trust, publisher }
    }

    /// What the publisher's own task would do.
    fn publish(self) -> Self {
        let publisher = self.publisher.trusting(self.trust.authority.bundle());
        Self { publisher, ..self }
    }

    fn arrive(&self, name: &str) -> u64 {
        let (questions, _) = tokio::sync::mpsc::channel(1);
        let hello = Hello { namespace: "default".into(), name: name.into(), ..Hello::default() };
        self.trust.proxies.arrive(&format!("default/{name}"), hello, String::new(), questions).number
    }

    fn acknowledge(&self, name: &str, line: u64, accepted: bool) {
        let published = self.trust.published.borrow().clone();
        let version = published.version_of(ResourceType::TrustBundle, DOMAIN).unwrap().to_owned();
        let type_url = ResourceType::TrustBundle.type_url().to_owned();
        let resource = ResourceAck { type_url, name: DOMAIN.into(), version, accepted, why: "no".into(), removed: false };
        self.trust.proxies.acknowledge(&format!("default/{name}"), line, Acknowledge { plan: 1, resources: vec![resource] }, &published);
    }

    fn holds(&self, name: &str, line: u64) {
        let signer = self.trust.authority.standing().signing.fingerprint().to_vec();
        let now = self.trust.world.wall().as_second();
        let holding = Holding { serial: vec![1], not_before: now, not_after: now + 86_400, signer, roots: vec![], application: None };
        self.trust.proxies.holds(&format!("default/{name}"), line, holding);
    }

    fn stage(&self) -> Option<Stage> {
        self.trust.advance(&Audit::open(None).unwrap());
        self.trust.authority.standing().rotation.as_ref().map(|rotation| rotation.stage)
    }

    fn rotate(&self) {
        self.trust.authority.rotate(None, self.trust.world.wall()).unwrap();
    }
}

#[test]
fn each_step_waits_for_every_connected_proxy() {
    let mesh = Mesh::new();
    let (a, b) = (mesh.arrive("a"), mesh.arrive("b"));
    mesh.acknowledge("a", a, true);
    mesh.rotate();
    // What was acknowledged is the bundle before.
    assert_eq!(mesh.stage(), Some(Stage::Spreading));
    let mesh = mesh.publish();
    assert_eq!(mesh.stage(), Some(Stage::Spreading));
    mesh.acknowledge("a", a, true);
    mesh.acknowledge("b", b, false);
    assert_eq!(mesh.stage(), Some(Stage::Spreading));
    let rotation = mesh.trust.authority.standing().rotation.clone().unwrap();
    assert_eq!(mesh.trust.waiting(&rotation), [Waiting { uid: "default/b".into(), why: "refused the bundle: no".into() }]);
    assert_eq!(mesh.trust.status()["rotation"]["waitingFor"][0]["uid"], "default/b");
    mesh.acknowledge("b", b, true);
    assert_eq!(mesh.stage(), Some(Stage::Renewing));
    let mesh = mesh.publish();
    for (name, line) in [("a", a), ("b", b)] {
        mesh.acknowledge(name, line, true);
    }
    mesh.holds("a", a);
    assert_eq!(mesh.stage(), Some(Stage::Renewing), "b holds a leaf of the old root");
    mesh.holds("b", b);
    assert_eq!(mesh.stage(), None);
    assert_eq!(mesh.trust.authority.bundle().borrow().roots.len(), 1);
}

#[test]
fn after_a_start_nothing_moves_until_proxies_have_had_time_to_come_back() {
    let mesh = Mesh::new();
    mesh.rotate();
    let mut mesh = mesh.publish();
    mesh.trust.back_by = Duration::MAX;
    assert_eq!(mesh.stage(), Some(Stage::Spreading));
    mesh.trust.back_by = Duration::ZERO;
    assert_eq!(mesh.stage(), Some(Stage::Renewing), "nobody is connected, so nobody is waited for");
}

#[test]
fn a_leaf_that_is_not_renewed_is_told_by_name() {
    let mesh = Mesh::new();
    let line = mesh.arrive("a");
    mesh.holds("a", line);
    assert_eq!(mesh.trust.alarms(), []);
    let now = mesh.trust.world.wall().as_second();
    let old = Holding { serial: vec![1], not_before: now - 80_000, not_after: now + 6_400, ..Holding::default() };
    mesh.trust.proxies.holds("default/a", line, old);
    let alarms = mesh.trust.alarms();
    assert!(alarms.len() == 1 && alarms[0].of == "default/a" && alarms[0].text.contains("the certificate of default/a expires at"), "{alarms:?}");
    assert_eq!(mesh.trust.serials_of("default/a"), ["01"]);
}
