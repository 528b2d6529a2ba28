//! What a proxy is told when it starts: the workload it stands beside, where it listens, and whom it asks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use taut_wire::agent::AgentAddress;
use zeroize::Zeroizing;

/// Filled by `taut-proxy`'s command line and by `taut run`.
#[derive(Clone, Debug)]
pub struct Options {
    pub workload: OwnWorkload,
    /// Service to create if the mesh has none of this name; empty for none.
    pub service: String,
    /// HTTP proxy, SOCKS5 and CONNECT for the application; `None` to take no outbound traffic this way.
    pub outbound: Option<SocketAddr>,
    /// Listeners that stand for one service each.
    pub upstreams: Vec<Upstream>,
    /// Mutual TLS from other proxies.
    pub peer: SocketAddr,
    /// What other proxies dial to reach `peer`; `None` says the bound address (with the workload's address for a wildcard).
    pub peer_advertised: Option<String>,
    /// Plain text for the application, subject to PeerAuthentication.
    pub exposed: Option<SocketAddr>,
    /// Listeners whose connections must begin with a PROXY protocol header, since a load balancer stands before them.
    pub accept_proxy_protocol: Vec<ListenerKind>,
    /// `/ready`, `/metrics`, `/config`, `/records`: loopback addresses.
    pub admin: Vec<SocketAddr>,
    /// `host:port` of the control plane's gRPC listener.
    pub control: String,
    /// Join token, for the first certificate.
    pub token: Option<Secret>,
    /// In a pod, in the place of a join token.
    pub pod: Option<ServiceAccount>,
    /// A SPIFFE Workload API that gives this proxy its certificates, in the place of the control plane.
    pub identity_from: Option<AgentAddress>,
    pub workers: usize,
    /// How long exchanges in flight may go on after a stop was asked for.
    pub drain: Duration,
    /// How long the first request to a service may wait until the control plane has told about it.
    pub learn: Duration,
    pub probe: Probe,
    pub access_log: AccessLog,
    /// Live upgrade; `None`: this proxy is neither replaced nor does it replace.
    pub handover: Option<Handover>,
    /// Records kept for `taut why REQUEST-ID`, the newest.
    pub records: usize,
    pub signals: Signals,
    /// `None`: the application gets no identity of its own.
    pub workload_api: Option<WorkloadApi>,
}

/// How a pod proves itself to the control plane, and the control plane to the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// File of the Kubernetes service account token.
    pub token: PathBuf,
    /// File of the mesh's roots (PEM).
    pub roots: PathBuf,
}

/// Where the application gets its identity (SPIFFE Workload API), and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadApi {
    /// A Unix socket.
    pub place: PathBuf,
    /// Users whose processes are the application, beside the proxy's own.
    pub users: Vec<u32>,
}

/// Whether the proxy tells the control plane, each second, what passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    #[default]
    On,
    Off,
}

impl FromStr for Signals {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("expected on or off"),
        }
    }
}

impl Options {
    /// The usual ports on loopback, for a workload; callers change what they want otherwise.
    pub fn new(workload: OwnWorkload, control: impl Into<String>) -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            workload,
            service: String::new(),
            outbound: Some(loopback(15001)),
            upstreams: Vec::new(),
            peer: loopback(15008),
            peer_advertised: None,
            exposed: None,
            accept_proxy_protocol: Vec::new(),
            admin: vec![loopback(15000)],
            control: control.into(),
            token: None,
            pod: None,
            identity_from: None,
            workers: 1,
            drain: Duration::from_secs(30),
            learn: Duration::from_secs(5),
            probe: Probe::Tcp,
            access_log: AccessLog::default(),
            handover: None,
            records: 1024,
            signals: Signals::default(),
            workload_api: None,
        }
    }
}

/// How this proxy takes over from another, and lets itself be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The Unix socket where a proxy is asked for its sockets.
    pub place: PathBuf,
    pub start: Start,
    /// How long connections that cannot move may go on in the proxy that is replaced.
    pub linger: Duration,
    /// How to start a successor when asked to; `None`: it is started by others.
    pub started: Option<Started>,
}

/// How a process was started: its program as it was named, so that a link or a search path leads to the version of today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub program: OsString,
    pub arguments: Vec<OsString>,
}

impl Started {
    /// This process; `None` where the system does not say.
    pub fn here() -> Option<Self> {
        let mut words = std::env::args_os();
        Some(Self { program: words.next()?, arguments: words.collect() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Beside nobody: every port is bound.
    Afresh,
    /// In the place of the proxy that answers; afresh if none does.
    Replace,
}

/// The workload beside the proxy: facts that do not change while it runs.
#[derive(Clone, Debug)]
pub struct OwnWorkload {
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// Where the application listens.
    pub address: IpAddr,
    pub ports: Vec<OwnPort>,
    /// `region/zone/subzone`, empty if not known.
    pub locality: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPort {
    /// The service's port.
    pub port: u16,
    /// The application's own port.
    pub target: u16,
    /// Its prefix declares the protocol (`http-web`, `grpc`), as in Kubernetes.
    pub name: String,
    pub app_protocol: String,
}

/// A listener on loopback that leads to one service: for applications that know neither HTTP proxies nor SOCKS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub listen: SocketAddr,
}

/// Listeners that can stand behind a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    Outbound,
    Peer,
    Exposed,
}

impl FromStr for ListenerKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "outbound" => Ok(Self::Outbound),
            "peer" => Ok(Self::Peer),
            "exposed" => Ok(Self::Exposed),
            _ => Err("expected peer, exposed or outbound".to_owned()),
        }
    }
}

/// How to find out that the application is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Its first port accepts a connection. A workload without ports is ready at once.
    Tcp,
    /// A GET of this path on its first port answers 200 to 399.
    Http(String),
}

#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    pub format: AccessLogFormat,
    /// `None`: standard output.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    #[default]
    Off,
    Text,
    Json,
}

/// A value that must not appear in logs. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
