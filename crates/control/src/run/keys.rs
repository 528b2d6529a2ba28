//! Tokens that the control plane makes for itself and keeps, and the kubeconfig that carries the admin's.

use crate::access::ADMIN;
use crate::authority::{keep_private, random_text, write_private};
use crate::fault::Fault;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
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

pub(super) fn kubeconfig(api: SocketAddr, root_pem: &str, token: &str) -> Zeroizing<String> {
    let server = match api.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), api.port()),
        false => api,
    };
    Zeroizing::new(format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: tautline\n  cluster:\n    server: https://{server}\n    certificate-authority-data: {}\n\
         users:\n- name: {ADMIN}\n  user:\n    token: {token}\ncontexts:\n- name: tautline\n  context:\n    cluster: tautline\n    user: {ADMIN}\n    \
         namespace: default\ncurrent-context: tautline\n",
        STANDARD.encode(root_pem)
    ))
}

pub(super) fn write_kubeconfig(state: &Path, text: &str) -> Result<PathBuf, Fault> {
    let path = state.join("kubeconfig");
    write_private(&path, text.as_bytes())?;
    Ok(path)
}
