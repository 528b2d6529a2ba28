//! A mesh of real processes for the end-to-end tests, driven through public commands only: `taut up`, `taut run`, kubectl,
//! and plain HTTP. Every mesh lives on loopback addresses of its own, so tests run side by side.
#![allow(dead_code, reason = "each test binary uses a part")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Reads `what` until it is `Some`, or fails the test after `limit` with the last word of `what`.
pub fn eventually<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return value,
            Err(why) if Instant::now() > deadline => panic!("{what}: not within {limit:?}: {why}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(10)),
        }
    }
}

/// The repository's copy of the manifests of others.
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/manifests").canonicalize().expect("testdata/manifests")
}

pub fn has(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|o| o.status.success())
}

pub struct Mesh {
    pub directory: tempfile::TempDir,
    /// 127.<net>.0.x belongs to this mesh.
    net: u8,
    second: u8,
    children: BTreeMap<String, Child>,
    pub config: Option<PathBuf>,
    pub leaf_lifetime: Option<&'static str>,
    pub trust_domain: Option<&'static str>,
    /// A plugged-in authority.
    pub authority: Option<PathBuf>,
    /// By what servers outside prove themselves to the control plane.
    pub web_roots: Option<PathBuf>,
    /// Where proxies tell a service manager that they serve.
    pub notify: Option<PathBuf>,
}

static MESHES: AtomicU8 = AtomicU8::new(0);

/// One `taut run`.
#[derive(Clone, Debug)]
pub struct Member {
    pub service: String,
    pub version: String,
    pub name: String,
    pub account: String,
    /// Last byte of its loopback address.
    pub last: u8,
    pub ports: Vec<String>,
    pub extra: Vec<String>,
    /// What to run; empty for the bookstore's service of that name.
    pub program: Vec<String>,
}

impl Member {
    pub fn new(service: &str, version: &str, last: u8) -> Self {
        let ports = match service {
            "store" => vec!["7000/tcp-store"],
            "details" => vec!["9080/http", "9090/grpc"],
            _ => vec!["9080/http"],
        };
        let extra = if service == "ratings" { vec!["--upstream".to_owned(), "store:7000".to_owned()] } else { vec![] };
        Self {
            service: service.to_owned(),
            version: version.to_owned(),
            name: format!("{service}-{version}"),
            account: format!("bookinfo-{service}"),
            last,
            ports: ports.into_iter().map(str::to_owned).collect(),
            extra,
            program: vec![],
        }
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn with(mut self, extra: &[&str]) -> Self {
        self.extra.extend(extra.iter().map(|s| (*s).to_owned()));
        self
    }
}

pub fn bookstore() -> Vec<Member> {
    let member = Member::new;
    vec![
        member("store", "v1", 9),
        member("ratings", "v1", 7),
        member("ratings", "v2", 8),
        member("reviews", "v1", 4),
        member("reviews", "v2", 5),
        member("reviews", "v3", 6),
        member("details", "v1", 2),
        member("details", "v2", 3),
        member("productpage", "v1", 1),
    ]
}

impl Mesh {
    /// Addresses and a state directory, nothing running yet.
    pub fn new() -> Self {
        let net = 128 + (std::process::id() % 100) as u8;
        let second = MESHES.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new().prefix("taut-e2e-").tempdir().expect("temporary directory");
        Self {
            directory,
            net,
            second,
            children: BTreeMap::new(),
            config: None,
            leaf_lifetime: None,
            trust_domain: None,
            authority: None,
            web_roots: None,
            notify: None,
        }
    }

    /// A control plane that answers.
    pub fn start() -> Self {
        let mut mesh = Self::new();
        mesh.up();
        mesh
    }

    /// A control plane and the whole bookstore, ready.
    pub fn bookstore() -> Self {
        let mut mesh = Self::start();
        mesh.apply_text(taut_demo::manifests::BOOKSTORE);
        mesh.apply_text(taut_demo::manifests::VERSIONS);
        for member in bookstore() {
            mesh.run(&member);
        }
        mesh.wait_ready(bookstore().len());
        mesh
    }

    pub fn address(&self, last: u8) -> String {
        format!("127.{}.{}.{last}", self.net, self.second)
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    pub fn grpc(&self) -> String {
        format!("{}:15012", self.address(250))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taut"));
        command
            .env("TAUT_STATE", self.state())
            .env("TAUT_CONTROL", self.grpc())
            .env_remove("TAUT_KUBECONFIG")
            .env("RUST_BACKTRACE", "0")
            .env("TAUT_END_WITH_PARENT", "1");
        command
    }

    fn spawn(&mut self, name: &str, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.log_path(name)).expect("log file");
        let errors = log.try_clone().expect("log file");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("start taut");
        self.children.insert(name.to_owned(), child);
    }

    pub fn log_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    pub fn up(&mut self) {
        self.up_with(&[]);
    }

    /// The same, with more options.
    pub fn up_with(&mut self, more: &[&str]) {
        let mut command = self.command();
        command.args(["up", "--grpc", &self.grpc(), "--api", &format!("{}:15443", self.address(250))]);
        command.args(["--dashboard", &format!("{}:15080", self.address(250))]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(lifetime) = self.leaf_lifetime {
            command.args(["--leaf-lifetime", lifetime]);
        }
        if let Some(domain) = self.trust_domain {
            command.args(["--trust-domain", domain]);
        }
        if let Some(authority) = &self.authority {
            command.arg("--ca-dir").arg(authority);
        }
        if let Some(roots) = &self.web_roots {
            command.env("SSL_CERT_FILE", roots);
        }
        command.args(more);
        self.spawn("control-plane", command);
        eventually(PATIENCE, "the control plane answers", || {
            let status = self.taut(&["status", "-o", "json"]);
            match status.status.success() {
                true => Ok(()),
                false => Err(format!("{}\n{}", String::from_utf8_lossy(&status.stderr), self.log("control-plane"))),
            }
        });
    }

    pub fn run(&mut self, member: &Member) {
        let address = self.address(member.last);
        let mut command = self.command();
        command.args(["run", "--service", &member.service, "--name", &member.name, "--address", &address]);
        command.args(["--service-account", &member.account, "-l", &format!("version={}", member.version), "--access-log", "json", "--drain", "2s"]);
        command.args(member.ports.iter().flat_map(|port| ["--port", port]));
        command.args(&member.extra).arg("--");
        if member.program.is_empty() {
            command.args([env!("CARGO_BIN_EXE_taut"), "bookstore", &member.service, &member.version, "--address", &address]);
            // As the demo has it, so that `taut demo break` works here too.
            command.arg("--faults").arg(self.state().join("faults").join(format!("{}.json", member.name)));
        } else {
            command.args(&member.program);
        }
        self.spawn(&member.name, command);
    }

    /// A `taut-proxy` by itself, under a name for its log.
    pub fn proxy(&mut self, name: &str, arguments: &[String]) {
        let mut command = Command::new(proxy_program());
        command.env_remove("TAUT_TOKEN").env("TAUT_CONTROL", self.grpc()).env("RUST_BACKTRACE", "0").args(arguments);
        if let Some(notify) = &self.notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        self.spawn(name, command);
    }

    /// What a short `taut-proxy` command says.
    pub fn proxy_output(&self, arguments: &[&str]) -> Output {
        Command::new(proxy_program()).args(arguments).output().expect("run taut-proxy")
    }

    /// The exit code of a process of this mesh that has ended, -1 after a signal.
    pub fn ended(&mut self, name: &str) -> Option<i32> {
        let status = self.children.get_mut(name)?.try_wait().expect("a child")?;
        Some(status.code().unwrap_or(-1))
    }

    pub fn status(&self) -> Value {
        let output = self.taut(&["status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Waits until so many sidecars are ready and nothing lags.
    pub fn wait_ready(&self, count: usize) {
        eventually(Duration::from_secs(60), "sidecars are ready", || {
            let status = self.status();
            let ready = status["proxies"].as_array().map_or(0, |all| all.iter().filter(|p| p["readiness"] == "Ready").count());
            match ready >= count && lagging(&status) == 0 {
                true => Ok(()),
                false => Err(format!("{ready} of {count} ready: {status:#}")),
            }
        });
    }

    pub fn taut(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("run taut")
    }

    /// Standard output of a command that must succeed.
    pub fn taut_ok(&self, arguments: &[&str]) -> String {
        let output = self.taut(arguments);
        assert!(output.status.success(), "taut {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn apply_text(&self, manifest: &str) {
        let mut child = self
            .command()
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("taut apply");
        child.stdin.take().expect("piped").write_all(manifest.as_bytes()).expect("write the manifest");
        let output = child.wait_with_output().expect("taut apply");
        assert!(output.status.success(), "taut apply: {}{}", text(&output.stdout), text(&output.stderr));
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        let cache = self.directory.path().join("kube-cache");
        Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--cache-dir")
            .arg(cache)
            .args(arguments)
            .env("HOME", self.directory.path())
            .output()
            .expect("run kubectl")
    }

    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn pid(&self, name: &str) -> u32 {
        self.children[name].id()
    }

    /// SIGKILL, by process id, to a process of this mesh; it is reaped.
    pub fn kill9(&mut self, name: &str) {
        let mut child = self.children.remove(name).expect("a process of this mesh");
        child.kill().expect("kill");
        child.wait().expect("reap");
    }

    /// SIGTERM and the exit code.
    pub fn terminate(&mut self, name: &str) -> Option<i32> {
        let mut child = self.children.remove(name).expect("a process of this mesh");
        signal(child.id(), nix::sys::signal::Signal::SIGTERM);
        let mut code = None;
        eventually(PATIENCE, "ends after SIGTERM", || match child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                Ok(())
            }
            other => Err(format!("{other:?}")),
        });
        code
    }

    /// The outbound listener of a member's sidecar.
    pub fn outbound(&self, last: u8) -> String {
        format!("{}:15001", self.address(last))
    }

    pub fn admin(&self, last: u8, path: &str) -> Reply {
        Connection::open(&format!("{}:15000", self.address(last))).expect("admin").get(path, "localhost", &[]).expect("admin answers")
    }
}

/// `taut-proxy` as it is in the sources now: cargo builds only the program of the crate under test by itself.
fn proxy_program() -> PathBuf {
    static BUILT: std::sync::Once = std::sync::Once::new();
    let beside = Path::new(env!("CARGO_BIN_EXE_taut")).with_file_name("taut-proxy");
    BUILT.call_once(|| {
        let profile = match beside.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "taut-proxy", "--profile", profile]).status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build -p taut-proxy");
    });
    beside
}

/// Objects that are accepted and not live everywhere.
pub fn lagging(status: &Value) -> usize {
    let resources = status["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    resources.iter().filter(|r| r["live"]["accepted"] == true && r["live"]["live"] == false).count()
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().expect("a pid")), signal).expect("signal");
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.children.keys() {
                let log = self.log(name);
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("--- {name}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        // Programs under `taut run` end with it when it is told to; only what does not listen is killed.
        for child in self.children.values() {
            signal_quietly(child.id());
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        for child in self.children.values_mut() {
            while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal_quietly(pid: u32) {
    if let Ok(pid) = pid.try_into() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One kept HTTP/1.1 connection, as simple as can be.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub took: Duration,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

impl Connection {
    pub fn open(address: &str) -> std::io::Result<Self> {
        let address = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// `target` is a path, or a whole URL for a proxy.
    pub fn get(&mut self, target: &str, host: &str, headers: &[(&str, &str)]) -> std::io::Result<Reply> {
        self.exchange("GET", target, host, headers, "")
    }

    pub fn exchange(&mut self, method: &str, target: &str, host: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Reply> {
        let started = Instant::now();
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("content-length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body;
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| bad(&line))?;
        let mut headers = Vec::new();
        loop {
            self.line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: String::new(), took: Duration::ZERO };
        let body = match (reply.header("content-length"), reply.header("transfer-encoding")) {
            (Some(length), _) => self.exactly(length.parse().map_err(|_| bad(length))?)?,
            (None, Some(_)) => self.chunks()?,
            (None, None) => Vec::new(),
        };
        reply.body = text(&body);
        reply.took = started.elapsed();
        Ok(reply)
    }

    fn line(&mut self, line: &mut String) -> std::io::Result<()> {
        line.clear();
        if self.stream.read_line(line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(())
    }

    fn exactly(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let (mut body, mut line) = (Vec::new(), String::new());
        loop {
            self.line(&mut line)?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(|_| bad(&line))?;
            body.extend(self.exactly(size)?);
            self.line(&mut line)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

fn bad(line: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("unexpected {line:?}"))
}

/// A client behind a sidecar: sends requests to `host:port` by way of its outbound listener, on one kept connection.
pub struct Client {
    connection: Option<Connection>,
    outbound: String,
}

impl Client {
    pub fn behind(mesh: &Mesh, last: u8) -> Self {
        Self { connection: None, outbound: mesh.outbound(last) }
    }

    pub fn get(&mut self, url: &str, headers: &[(&str, &str)]) -> std::io::Result<Reply> {
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.outbound)?,
        };
        let reply = connection.get(url, &host, headers)?;
        if reply.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(reply)
    }
}
