//! A rotation, step by step: who is believed, who signs, and that a restart at any moment changes neither.

use super::*;
use crate::authority::{Plugged, Stage};

fn later(minutes: i64) -> Timestamp {
    Timestamp::from_second(noon().as_second() + minutes * 60).unwrap()
}

fn leaf(authority: &Authority) -> Issued {
    authority.issue(&request(|_| {}), &reviews(), None, later(5)).unwrap()
}

/// Whether somebody who knows only `root` believes a leaf.
fn believed_by(root: &CertificateDer<'static>, issued: &Issued) -> bool {
    let anchors = [webpki::anchor_from_trusted_cert(root).unwrap()];
    let leaf = webpki::EndEntityCert::try_from(&issued.chain[0]).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(later(6).as_second() as u64));
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &issued.chain[1..], now, webpki::KeyUsage::server_auth(), None, None).is_ok()
}

fn stage(authority: &Authority) -> Option<Stage> {
    authority.standing().rotation.as_ref().map(|rotation| rotation.stage)
}

fn roots(authority: &Authority) -> usize {
    authority.bundle().borrow().roots.len()
}

#[test]
fn both_roots_are_believed_until_everybody_holds_a_leaf_of_the_new_one() {
    let authority = memory();
    let old = authority.root();
    let before = leaf(&authority);
    authority.rotate(None, later(0)).unwrap();
    assert_eq!((stage(&authority), roots(&authority), authority.root() == old), (Some(Stage::Spreading), 2, true));
    assert!(believed_by(&old, &leaf(&authority)));
    assert!(authority.rotate(None, later(0)).unwrap_err().what.contains("under way"));
    authority.cut_over(later(1)).unwrap();
    let new = authority.root();
    assert_eq!((stage(&authority), roots(&authority), new == old), (Some(Stage::Renewing), 2, false));
    let after = leaf(&authority);
    // Cross-signed: who was away and knows only the old root still believes it.
    assert!(believed_by(&new, &after) && believed_by(&old, &after) && !believed_by(&new, &before));
    assert_eq!(after.root, new);
    authority.retire(later(2)).unwrap();
    assert_eq!((stage(&authority), roots(&authority), authority.root()), (None, 1, new));
}

#[test]
fn a_restart_at_any_step_goes_on_with_it() {
    let state = tempfile::tempdir().unwrap();
    let open = || Authority::open(Some(state.path()), None, AuthoritySettings::new("mesh.local"), later(3)).unwrap();
    let same = |authority: &Authority| {
        let again = open();
        assert_eq!((&*again.bundle().borrow(), stage(&again)), (&*authority.bundle().borrow(), stage(authority)));
        again
    };
    let authority = open();
    let old = authority.root();
    authority.rotate(None, later(0)).unwrap();
    let authority = same(&authority);
    authority.cut_over(later(1)).unwrap();
    let authority = same(&authority);
    let new = authority.root();
    authority.abort(later(1)).unwrap();
    assert_eq!((stage(&authority), authority.root()), (Some(Stage::Returning), old.clone()));
    let authority = same(&authority);
    authority.retire(later(2)).unwrap();
    let authority = same(&authority);
    assert_eq!((stage(&authority), authority.root()), (None, old.clone()));
    authority.rotate(None, later(3)).unwrap();
    authority.cut_over(later(3)).unwrap();
    let newest = authority.root();
    assert_ne!(newest, new);
    // The crash came after the last step was written down and before the files were in their place.
    std::fs::write(state.path().join("ca/rotation.json"), r#"{"stage":"retiring","since":"2026-06-01T12:03:00Z"}"#).unwrap();
    let authority = open();
    assert_eq!((stage(&authority), roots(&authority), authority.root()), (None, 1, newest));
    assert!(authority.has_root_key() && !state.path().join("ca/next").exists());
    same(&authority);
}

#[test]
fn a_rotation_that_has_signed_nothing_is_taken_back_at_once() {
    let authority = memory();
    let old = authority.root();
    assert!(authority.abort(later(0)).unwrap_err().what.contains("no rotation"));
    authority.rotate(None, later(0)).unwrap();
    authority.retire(later(0)).unwrap();
    assert_eq!(stage(&authority), Some(Stage::Spreading), "nobody may skip a step");
    authority.abort(later(1)).unwrap();
    assert_eq!((stage(&authority), roots(&authority), authority.root()), (None, 1, old));
}

#[test]
fn the_old_roots_key_is_needed_only_for_cross_signing() {
    let state = tempfile::tempdir().unwrap();
    let authority = Authority::open(Some(state.path()), None, AuthoritySettings::new("mesh.local"), noon()).unwrap();
    let old = authority.root();
    std::fs::remove_file(state.path().join("ca/root.key")).unwrap();
    assert!(!authority.has_root_key());
    authority.rotate(None, later(0)).unwrap();
    authority.cut_over(later(1)).unwrap();
    let after = leaf(&authority);
    assert!(believed_by(&authority.root(), &after) && !believed_by(&old, &after));
    authority.retire(later(2)).unwrap();
    assert!(authority.has_root_key(), "the new root's");
}

#[test]
fn a_mesh_goes_over_to_an_authority_of_the_operators_and_follows_its_intermediates() {
    let state = tempfile::tempdir().unwrap();
    let authority = Authority::open(Some(state.path()), None, AuthoritySettings::new("mesh.local"), noon()).unwrap();
    let bank = super::plugged::Bank::new();
    let directory = bank.plug(|_| {});
    assert_eq!(authority.take_plugged(directory.path(), later(0)), Ok(Plugged::OtherRoot));
    authority.rotate(Some(directory.path()), later(0)).unwrap();
    authority.cut_over(later(1)).unwrap();
    authority.retire(later(2)).unwrap();
    assert!(believed_by(&bank.root(), &leaf(&authority)));
    assert_eq!(authority.take_plugged(directory.path(), later(3)), Ok(Plugged::InForce));
    assert!(!authority.has_root_key() && !state.path().join("ca/root.key").exists(), "the old root's key is gone with it");
    let next = bank.plug(|_| {});
    let before = authority.standing().signing.fingerprint();
    assert_eq!(authority.take_plugged(next.path(), later(4)), Ok(Plugged::InForce));
    assert_ne!(authority.standing().signing.fingerprint(), before);
    assert_eq!(authority.bundle().borrow().signer, authority.standing().signing.fingerprint());
    assert!(authority.rotate(Some(next.path()), later(4)).unwrap_err().what.contains("believes that root already"));
}
