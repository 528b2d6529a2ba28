//! Where this user's mesh is: the state directory and the kubeconfig in it.

use crate::{Failure, Outcome};
use std::path::PathBuf;

#[derive(clap::Args, Clone, Debug)]
pub struct Place {
    /// Directory of the control plane's state: database, authority, kubeconfig
    #[arg(long, global = true, env = "TAUT_STATE", value_name = "DIR", default_value_os_t = default_state(), hide_default_value = true)]
    pub state: PathBuf,
    /// Kubeconfig of the control plane [default: STATE/kubeconfig]
    #[arg(long, global = true, env = "TAUT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// `$XDG_STATE_HOME/tautline`, else `~/.local/state/tautline` (XDG Base Directory specification).
fn default_state() -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from).join(".local/state");
    std::env::var_os("XDG_STATE_HOME").filter(|v| !v.is_empty()).map_or_else(home, PathBuf::from).join("tautline")
}

impl Place {
    /// The demo's own place: the directory given, else one beside the usual state.
    pub fn for_demo(&self) -> Self {
        match self.state == default_state() {
            true => Self { state: self.state.join("demo"), kubeconfig: None },
            false => Self { state: self.state.clone(), kubeconfig: None },
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone().unwrap_or_else(|| self.state.join("kubeconfig"))
    }

    /// The API of the control plane, or what to do when there is none.
    pub fn api(&self) -> Outcome<crate::api::Api> {
        let path = self.kubeconfig();
        let config = crate::kubeconfig::read(&path).map_err(Failure::cannot)?;
        crate::api::Api::new(config).map_err(Failure::cannot)
    }
}
