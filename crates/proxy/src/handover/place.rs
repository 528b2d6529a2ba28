//! Where a proxy's handover socket is, and who may reach it: its own user, and nobody else.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// `PEER-ADDRESS.sock` in the directory that the service manager or the login session keeps for running programs: two proxies of one
/// machine cannot share a peer address, so they cannot share this either.
pub fn default_place(peer: SocketAddr) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // systemd names several with colons between them; the first is as good as any.
    let managed = set("RUNTIME_DIRECTORY").and_then(|all| Some(PathBuf::from(all.to_str()?.split(':').next()?)));
    let session = || set("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("tautline"));
    let own = || match nix::unistd::geteuid() {
        root if root.is_root() => PathBuf::from("/run/tautline"),
        user => std::env::temp_dir().join(format!("tautline-{user}")),
    };
    managed.or_else(session).unwrap_or_else(own).join(format!("{peer}.sock"))
}

/// A socket to be asked at. One that a dead process left is replaced.
///
/// # Errors
/// Its directory is not this user's, or a process that lives has it already.
pub async fn open(place: &Path) -> io::Result<UnixListener> {
    private_directory(place)?;
    let listener = match UnixListener::bind(place) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => match UnixStream::connect(place).await {
            Ok(_) => return Err(error),
            Err(_) => {
                fs::remove_file(place)?;
                UnixListener::bind(place)?
            }
        },
        bound => bound?,
    };
    // The directory may be one that others can enter; who connects is looked at in any case.
    fs::set_permissions(place, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn private_directory(place: &Path) -> io::Result<()> {
    let Some(directory) = place.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        // Not the directories above it: a mistyped place is to be told, not made.
        made => made.map_err(|error| io::Error::new(error.kind(), format!("cannot make {}: {error}", directory.display())))?,
    }
    let found = fs::metadata(directory)?;
    let own = own_user();
    if found.uid() != own || found.mode() & 0o022 != 0 {
        let why = format!("{} must belong to user {own} and be writable by nobody else", directory.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// Whether the process at the other end runs as the same user as this one.
pub fn is_own_user(uid: u32) -> bool {
    uid == own_user()
}

/// The user as whom this process acts.
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}
