//! `taut demo`: a control plane, nine processes with sidecars, steady traffic, a page, and the next three commands.

mod broken;

use crate::api::{Api, collection};
use crate::output;
use crate::place::Place;
use crate::run::stop_signal;
use crate::{Failure, Outcome};
use http::{Method, StatusCode};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use taut_demo::app::{GRPC_PORT, HTTP_PORT, Role, STORE_PORT};
use taut_demo::{load, manifests};
use taut_model::read;
use tokio::process::{Child, Command};

#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without --state the demo keeps its state apart from that of `taut up`; the commands it prints name it."
)]
pub struct Arguments {
    #[command(subcommand)]
    act: Option<Act>,
    /// Visits a second
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// Where the page is served
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9080")]
    page: SocketAddr,
    /// Where the dashboard is served, or `off`
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15080", value_parser = crate::up::dashboard)]
    dashboard: crate::up::Dashboard,
    /// Stop after so long (for tests and recordings)
    #[arg(long = "for", value_name = "TIME", value_parser = crate::duration::duration)]
    limit: Option<Duration>,
    /// Do not load manifests from earlier runs
    #[arg(long)]
    fresh: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Act {
    /// Break a service of the demo that runs, to see what the mesh says about it
    Break(broken::Arguments),
    /// Make all of them well again
    Repair,
}

/// Set in the environment of what the demo starts.
pub const END_WITH_PARENT: &str = "TAUT_END_WITH_PARENT";

/// One process of the bookstore and its place: 127.0.10.<last>.
struct Member {
    role: Role,
    version: &'static str,
    last: u8,
}

const MEMBERS: [Member; 9] = [
    Member { role: Role::Store, version: "v1", last: 9 },
    Member { role: Role::Ratings, version: "v1", last: 7 },
    Member { role: Role::Ratings, version: "v2", last: 8 },
    Member { role: Role::Reviews, version: "v1", last: 4 },
    Member { role: Role::Reviews, version: "v2", last: 5 },
    Member { role: Role::Reviews, version: "v3", last: 6 },
    Member { role: Role::Details, version: "v1", last: 2 },
    Member { role: Role::Details, version: "v2", last: 3 },
    Member { role: Role::ProductPage, version: "v1", last: 1 },
];

impl Member {
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 10, self.last)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.role.name(), self.version)
    }

    fn ports(&self) -> Vec<String> {
        match self.role {
            Role::Store => vec![format!("{STORE_PORT}/tcp-store")],
            Role::Details => vec![format!("{HTTP_PORT}/http"), format!("{GRPC_PORT}/grpc")],
            _ => vec![format!("{HTTP_PORT}/http")],
        }
    }

    /// `taut run … -- taut bookstore …`
    fn command(&self, taut: &Path, place: &Place, arguments: &Arguments) -> Vec<String> {
        let mut words = vec!["run".to_owned(), "--service".to_owned(), self.role.name().to_owned(), "--name".to_owned(), self.name()];
        words.extend(["--address".to_owned(), self.address().to_string()]);
        words.extend(["--service-account".to_owned(), format!("bookinfo-{}", self.role.name())]);
        words.extend([
            "--drain".to_owned(),
            "2s".to_owned(),
            "--label".to_owned(),
            format!("version={}", self.version),
            "--access-log".to_owned(),
            "text".to_owned(),
        ]);
        words.extend(self.ports().into_iter().flat_map(|port| ["--port".to_owned(), port]));
        match self.role {
            Role::Ratings => words.extend(["--upstream".to_owned(), format!("store:{STORE_PORT}")]),
            Role::ProductPage => words.extend(["--expose".to_owned(), arguments.page.to_string()]),
            _ => {}
        }
        words.extend(["--".to_owned(), taut.display().to_string(), "bookstore".to_owned(), self.role.name().to_owned()]);
        words.extend([self.version.to_owned(), "--address".to_owned(), self.address().to_string()]);
        words.extend(["--faults".to_owned(), broken::file(place, &self.name()).display().to_string()]);
        words
    }
}

pub async fn demo(place: &Place, arguments: Arguments) -> Outcome {
    let started = Instant::now();
    let place = place.for_demo();
    let members = || MEMBERS.iter().map(|member| (member.role.name(), member.name()));
    match &arguments.act {
        Some(Act::Break(what)) => return broken::break_service(&place, what, members()),
        Some(Act::Repair) => return broken::repair(&place, members()),
        None => {}
    }
    check_ports(&arguments)?;
    let taut = std::env::current_exe().map_err(|e| Failure::cannot(format!("cannot find the taut program: {e}")))?;
    let logs = place.state.join("logs");
    if arguments.fresh && place.state.exists() {
        std::fs::remove_dir_all(&place.state).map_err(|e| Failure::cannot(format!("cannot clear {}: {e}", place.state.display())))?;
    }
    std::fs::create_dir_all(&logs).map_err(|e| Failure::cannot(format!("cannot make {}: {e}", logs.display())))?;
    broken::prepare(&place)?;
    let mut stop = Box::pin(stop_signal());
    let mut children = Vec::new();
    let up = async {
        step("control plane");
        let words = ["up".to_owned(), "--dashboard".to_owned(), arguments.dashboard.to_string()];
        children.push(spawn(&taut, &place, &logs, "control-plane", &words)?);
        let api = control_plane(&place, &mut children[0], &logs).await?;
        step("services and identities");
        for text in [manifests::BOOKSTORE, manifests::VERSIONS] {
            apply(&api, text).await?;
        }
        step("nine processes, each with a sidecar");
        for member in &MEMBERS {
            children.push(spawn(&taut, &place, &logs, &member.name(), &member.command(&taut, &place, &arguments))?);
        }
        all_ready(&api, &mut children, &logs).await
    };
    let ready = tokio::select! {
        biased;
        () = &mut stop => Err(Failure::no("stopped")),
        result = up => result,
    };
    if let Err(failure) = ready {
        end_all(children).await;
        return Err(failure);
    }
    welcome(&place, &taut, &arguments, started.elapsed())?;
    let seen = Arc::new(load::Seen::default());
    let time_up = async {
        match arguments.limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let site = format!("http://{}", arguments.page);
    tokio::select! {
        biased;
        () = &mut stop => {}
        () = time_up => {}
        () = load::run(site, arguments.rate, seen.clone(), std::future::pending()) => {}
        () = tell_deaths(&mut children, &logs) => {}
    }
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    output::tell(&format!("\n{} visits: {} good, {} failed. Stopping…", count(&seen.sent), count(&seen.good), count(&seen.bad)));
    end_all(children).await;
    Ok(())
}

fn step(what: &str) {
    output::tell(&format!("  starting {what} …"));
}

/// Every port of the demo, before anything starts: a clear word beats nine failures.
fn check_ports(arguments: &Arguments) -> Outcome {
    let control = [15443, 15012].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let members = MEMBERS.iter().flat_map(|m| [HTTP_PORT, 15001, 15008].map(|port| SocketAddr::from((m.address(), port))));
    for address in control.into_iter().chain([arguments.page]).chain(arguments.dashboard.0).chain(members) {
        if let Err(error) = TcpListener::bind(address) {
            return Err(Failure::cannot(format!(
                "the demo needs {address}: {error}\n  is another demo or control plane running? `ss -ltnp` shows who listens there; stop it{}",
                match address {
                    address if address == arguments.page => ", or give the page another address with --page",
                    address if Some(address) == arguments.dashboard.0 => ", or give the dashboard another address with --dashboard, or turn it off",
                    _ => "",
                }
            )));
        }
    }
    Ok(())
}

fn spawn(taut: &Path, place: &Place, logs: &Path, name: &str, words: &[String]) -> Outcome<Child> {
    let path = logs.join(format!("{name}.log"));
    let cannot = |e: std::io::Error| Failure::cannot(format!("cannot write {}: {e}", path.display()));
    let log = File::create(&path).map_err(cannot)?;
    let errors = log.try_clone().map_err(cannot)?;
    Command::new(taut)
        .args(words)
        .env("TAUT_STATE", &place.state)
        .env(END_WITH_PARENT, "1")
        .env_remove("TAUT_KUBECONFIG")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure::cannot(format!("cannot start {name}: {e}")))
}

/// Waits until the control plane answers.
async fn control_plane(place: &Place, child: &mut Child, logs: &Path) -> Outcome<Api> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::cannot(format!("the control plane ended ({status}):\n{}", tail(&logs.join("control-plane.log")))));
        }
        // The kubeconfig of an earlier run may still be there: only an answer counts.
        if let Ok(api) = place.api()
            && let Ok(answer) = api.get("/readyz").await
            && answer.status.is_success()
        {
            return Ok(api);
        }
        if Instant::now() > deadline {
            return Err(Failure::cannot(format!("the control plane is not ready after 20 s:\n{}", tail(&logs.join("control-plane.log")))));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn apply(api: &Api, text: &str) -> Outcome {
    for object in read::yaml(text, "demo").objects {
        let path = format!("{}/{}?fieldManager=taut-demo&force=true", collection(object.kind, Some("default")), object.name);
        let body = object.value.to_string().into_bytes();
        let answer = api.send(Method::PATCH, &path, "application/apply-patch+yaml", "application/json", body).await?;
        if answer.status == StatusCode::NOT_FOUND || !answer.status.is_success() {
            return Err(Failure::cannot(format!("{}: {}", object.reference(), answer.message())));
        }
    }
    Ok(())
}

/// Waits until every workload is ready and every object live.
async fn all_ready(api: &Api, children: &mut [Child], logs: &Path) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        for (member, child) in MEMBERS.iter().zip(&mut children[1..]) {
            if let Ok(Some(status)) = child.try_wait() {
                let log = logs.join(format!("{}.log", member.name()));
                return Err(Failure::cannot(format!("{} ended ({status}):\n{}", member.name(), tail(&log))));
            }
        }
        let status = api.get("/taut/v1/status").await?.good()?;
        let proxies = status["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = proxies.iter().filter(|p| p["readiness"] == "Ready").count();
        let lagging = crate::status::lagging(&status).len();
        if ready == MEMBERS.len() && lagging == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::cannot(format!(
                "after 60 s {ready} of {} sidecars are ready and {lagging} objects are not live; logs are in {}",
                MEMBERS.len(),
                logs.display()
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn welcome(place: &Place, taut: &Path, arguments: &Arguments, took: Duration) -> Outcome {
    let state = place.state.display();
    let taut = taut.display();
    // Written when the control plane began to listen; without a dashboard it is not there.
    let url = std::fs::read_to_string(place.state.join("dashboard.url")).ok().filter(|_| arguments.dashboard.0.is_some());
    let dashboard = url.map_or_else(String::new, |url| format!("open     {}\n  ", url.trim()));
    crate::output::print(&format!(
        "\nThe bookstore is up after {:.1} s: five services and a store, every hop between them over mutual TLS.\n\n  \
           page     http://{}/productpage        ({} visits a second are on their way)\n  \
           {dashboard}API      kubectl --kubeconfig {state}/kubeconfig get virtualservices,services,workloadentries\n  \
           logs     {state}/logs\n\n\
         Try next, in another terminal:\n\n  \
           1. Send all reviews to v3 with a manifest of Istio's own tutorial, and reload the page:\n     \
              kubectl --kubeconfig {state}/kubeconfig apply -f testdata/manifests/istio-bookinfo/networking/destination-rule-all.yaml \\\n       \
                -f testdata/manifests/istio-bookinfo/networking/virtual-service-reviews-v3.yaml\n  \
           2. Break ratings, and see who is hurt, and why; then make it well again:\n     \
              {taut} --state {state} demo break ratings; sleep 15; {taut} --state {state} incidents\n     \
              {taut} --state {state} demo repair\n  \
           3. Ask why:\n     \
              {taut} --state {state} why --from productpage --to reviews --request 'GET /reviews/1' -H 'end-user: jason'\n\n\
         Ctrl-C stops everything.\n",
        took.as_secs_f32(),
        arguments.page,
        arguments.rate
    ))
}

/// Says which process ended, and how. Never ends.
async fn tell_deaths(children: &mut [Child], logs: &Path) {
    let mut told = vec![false; children.len()];
    loop {
        let names = std::iter::once("control-plane".to_owned()).chain(MEMBERS.iter().map(Member::name));
        for ((child, told), name) in children.iter_mut().zip(&mut told).zip(names) {
            if let (false, Ok(Some(status))) = (*told, child.try_wait()) {
                output::tell(&format!("✗ {name} ended ({status}); its log: {}", logs.join(format!("{name}.log")).display()));
                *told = true;
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn tail(path: &PathBuf) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("    {line}\n")).collect()
}

/// Workloads first, so that they take leave of a control plane that is still there.
async fn end_all(mut children: Vec<Child>) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let tell = |child: &Child| {
        if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
    };
    let workloads = children.split_off(children.len().min(1));
    workloads.iter().for_each(tell);
    for mut child in workloads {
        if tokio::time::timeout(Duration::from_secs(15), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
    for mut child in children {
        tell(&child);
        if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}
