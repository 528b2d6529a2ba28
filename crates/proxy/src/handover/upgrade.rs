//! `taut-proxy --upgrade`: asks the proxy that runs to start its successor, as it was started itself, and says what came of it.

use super::line::Line;
use super::message::{FromPredecessor, FromSuccessor};
use super::place;
use super::successor::NotReplaced;
use crate::options::Started;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than a successor may take to prepare.
const UPGRADE_LIMIT: Duration = Duration::from_secs(90);
const REPLACE: &str = "--replace";

/// The same again, to take over: with this process's environment, directory and output.
pub(super) fn start_again(started: &Started) -> io::Result<Child> {
    let mut command = Command::new(&started.program);
    command.args(&started.arguments).stdin(Stdio::null());
    if !started.arguments.iter().any(|word| word == REPLACE) {
        command.arg(REPLACE);
    }
    command.spawn()
}

/// Says to a service manager that started this proxy, or the one before it, that this process serves (sd_notify(3)). Nothing without one.
pub fn tell_service_manager() {
    let states = [sd_notify::NotifyState::MainPid(std::process::id()), sd_notify::NotifyState::Ready];
    if let Err(error) = sd_notify::notify(false, &states) {
        tracing::warn!(%error, "the service manager could not be told that this process serves");
    }
}

/// What an upgrade has led to.
#[derive(Debug)]
pub struct Upgraded {
    pub version: String,
    pub process: i32,
    pub before: String,
    pub process_before: i32,
}

/// Waits until the proxy that answers at `place` was replaced by one that it has started.
///
/// # Errors
/// There is none, or it goes on.
pub async fn upgrade(place: &Path) -> Result<Upgraded, NotReplaced> {
    let cannot = |error: io::Error| NotReplaced(format!("the proxy at {} cannot be talked to: {error}", place.display()));
    let mut line = match UnixStream::connect(place).await {
        Ok(stream) => Line::new(stream),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Err(NotReplaced(format!(
                "no proxy answers at {}: name the running one by its --peer address or its --handover path",
                place.display()
            )));
        }
        Err(error) => return Err(cannot(error)),
    };
    let peer = line.peer().map_err(cannot)?;
    if !place::is_own_user(peer.uid()) {
        return Err(cannot(io::Error::new(ErrorKind::PermissionDenied, "it runs as another user")));
    }
    line.say(&FromSuccessor::Upgrade, &[]).await.map_err(cannot)?;
    let heard = timeout(UPGRADE_LIMIT, line.hear()).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    match heard.map_err(cannot)? {
        Some((FromPredecessor::Upgraded { version, process, before }, _)) => {
            Ok(Upgraded { version, process, before, process_before: peer.pid().unwrap_or_default() })
        }
        Some((FromPredecessor::Refused { why }, _)) => Err(NotReplaced(why)),
        _ => Err(cannot(io::Error::new(ErrorKind::InvalidData, "it gave no answer that is understood"))),
    }
}

/// An upgrade that this proxy was asked for: who waits for its outcome, and the successor that was started.
pub(super) struct Asked {
    pub line: Line,
    pub child: Child,
}

/// Resolves when the successor has ended by itself. Never, when none was started.
pub(super) async fn ended(asked: &mut Option<Asked>) -> String {
    match asked {
        Some(asked) => match asked.child.wait().await {
            Ok(status) => format!("the successor ended without taking over ({status}); the log of the running proxy has its last words"),
            Err(error) => format!("the successor cannot be waited for: {error}"),
        },
        None => std::future::pending().await,
    }
}
