//! Where the authority's certificates and keys lie on disk: `STATE/ca`, directory 0700, files 0600, written whole or not at all.

use super::SecretKey;
use super::signer::Signer;
use crate::fault::Fault;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub(super) struct Chest {
    directory: PathBuf,
}

/// Whose files: those of the signer that is there, or of the one that takes over from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    Now,
    Next,
}

/// What was found on a shelf.
#[derive(Default)]
pub(super) struct Kept {
    pub root: Option<CertificateDer<'static>>,
    pub intermediate: Option<(CertificateDer<'static>, SecretKey)>,
    pub above: Vec<CertificateDer<'static>>,
    pub cross: Option<CertificateDer<'static>>,
}

/// All files of a shelf.
const FILES: [&str; 6] = ["root.key", "intermediate.key", "chain.pem", "cross.pem", "intermediate.pem", "root.pem"];

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

    /// A file of notes beside the keys. `None`: there is none.
    pub fn note(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        read(&self.directory.join(name))
    }

    /// `None` takes it away.
    pub fn store_note(&self, name: &str, content: Option<&[u8]>) -> Result<(), Fault> {
        let path = self.directory.join(name);
        match content {
            Some(content) => write_private(&path, content),
            None => removed(&path),
        }
    }

    fn shelf(&self, shelf: Shelf) -> PathBuf {
        match shelf {
            Shelf::Now => self.directory.clone(),
            Shelf::Next => self.directory.join("next"),
        }
    }

    pub fn load(&self, shelf: Shelf) -> Result<Kept, Fault> {
        let directory = self.shelf(shelf);
        let intermediate = match (certificate(&directory.join("intermediate.pem"))?, key(&directory.join("intermediate.key"))?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(lone(&directory, "intermediate.pem", "intermediate.key")),
            (None, Some(_)) => return Err(lone(&directory, "intermediate.key", "intermediate.pem")),
        };
        let above = certificates(&directory.join("chain.pem"))?;
        Ok(Kept { root: certificate(&directory.join("root.pem"))?, intermediate, above, cross: certificate(&directory.join("cross.pem"))? })
    }

    /// The root's key, if it has not been taken offline.
    pub fn root_key(&self, shelf: Shelf) -> Result<Option<SecretKey>, Fault> {
        key(&self.shelf(shelf).join("root.key"))
    }

    /// Keys first: a certificate without its key is noticed, a key without its certificate too, and neither is used.
    pub fn store(&self, shelf: Shelf, signer: &Signer, root_key: Option<&SecretKey>) -> Result<(), Fault> {
        let directory = self.shelf(shelf);
        private_directory(&directory)?;
        let secret = |name: &str, key: &SecretKey| {
            let text = Zeroizing::new(key.0.serialize_pem());
            write_private(&directory.join(name), text.as_bytes())
        };
        let public = |name: &str, certificates: &[CertificateDer<'_>]| {
            let text: String = certificates.iter().map(|one| super::leaf::pem("CERTIFICATE", one)).collect();
            let path = directory.join(name);
            if text.is_empty() { removed(&path) } else { write_private(&path, text.as_bytes()) }
        };
        if let Some(key) = root_key {
            secret("root.key", key)?;
        }
        secret("intermediate.key", &signer.key)?;
        public("chain.pem", &signer.above)?;
        public("cross.pem", signer.cross.as_slice())?;
        public("intermediate.pem", std::slice::from_ref(&signer.certificate))?;
        public("root.pem", std::slice::from_ref(&signer.root))
    }

    /// What is next is there now, too. May be said again after a crash. Nothing of the signer before stays, least of all the key of a root
    /// that is not believed any more.
    pub fn promote(&self) -> Result<(), Fault> {
        let (now, next) = (self.shelf(Shelf::Now), self.shelf(Shelf::Next));
        for name in FILES {
            match read(&next.join(name))? {
                Some(content) => write_private(&now.join(name), &content)?,
                None => removed(&now.join(name))?,
            }
        }
        Ok(())
    }

    /// Takes away what was next.
    pub fn clear_next(&self) -> Result<(), Fault> {
        let next = self.shelf(Shelf::Next);
        for name in FILES {
            removed(&next.join(name))?;
        }
        match fs::remove_dir(&next) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&next, &error)),
        }
        Ok(())
    }
}

fn removed(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Fault::new(format!("cannot remove {}: {error}", path.display()), "Make the directory writable for this user")),
    }
}

fn lone(directory: &Path, there: &str, missing: &str) -> Fault {
    Fault::new(format!("{} has {there} but no {missing}", directory.display()), "Put the missing file back, or remove the other one")
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    keep_private(path);
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let Some(text) = read(path)? else { return Ok(Vec::new()) };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    all.map_err(|error| {
        Fault::new(format!("{} is not a PEM certificate: {error}", path.display()), "Put the right file there, or remove it to have a new one made")
    })
}

fn certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, Fault> {
    let Some(text) = read(path)? else { return Ok(None) };
    CertificateDer::from_pem_slice(&text).map(Some).map_err(|error| {
        Fault::new(format!("{} is not a PEM certificate: {error}", path.display()), "Put the right file there, or remove it to have a new one made")
    })
}

fn key(path: &Path) -> Result<Option<SecretKey>, Fault> {
    let Some(text) = read(path)? else { return Ok(None) };
    // The parser's own error is left out: it could quote the key.
    let bad = || Fault::new(format!("{} is not a PEM private key (PKCS#8)", path.display()), "Put the right file there");
    let text = std::str::from_utf8(&text).map_err(|_| bad())?;
    KeyPair::from_pem(text).map(|key| Some(SecretKey(key))).map_err(|_| bad())
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
