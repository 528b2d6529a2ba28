//! Where the authority's certificates and keys lie on disk: `STATE/ca`, directory 0700, files 0600, written whole or not at all.

use super::SecretKey;
use crate::fault::Fault;
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

pub(super) struct Chest {
    directory: PathBuf,
}

/// What was found.
#[derive(Default)]
pub(super) struct Kept {
    pub root: Option<CertificateDer<'static>>,
    pub root_key: Option<SecretKey>,
    pub intermediate: Option<(CertificateDer<'static>, SecretKey)>,
}

impl Chest {
    pub fn open(state: &Path) -> Result<Self, Fault> {
        let directory = state.join("ca");
        private_directory(state)?;
        private_directory(&directory)?;
        Ok(Self { directory })
    }

    pub fn tokens_path(&self) -> PathBuf {
        let path = self.directory.join("tokens.json");
        keep_private(&path);
        path
    }

    pub fn load(&self) -> Result<Kept, Fault> {
        let root = self.certificate("root.pem")?;
        let root_key = self.key("root.key")?;
        let intermediate = match (self.certificate("intermediate.pem")?, self.key("intermediate.key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(self.lone("intermediate.pem", "intermediate.key")),
            (None, Some(_)) => return Err(self.lone("intermediate.key", "intermediate.pem")),
        };
        Ok(Kept { root, root_key, intermediate })
    }

    fn lone(&self, there: &str, missing: &str) -> Fault {
        Fault::new(format!("{} has {there} but no {missing}", self.directory.display()), "Put the missing file back, or remove the other one")
    }

    pub fn store_root(&self, certificate: &CertificateDer<'_>, key: &SecretKey) -> Result<(), Fault> {
        self.store_pair("root", certificate, key)
    }

    pub fn store_intermediate(&self, certificate: &CertificateDer<'_>, key: &SecretKey) -> Result<(), Fault> {
        self.store_pair("intermediate", certificate, key)
    }

    fn store_pair(&self, name: &str, certificate: &CertificateDer<'_>, key: &SecretKey) -> Result<(), Fault> {
        let text = Zeroizing::new(key.0.serialize_pem());
        write_private(&self.directory.join(format!("{name}.key")), text.as_bytes())?;
        write_private(&self.directory.join(format!("{name}.pem")), super::leaf::pem("CERTIFICATE", certificate).as_bytes())
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let path = self.directory.join(name);
        keep_private(&path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    fn certificate(&self, name: &str) -> Result<Option<CertificateDer<'static>>, Fault> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let path = self.directory.join(name);
        CertificateDer::from_pem_slice(&text).map(Some).map_err(|error| {
            Fault::new(
                format!("{} is not a PEM certificate: {error}", path.display()),
                "Put the right file there, or remove it to have a new one made",
            )
        })
    }

    fn key(&self, name: &str) -> Result<Option<SecretKey>, Fault> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let path = self.directory.join(name);
        // The parser's own error is left out: it could quote the key.
        let bad = || Fault::new(format!("{} is not a PEM private key (PKCS#8)", path.display()), "Put the right file there");
        let text = std::str::from_utf8(&text).map_err(|_| bad())?;
        KeyPair::from_pem(text).map(|key| Some(SecretKey(key))).map_err(|_| bad())
    }
}

/// Whether users other than the owner may do anything with what is there.
fn is_shared(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0)
}

/// Takes a file that is there away from everybody but its owner. One that cannot be changed (somebody else's, a read-only
/// file system) is the operator's own doing, and only told.
pub fn keep_private(path: &Path) {
    if !is_shared(path) {
        return;
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(0o600)) {
        Ok(()) => tracing::warn!(path = %path.display(), "other users could get at this file; now its owner alone can"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "other users can get at this file; make it mode 0600"),
    }
}

/// Warns of a directory that was there before with a mode that lets others in: it is not ours to change.
pub fn warn_if_shared(directory: &Path) -> bool {
    let shared = is_shared(directory);
    if shared {
        tracing::warn!(directory = %directory.display(), "other users may enter the state directory, which holds keys; make it mode 0700");
    }
    shared
}

/// Creates the directory with mode 0700 if it is not there.
pub fn private_directory(path: &Path) -> Result<(), Fault> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) => {
            return Err(Fault::new(
                format!("cannot create the state directory {}: {error}", path.display()),
                "Name a directory that this user may write with --state",
            ));
        }
    }
    match fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Writes a file of mode 0600 whole or not at all: a reader (or a restart after a crash) sees the old or the new content.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Fault> {
    let write = || -> std::io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        Fault::new(format!("cannot write {}: {error}", path.display()), "Make the directory writable for this user, or name another one with --state")
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(format!("cannot read {}: {error}", path.display()), "Run as the user that owns it, or name another directory with --state")
}

fn parsed<'a>(what: &str, certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(Fault::new(format!("the {what} certificate cannot be read: {error}"), "Put the right file there")),
    }
}

pub(super) fn not_after(what: &str, certificate: &CertificateDer<'_>) -> Result<Timestamp, Fault> {
    let seconds = parsed(what, certificate)?.validity().not_after.timestamp();
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// The key must be the one that the certificate speaks of.
pub(super) fn check_pair(what: &str, certificate: &CertificateDer<'_>, key: &SecretKey) -> Result<(), Fault> {
    match parsed(what, certificate)?.public_key().subject_public_key.data.as_ref() == key.der_bytes() {
        true => Ok(()),
        false => Err(Fault::new(format!("ca/{what}.key does not belong to ca/{what}.pem"), "Put the matching files there")),
    }
}

/// An intermediate must be an authority, signed by the root, and its key must be its own. Returns when it ends.
pub(super) fn check_intermediate(root: &CertificateDer<'_>, certificate: &CertificateDer<'_>, key: &SecretKey) -> Result<Timestamp, Fault> {
    check_pair("intermediate", certificate, key)?;
    let intermediate = parsed("intermediate", certificate)?;
    if !intermediate.is_ca() {
        return Err(Fault::new("ca/intermediate.pem may not sign certificates (no CA basic constraint)", "Have it signed as an authority"));
    }
    let root = parsed("root", root)?;
    intermediate.verify_signature(Some(root.public_key())).map_err(|_| {
        Fault::new("ca/intermediate.pem is not signed by ca/root.pem", "Put the root that signed it there, or the intermediate of that root")
    })?;
    not_after("intermediate", certificate)
}
