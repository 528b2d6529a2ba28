//! `taut record`: what the control plane knows of a span of time, as a file that needs no control plane to be read.

use crate::edges::parameters;
use crate::output;
use crate::place::Place;
use crate::replay;
use crate::{Failure, Outcome};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taut_control::recording::Recording;

const EXAMPLES: &str = "Examples:
  taut record                                      the last 30 minutes, into taut-TIME.parquet
  taut record --last 2h -n shop -o shop.parquet    two hours of one namespace
  taut record --from 2026-01-02T03:00:00Z --to 2026-01-02T03:20:00Z -o incident.parquet
  taut replay incident.parquet                     what is in it
  python3 -c \"import pandas; print(pandas.read_parquet('incident.parquet').groupby('service').requests.sum())\"";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// How far back, as in 30m or 2h [default: 30m]
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    last: Option<String>,
    /// Where it begins: RFC 3339 or seconds since 1970
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Where it ends [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only edges from, to or for a service of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// The file to write [default: taut-TIME.parquet]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub async fn record(place: &Place, arguments: Arguments) -> Outcome {
    let target =
        arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("taut-{}.parquet", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))));
    let taken = || Failure::cannot(format!("{} is there already; name another file with -o, or replace it with --force", target.display()));
    if !arguments.force && target.exists() {
        return Err(taken());
    }
    let api = place.api()?;
    let mut partial = Partial::beside(&target)?;
    let named = [("last", &arguments.last), ("from", &arguments.from), ("to", &arguments.to), ("namespace", &arguments.namespace)];
    let query = parameters(named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    let mut progress = Progress::new();
    let unwritable = |path: &Path, error: &std::io::Error| Failure::cannot(format!("{} cannot be written: {error}", path.display()));
    api.download(&format!("/taut/v1/signals/recording?{query}"), |piece| {
        progress.add(piece.len());
        partial.file.write_all(piece).map_err(|error| unwritable(&partial.path, &error))
    })
    .await?;
    partial.file.sync_all().map_err(|error| unwritable(&partial.path, &error))?;
    progress.end();
    // What cannot be read is not handed over.
    let recording = Recording::open(&partial.path).map_err(|error| Failure::cannot(format!("what the control plane sent {error}")))?;
    let summary = replay::headline(&recording);
    match partial.become_file(&target, arguments.force) {
        Ok(bytes) => {
            output::tell(&format!("{}: {summary}, {}", target.display(), crate::edges::bytes(bytes as f64)));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken()),
        Err(error) => Err(unwritable(&target, &error)),
    }
}

/// A file that is not finished. It goes when it is dropped.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn beside(target: &Path) -> Outcome<Self> {
        let name = target.file_name().ok_or_else(|| Failure::cannot(format!("{} is no name for a file", target.display())))?;
        let path = target.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| Failure::cannot(format!("{} cannot be written: {error}", path.display())))?;
        Ok(Self { path, file })
    }

    /// Takes the name that was asked for, all at once; how long it is.
    fn become_file(self, target: &Path, force: bool) -> std::io::Result<u64> {
        let length = self.file.metadata()?.len();
        if force {
            fs::rename(&self.path, target)?;
        } else {
            // Unlike a renaming, a second name is never given to what is there already.
            fs::hard_link(&self.path, target).or_else(|error| match error.kind() {
                ErrorKind::Unsupported | ErrorKind::PermissionDenied if !target.exists() => fs::rename(&self.path, target),
                _ => Err(error),
            })?;
        }
        Ok(length)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing is there once it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Says on a terminal how much has come, once it takes longer than a moment.
struct Progress {
    began: Instant,
    said: Instant,
    bytes: u64,
    shown: bool,
}

impl Progress {
    const MOMENT: Duration = Duration::from_millis(500);

    fn new() -> Self {
        let now = Instant::now();
        Self { began: now, said: now, bytes: 0, shown: false }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if std::io::stderr().is_terminal() && self.said.elapsed() > Self::MOMENT {
            (self.said, self.shown) = (Instant::now(), true);
            let _ = write!(std::io::stderr(), "\r{} after {} s", crate::edges::bytes(self.bytes as f64), self.began.elapsed().as_secs());
        }
    }

    fn end(&self) {
        if self.shown {
            // Back to the beginning of the line, which is cleared (ECMA-48).
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}
