//! Revocation by name and by lists: what is taken, what is refused, and what proxies are told of it.

use super::*;
use crate::authority::serial;
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, RevokedCertParams, SerialNumber};

fn issued(authority: &Authority) -> (Issued, String) {
    let issued = authority.issue(&request(|_| {}), &reviews(), None, noon()).unwrap();
    let serial = serial(&issued.chain[0]);
    (issued, serial)
}

#[test]
fn a_revoked_certificate_stays_so_after_a_restart_and_a_new_intermediate() {
    let state = tempfile::tempdir().unwrap();
    let open = || Authority::open(Some(state.path()), None, AuthoritySettings::new("mesh.local"), noon()).unwrap();
    let authority = open();
    let ((leaf, serial), (other, _)) = (issued(&authority), issued(&authority));
    authority.revoke(&[serial.to_uppercase()], Some("default/reviews"), "anna", noon()).unwrap();
    for authority in [authority, open()] {
        let standing = authority.standing();
        assert_eq!((standing.is_revoked(&leaf.chain), standing.is_revoked(&other.chain)), (true, false));
        assert_eq!(authority.bundle().borrow().revoked.len(), 1);
        assert_eq!((standing.named[0].serial.as_str(), standing.named[0].by.as_str()), (serial.as_str(), "anna"));
    }
}

#[test]
fn nonsense_and_the_authority_itself_are_not_revoked() {
    let authority = memory();
    let own = serial(&authority.standing().signing.certificate);
    for (bad, why) in [("reviews", "no serial number"), ("", "no serial number"), (own.as_str(), "the authority's own")] {
        let fault = authority.revoke(&[bad.to_owned()], None, "anna", noon()).unwrap_err();
        assert!(fault.what.contains(why), "{bad}: {fault}");
    }
    assert!(authority.bundle().borrow().revoked.is_empty());
}

fn list(authority: &Authority, serials: &[&str], key: Option<KeyPair>) -> String {
    let days = |days: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs((noon().as_second() + days * 24 * 3600) as u64);
    let revoked = |serial: &&str| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&taut_model::trust::serial_of(serial).unwrap()),
        revocation_time: days(-1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: days(-1),
        next_update: days(7),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signing = authority.standing().signing.clone();
    match key {
        None => params.signed_by(&Issuer::from_ca_cert_der(&signing.certificate, &signing.key).unwrap()).unwrap().pem().unwrap(),
        Some(key) => params.signed_by(&Issuer::from_ca_cert_der(&signing.certificate, key).unwrap()).unwrap().pem().unwrap(),
    }
}

#[test]
fn lists_of_our_own_authority_count_and_others_change_nothing() {
    let authority = memory();
    let (leaf, serial) = issued(&authority);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("crl.pem");
    let take = |text: &str| {
        std::fs::write(&file, text).unwrap();
        authority.take_lists(&file).map_err(|fault| fault.to_string())
    };
    assert_eq!(take(&list(&authority, &[&serial], None)), Ok(()));
    assert!(authority.standing().is_revoked(&leaf.chain));
    let forged = list(&authority, &[], Some(KeyPair::generate().unwrap()));
    let foreign = list(&Authority::open(None, None, AuthoritySettings::new("other.org"), noon()).unwrap(), &[], None);
    for (text, why) in [
        (forged.as_str(), "is not signed by"),
        (&foreign, "none of the authorities that count here"),
        ("", "cannot be read"),
        ("-----BEGIN X-----", "is no whole PEM"),
    ] {
        let refused = take(text).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert!(authority.standing().is_revoked(&leaf.chain), "what was revoked stays so");
    }
    assert_eq!(take(&list(&authority, &[], None)), Ok(()));
    assert!(!authority.standing().is_revoked(&leaf.chain), "a newer list takes the place of the older");
}
