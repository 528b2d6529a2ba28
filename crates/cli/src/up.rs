//! `taut up`: the control plane in the foreground.

use crate::output;
use crate::place::Place;
use crate::run::stop_signal;
use crate::wait::duration;
use crate::{Failure, Outcome};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use taut_control::{Options, World};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut up
  taut up --config ./mesh                       load and watch a directory of YAML
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
    /// Trust domain of the identities issued; fixed once the state exists
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: String,
    /// Lifetime of workload certificates
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    leaf_lifetime: Duration,
}

pub async fn up(place: &Place, arguments: Arguments) -> Outcome {
    let options = Options {
        state: Some(place.state.clone()),
        config: arguments.config,
        api: arguments.api,
        grpc: arguments.grpc,
        trust_domain: arguments.trust_domain,
        leaf_lifetime: arguments.leaf_lifetime,
        ..Options::default()
    };
    let running = taut_control::start(World::os(), options).await.map_err(|fault| Failure::cannot(fault.to_string()))?;
    let kubeconfig = place.kubeconfig();
    output::print(&format!(
        "Tautline control plane {}\n  api      https://{}\n  proxies  {}\n  state    {}\n\n  kubectl --kubeconfig {} get services -A\n",
        env!("CARGO_PKG_VERSION"),
        running.api,
        running.grpc,
        place.state.display(),
        kubeconfig.display()
    ))?;
    stop_signal().await;
    running.stop().await;
    Ok(())
}
