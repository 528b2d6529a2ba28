//! Revocation lists of authorities that are believed, of those below them, and of nobody.

use super::*;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber,
};

/// An authority: its certificate and its key.
pub struct Signs {
    pub certificate: Certificate,
    key: KeyPair,
}

fn params(name: &str, may_sign: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if may_sign { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
    params
}

impl Signs {
    pub fn root(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: params(name, true).self_signed(&key).unwrap(), key }
    }

    fn below(&self, name: &str, may_sign: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, may_sign).signed_by(&key, &self.issuer()).unwrap();
        Self { certificate, key }
    }

    fn issuer(&self) -> Issuer<'static, &KeyPair> {
        Issuer::from_ca_cert_der(self.certificate.der(), &self.key).unwrap()
    }

    /// As PEM, due in February 2026.
    pub fn revoking(&self, serials: &[u8]) -> String {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2026, 2, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }

    fn serials(&self, text: &str) -> Result<Vec<u8>, String> {
        let lists = lists(text.as_bytes(), &[self.certificate.der().clone()])?;
        assert_eq!(lists.next_update.map(|due| due.to_string()).as_deref(), Some("2026-02-01T00:00:00Z"));
        Ok(lists.revoked.iter().map(|one| one.serial[0]).collect())
    }
}

#[test]
fn lists_of_a_root_and_of_who_is_proven_by_it_count() {
    let root = Signs::root("west");
    let (middle, other) = (root.below("middle", true), root.below("other", true));
    let lowest = middle.below("lowest", true);
    assert_eq!(root.serials(&root.revoking(&[7, 9])), Ok(vec![7, 9]));
    assert_eq!(root.serials(&root.revoking(&[])), Ok(vec![]));
    // Those between it and the leaves come along with what they have signed, in any order.
    let all = format!("{}{}{}{}", lowest.revoking(&[1]), lowest.certificate.pem(), middle.certificate.pem(), middle.revoking(&[2]));
    let mut found = root.serials(&all).unwrap();
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
    let refused = root.serials(&format!("{}{}", other.revoking(&[3]), middle.certificate.pem())).unwrap_err();
    assert!(refused.contains("none of the authorities that count here"), "{refused}");
    let der = CertificateRevocationListDer::from_pem_slice(root.revoking(&[5]).as_bytes()).unwrap();
    assert_eq!(lists(&der, &[root.certificate.der().clone()]).unwrap().revoked.len(), 1);
}

#[test]
fn what_nobody_who_is_believed_has_signed_counts_for_nothing() {
    let (root, forger) = (Signs::root("west"), Signs::root("west"));
    let leaf = root.below("leaf", false);
    let stranger = Signs::root("stranger").below("middle", true);
    let broken = root.revoking(&[1]).replacen("-----\nM", "-----\nA", 1);
    for (text, why) in [
        (forger.revoking(&[1]), "is not signed by the authority of that name"),
        (format!("{}{}", leaf.revoking(&[1]), leaf.certificate.pem()), "none of the authorities"),
        (format!("{}{}", stranger.revoking(&[1]), stranger.certificate.pem()), "none of the authorities"),
        (format!("{}{}", root.revoking(&[1]), forger.revoking(&[2])), "is not signed by"),
        (root.certificate.pem(), "holds no X509 CRL"),
        ("-----BEGIN X509 CRL-----\nAAAA".to_owned(), "is no whole PEM"),
        (root.certificate.pem().repeat(17) + &root.revoking(&[1]), "more than 16 certificates"),
        (broken, "cannot be read"),
        ("hello".to_owned(), "cannot be read"),
        (String::new(), "cannot be read"),
    ] {
        let refused = root.serials(&text).unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}
