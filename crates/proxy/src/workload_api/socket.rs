//! Where the application asks: a Unix socket that takes the place of whatever was there at once, so that no call falls between.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Bound beside its place until it takes it.
pub struct Socket {
    listener: UnixListener,
    beside: Beside,
    place: PathBuf,
    published: bool,
}

/// Is gone when it is dropped: the socket has its place by then, or is wanted nowhere.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = removed(&self.0);
    }
}

impl Socket {
    /// `open`: other users may connect; who they are is looked at in any case.
    ///
    /// # Errors
    /// The directory is not there, or not this user's to write.
    pub fn bind(place: &Path, open: bool) -> io::Result<Self> {
        let mut beside = place.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        removed(&beside)?;
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(if open { 0o666 } else { 0o600 }))?;
        Ok(Self { listener, beside: Beside(beside), place: place.to_owned(), published: false })
    }

    /// Whether somebody answers at a place.
    pub async fn is_taken(place: &Path) -> bool {
        UnixStream::connect(place).await.is_ok()
    }

    /// From now on callers come here. May be said again.
    ///
    /// # Errors
    /// What is at the place is no socket, or not this user's to replace.
    pub fn publish(&mut self) -> io::Result<()> {
        if self.published {
            return Ok(());
        }
        match fs::symlink_metadata(&self.place) {
            Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file of that name")),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => fs::rename(&self.beside.0, &self.place),
        }?;
        self.published = true;
        Ok(())
    }

    pub fn listener(self) -> UnixListener {
        self.listener
    }
}

fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
