//! Tokens that the control plane makes for itself and keeps, and the kubeconfig that carries the admin's.

use crate::access::ADMIN;
use crate::authority::{Authority, keep_private, random_text, write_private};
use crate::fault::Fault;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The token kept in `STATE/NAME`, made when it is not there.
pub(super) fn kept_token(state: Option<&Path>, name: &str) -> Result<Zeroizing<String>, Fault> {
    let Some(path) = state.map(|state| state.join(name)) else { return random_text(32).map(Zeroizing::new) };
    keep_private(&path);
    match std::fs::read_to_string(&path) {
        Ok(token) if token.trim().len() >= 16 => Ok(Zeroizing::new(token.trim().to_owned())),
        Ok(_) => Err(Fault::new(format!("{} holds no token", path.display()), "Remove it to have a new one made")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let token = Zeroizing::new(random_text(32)?);
            write_private(&path, token.as_bytes())?;
            Ok(token)
        }
        Err(error) => Err(Fault::new(format!("cannot read {}: {error}", path.display()), "Run as the user that owns it")),
    }
}

fn kubeconfig(api: SocketAddr, roots_pem: &str, token: &str) -> Zeroizing<String> {
    let server = match api.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), api.port()),
        false => api,
    };
    Zeroizing::new(format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: tautline\n  cluster:\n    server: https://{server}\n    certificate-authority-data: {}\n\
         users:\n- name: {ADMIN}\n  user:\n    token: {token}\ncontexts:\n- name: tautline\n  context:\n    cluster: tautline\n    user: {ADMIN}\n    \
         namespace: default\ncurrent-context: tautline\n",
        STANDARD.encode(roots_pem)
    ))
}

/// The kubeconfig as a file, if there is a state directory, and as text.
pub(super) fn first_kubeconfig(
    state: Option<&Path>,
    api: SocketAddr,
    authority: &Authority,
    token: &str,
) -> Result<(Option<PathBuf>, Zeroizing<String>), Fault> {
    let text = kubeconfig(api, &authority.roots_pem(), token);
    let file = state.map(|state| write_kubeconfig(state, &text)).transpose()?;
    Ok((file, text))
}

/// Writes it again whenever the mesh believes other roots. Runs for ever.
pub(super) async fn keep_kubeconfig(state: PathBuf, api: SocketAddr, authority: Arc<Authority>, token: Zeroizing<String>) {
    let mut bundle = authority.bundle();
    let mut written = authority.roots_pem();
    while bundle.changed().await.is_ok() {
        let roots = authority.roots_pem();
        if roots == written {
            continue;
        }
        match write_kubeconfig(&state, &kubeconfig(api, &roots, &token)) {
            Ok(_) => written = roots,
            Err(fault) => tracing::error!(%fault, "the kubeconfig does not name the roots that the mesh believes now"),
        }
    }
}

fn write_kubeconfig(state: &Path, text: &str) -> Result<PathBuf, Fault> {
    let path = state.join("kubeconfig");
    write_private(&path, text.as_bytes())?;
    Ok(path)
}
