//! A plugged-in authority: what is taken, and what is said about each file that does not fit.

use super::*;
use rcgen::{CertifiedIssuer, GeneralSubtree, NameConstraints};
use tempfile::TempDir;

/// Somebody's authority: a root, an intermediate of it for other intermediates, and what it signs for meshes.
pub struct Bank {
    root: CertifiedIssuer<'static, KeyPair>,
    regional: CertifiedIssuer<'static, KeyPair>,
}

/// What is put into a directory.
pub struct Plug {
    pub params: CertificateParams,
    pub regional_signs: bool,
    pub chain: Vec<String>,
    pub key: Option<String>,
    pub root: Option<String>,
}

/// Good from and until so many days from now.
fn dated(params: &mut CertificateParams, from: i64, until: i64) {
    let at = |days: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs((noon().as_second() + days * 24 * 3600) as u64);
    (params.not_before, params.not_after) = (at(from), at(until));
}

fn authority(name: &str, constraint: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    dated(&mut params, -10, 300);
    params
}

impl Bank {
    pub fn new() -> Self {
        let root = CertifiedIssuer::self_signed(authority("Bank root", BasicConstraints::Constrained(2)), KeyPair::generate().unwrap()).unwrap();
        let regional = authority("Bank regional", BasicConstraints::Constrained(1));
        let regional = CertifiedIssuer::signed_by(regional, KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, regional }
    }

    pub fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub fn plug(&self, change: impl FnOnce(&mut Plug)) -> TempDir {
        let params = authority("Bank mesh", BasicConstraints::Constrained(0));
        let mut plug = Plug { params, regional_signs: true, chain: vec![self.regional.pem()], key: None, root: None };
        change(&mut plug);
        let key = KeyPair::generate().unwrap();
        let signs = if plug.regional_signs { &self.regional } else { &self.root };
        let certificate = plug.params.signed_by(&key, signs).unwrap().pem();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("ca-cert.pem", &certificate);
        write("ca-key.pem", &plug.key.unwrap_or_else(|| key.serialize_pem()));
        write("root-cert.pem", &plug.root.unwrap_or_else(|| self.root.pem()));
        write("cert-chain.pem", &format!("{certificate}{}", plug.chain.concat()));
        directory
    }
}

fn open(directory: &TempDir) -> Result<Authority, Fault> {
    Authority::open(None, Some(directory.path()), AuthoritySettings::new("mesh.local"), noon())
}

#[test]
fn its_leaves_come_with_all_that_is_between_them_and_the_root() {
    let bank = Bank::new();
    let authority = open(&bank.plug(|_| {})).unwrap();
    let issued = authority.issue(&request(|_| {}), &reviews(), None, noon()).unwrap();
    assert_eq!((issued.chain.len(), &issued.root), (3, &bank.root()));
    assert!(verify(&authority, &issued, noon(), webpki::KeyUsage::client_auth()).is_ok());
    // The root may stand at the end of the chain, and an intermediate may be directly below it.
    assert!(open(&bank.plug(|plug| plug.chain.push(bank.root.pem()))).is_ok());
    let direct = open(&bank.plug(|plug| (plug.regional_signs, plug.chain) = (false, vec![]))).unwrap();
    assert_eq!(direct.issue(&request(|_| {}), &reviews(), None, noon()).unwrap().chain.len(), 2);
}

#[test]
fn what_does_not_fit_is_named() {
    let bank = Bank::new();
    let stranger = Bank::new();
    type Change<'a> = Box<dyn Fn(&mut Plug) + 'a>;
    let constrained = |base: &'static str| {
        move |plug: &mut Plug| {
            let permitted_subtrees = vec![GeneralSubtree::DnsName(base.to_owned())];
            plug.params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
        }
    };
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("ca-key.pem does not belong to", Box::new(|plug| plug.key = Some(KeyPair::generate().unwrap().serialize_pem()))),
        ("ca-key.pem is not a PEM private key", Box::new(|plug| plug.key = Some("secret-text".to_owned()))),
        ("is not signed by", Box::new(|plug| plug.root = Some(stranger.root.pem()))),
        ("nor by way of the certificates in", Box::new(|plug| plug.chain = vec![])),
        ("root-cert.pem holds 2 certificates", Box::new(|plug| plug.root = Some(bank.root.pem() + &stranger.root.pem()))),
        ("root-cert.pem holds no certificate", Box::new(|plug| plug.root = Some(String::new()))),
        ("ca-cert.pem expired at", Box::new(|plug| dated(&mut plug.params, -10, -1))),
        ("ca-cert.pem becomes valid only at", Box::new(|plug| dated(&mut plug.params, 1, 300))),
        ("may not sign certificates (no CA basic constraint)", Box::new(|plug| plug.params.is_ca = IsCa::ExplicitNoCa)),
        ("its key usage lacks keyCertSign", Box::new(|plug| plug.params.key_usages = vec![KeyUsagePurpose::DigitalSignature])),
    ];
    for (want, change) in cases {
        let fault = open(&bank.plug(change)).err().map(|fault| fault.to_string()).unwrap_or_default();
        assert!(fault.contains(want) && !fault.contains("secret-text"), "{want}: {fault}");
    }
    // A name constraint on DNS says nothing of identities.
    assert!(open(&bank.plug(constrained("mesh.example"))).is_ok());
    // A path length that leaves no room for the intermediate: the regional one permits one below it, and there are two.
    let deep =
        CertifiedIssuer::signed_by(authority("Bank deep", BasicConstraints::Unconstrained), KeyPair::generate().unwrap(), &bank.regional).unwrap();
    let directory = bank.plug(|plug| plug.chain = vec![deep.pem(), bank.regional.pem()]);
    let key = KeyPair::generate().unwrap();
    let certificate = authority("Bank mesh", BasicConstraints::Constrained(0)).signed_by(&key, &deep).unwrap().pem();
    std::fs::write(directory.path().join("ca-cert.pem"), &certificate).unwrap();
    std::fs::write(directory.path().join("ca-key.pem"), key.serialize_pem()).unwrap();
    let chain = format!("{certificate}{}{}", deep.pem(), bank.regional.pem());
    std::fs::write(directory.path().join("cert-chain.pem"), chain).unwrap();
    assert!(open(&directory).err().unwrap().what.contains("path length"));
    std::fs::write(directory.path().join("cert-chain.pem"), deep.pem()).unwrap();
    assert!(open(&directory).err().unwrap().what.contains("does not begin with"));
    std::fs::remove_file(directory.path().join("cert-chain.pem")).unwrap();
    assert!(open(&directory).err().unwrap().what.contains("cannot read"));
}
