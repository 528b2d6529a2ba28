//! The mesh under test: a control plane, sidecars and the bookstore as processes of their own, on loopback addresses of their own, with a
//! relay before each sidecar.

use super::relay::{self, Way};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A process of the bookstore with its sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub service: &'static str,
    pub version: &'static str,
    pub name: &'static str,
    last: u8,
}

const fn member(service: &'static str, version: &'static str, name: &'static str, last: u8) -> Member {
    Member { service, version, name, last }
}

/// Those that run from the start.
pub const MEMBERS: [Member; 9] = [
    member("store", "v1", "store-v1", 9),
    member("ratings", "v1", "ratings-v1", 7),
    member("ratings", "v2", "ratings-v2", 8),
    member("reviews", "v1", "reviews-v1", 4),
    member("reviews", "v2", "reviews-v2", 5),
    member("reviews", "v3", "reviews-v3", 6),
    member("details", "v1", "details-v1", 2),
    member("details", "v2", "details-v2", 3),
    member("productpage", "v1", "productpage-v1", 1),
];

/// Those that may join.
const MORE: [Member; 2] = [member("details", "v3", "details-v3", 12), member("details", "v1", "details-v1-b", 13)];

/// What stands outside of the mesh: `details` asks it.
const BOOKS: u8 = 30;
/// The member whose sidecar has a clock that can be put forward.
const CLOCK: &str = "details-v2";
/// Debian's package `faketime`, by architecture.
const CLOCK_LIBRARIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Mesh {
    taut: PathBuf,
    directory: tempfile::TempDir,
    net: u8,
    children: BTreeMap<String, Child>,
    ways: BTreeMap<&'static str, Arc<Way>>,
}

impl Mesh {
    /// All of it, ready.
    pub fn start(taut: &Path, runtime: &Handle) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("taut-lab-").tempdir().map_err(|error| format!("cannot make a directory: {error}"))?;
        let free = |net: &u8| TcpListener::bind((Ipv4Addr::new(127, *net, 0, 250), 15012)).is_ok();
        let net = (60..120).find(free).ok_or("no loopback network is free: is another lab running?")?;
        let mut mesh = Self { taut: taut.to_owned(), directory, net, children: BTreeMap::new(), ways: BTreeMap::new() };
        fs::create_dir_all(mesh.path("faults")).map_err(|error| format!("cannot make a directory: {error}"))?;
        for member in MEMBERS.iter().chain(&MORE) {
            let (from, to) = (mesh.at(0, member.last, 15008), mesh.at(1, member.last, 15008));
            let way = runtime.block_on(relay::start(from, to))?;
            mesh.ways.insert(member.name, way);
        }
        mesh.clock(Duration::ZERO)?;
        mesh.control_plane()?;
        mesh.apply(&fs::read_to_string(bookstore_manifest()).map_err(|error| format!("cannot read the bookstore's manifest: {error}"))?)?;
        mesh.apply(&OUTSIDE.replace("ADDRESS", &mesh.at(0, BOOKS, 0).ip().to_string()))?;
        mesh.outside()?;
        for member in &MEMBERS {
            mesh.run(member.name)?;
        }
        mesh.ready(MEMBERS.len())?;
        Ok(mesh)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn at(&self, third: u8, last: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, self.net, third, last), port))
    }

    /// Where users come in, without a certificate.
    pub fn site(&self) -> SocketAddr {
        self.at(0, 1, 9081)
    }

    /// Where the program beside this sidecar sends its calls.
    pub fn outbound(&self, name: &str) -> Result<SocketAddr, String> {
        Ok(self.at(1, named(name)?.last, 15001))
    }

    /// The address that signs in to the dashboard.
    pub fn dashboard(&self) -> Result<String, String> {
        fs::read_to_string(self.path("state/dashboard.url")).map_err(|error| format!("the control plane serves no dashboard: {error}"))
    }

    pub fn way(&self, name: &str) -> Result<&Way, String> {
        self.ways.get(name).map(Arc::as_ref).ok_or_else(|| unknown(name))
    }

    /// What is wrong with a process of the bookstore; nothing: all is well.
    pub fn trouble(&self, name: &str, what: Option<&str>) -> Result<(), String> {
        let file = self.path("faults").join(format!("{name}.json"));
        let fresh = file.with_extension("new");
        let done = match what {
            Some(what) => fs::write(&fresh, what).and_then(|()| fs::rename(&fresh, &file)),
            None if file.exists() => fs::remove_file(&file),
            None => Ok(()),
        };
        done.map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    pub fn control_plane(&mut self) -> Result<(), String> {
        let listen = |port| self.at(0, 250, port).to_string();
        let words = ["up", "--grpc", &listen(15012), "--api", &listen(15443), "--dashboard", &listen(15080)].map(str::to_owned);
        self.spawn("control-plane", &words)?;
        self.until("the control plane answers", |mesh| mesh.status().map(|_| ()))
    }

    fn outside(&mut self) -> Result<(), String> {
        let mut words = ["bookstore", "books", "v1", "--address"].map(str::to_owned).to_vec();
        words.extend([self.at(0, BOOKS, 0).ip().to_string(), "--faults".to_owned(), self.faults("books")]);
        self.spawn("books", &words)
    }

    /// Puts the clock of one sidecar forward, live.
    pub fn clock(&self, ahead: Duration) -> Result<(), String> {
        fs::write(self.path("clock"), format!("+{}", ahead.as_secs())).map_err(|error| format!("cannot write the clock's file: {error}"))
    }

    fn faults(&self, name: &str) -> String {
        self.path("faults").join(format!("{name}.json")).display().to_string()
    }

    /// Starts one of the members.
    pub fn run(&mut self, name: &str) -> Result<(), String> {
        let member = named(name)?;
        let (address, sidecar) = (self.at(0, member.last, 0).ip().to_string(), self.at(1, member.last, 0).ip().to_string());
        let mut words: Vec<String> = ["run", "--service", member.service, "--name", member.name, "--drain", "2s"].map(str::to_owned).to_vec();
        words.extend(["--address".to_owned(), address.clone(), "--sidecar-address".to_owned(), sidecar]);
        words.extend(["--peer-advertised".to_owned(), self.at(0, member.last, 15008).to_string()]);
        words.extend(["--service-account".to_owned(), format!("bookinfo-{}", member.service)]);
        words.extend(["--label".to_owned(), format!("version={}", member.version)]);
        let ports: &[&str] = match member.service {
            "store" => &["7000/tcp-store"],
            "details" => &["9080/http", "9090/grpc"],
            _ => &["9080/http"],
        };
        words.extend(ports.iter().flat_map(|port| ["--port".to_owned(), (*port).to_owned()]));
        match member.service {
            "ratings" => words.extend(["--upstream", "store:7000"].map(str::to_owned)),
            "productpage" => words.extend(["--expose".to_owned(), self.site().to_string()]),
            _ => {}
        }
        words.extend(["--".to_owned(), self.taut.display().to_string(), "bookstore".to_owned(), member.service.to_owned()]);
        words.extend([member.version.to_owned(), "--address".to_owned(), address, "--faults".to_owned(), self.faults(name)]);
        self.spawn(name, &words)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.taut);
        let control = self.at(0, 250, 15012).to_string();
        command.env("TAUT_STATE", self.path("state")).env("TAUT_CONTROL", control).env("TAUT_END_WITH_PARENT", "1");
        command.env("BOOKS", "http://books.example:9080").env_remove("TAUT_KUBECONFIG");
        command
    }

    fn spawn(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let cannot = |error: std::io::Error| format!("cannot start {name}: {error}");
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).map_err(cannot)?;
        let errors = log.try_clone().map_err(cannot)?;
        let mut command = self.command();
        command.args(words).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        if let (CLOCK, Some(library)) = (name, clock_library()) {
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", self.path("clock"));
            command.envs([("FAKETIME_CACHE_DURATION", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
        }
        let child = command.spawn().map_err(cannot)?;
        self.children.insert(name.to_owned(), child);
        Ok(())
    }

    /// What a command prints that must succeed.
    pub fn taut(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command().args(words).stdin(Stdio::null()).output().map_err(|error| format!("cannot start taut: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("taut {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    pub fn apply(&self, manifest: &str) -> Result<(), String> {
        self.with_input(&["apply", "-f", "-"], manifest)
    }

    pub fn delete(&self, manifest: &str) -> Result<(), String> {
        self.with_input(&["delete", "-f", "-"], manifest)
    }

    fn with_input(&self, words: &[&str], input: &str) -> Result<(), String> {
        let cannot = |error: std::io::Error| format!("taut {}: {error}", words.join(" "));
        let mut command = self.command();
        let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes()).map_err(cannot)?;
        }
        let output = child.wait_with_output().map_err(cannot)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("taut {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    fn status(&self) -> Result<Value, String> {
        serde_json::from_str(&self.taut(&["status", "-o", "json"])?).map_err(|error| format!("taut status: {error}"))
    }

    /// Waits until so many sidecars are ready.
    pub fn ready(&self, count: usize) -> Result<(), String> {
        self.until("sidecars are ready", |mesh| {
            let status = mesh.status()?;
            let ready = status["proxies"].as_array().map_or(0, |all| all.iter().filter(|proxy| proxy["readiness"] == "Ready").count());
            if ready >= count { Ok(()) } else { Err(format!("{ready} of {count}")) }
        })
    }

    fn until(&self, what: &str, check: impl Fn(&Self) -> Result<(), String>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match check(self) {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() > deadline => return Err(format!("not within {} s: {what}: {why}", PATIENCE.as_secs())),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    pub fn runs(&mut self, name: &str) -> bool {
        self.children.get_mut(name).is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Kills a sidecar and its program at once, as when a machine is lost.
    pub fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.children.remove(name) {
            signal_group(&child, Signal::SIGKILL);
            let _ = child.wait();
        }
    }

    /// Asks a process to end, and waits for it.
    pub fn stop(&mut self, name: &str) {
        let Some(mut child) = self.children.remove(name) else { return };
        if let Ok(id) = i32::try_from(child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        signal_group(&child, Signal::SIGKILL);
        let _ = child.wait();
    }

    /// To the program beside a sidecar, not to the sidecar.
    pub fn signal_program(&self, name: &str, signal: Signal) -> Result<(), String> {
        let sidecar = self.children.get(name).map(Child::id).ok_or_else(|| unknown(name))?;
        let children = fs::read_to_string(format!("/proc/{sidecar}/task/{sidecar}/children")).unwrap_or_default();
        let program = children.split_whitespace().find_map(|id| id.parse().ok()).ok_or_else(|| format!("{name} runs no program"))?;
        kill(Pid::from_raw(program), signal).map_err(|error| format!("cannot signal the program of {name}: {error}"))
    }
}

impl Drop for Mesh {
    /// Workloads first: they take leave of a control plane that is still there.
    fn drop(&mut self) {
        let ask = |child: &Child| signal_group(child, Signal::SIGTERM);
        self.children.iter().filter(|(name, _)| *name != "control-plane").for_each(|(_, child)| ask(child));
        let deadline = Instant::now() + Duration::from_secs(8);
        for (_, mut child) in std::mem::take(&mut self.children).into_iter().rev() {
            signal_group(&child, Signal::SIGCONT);
            while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            signal_group(&child, Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// What puts clocks forward, where it is installed.
pub fn clock_library() -> Option<&'static str> {
    CLOCK_LIBRARIES.into_iter().find(|library| Path::new(library).exists())
}

fn signal_group(child: &Child, signal: Signal) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

fn named(name: &str) -> Result<&'static Member, String> {
    const ALL: [&[Member]; 2] = [&MEMBERS, &MORE];
    ALL.into_iter().flatten().find(|member| member.name == name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> String {
    format!("the mesh under test has no {name}")
}

fn bookstore_manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/manifests/bookstore.yaml")
}

const OUTSIDE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: books }
spec:
  hosts: [books.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }]
  endpoints: [{ address: ADDRESS }]
";
