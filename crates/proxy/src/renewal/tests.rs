//! Renewal on a stopped clock, with an authority in the same process.

use super::*;
use crate::current::Current;
use crate::options::OwnWorkload;
use crate::world::World;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;
use taut_wire::net::OsNetwork;

const HOUR: Duration = Duration::from_secs(3600);

/// What the authority does with the next request; afterwards it signs as it should.
#[derive(Clone, Copy)]
enum Next {
    Refuse,
    ForIdentity(&'static str),
    ForAnotherKey,
    /// The authority's clock is this many hours ahead.
    Ahead(i64),
    /// Dated back by this many hours, as for clocks that are behind; it expires when it should.
    DatedBack(i64),
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    world: World,
    script: Mutex<VecDeque<Next>>,
    /// The public keys of all requests.
    asked: Mutex<Vec<Vec<u8>>>,
}

impl Authority {
    fn new(world: &World, script: &[Next]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, world: world.clone(), script: Mutex::new(script.iter().copied().collect()), asked: Mutex::default() }
    }

    fn certificate(&self, request: &str, lifetime: Duration, next: Option<Next>) -> Vec<String> {
        let request = CertificateSigningRequestParams::from_pem(request).unwrap();
        self.asked.lock().push(rcgen::PublicKeyData::subject_public_key_info(&request.public_key));
        let uri = if let Some(Next::ForIdentity(uri)) = next { uri } else { "spiffe://mesh.local/ns/default/sa/reviews" };
        let ahead = if let Some(Next::Ahead(hours)) = next { hours * 3600 } else { 0 };
        let from = self.world.wall().as_second() + ahead;
        let time = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds as u64);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let dated_back = if let Some(Next::DatedBack(hours)) = next { hours * 3600 } else { 0 };
        params.not_before = time(from - dated_back);
        params.not_after = time(from + lifetime.as_secs() as i64);
        let leaf = match next {
            Some(Next::ForAnotherKey) => params.signed_by(&KeyPair::generate().unwrap(), &self.issuer),
            _ => params.signed_by(&request.public_key, &self.issuer),
        };
        vec![leaf.unwrap().pem(), self.issuer.pem()]
    }
}

impl Signer for Authority {
    async fn sign(&self, request: &str, lifetime: Duration) -> Result<Vec<String>, Refused> {
        let next = self.script.lock().pop_front();
        let chain = self.certificate(request, lifetime, next);
        match next {
            Some(Next::Refuse) => Err(Refused("the store is read-only".to_owned())),
            _ => Ok(chain),
        }
    }
}

fn current() -> Arc<Current> {
    let own = OwnWorkload {
        namespace: "default".into(),
        name: "reviews-1".into(),
        service_account: "reviews".into(),
        labels: Default::default(),
        address: [127, 0, 0, 1].into(),
        ports: Vec::new(),
        locality: String::new(),
    };
    Current::new(own).0
}

fn world() -> World {
    World::simulated(Arc::new(OsNetwork), 1, "2026-01-01T00:00:00Z".parse().unwrap())
}

/// Runs `keep` while `story` lasts. The clock jumps to the next timer whenever nothing else is to do.
async fn alongside(world: &World, current: &Current, authority: &Authority, story: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = super::keep(world, current, authority) => {}
        () = story => {}
    }
}

async fn serial(current: &Current, serial: u64) -> Arc<HeldIdentity> {
    current.renewed().wait_for(|now| *now >= serial).await.unwrap();
    current.identity().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_around_half_its_life_with_a_new_key() {
    let (world, current) = (world(), current());
    let authority = Authority::new(&world, &[]);
    alongside(&world, &current, &authority, async {
        let first = serial(&current, 1).await;
        assert_eq!(first.identity.to_string(), "spiffe://mesh.local/ns/default/sa/reviews");
        assert_eq!((first.chain.len(), first.roots.len()), (1, 1));
        assert_eq!(first.not_after.to_string(), "2026-01-02T00:00:00Z");
        let second = serial(&current, 2).await;
        let at = world.now();
        assert!(at > 10 * HOUR && at < 14 * HOUR, "{at:?}");
        assert_ne!(second.key.public_key().unwrap().as_ref(), first.key.public_key().unwrap().as_ref());
        serial(&current, 5).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_dated_back_by_more_than_its_life_is_not_renewed_at_once() {
    let (world, current) = (world(), current());
    let authority = Authority::new(&world, &[Next::DatedBack(48)]);
    alongside(&world, &current, &authority, async {
        serial(&current, 2).await;
        let at = world.now();
        assert!(at > 10 * HOUR && at < 14 * HOUR, "{at:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_old_certificate_and_its_key_is_tried_again() {
    let (world, current) = (world(), current());
    let authority = Authority::new(&world, &[Next::Refuse, Next::Refuse]);
    alongside(&world, &current, &authority, async {
        serial(&current, 1).await;
        assert!(world.now() < Duration::from_secs(1));
        {
            let asked = authority.asked.lock();
            assert!(asked.len() == 3 && asked.iter().all(|key| *key == asked[0]));
        }
        // An hour without the authority, in the middle of which the renewal falls.
        *authority.script.lock() = std::iter::repeat_n(Next::Refuse, 100).collect();
        let before = current.identity().unwrap().serial;
        while authority.script.lock().len() > 1 {
            assert_eq!(current.identity().unwrap().serial, before);
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        serial(&current, 2).await;
    })
    .await;
}

/// What `accept` says to a certificate made so.
async fn refusal(next: Next) -> String {
    let (world, current) = (world(), current());
    // A time at which neither clock is before 1970.
    let authority = Authority::new(&world, &[]);
    let request = super::Request::new(&current).unwrap();
    let chain = authority.certificate(&request.text, 2 * HOUR, Some(next));
    match issued::accept(&chain, &request, &current, world.wall(), 1) {
        Ok(_) => panic!("accepted"),
        Err(refused) => refused.0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_does_not_fit_is_refused_and_the_reason_said() {
    let other = refusal(Next::ForIdentity("spiffe://mesh.local/ns/default/sa/ratings")).await;
    assert!(other.contains("sa/ratings") && other.contains("\"reviews\""), "{other}");
    let key = refusal(Next::ForAnotherKey).await;
    assert!(key.contains("another key"), "{key}");
    let early = refusal(Next::Ahead(1)).await;
    assert!(early.contains("becomes valid only at 2026-01-01T01:00:00Z") && early.contains("clock says 2026-01-01T00:00:00Z"), "{early}");
    let late = refusal(Next::Ahead(-3)).await;
    assert!(late.contains("expired at 2025-12-31T23:00:00Z") && late.contains("clock says 2026-01-01T00:00:00Z"), "{late}");
}

#[tokio::test(start_paused = true)]
async fn rubbish_from_the_authority_is_refused() {
    let (world, current) = (world(), current());
    let request = super::Request::new(&current).unwrap();
    for chain in [vec![], vec!["rubbish".to_owned()], vec!["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(); 2]] {
        assert!(issued::accept(&chain, &request, &current, world.wall(), 1).is_err(), "{chain:?}");
    }
}

/// A control plane that passes requests on, and so needs them to name the identity.
struct PassesOn<'a> {
    authority: Authority,
    current: &'a Current,
}

const WEST: &str = "spiffe://west.example/ns/default/sa/reviews";

impl Signer for PassesOn<'_> {
    async fn sign(&self, request: &str, lifetime: Duration) -> Result<Vec<String>, Refused> {
        let chain = self.authority.certificate(request, lifetime, Some(Next::ForIdentity(WEST)));
        let names = CertificateSigningRequestParams::from_pem(request).unwrap().params.subject_alt_names;
        if names == [SanType::URI(WEST.try_into().unwrap())] {
            return Ok(chain);
        }
        self.current.hear_trust_domain("west.example");
        Err(Refused("the request must name west.example".to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_written_again_for_the_same_key_when_the_trust_domain_is_told() {
    let (world, once) = (world(), current());
    let signer = PassesOn { authority: Authority::new(&world, &[]), current: &once };
    assert_eq!(obtain_once(&world, &once, &signer).await.unwrap().identity.to_string(), WEST);
    let keys = signer.authority.asked.lock().clone();
    assert!(keys.len() == 2 && keys[0] == keys[1]);
    let kept = current();
    let signer = PassesOn { authority: Authority::new(&world, &[]), current: &kept };
    tokio::select! {
        biased;
        () = super::keep(&world, &kept, &signer) => {}
        held = serial(&kept, 1) => assert_eq!(held.identity.to_string(), WEST),
    }
    assert_eq!(signer.authority.asked.lock().len(), 2);
}
