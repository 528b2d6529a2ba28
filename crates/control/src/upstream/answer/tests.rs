//! A CA that does what is asked, and all the ways in which one does not.

use super::*;
use crate::authority::requested;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn date(after: i64) -> rcgen::CertificateParams {
    let mut params = CertificateParams::default();
    let start = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(now().as_second() - 60).unwrap());
    params.not_before = start;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(now().as_second() + after).unwrap());
    params
}

/// A root, and an intermediate below it.
struct Ca {
    root: CertificateDer<'static>,
    above: CertificateDer<'static>,
    key: KeyPair,
}

impl Ca {
    fn new(name: &str) -> Self {
        let ca = |name: &str| {
            let mut params = date(100 * 3600);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root: CertificateDer<'static> = ca(name).self_signed(&root_key).unwrap().into();
        let issuer = Issuer::from_ca_cert_der(&root, &root_key).unwrap();
        let above = ca(&format!("{name} below")).signed_by(&key, &issuer).unwrap().into();
        Self { root, above, key }
    }

    fn sign(&self, params: CertificateParams, key: &KeyPair) -> Vec<String> {
        let issuer = Issuer::from_ca_cert_der(&self.above, &self.key).unwrap();
        let leaf: CertificateDer<'static> = params.signed_by(key, &issuer).unwrap().into();
        [&leaf, &self.above, &self.root].map(|certificate| crate::authority::pem("CERTIFICATE", certificate)).into()
    }
}

fn reviews() -> Identity {
    Identity::new("cluster.local", "default", "reviews")
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

/// As it was asked for.
fn leaf() -> CertificateParams {
    let mut params = date(3600);
    params.subject_alt_names = vec![uri(&reviews().to_string())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn judged(ca: &Ca, key: &KeyPair, chain: &[String]) -> Result<Issued, Untrue> {
    let request = requested(&CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()).unwrap();
    check(chain, &Asked { request: &request, identity: &reviews(), lifetime: HOUR }, &[Ca::new("another").root, ca.root.clone()], now())
}

#[test]
fn what_was_asked_for_is_passed_on_with_the_way_to_its_root_alone() {
    let (ca, key) = (Ca::new("upstream"), KeyPair::generate().unwrap());
    let mut chain = ca.sign(leaf(), &key);
    let issued = judged(&ca, &key, &chain).unwrap();
    assert_eq!((issued.chain.len(), &issued.chain[1], &issued.root), (2, &ca.above, &ca.root));
    assert_eq!(issued.not_after, now().checked_add(HOUR).unwrap());
    // Some send one text, and some leave the root out.
    assert!(judged(&ca, &key, &[chain.concat()]).is_ok());
    chain.pop();
    assert!(judged(&ca, &key, &chain).is_ok());
    chain.push(crate::authority::pem("CERTIFICATE", &Ca::new("stranger").root));
    assert_eq!(judged(&ca, &key, &chain).unwrap().chain, issued.chain);
}

#[test]
fn a_ca_that_lies_is_refused_by_name() {
    let (ca, key, other) = (Ca::new("upstream"), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = leaf();
        change(&mut params);
        judged(&ca, &key, &ca.sign(params, &key)).unwrap_err().to_string()
    };
    let admin = "spiffe://cluster.local/ns/default/sa/admin";
    for (change, why) in [
        (&(|params: &mut CertificateParams| params.subject_alt_names = vec![uri(admin)]) as &dyn Fn(&mut CertificateParams), "sa/admin"),
        (&|params| params.subject_alt_names.push(uri(admin)), "not exactly the identity"),
        (&|params| params.subject_alt_names.push(SanType::DnsName("bank".try_into().unwrap())), "bank"),
        (&|params| params.subject_alt_names.clear(), "there are none"),
        (&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "may sign others"),
        (&|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign), "may sign others"),
        (&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment], "digital signatures"),
        (&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], "clientAuth"),
        (&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth], "serverAuth"),
        (&|params| params.extended_key_usages.clear(), "no extended key usage"),
        (&|params| params.not_after = date(2 * 3600).not_after, "where 2026-06-01T13:01:00Z was asked for"),
        (&|params| params.not_after = date(-1).not_after, "expired at"),
        (&|params| params.not_before = date(1800).not_after, "becomes valid only at"),
    ] {
        let refused = with(change);
        assert!(refused.contains(why), "{refused}, expected {why}");
    }
    assert_eq!(judged(&ca, &key, &ca.sign(leaf(), &other)).unwrap_err(), Untrue::OtherKey);
    let stranger = judged(&ca, &key, &Ca::new("upstream").sign(leaf(), &key)).unwrap_err().to_string();
    assert!(stranger.contains("does not lead to a root"), "{stranger}");
    for bad in [vec![], vec!["no PEM".to_owned()], vec!["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()]] {
        assert!(matches!(judged(&ca, &key, &bad), Err(Untrue::Unreadable(_))), "{bad:?}");
    }
    assert_eq!(judged(&ca, &key, &vec![ca.sign(leaf(), &key)[0].clone(); MOST + 1]).unwrap_err(), Untrue::TooMany(MOST + 1));
}
