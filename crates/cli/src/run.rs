//! `taut run`: a program with a sidecar. The program starts when the sidecar can carry its calls, and is stopped after the
//! sidecar has drained.

use crate::api::Api;
use crate::output;
use crate::place::Place;
use crate::{Failure, Outcome, token};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use taut_model::service::AppProtocol;
use taut_proxy::options::{AccessLog, AccessLogFormat, ListenerKind, Options, OwnPort, OwnWorkload, Secret, Signals, Upstream, WorkloadApi};
use taut_proxy::{Fault, Proxy, World};
use taut_wire::agent::AgentAddress;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut run --service hello --port 8080 -- python3 -m http.server 8080
  taut run --service shop -- curl http://hello:8080/
  taut run --service shop --workload-api ./shop.sock -- ./shop     the program has its own X.509-SVID, by the SPIFFE Workload API
  taut run --service shop --service-account shop --identity-from unix:///run/spire/agent.sock -- ./shop
  taut run --service ratings --port 9080/http --upstream store:7000 -l version=v2 -- ./ratings

The program finds the mesh through HTTP_PROXY; every --upstream HOST:PORT is also a plain listener, whose address is in
HOST_ADDRESS. ADDRESS and PORT say where the program should listen.")]
pub struct Arguments {
    /// The service this program is one instance of; created when the mesh has none of this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    service: String,
    /// Port of the service, where the program listens, and the port's name: 80:8080/http. May be given again
    #[arg(long = "port", value_name = "PORT[:TARGET][/NAME]", value_parser = port)]
    ports: Vec<OwnPort>,
    #[arg(short, long, default_value = "default", value_parser = name)]
    namespace: String,
    /// Name of the instance [default: SERVICE-VERSION, or SERVICE and the process id]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Identity: spiffe://<trust domain>/ns/NAMESPACE/sa/NAME
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = name)]
    service_account: String,
    /// Label, e.g. version=v2. May be given again
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Where this machine stands, so that traffic can stay near: eu/eu-1
    #[arg(long, value_name = "REGION[/ZONE[/SUBZONE]]", default_value = "", hide_default_value = true, env = "TAUT_LOCALITY")]
    locality: String,
    /// Where the program listens
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Where the sidecar listens, on Istio's ports [default: --address, or a free loopback address when that is 127.0.0.1]
    #[arg(long, value_name = "IP")]
    sidecar_address: Option<IpAddr>,
    /// What other sidecars dial to reach this one, where a NAT or a relay stands before it
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertised: Option<String>,
    /// A listener for one service, for programs that know no proxies. May be given again
    #[arg(long = "upstream", value_name = "HOST:PORT[=IP:PORT]", value_parser = upstream)]
    upstreams: Vec<(String, u16, Option<SocketAddr>)>,
    /// Also take plain text for the program here, as PeerAuthentication allows
    #[arg(long, value_name = "IP:PORT")]
    expose: Option<SocketAddr>,
    /// Listener that takes only connections with a PROXY protocol header, and the client's address from it; only the load
    /// balancer before it may reach it. May be given again
    #[arg(long, value_name = "peer|exposed|outbound", value_delimiter = ',', env = "TAUT_ACCEPT_PROXY_PROTOCOL")]
    accept_proxy_protocol: Vec<ListenerKind>,
    /// Control plane's address for proxies
    #[arg(long, value_name = "HOST:PORT", env = "TAUT_CONTROL", default_value = "127.0.0.1:15012")]
    control: String,
    /// Join token [default: one is made with the kubeconfig]
    #[arg(long, env = "TAUT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Take the sidecar's certificates from this SPIFFE Workload API (SPIRE's agent), in the place of a join token; the program can ask it too
    #[arg(long, value_name = "unix:///PATH", conflicts_with_all = ["token", "workload_api"], env = "TAUT_IDENTITY_FROM")]
    identity_from: Option<AgentAddress>,
    /// Write one line per request
    #[arg(long, value_enum, default_value_t = Log::Off)]
    access_log: Log,
    #[arg(long, value_name = "FILE")]
    access_log_file: Option<PathBuf>,
    /// Whether the sidecar tells the control plane each second what passed, for `taut edges` and all that shows the mesh
    #[arg(long, value_name = "on|off", default_value = "on")]
    signals: Signals,
    /// How long exchanges and connections under way may go on after a stop
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::duration::duration)]
    drain: Duration,
    /// Unix socket where the program gets its own identity (SPIFFE Workload API); it finds it in SPIFFE_ENDPOINT_SOCKET
    #[arg(long, value_name = "PATH")]
    workload_api: Option<PathBuf>,
    /// User whose processes are the program, beside the sidecar's own. May be given again
    #[arg(long, value_name = "UID", requires = "workload_api")]
    workload_api_uid: Vec<u32>,
    /// Threads of the sidecar
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Log {
    Off,
    Text,
    Json,
}

/// How long a program may take to end after it was told to.
const FAREWELL: Duration = Duration::from_secs(10);

pub async fn run(place: &Place, arguments: Arguments) -> Outcome<ExitCode> {
    let sidecar = match arguments.sidecar_address {
        Some(address) => address,
        None if arguments.address != IpAddr::V4(Ipv4Addr::LOCALHOST) => arguments.address,
        None => free_loopback()?,
    };
    let mut options = options(&arguments, sidecar);
    // The program, as long as it runs.
    let running: Rc<Cell<Option<Pid>>> = Rc::default();
    let mut stop = Box::pin({
        let running = running.clone();
        stop_signal_or_else(move || {
            if let Some(program) = running.get() {
                // It may have ended by itself in the meantime.
                let _ = kill(program, Signal::SIGKILL);
            }
        })
    });
    if arguments.identity_from.is_none() {
        options.token = Some(tokio::select! {
            biased;
            () = &mut stop => return Ok(ExitCode::SUCCESS),
            secret = join_token(place, &arguments) => secret?,
        });
    }
    let environment = environment(&arguments, &options);
    let (asked_to_stop, told_to_stop) = tokio::sync::oneshot::channel::<()>();
    let proxy = Proxy::start(World::os(), options).await.map_err(|fault| Failure::cannot(fault.to_string()))?;
    let current = proxy.status().current().clone();
    let mut proxy = tokio::task::spawn_local(proxy.run(async move {
        let _ = told_to_stop.await;
    }));
    tokio::select! {
        biased;
        () = &mut stop => return Ok(ExitCode::SUCCESS),
        ended = &mut proxy => return Err(Failure::cannot(ended_early(ended))),
        () = current.carries() => {}
    }
    let mut program = start_program(&arguments.program, environment)?;
    running.set(pid(&program));
    let code = tokio::select! {
        biased;
        () = &mut stop => None,
        ended = &mut proxy => {
            end(&mut program).await;
            return Err(Failure::cannot(ended_early(ended)));
        }
        status = program.wait() => {
            running.set(None);
            Some(told(&arguments.program[0], status))
        }
    };
    let _ = asked_to_stop.send(());
    if let Err(error) = proxy.await {
        tracing::warn!(%error, "the sidecar did not stop cleanly");
    }
    if code.is_none() {
        end(&mut program).await;
    }
    Ok(ExitCode::from(u8::try_from(code.unwrap_or(0)).unwrap_or(1)))
}

fn ended_early(ended: Result<Result<(), Fault>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "the sidecar stopped".to_owned(),
        Ok(Err(fault)) => fault.to_string(),
        Err(error) => format!("the sidecar failed: {error}"),
    }
}

fn options(arguments: &Arguments, sidecar: IpAddr) -> Options {
    let mut labels: BTreeMap<String, String> = arguments.labels.iter().cloned().collect();
    labels.entry("app".to_owned()).or_insert_with(|| arguments.service.clone());
    let name = arguments.name.clone().unwrap_or_else(|| match labels.get("version") {
        Some(version) => format!("{}-{version}", arguments.service),
        None => format!("{}-{}", arguments.service, std::process::id()),
    });
    // What lends the workload's identity or shows its state stays on this machine; only the peer port may be reached from others.
    let own = if sidecar.is_loopback() { sidecar } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let at = |port| SocketAddr::new(own, port);
    let workload = OwnWorkload {
        namespace: arguments.namespace.clone(),
        name,
        service_account: arguments.service_account.clone(),
        labels,
        address: arguments.address,
        ports: arguments.ports.clone(),
        locality: arguments.locality.clone(),
    };
    let upstream =
        |(host, port, listen): &(String, u16, Option<SocketAddr>)| Upstream { host: host.clone(), port: *port, listen: listen.unwrap_or(at(*port)) };
    let format = match arguments.access_log {
        Log::Off => AccessLogFormat::Off,
        Log::Text => AccessLogFormat::Text,
        Log::Json => AccessLogFormat::Json,
    };
    Options {
        service: if arguments.ports.is_empty() { String::new() } else { arguments.service.clone() },
        outbound: Some(at(15001)),
        upstreams: arguments.upstreams.iter().map(upstream).collect(),
        peer: SocketAddr::new(sidecar, 15008),
        peer_advertised: arguments.peer_advertised.clone(),
        exposed: arguments.expose,
        accept_proxy_protocol: arguments.accept_proxy_protocol.clone(),
        admin: vec![at(15000), at(15020), at(15021)],
        workers: arguments.workers.max(1),
        drain: arguments.drain,
        access_log: AccessLog { format, file: arguments.access_log_file.clone() },
        signals: arguments.signals,
        identity_from: arguments.identity_from.clone(),
        workload_api: arguments
            .workload_api
            .as_deref()
            .map(|place| WorkloadApi { place: absolute(place), users: arguments.workload_api_uid.clone() }),
        ..Options::new(workload, arguments.control.clone())
    }
}

/// The program may run elsewhere.
fn absolute(place: &Path) -> PathBuf {
    std::path::absolute(place).unwrap_or_else(|_| place.to_owned())
}

/// What the program finds in its environment.
fn environment(arguments: &Arguments, options: &Options) -> Vec<(String, String)> {
    let mut environment = vec![("ADDRESS".to_owned(), arguments.address.to_string()), ("TAUT_ADDRESS".to_owned(), arguments.address.to_string())];
    if let Some(port) = arguments.ports.first() {
        environment.push(("PORT".to_owned(), port.target.to_string()));
    }
    if let Some(outbound) = options.outbound {
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            environment.push((name.to_owned(), format!("http://{outbound}")));
        }
        for name in ["NO_PROXY", "no_proxy"] {
            environment.push((name.to_owned(), "localhost,127.0.0.1,::1".to_owned()));
        }
    }
    if let Some(api) = &options.workload_api {
        environment.push(("SPIFFE_ENDPOINT_SOCKET".to_owned(), format!("unix://{}", api.place.display())));
    }
    for upstream in &options.upstreams {
        let name = upstream.host.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        environment.push((format!("{name}_ADDRESS"), upstream.listen.to_string()));
    }
    environment
}

/// A token from the arguments, or a fresh one; waits for a control plane that is not there yet.
async fn join_token(place: &Place, arguments: &Arguments) -> Outcome<Secret> {
    if let Some(token) = &arguments.token {
        return Ok(Secret::new(token.clone()));
    }
    let mut told = false;
    loop {
        let minted = async {
            let api: Api = place.api()?;
            token::mint(&api, &arguments.namespace, &arguments.service_account, Duration::from_secs(600)).await
        };
        match minted.await {
            Ok(token) => return Ok(Secret::new(token)),
            Err(failure) if !told => {
                told = true;
                output::say(&format!("waiting for the control plane: {}", failure.message));
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn start_program(program: &[String], environment: Vec<(String, String)>) -> Outcome<Child> {
    let (name, arguments) = program.split_first().ok_or_else(|| Failure::cannot("no program given"))?;
    let mut command = Command::new(name);
    command.args(arguments).envs(environment).kill_on_drop(true);
    end_with_sidecar(&mut command);
    // This process does without huge pages, which is no reason for the application to.
    huge_pages(true);
    let child = command.spawn().map_err(|error| Failure::cannot(format!("cannot start {name}: {error}")));
    huge_pages(false);
    child
}

/// A child begins with what its parent has (prctl(2), `PR_SET_THP_DISABLE`).
fn huge_pages(allowed: bool) {
    // A system that does not know the setting has not taken them away either.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(!allowed);
    #[cfg(not(target_os = "linux"))]
    let _ = allowed;
}

/// A program whose sidecar was killed cannot reach the mesh, and would keep its port from the next one: it is told to end.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a hook between fork and exec")]
fn end_with_sidecar(command: &mut Command) {
    // SAFETY: the hook runs in the child between fork and exec, where only async-signal-safe calls are allowed; prctl is a
    // plain system call, takes no lock and allocates nothing (signal-safety(7), prctl(2)).
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from));
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_sidecar(_: &mut Command) {}

/// Logs how the program ended; its exit code, or 128 and the signal, as shells have it.
fn told(name: &str, status: std::io::Result<std::process::ExitStatus>) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => {
            match status.success() {
                true => tracing::info!("{name} ended"),
                false => tracing::warn!("{name} ended: {status}"),
            }
            status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1)
        }
        Err(error) => {
            tracing::error!("cannot wait for {name}: {error}");
            1
        }
    }
}

/// Asks the program to end, then insists.
async fn end(program: &mut Child) {
    if let Some(id) = pid(program) {
        // It may have ended by itself in the meantime.
        let _ = kill(id, Signal::SIGTERM);
    }
    if tokio::time::timeout(FAREWELL, program.wait()).await.is_err() {
        let _ = program.kill().await;
    }
}

/// `None` when it has ended and was waited for: the number may be another's by now.
fn pid(program: &Child) -> Option<Pid> {
    program.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// The first SIGTERM or SIGINT. The second ends the process at once.
pub async fn stop_signal() {
    stop_signal_or_else(|| {}).await;
}

/// The first SIGTERM or SIGINT. The second ends the process at once, after `last`, and with 128 and its number as the exit code,
/// as shells have it.
async fn stop_signal_or_else(last: impl FnOnce() + 'static) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without signal handlers the default action ends the process, which is what a signal asks for.
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::task::spawn_local(async move {
        let second = tokio::select! {
            biased;
            _ = terminate.recv() => Signal::SIGTERM,
            _ = interrupt.recv() => Signal::SIGINT,
        };
        output::say(&format!("a second {second}: ending at once"));
        last();
        std::process::exit(128 + second as i32);
    });
}

/// A loopback address on which Istio's ports are free, so that sidecars on one machine need no ports of their own. Where the system
/// has only 127.0.0.1, the user must say how to tell them apart.
fn free_loopback() -> Outcome<IpAddr> {
    let start = std::process::id();
    for turn in 0..4096u32 {
        let n = start.wrapping_mul(2_654_435_761).wrapping_add(turn.wrapping_mul(7919));
        let address = IpAddr::V4(Ipv4Addr::new(127, 64 + (n >> 16) as u8 % 64, (n >> 8) as u8, 1 + n as u8 % 254));
        if [15000, 15001, 15008].iter().all(|port| std::net::TcpListener::bind((address, *port)).is_ok()) {
            return Ok(address);
        }
    }
    Err(Failure::cannot("no loopback address is free for the sidecar\n  give it one with --sidecar-address"))
}

/// A DNS label (RFC 1123), as Kubernetes wants names to be.
fn name(text: &str) -> Result<String, String> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=63).contains(&text.len()) && text.chars().all(letters) && !text.starts_with('-') && !text.ends_with('-');
    match good {
        true => Ok(text.to_owned()),
        false => Err("a name is 1 to 63 of a-z, 0-9 and '-', and starts and ends with a letter or digit".to_owned()),
    }
}

fn port(text: &str) -> Result<OwnPort, String> {
    let (numbers, name) = text.split_once('/').unwrap_or((text, ""));
    let (port, target) = numbers.split_once(':').unwrap_or((numbers, numbers));
    if !name.is_empty() && AppProtocol::declared(None, name) == AppProtocol::Unknown {
        return Err(format!("{name:?} declares no protocol; start it with http, http2, grpc, tcp or tls, e.g. 8080/http-web"));
    }
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{text:?} is not a port"));
    Ok(OwnPort { port: number(port)?, target: number(target)?, name: name.to_owned(), app_protocol: String::new() })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, e.g. version=v2")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn upstream(text: &str) -> Result<(String, u16, Option<SocketAddr>), String> {
    let (target, listen) = text.split_once('=').map_or((text, None), |(target, listen)| (target, Some(listen)));
    let (host, port) = target.rsplit_once(':').ok_or("expected HOST:PORT, e.g. store:7000")?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
    let listen = listen.map(|l| l.parse().map_err(|_| format!("{l:?} is not IP:PORT"))).transpose()?;
    Ok((host.to_owned(), port, listen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_upstreams_read_as_documented() {
        let own = |port, target, name: &str| OwnPort { port, target, name: name.to_owned(), app_protocol: String::new() };
        assert_eq!(port("8080"), Ok(own(8080, 8080, "")));
        assert_eq!(port("80:8080/http"), Ok(own(80, 8080, "http")));
        assert!(port("0").is_err() && port("80:x").is_err() && port("70000").is_err());
        assert_eq!(upstream("store:7000"), Ok(("store".to_owned(), 7000, None)));
        assert_eq!(upstream("store:7000=127.0.0.1:1").unwrap().2, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!(upstream("[2001:db8::1]:80"), Ok(("2001:db8::1".to_owned(), 80, None)));
        assert!(upstream("store").is_err());
    }
}
