//! Where the application asks: a Unix socket that takes the place of whatever was there at once, so that no call falls between.

use crate::options::{Options, Start};
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
    /// As the options want it, if they do. That of a proxy whose place is taken stays until then.
    ///
    /// # Errors
    /// It cannot be: what is wrong, and what to do.
    pub async fn open(options: &Options) -> Result<Option<Self>, (String, String)> {
        let Some(wanted) = &options.workload_api else { return Ok(None) };
        let place = wanted.place.display();
        let failed =
            |why: String| (format!("the Workload API cannot be served at {place}"), format!("{why}; choose another place with --workload-api"));
        let replaces = options.handover.as_ref().is_some_and(|handover| handover.start == Start::Replace);
        if !replaces && Self::is_taken(&wanted.place).await {
            return Err(failed("another process answers there".to_owned()));
        }
        let mut socket = Self::bind(&wanted.place, !wanted.users.is_empty()).map_err(|error| failed(error.to_string()))?;
        if !replaces {
            socket.publish().map_err(|error| failed(error.to_string()))?;
        }
        Ok(Some(socket))
    }

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
