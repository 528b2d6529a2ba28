//! `cargo xtask bench overload --real`: the same question as the simulation's, asked of real processes on loopback: a control plane, a client's sidecar,
//! and backends that can do little, each behind its own. Latency counts from the time a request should have left.

use crate::bench::place::{Place, Side};
use crate::bench::process::{Process, Spec};
use crate::bench::systems::built;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

const BACKENDS: u8 = 3;
/// What one backend works on at a time, each for 20 to 60 ms.
const CORES: usize = 2;
const WORK_MS: u64 = 40;
/// Answers per second of all backends together.
const CAPACITY: f64 = BACKENDS as f64 * CORES as f64 * 1000.0 / WORK_MS as f64;
/// Until a client gives up.
const PATIENCE: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(60);
const PORT: u16 = 18080;

/// What is compared: a name, and the mesh's settings.
const MODES: [(&str, &str); 2] =
    [("without", "overload: { protection: Disabled }\n  balancing: { default: LeastRequest }"), ("by default", "overload: { protection: Enabled }")];

pub struct Row {
    pub load: f64,
    pub mode: &'static str,
    pub asked: usize,
    pub errors_percent: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Row {
    pub fn json(&self) -> Value {
        let Self { load, mode, asked, errors_percent, p50_ms, p99_ms } = self;
        json!({"load": load, "system": mode, "asked": asked, "errors_percent": errors_percent, "p50_ms": p50_ms, "p99_ms": p99_ms})
    }
}

pub fn run(loads: &[f64], seconds: f64) -> Result<Vec<Row>, String> {
    let (taut, proxy) = (built("TAUT", "taut")?, built("TAUT_PROXY", "taut-proxy")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("cannot start tokio: {error}"))?;
    LocalSet::new().block_on(&runtime, async {
        let mut rows = Vec::new();
        for (mode, settings) in MODES {
            let mesh = Mesh::start(&taut, &proxy, settings).await?;
            for load in loads {
                let mut row = Row { load: *load, mode, asked: 0, errors_percent: 0.0, p50_ms: 0.0, p99_ms: 0.0 };
                ask(mesh.entrance, CAPACITY / 2.0, WARM_UP).await;
                let answers = ask(mesh.entrance, CAPACITY * load, Duration::from_secs_f64(seconds)).await;
                summarize(&mut row, answers);
                eprintln!("{load} {mode}");
                rows.push(row);
            }
            mesh.end().await;
        }
        Ok(rows)
    })
}

fn summarize(row: &mut Row, answers: Vec<Option<Duration>>) {
    row.asked = answers.len();
    let mut good: Vec<f64> = answers.into_iter().flatten().map(|took| took.as_secs_f64() * 1000.0).collect();
    good.sort_by(f64::total_cmp);
    row.errors_percent = (row.asked - good.len()) as f64 * 100.0 / row.asked.max(1) as f64;
    let at = |share: f64| good.get(((good.len() as f64 * share) as usize).min(good.len().saturating_sub(1))).copied().unwrap_or(f64::NAN);
    (row.p50_ms, row.p99_ms) = (at(0.5), at(0.99));
}

/// Everything that runs for one mode; it ends when this is dropped.
struct Mesh {
    /// Where the client's program would connect.
    entrance: SocketAddr,
    _processes: Vec<Process>,
    applications: Vec<JoinHandle<()>>,
    _files: TempDir,
}

impl Mesh {
    async fn start(taut: &Path, proxy: &Path, settings: &str) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot prepare the mesh's files: {error}");
        let files = tempfile::tempdir().map_err(failed)?;
        let config = files.path().join("config");
        fs::create_dir(&config).map_err(failed)?;
        let object = format!("apiVersion: tautline.dev/v1alpha1\nkind: MeshSettings\nmetadata: {{ name: mesh }}\nspec:\n  {settings}\n");
        fs::write(config.join("settings.yaml"), object).map_err(failed)?;
        let starting = Starting { taut, proxy, files: files.path().to_owned(), place: Place::loopback() };
        let mut processes = vec![starting.control(&config)?];
        let mut applications = Vec::new();
        for number in 0..BACKENDS {
            let at = address(10 + number, PORT);
            applications.push(application(at).await?);
            let place = ["--address".to_owned(), at.ip().to_string(), "--port".to_owned(), format!("{PORT}/http")];
            processes.push(starting.sidecar("backend", &format!("backend-{number}"), 10 + number, &place).await?);
        }
        let entrance = address(2, PORT);
        let upstream = ["--upstream".to_owned(), format!("backend:{PORT}={entrance}")];
        processes.push(starting.sidecar("loadgen", "loadgen", 2, &upstream).await?);
        let deadline = Instant::now() + START;
        // All backends are there when so many answers in a row came.
        let mut row = 0;
        while row < 5 * usize::from(BACKENDS) {
            row = match exchange(entrance, Instant::now() + PATIENCE).await {
                true => row + 1,
                false => {
                    sleep(Duration::from_millis(20)).await;
                    0
                }
            };
            if Instant::now() > deadline {
                return Err(format!("the mesh does not answer; its logs were: {}", starting.said()));
            }
        }
        Ok(Self { entrance, _processes: processes, applications, _files: files })
    }

    /// Waits until the addresses of its applications are free for the next.
    async fn end(self) {
        for application in self.applications {
            application.abort();
            let _ = application.await;
        }
    }
}

struct Starting<'a> {
    taut: &'a Path,
    proxy: &'a Path,
    files: PathBuf,
    place: Place,
}

impl Starting<'_> {
    fn spec(&self, program: &Path, name: &str) -> Spec {
        let spec = Spec::new(Side::Server, program, self.files.join(format!("{name}.log")));
        spec.environment("TAUT_STATE", self.files.join("state").display().to_string())
    }

    fn control(&self, config: &Path) -> Result<Process, String> {
        let spec = self.spec(self.taut, "control").arguments(["up", "--api", &address(1, 18443).to_string()]);
        let spec = spec.arguments(["--grpc", &address(1, 18444).to_string(), "--config", &config.display().to_string()]);
        Process::start(&self.place, &spec)
    }

    async fn sidecar(&self, service: &str, name: &str, host: u8, more: &[String]) -> Result<Process, String> {
        let (peer, admin) = (address(host, 15008).to_string(), address(host, 15000).to_string());
        let spec = self.spec(self.proxy, name).arguments(["--service", service, "--name", name, "--control", &address(1, 18444).to_string()]);
        let spec = spec.arguments(["--outbound", "off", "--peer", &peer, "--admin", &admin]).arguments(more.to_vec());
        Process::start(&self.place, &spec.environment("TAUT_TOKEN", self.token().await?))
    }

    /// Asks until the control plane is up.
    async fn token(&self) -> Result<String, String> {
        let deadline = Instant::now() + START;
        loop {
            let spec = self.spec(self.taut, "token").arguments(["token"]);
            let output = self.place.command(&spec).output().map_err(|error| format!("cannot start {}: {error}", self.taut.display()))?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
            }
            if Instant::now() > deadline {
                return Err(format!("the control plane does not hand out tokens: {}", String::from_utf8_lossy(&output.stderr)));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn said(&self) -> String {
        let logs = fs::read_dir(&self.files).into_iter().flatten().flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "log"));
        logs.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default()).collect()
    }
}

/// A part of loopback that is this process's own.
fn address(host: u8, port: u16) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 64 | high, low, host], port))
}

/// Works on [`CORES`] requests at a time, first come first served, also for clients that have left.
async fn application(at: SocketAddr) -> Result<JoinHandle<()>, String> {
    let listener = TcpListener::bind(at).await.map_err(|error| format!("cannot listen at {at}: {error}"))?;
    let cores = Rc::new(Semaphore::new(CORES));
    Ok(tokio::task::spawn_local(async move {
        let mut dice = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(at.port());
        while let Ok((stream, _)) = listener.accept().await {
            dice = dice.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            tokio::task::spawn_local(serve(stream, cores.clone(), dice));
        }
    }))
}

async fn serve(mut stream: TcpStream, cores: Rc<Semaphore>, mut dice: u64) {
    while read_head(&mut stream).await {
        dice = dice.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        let work = Duration::from_millis(WORK_MS / 2 + dice % (WORK_MS + 1));
        let cores = cores.clone();
        // A task of its own: work is done whether or not anybody waits.
        let worked = tokio::task::spawn_local(async move {
            let _core = cores.acquire().await;
            sleep(work).await;
        });
        if worked.await.is_err() || stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Requests come without bodies and one at a time.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(1..) => {}
            _ => return false,
        }
    }
    true
}

/// Asks at times drawn in advance, whatever becomes of earlier requests.
async fn ask(to: SocketAddr, rate: f64, lasting: Duration) -> Vec<Option<Duration>> {
    let begin = Instant::now();
    let (mut at, mut dice, mut asked) = (0.0_f64, 0x1234_5678_9abc_def1_u64, Vec::new());
    while at < lasting.as_secs_f64() {
        let time = begin + Duration::from_secs_f64(at);
        sleep_until(time).await;
        asked.push(tokio::task::spawn_local(async move { exchange(to, time + PATIENCE).await.then(|| time.elapsed()) }));
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let unit = (dice >> 11) as f64 / (1_u64 << 53) as f64;
        at += -(1.0 - unit).ln() / rate;
    }
    let mut answers = Vec::new();
    for one in asked {
        answers.push(one.await.ok().flatten());
    }
    answers
}

/// Whether a request is answered with 200 in time.
async fn exchange(to: SocketAddr, deadline: Instant) -> bool {
    let talk = async {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: backend\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(answer.starts_with(b"HTTP/1.1 200"))
    };
    timeout_at(deadline, talk).await.ok().flatten().unwrap_or(false)
}
