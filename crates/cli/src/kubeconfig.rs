//! Reads a kubeconfig: the current context's server, certificate authority, token and namespace.

use base64::Engine;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Kubeconfig {
    pub path: PathBuf,
    pub server: String,
    pub authority: Vec<CertificateDer<'static>>,
    pub token: String,
    pub namespace: String,
}

/// The token stays out of logs.
impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig").field("path", &self.path).field("server", &self.server).finish_non_exhaustive()
    }
}

pub fn read(path: &Path) -> Result<Kubeconfig, String> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("there is no kubeconfig at {}\n  start a control plane with `taut up`, or name one with --kubeconfig or --state", path.display())
        }
        _ => format!("cannot read {}: {error}", path.display()),
    })?;
    parse(path, &text).map_err(|why| format!("{}: {why}", path.display()))
}

fn parse(path: &Path, text: &str) -> Result<Kubeconfig, String> {
    let document = taut_model::tree::documents(text, &path.display().to_string()).into_iter().next().ok_or("the file is empty")?;
    if let Some(problem) = document.problems.first() {
        return Err(problem.to_string());
    }
    let config = document.root.ok_or("the file is empty")?.value();
    let context = named(&config["contexts"], config["current-context"].as_str().ok_or("no current-context")?, "context")?;
    let cluster = named(&config["clusters"], context["cluster"].as_str().ok_or("the context names no cluster")?, "cluster")?;
    let user = named(&config["users"], context["user"].as_str().ok_or("the context names no user")?, "user")?;
    let encoded = cluster["certificate-authority-data"].as_str().ok_or("the cluster has no certificate-authority-data")?;
    let pem = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|e| format!("certificate-authority-data: {e}"))?;
    let authority: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    Ok(Kubeconfig {
        path: path.to_owned(),
        server: cluster["server"].as_str().ok_or("the cluster has no server")?.to_owned(),
        authority: authority.map_err(|e| format!("certificate-authority-data: {e}"))?,
        token: user["token"].as_str().ok_or("the user has no token")?.to_owned(),
        namespace: context["namespace"].as_str().unwrap_or("default").to_owned(),
    })
}

/// The entry of a kubeconfig list by name: `{ name: x, <kind>: {…} }`.
fn named<'a>(list: &'a Value, name: &str, kind: &str) -> Result<&'a Value, String> {
    let found = list.as_array().into_iter().flatten().find(|entry| entry["name"].as_str() == Some(name));
    found.map(|entry| &entry[kind]).ok_or_else(|| format!("no {kind} {name:?}"))
}
