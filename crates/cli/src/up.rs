//! `taut up`: the control plane in the foreground.

use crate::output;
use crate::place::Place;
use crate::run::stop_signal;
use crate::wait::duration;
use crate::{Failure, Outcome};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use taut_control::{Options, World};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut up
  taut up --config ./mesh                       load and watch a directory of YAML
  taut up --ca-dir /etc/taut/ca                 sign with an intermediate of your own authority
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
    /// Trust domain of the identities issued; fixed once the state exists
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: String,
    /// Lifetime of workload certificates
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    leaf_lifetime: Duration,
    /// Sign with an authority of your own: a directory of ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, as in Istio's cacerts
    /// secret; watched
    #[arg(long, value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// Refuse what the revocation lists of this file name (PEM or DER); watched
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
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
