//! What is done to the mesh under test, and undone: to programs, sidecars, the network, the configuration, the users.

use super::load::{Load, Manner, Pattern, Probe, Rate};
use super::mesh::{MEMBERS, Mesh};
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Which processes of the service that a case is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Of {
    All,
    /// One of them, by lot.
    One,
    Named(&'static str),
}

/// In the texts, `{s}` is the service that the case is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// The program does what the JSON says (`demo/src/trouble.rs`).
    Trouble(Of, &'static str),
    Signal(Of),
    Kill(Of),
    /// Killed again as often as it comes back.
    CrashLoop(Of),
    /// The way to the sidecar: milliseconds more, thousandths lost.
    Way {
        of: Of,
        delay_ms: u32,
        lost: u32,
    },
    Severed(Of),
    Revoke(Of),
    /// Deleted in the end.
    Apply(&'static str),
    /// The first is there before and after, the second in between.
    Change(&'static str, &'static str),
    /// A process more.
    Add(&'static str),
    /// A process less.
    Remove(Of),
    /// Stopped and started, one after the other.
    Roll(Of),
    /// One sidecar's clock is so many seconds ahead.
    Clock(u64),
    RestartControlPlane,
    RotateRoot,
    Visits(Rate),
    Visitors(Manner),
    /// Somebody asks through the sidecar of `details-v2`.
    Caller(&'static str),
    /// Somebody asks productpage for this path.
    Stranger(&'static str),
}

/// A case's place in the mesh.
pub struct Stage<'a> {
    pub mesh: &'a mut Mesh,
    pub load: &'a Load,
    pub service: &'static str,
    /// Which one, where one is meant.
    pub lot: usize,
}

/// How long a process lives in a crash loop.
const LIFE: Duration = Duration::from_secs(4);

impl Stage<'_> {
    fn of(&self, of: Of) -> Vec<&'static str> {
        let all: Vec<_> = MEMBERS.iter().filter(|member| member.service == self.service).map(|member| member.name).collect();
        match of {
            Of::All => all,
            Of::One => all.get(self.lot % all.len().max(1)).copied().into_iter().collect(),
            Of::Named(name) => vec![name],
        }
    }

    /// The version of the one process that a case is about.
    pub fn version(&self, of: Of) -> Option<&'static str> {
        let [name] = self.of(of)[..] else { return None };
        MEMBERS.iter().find(|member| member.name == name).map(|member| member.version)
    }

    fn each(&mut self, of: Of, mut act: impl FnMut(&mut Mesh, &'static str) -> Result<(), String>) -> Result<(), String> {
        self.of(of).into_iter().try_for_each(|name| act(self.mesh, name))
    }

    fn text(&self, text: &str) -> String {
        text.replace("{s}", self.service)
    }

    pub fn begin(&mut self, act: &Act) -> Result<(), String> {
        match *act {
            Act::Trouble(of, what) => self.each(of, |mesh, name| mesh.trouble(name, Some(what))),
            Act::Signal(of) => self.each(of, |mesh, name| mesh.signal_program(name, Signal::SIGSTOP)),
            Act::Kill(of) => self.each(of, |mesh, name| {
                mesh.kill(name);
                Ok(())
            }),
            Act::CrashLoop(of) => self.each(of, crash),
            Act::Way { of, delay_ms, lost } => self.each(of, |mesh, name| {
                let way = mesh.way(name)?;
                way.delay_ms.store(delay_ms, Ordering::Relaxed);
                way.lost.store(lost, Ordering::Relaxed);
                Ok(())
            }),
            Act::Severed(of) => self.each(of, |mesh, name| mesh.way(name).map(|way| way.severed.store(true, Ordering::Relaxed))),
            Act::Revoke(of) => self.each(of, |mesh, name| mesh.taut(&["trust", "revoke", &format!("default/{name}")]).map(drop)),
            Act::Apply(manifest) | Act::Change(_, manifest) => self.mesh.apply(&self.text(manifest)),
            Act::Add(name) => self.mesh.run(name),
            Act::Remove(of) => self.each(of, |mesh, name| {
                mesh.stop(name);
                Ok(())
            }),
            Act::Roll(of) => self.each(of, |mesh, name| {
                mesh.stop(name);
                mesh.run(name)?;
                mesh.ready(MEMBERS.len())
            }),
            Act::Clock(seconds) => self.mesh.clock(Duration::from_secs(seconds)),
            Act::RestartControlPlane => {
                self.mesh.stop("control-plane");
                self.mesh.control_plane()
            }
            Act::RotateRoot => self.mesh.taut(&["trust", "rotate", "--wait", "0s"]).map(drop),
            Act::Visits(rate) => self.visits(Pattern { rate, ..Pattern::default() }),
            Act::Visitors(manner) => self.visits(Pattern { manner, ..Pattern::default() }),
            Act::Caller(url) => {
                let target = self.text(url);
                let host = target.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
                self.probe(Probe { to: self.mesh.outbound("details-v2")?, target, host })
            }
            Act::Stranger(path) => self.probe(Probe { to: self.mesh.site(), target: path.to_owned(), host: "productpage".to_owned() }),
        }
    }

    fn visits(&self, pattern: Pattern) -> Result<(), String> {
        self.load.follow(pattern);
        Ok(())
    }

    fn probe(&self, probe: Probe) -> Result<(), String> {
        self.visits(Pattern { probe: Some(probe), ..Pattern::default() })
    }

    /// What has to be done again and again while it lasts; `since` the last time that this did something.
    pub fn go_on(&mut self, act: &Act, since: Duration) -> Result<bool, String> {
        match *act {
            Act::CrashLoop(of) if since > LIFE => self.each(of, crash).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Undone, and ready again.
    pub fn end(&mut self, act: &Act) -> Result<(), String> {
        match *act {
            Act::Trouble(of, _) => self.each(of, |mesh, name| mesh.trouble(name, None)),
            Act::Signal(of) => self.each(of, |mesh, name| mesh.signal_program(name, Signal::SIGCONT)),
            Act::Kill(of) | Act::CrashLoop(of) | Act::Remove(of) => {
                self.each(of, |mesh, name| if mesh.runs(name) { Ok(()) } else { mesh.run(name) })?;
                self.mesh.ready(MEMBERS.len())
            }
            Act::Way { of, .. } | Act::Severed(of) => self.each(of, |mesh, name| mesh.way(name).map(super::relay::Way::mend)),
            Act::Revoke(of) => {
                self.each(of, |mesh, name| {
                    mesh.kill(name);
                    mesh.run(name)
                })?;
                self.mesh.ready(MEMBERS.len())
            }
            Act::Apply(manifest) => self.mesh.delete(&self.text(manifest)),
            Act::Change(manifest, _) => self.mesh.apply(&self.text(manifest)),
            Act::Add(name) => {
                self.mesh.stop(name);
                Ok(())
            }
            Act::Visits(_) | Act::Visitors(_) | Act::Caller(_) | Act::Stranger(_) => self.visits(Pattern::default()),
            Act::Clock(_) => self.mesh.clock(Duration::ZERO),
            Act::Roll(_) | Act::RestartControlPlane | Act::RotateRoot => Ok(()),
        }
    }
}

fn crash(mesh: &mut Mesh, name: &'static str) -> Result<(), String> {
    mesh.kill(name);
    mesh.run(name)
}
