//! `taut up`: the control plane in the foreground.

use crate::duration::duration;
use crate::output;
use crate::place::Place;
use crate::run::stop_signal;
use crate::{Failure, Outcome};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use taut_control::{Foreign, IssuanceLimits, Kubernetes, Options, UpstreamCa, World};
use taut_wire::agent::AgentAddress;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut up
  taut up --config ./mesh                       load and watch a directory of YAML
  taut up --ca-dir /etc/taut/ca                 sign with an intermediate of your own authority
  taut up --upstream-ca cert-manager-istio-csr.cert-manager.svc:443 --upstream-ca-roots /etc/taut/roots.pem --upstream-ca-token /var/run/secrets/tokens/ca
                                                another CA signs what the control plane lets through
  taut up --identity-from unix:///run/spire/agent.sock
                                                SPIRE gives everybody their identity, the control plane too
  taut up --kube-api https://10.96.0.1          let pods in by their service account tokens
  taut up --kube-api https://10.96.0.1 --trusted-node-account istio-system/ztunnel
                                                a node's proxy asks for the pods of its node
  kubectl --kubeconfig ~/.local/state/tautline/kubeconfig get services -A")]
pub struct Arguments {
    /// Load and watch the *.yaml, *.yml and *.json of this directory
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where the resource API listens (HTTPS)
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:15443")]
    api: SocketAddr,
    /// Where proxies connect (gRPC over mutual TLS)
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:15012")]
    grpc: SocketAddr,
    /// Where the dashboard listens: plain HTTP on loopback, else HTTPS; `off` for none
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:15080", value_parser = dashboard)]
    dashboard: Dashboard,
    /// A name by which browsers may call the dashboard, beside addresses and localhost; may be given several times
    #[arg(long, value_name = "NAME")]
    dashboard_name: Vec<String>,
    /// Trust domain of the identities issued; a mesh that has another one is renamed, which needs both as trustDomainAliases in MeshSettings
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: String,
    /// Lifetime of workload certificates
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    leaf_lifetime: Duration,
    /// Sign with an authority of your own: a directory of ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, as in Istio's cacerts
    /// secret; watched
    #[arg(long, value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// Have another CA sign: a server of Istio's certificate service (istio-csr, istiod), asked over TLS for whoever the control plane lets in
    #[arg(long, value_name = "HOST:PORT", requires = "upstream_ca_roots", conflicts_with_all = ["ca_dir", "identity_from"], value_parser = host_and_port)]
    upstream_ca: Option<String>,
    /// Roots of that CA (PEM), which become the mesh's; watched
    #[arg(long, value_name = "FILE", requires = "upstream_ca")]
    upstream_ca_roots: Option<PathBuf>,
    /// The control plane's own token for that CA; read anew each time
    #[arg(long, value_name = "FILE", requires = "upstream_ca")]
    upstream_ca_token: Option<PathBuf>,
    /// Take the control plane's certificate and the mesh's roots from this SPIFFE Workload API (SPIRE's agent); sidecars do the same
    #[arg(long, value_name = "unix:///PATH", conflicts_with = "ca_dir")]
    identity_from: Option<AgentAddress>,
    /// Refuse what the revocation lists of this file name (PEM or DER); watched
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Certificates and tokens that one identity gets in a second, after some seconds' worth at once
    #[arg(long, value_name = "NUMBER", default_value_t = IssuanceLimits::default().each)]
    issue_limit: u32,
    /// The same for all identities together
    #[arg(long, value_name = "NUMBER", default_value_t = IssuanceLimits::default().all)]
    issue_limit_all: u32,
    /// DNS name of the control plane's certificate beside localhost, for clients that look at it, such as Istio's:
    /// istiod.istio-system.svc; may be given several times
    #[arg(long, value_name = "NAME")]
    certificate_name: Vec<String>,
    /// Tell this URL of incidents, as Alertmanager tells webhooks
    #[arg(long, value_name = "URL")]
    incident_webhook: Option<String>,
    /// Let workloads in by their Kubernetes service account tokens, which this API server vouches for (TokenReview)
    #[arg(long, value_name = "URL")]
    kube_api: Option<String>,
    /// Roots that the API server proves itself by [default: the pod's, where this is one; else those of this machine]
    #[arg(long, value_name = "FILE", requires = "kube_api")]
    kube_ca: Option<PathBuf>,
    /// The control plane's own token for the API server [default: the pod's, where this is one]
    #[arg(long, value_name = "FILE", requires = "kube_api")]
    kube_token_file: Option<PathBuf>,
    /// What service account tokens must be meant for; may be given several times
    #[arg(long, value_name = "AUDIENCE", default_value = "istio-ca", requires = "kube_api")]
    kube_audience: Vec<String>,
    /// Write the Events of incidents to the API server, too: it must let the control plane create and patch events, and get services
    #[arg(long, requires = "kube_api")]
    kube_events: bool,
    /// Service account whose pods may ask for certificates of the pods of their own node, such as istio-system/ztunnel; may be given several times
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        requires = "kube_api",
        value_delimiter = ',',
        value_parser = account
    )]
    trusted_node_account: Vec<String>,
}

fn host_and_port(text: &str) -> Result<String, String> {
    let is_right = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok());
    if is_right { Ok(text.to_owned()) } else { Err("expected HOST:PORT, such as istiod.istio-system.svc:15012".to_owned()) }
}

fn account(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => Ok(text.to_owned()),
        _ => Err("expected NAMESPACE/NAME, such as istio-system/ztunnel".to_owned()),
    }
}

/// Who signs in the place of the control plane, if somebody does.
fn foreign(arguments: &Arguments) -> Option<Foreign> {
    let (address, roots) = (arguments.upstream_ca.clone(), arguments.upstream_ca_roots.clone());
    let upstream = address.zip(roots).map(|(address, roots)| UpstreamCa { address, roots, token: arguments.upstream_ca_token.clone() });
    upstream.map(Foreign::Upstream).or_else(|| arguments.identity_from.clone().map(Foreign::Agent))
}

/// Where the kubelet puts what a pod needs to speak to the API server.
const IN_POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn kubernetes(arguments: &Arguments) -> Option<Kubernetes> {
    let of_pod = |name: &str| Some(Path::new(IN_POD).join(name)).filter(|file| file.exists());
    Some(Kubernetes {
        api: arguments.kube_api.clone()?,
        roots: arguments.kube_ca.clone().or_else(|| of_pod("ca.crt")),
        token: arguments.kube_token_file.clone().or_else(|| of_pod("token")),
        audiences: arguments.kube_audience.clone(),
        node_agents: arguments.trusted_node_account.clone(),
    })
}

/// Where the dashboard listens, if anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard(pub Option<SocketAddr>);

impl fmt::Display for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// An address and port, or `off`.
pub fn dashboard(text: &str) -> Result<Dashboard, String> {
    match text {
        "off" => Ok(Dashboard(None)),
        address => address.parse().map(|address| Dashboard(Some(address))).map_err(|_| "expected ADDRESS:PORT or off".to_owned()),
    }
}

pub async fn up(place: &Place, arguments: Arguments) -> Outcome {
    let (kubernetes, foreign) = (kubernetes(&arguments), foreign(&arguments));
    let options = Options {
        state: Some(place.state.clone()),
        config: arguments.config,
        api: arguments.api,
        grpc: arguments.grpc,
        dashboard: arguments.dashboard.0,
        dashboard_names: arguments.dashboard_name,
        assets: crate::dashboard::ASSETS,
        trust_domain: arguments.trust_domain,
        leaf_lifetime: arguments.leaf_lifetime,
        ca_directory: arguments.ca_dir,
        revocation_lists: arguments.crl,
        webhook: arguments.incident_webhook,
        events: arguments.kube_events,
        issuance_limits: IssuanceLimits { each: arguments.issue_limit, all: arguments.issue_limit_all },
        kubernetes,
        foreign,
        names: arguments.certificate_name,
        ..Options::default()
    };
    let running = taut_control::start(World::os(), options).await.map_err(|fault| Failure::cannot(fault.to_string()))?;
    let kubeconfig = place.kubeconfig();
    output::print(&format!(
        "Tautline control plane {}\n{}  api      https://{}\n  proxies  {}\n  state    {}\n\n  kubectl --kubeconfig {} get services -A\n",
        env!("CARGO_PKG_VERSION"),
        running.dashboard.as_ref().map_or_else(String::new, |url| format!("  open     {}\n", url.as_str())),
        running.api,
        running.grpc,
        place.state.display(),
        kubeconfig.display()
    ))?;
    stop_signal().await;
    running.stop().await;
    Ok(())
}
