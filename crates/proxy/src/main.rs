//! The program `taut-proxy`: its command line, its signals, its exit code.

use clap::{Parser, ValueEnum};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use taut_proxy::handover::{self, Upgraded};
use taut_proxy::options::{
    AccessLog, AccessLogFormat, Handover, ListenerKind, Options, OwnPort, OwnWorkload, Probe, Secret, ServiceAccount, Signals, Start, Started,
    Upstream, WorkloadApi,
};
use taut_proxy::world::World;
use taut_wire::agent::AgentAddress;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The sidecar of one workload: mutual TLS, routing and records for an application that knows nothing of it.
#[derive(Parser)]
#[command(name = "taut-proxy", version, after_help = EXAMPLES)]
struct Arguments {
    /// Service that this workload belongs to; created if the mesh has none of this name
    #[arg(long, default_value = "")]
    service: String,
    #[arg(long, default_value = "default", env = "TAUT_NAMESPACE")]
    namespace: String,
    /// Name of this workload, unique in its namespace [default: the service's name]
    #[arg(long)]
    name: Option<String>,
    #[arg(long, default_value = "default")]
    service_account: String,
    /// Label of the workload, such as version=v1 (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Port of the service, the application's own port if another, and the port's name (repeatable)
    #[arg(long = "port", value_name = "PORT[:TARGET][/NAME]", value_parser = port)]
    ports: Vec<OwnPort>,
    /// Where this machine stands, so that traffic can stay near: eu/eu-1
    #[arg(long, value_name = "REGION[/ZONE[/SUBZONE]]", default_value = "", hide_default_value = true, env = "TAUT_LOCALITY")]
    locality: String,
    /// Where the application listens
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// HTTP proxy and SOCKS5 for the application, or `off`
    #[arg(long, default_value = "127.0.0.1:15001", value_parser = on_or_off)]
    outbound: OnOrOff,
    /// Where other proxies connect, over mutual TLS
    #[arg(long, default_value = "127.0.0.1:15008")]
    peer: SocketAddr,
    /// HOST:PORT that other proxies dial, where it differs from --peer
    #[arg(long)]
    peer_advertised: Option<String>,
    /// Admin server: /ready, /metrics, /config, /records (repeatable, loopback only)
    #[arg(long, default_value = "127.0.0.1:15000")]
    admin: Vec<SocketAddr>,
    /// Plain-text inbound port for clients outside the mesh, subject to PeerAuthentication
    #[arg(long)]
    expose: Option<SocketAddr>,
    /// Listener that takes only connections with a PROXY protocol header, version 1 or 2, and the client's address from it;
    /// only the load balancer before it may reach it, since whoever does can name any client (repeatable)
    #[arg(long, value_name = "peer|exposed|outbound", value_delimiter = ',', env = "TAUT_ACCEPT_PROXY_PROTOCOL")]
    accept_proxy_protocol: Vec<ListenerKind>,
    /// A port of this machine that leads to a service, for applications that know no proxies (repeatable)
    #[arg(long = "upstream", value_name = "HOST:PORT=LISTEN", value_parser = upstream)]
    upstreams: Vec<Upstream>,
    /// HOST:PORT of the control plane [default: the one that the join token names]
    #[arg(long, default_value = "", hide_default_value = true, env = "TAUT_CONTROL")]
    control: String,
    /// Join token for the first certificate; others on this machine can see it here, so prefer --token-file or TAUT_TOKEN
    #[arg(long, env = "TAUT_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    token: Option<String>,
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// In a pod: the file of its Kubernetes service account token, which proves it in the place of a join token (`taut up --kube-api`)
    #[arg(long, value_name = "FILE", requires_all = ["root_cert", "control"], conflicts_with_all = ["token", "token_file"])]
    service_account_token: Option<PathBuf>,
    /// Roots of the mesh (PEM), by which the control plane proves itself to a pod
    #[arg(long, value_name = "FILE", requires = "service_account_token")]
    root_cert: Option<PathBuf>,
    /// Take the sidecar's certificates from this SPIFFE Workload API (SPIRE's agent), as SPIFFE_ENDPOINT_SOCKET names it, in the place of a token
    #[arg(
        long,
        value_name = "unix:///PATH",
        requires = "control",
        conflicts_with_all = ["token", "token_file", "service_account_token", "workload_api"],
        env = "TAUT_IDENTITY_FROM"
    )]
    identity_from: Option<AgentAddress>,
    #[arg(long, value_enum, default_value = "off")]
    access_log: LogFormat,
    /// [default: standard output]
    #[arg(long)]
    access_log_file: Option<PathBuf>,
    /// Whether to tell the control plane each second what passed: on or off
    #[arg(long, value_name = "on|off", default_value = "on", env = "TAUT_SIGNALS")]
    signals: Signals,
    /// Unix socket where the application gets its own identity (SPIFFE Workload API: X.509-SVID, JWT-SVID, bundles)
    #[arg(long, value_name = "PATH", env = "TAUT_WORKLOAD_API")]
    workload_api: Option<PathBuf>,
    /// User whose processes are the application, beside the proxy's own (repeatable)
    #[arg(long, value_name = "UID", requires = "workload_api")]
    workload_api_uid: Vec<u32>,
    /// Path whose 2xx or 3xx answer says that the application is ready [default: its first port takes connections]
    #[arg(long, value_name = "PATH")]
    probe: Option<String>,
    /// Threads that carry traffic
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Seconds that exchanges in flight may take after a stop was asked for
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Replace the proxy that runs here by the program that is installed now: it starts its successor as it was started itself. Waits, and says
    /// what came of it. Needs no other option but the running proxy's --peer or --handover
    #[arg(long, conflicts_with = "replace")]
    upgrade: bool,
    /// Take over from the proxy that runs here, without a refused connection or a failed request; start as usual if there is none
    #[arg(long)]
    replace: bool,
    /// Unix socket where the next proxy takes over, or `off` [default: named after --peer in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/tautline,
    /// /run/tautline (root) or /tmp/tautline-UID]
    #[arg(long, value_name = "PATH", env = "TAUT_HANDOVER")]
    handover: Option<PathBuf>,
    /// With --replace: seconds that connections which cannot move may go on in the proxy that is replaced
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    linger: u64,
}

const EXAMPLES: &str = "Examples:
  taut-proxy --service reviews --port 9080/http --label version=v1 --token-file reviews.token
      the sidecar of an HTTP service whose application listens on 127.0.0.1:9080

  taut-proxy --service ratings --port 9080:8080/http --upstream store.default:6379=127.0.0.1:6379
      the application listens on 8080, and reaches the store as if it were on this machine

  taut-proxy --name laptop --control mesh.example.com:15012 --token-file my.token --access-log text
  curl --proxy http://127.0.0.1:15001 http://reviews:9080/reviews/1
      a client of the mesh

  taut-proxy --service reviews --port 9080/http --control mesh.example.com:15012 --identity-from unix:///run/spire/agent.sock
      no token: SPIRE's agent gives the sidecar its certificate, which must be spiffe://TRUST-DOMAIN/ns/default/sa/default

  taut-proxy --service reviews --port 9080/http --label version=v1 --replace
      the same sidecar in its next version: started while the other runs, with the same options, it takes over and the other one ends

  taut-proxy --upgrade
      after installing a new version: the proxy that runs starts it, with its own options, and is replaced by it

Signals: SIGTERM or SIGINT drains and exits 0; a second one exits at once.
Logs go to standard error; TAUT_LOG sets what is logged, such as info or taut_proxy=debug.";

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
    Off,
}

#[derive(Clone, Copy)]
enum OnOrOff {
    On(SocketAddr),
    Off,
}

fn on_or_off(text: &str) -> Result<OnOrOff, String> {
    match text {
        "off" => Ok(OnOrOff::Off),
        address => address.parse().map(OnOrOff::On).map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:15001, or off".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as version=v1".to_owned()),
    }
}

fn port(text: &str) -> Result<OwnPort, String> {
    let wrong = || "expected PORT, PORT:TARGET or PORT:TARGET/NAME, such as 9080:8080/http".to_owned();
    let (numbers, name) = text.split_once('/').unwrap_or((text, ""));
    let (port, target) = numbers.split_once(':').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| *number > 0).ok_or_else(wrong);
    Ok(OwnPort { port: number(port)?, target: number(target)?, name: name.to_owned(), app_protocol: String::new() })
}

fn upstream(text: &str) -> Result<Upstream, String> {
    let wrong = || "expected HOST:PORT=LISTEN, such as store.default:6379=127.0.0.1:6379".to_owned();
    let (to, listen) = text.split_once('=').ok_or_else(wrong)?;
    let (host, port) = to.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Ok(Upstream { host: host.to_ascii_lowercase(), port: port.parse().map_err(|_| wrong())?, listen: listen.parse().map_err(|_| wrong())? })
}

impl Arguments {
    fn place(&self) -> PathBuf {
        self.handover.clone().unwrap_or_else(|| handover::default_place(self.peer))
    }

    fn options(self) -> Result<Options, String> {
        let place = self.place();
        let name = match (self.name, self.service.is_empty()) {
            (Some(name), _) => name,
            (None, false) => self.service.clone(),
            (None, true) => return Err("give the workload a --name or a --service".to_owned()),
        };
        let token = match (self.token, self.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => {
                match std::fs::read_to_string(&file) {
                    Ok(token) => Some(token),
                    // The proxy before this one vouches for it.
                    Err(_) if self.replace => None,
                    Err(error) => return Err(format!("cannot read the token file {}: {error}", file.display())),
                }
            }
            (None, None) => None,
        };
        let workload = OwnWorkload {
            namespace: self.namespace,
            name,
            service_account: self.service_account,
            labels: self.labels.into_iter().collect::<BTreeMap<_, _>>(),
            address: self.address,
            ports: self.ports,
            locality: self.locality,
        };
        let start = if self.replace { Start::Replace } else { Start::Afresh };
        let handover = Some(Handover { place, start, linger: Duration::from_secs(self.linger), started: Started::here() })
            .filter(|handover| handover.place.as_os_str() != "off");
        if handover.is_none() && self.replace {
            return Err("--replace needs the handover socket, which is off".to_owned());
        }
        let format = match self.access_log {
            LogFormat::Text => AccessLogFormat::Text,
            LogFormat::Json => AccessLogFormat::Json,
            LogFormat::Off => AccessLogFormat::Off,
        };
        Ok(Options {
            service: self.service,
            outbound: match self.outbound {
                OnOrOff::On(address) => Some(address),
                OnOrOff::Off => None,
            },
            upstreams: self.upstreams,
            peer: self.peer,
            peer_advertised: self.peer_advertised,
            exposed: self.expose,
            accept_proxy_protocol: self.accept_proxy_protocol,
            admin: self.admin,
            token: token.map(Secret::new),
            pod: self.service_account_token.zip(self.root_cert).map(|(token, roots)| ServiceAccount { token, roots }),
            identity_from: self.identity_from,
            workers: self.workers.max(1),
            drain: Duration::from_secs(self.drain),
            handover,
            probe: self.probe.map_or(Probe::Tcp, Probe::Http),
            access_log: AccessLog { format, file: self.access_log_file },
            signals: self.signals,
            workload_api: self.workload_api.map(|place| WorkloadApi { place, users: self.workload_api_uid }),
            ..Options::new(workload, self.control)
        })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.upgrade {
        return upgrade(&arguments.place());
    }
    let options = match arguments.options() {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    start_logs();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start: {error}")),
    };
    let stopped = runtime.block_on(async {
        let stop = stop_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
        taut_proxy::run(World::os(), options, stop).await.map_err(|fault| fault.to_string())
    });
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn upgrade(place: &Path) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start: {error}")),
    };
    match runtime.block_on(handover::upgrade(place)) {
        Ok(Upgraded { version, process, before, process_before }) => {
            println!("taut-proxy {version} (process {process}) has taken over; {before} (process {process_before}) finishes what it has and ends");
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&format!("not upgraded: {error}")),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("taut-proxy: {error}");
    ExitCode::FAILURE
}

fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TAUT_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
}

/// Resolves at the first SIGTERM or SIGINT; the second ends the process at once.
fn stop_signals() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (asked, heard) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        // The proxy has stopped by itself when nobody listens.
        let _ = asked.send(());
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("asked twice to stop: exchanges in flight are cut off");
        // 128 + SIGTERM, as shells say it.
        std::process::exit(143);
    });
    Ok(async move {
        let _ = heard.await;
    })
}

async fn either(first: &mut tokio::signal::unix::Signal, second: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        biased;
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn listeners_behind_a_load_balancer_are_named() {
        let options = |list: &str| {
            let arguments =
                Arguments::try_parse_from(["taut-proxy", "--name", "a", "--accept-proxy-protocol", list]).map_err(|error| error.to_string());
            arguments.and_then(Arguments::options).map(|options| options.accept_proxy_protocol)
        };
        assert_eq!(options("exposed,peer"), Ok(vec![ListenerKind::Exposed, ListenerKind::Peer]));
        assert!(options("inbound").is_err());
    }

    #[test]
    fn ports_are_read() {
        let read = |text| port(text).map(|port| (port.port, port.target, port.name));
        assert_eq!(read("9080"), Ok((9080, 9080, String::new())));
        assert_eq!(read("9080:8080"), Ok((9080, 8080, String::new())));
        assert_eq!(read("9080:8080/http-web"), Ok((9080, 8080, "http-web".to_owned())));
        for bad in ["", "x", "0", "70000", "1:2:3", "/http"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn upstreams_are_read() {
        let want = Upstream { host: "store.default".into(), port: 6379, listen: "127.0.0.1:7000".parse().unwrap() };
        assert_eq!(upstream("Store.default:6379=127.0.0.1:7000"), Ok(want));
        let six = Upstream { host: "2001:db8::1".into(), port: 80, listen: "[::1]:7000".parse().unwrap() };
        assert_eq!(upstream("[2001:db8::1]:80=[::1]:7000"), Ok(six));
        for bad in ["", "store=1", "store:6379", ":1=127.0.0.1:1", "store:x=127.0.0.1:1"] {
            assert!(upstream(bad).is_err(), "{bad}");
        }
    }
}
