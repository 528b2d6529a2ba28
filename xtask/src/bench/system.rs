//! A system under test: two proxies in a row with mutual TLS between them, how it is started, what runs.

use super::place::{Place, Side};
use super::process::{Process, Spec};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What all systems share.
pub struct Site {
    pub place: Place,
    /// For configuration, certificates (`ca.crt`, `node.crt`, `node.key`, `node.pem`) and logs.
    pub directory: PathBuf,
}

impl Site {
    pub fn log(&self, name: &str, slot: Slot) -> PathBuf {
        self.directory.join(format!("{name}-{}.log", slot.0))
    }

    /// The application behind the server-side proxy.
    pub fn backend(&self) -> Entries {
        Entries::at(self.place.server, BACKEND_PORT)
    }
}

const BACKEND_PORT: u16 = 19080;

/// Where one protocol each is spoken, on neighbouring ports.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    pub http1: SocketAddr,
    /// HTTP/2 with prior knowledge.
    pub http2: SocketAddr,
    pub tcp: SocketAddr,
}

impl Entries {
    pub fn at(address: IpAddr, port: u16) -> Self {
        let entry = |offset| SocketAddr::new(address, port + offset);
        Self { http1: entry(0), http2: entry(1), tcp: entry(2) }
    }
}

/// One of several copies of all systems; each has ports of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u16);

/// The ports of one system in one slot.
#[derive(Clone, Copy)]
pub struct Ports {
    pub slot: Slot,
    base: u16,
}

impl Ports {
    pub fn new(slot: Slot, system: usize) -> Self {
        Self { slot, base: 20000 + slot.0 * 1000 + u16::try_from(system).unwrap_or(0) * 20 }
    }

    /// Plain text, on the loopback of the client's side: whoever gets there speaks with the identity of this side.
    pub fn plain(&self, site: &Site) -> Entries {
        Entries::at(site.place.client_private, self.base)
    }

    /// Mutual TLS, on the server's side.
    pub fn secure(&self, site: &Site) -> Entries {
        Entries::at(site.place.server, self.base + 3)
    }

    /// Up to ten more.
    pub fn more(&self, number: u16) -> u16 {
        self.base + 10 + number
    }
}

pub trait System {
    fn name(&self) -> &'static str;

    /// What must run before the proxies, such as a control plane.
    fn prepare(&self, _site: &Site, _ports: &Ports) -> Result<Vec<Process>, String> {
        Ok(Vec::new())
    }

    /// The server-side proxy; `None` if there is no proxy in the path. May be asked for again and again.
    fn server(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String>;

    /// The client-side proxy.
    fn client(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String>;

    /// Where the load goes.
    fn entries(&self, site: &Site, ports: &Ports) -> Entries {
        ports.plain(site)
    }
}

/// A system that runs.
pub struct Running {
    pub name: &'static str,
    pub entries: Entries,
    client: Option<(Process, Spec)>,
    server: Option<(Process, Spec)>,
    _beside: Vec<Process>,
}

#[derive(Clone, Copy)]
pub struct Spent {
    pub client: Duration,
    pub server: Duration,
}

impl Running {
    /// Both proxies; they may not answer yet.
    pub fn start(system: &dyn System, site: &Site, ports: &Ports) -> Result<Self, String> {
        let mut running = Self::without_client(system, site, ports)?;
        let client = system.client(site, ports)?;
        running.client = client.map(|spec| Process::start(&site.place, &spec).map(|process| (process, spec))).transpose()?;
        Ok(running)
    }

    /// All but the client-side proxy.
    pub fn without_client(system: &dyn System, site: &Site, ports: &Ports) -> Result<Self, String> {
        let beside = system.prepare(site, ports)?;
        let server = system.server(site, ports)?;
        let server = server.map(|spec| Process::start(&site.place, &spec).map(|process| (process, spec))).transpose()?;
        Ok(Self { name: system.name(), entries: system.entries(site, ports), client: None, server, _beside: beside })
    }

    /// CPU time of each side so far; `None` without proxies.
    pub fn cpu(&self) -> Result<Option<Spent>, String> {
        let (Some((client, _)), Some((server, _))) = (&self.client, &self.server) else { return Ok(None) };
        Ok(Some(Spent { client: client.cpu()?, server: server.cpu()? }))
    }

    /// Client side, server side.
    pub fn resident_mib(&self) -> Option<(f64, f64)> {
        let (Some((client, _)), Some((server, _))) = (&self.client, &self.server) else { return None };
        Some((client.resident_mib(), server.resident_mib()))
    }

    /// What both proxies said, for errors.
    pub fn said(&self) -> String {
        let said = |one: &Option<(Process, Spec)>, side: Side| match one {
            Some((_, spec)) => format!("\n-- {side:?} side of {}:\n{}", self.name, tail(&spec.said())),
            None => String::new(),
        };
        format!("{}{}", said(&self.client, Side::Client), said(&self.server, Side::Server))
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
