//! Who may use the API: the admin's bearer token, and the kubeconfig that carries it.

use crate::authority::{keep_private, random_text, write_private};
use crate::fault::Fault;
use crate::side::Authenticate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The user that the admin token stands for.
const ADMIN: &str = "admin";

/// The token kept in `STATE/admin.token`, made when it is not there.
pub(super) fn admin_token(state: Option<&Path>) -> Result<Zeroizing<String>, Fault> {
    let Some(path) = state.map(|state| state.join("admin.token")) else { return random_text(32).map(Zeroizing::new) };
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

/// Tells the admin from everybody else, in constant time.
pub(super) fn authenticate(token: &Zeroizing<String>) -> Authenticate {
    let token = token.clone();
    Arc::new(move |bearer| match bearer {
        None => Err("this needs a bearer token; use the kubeconfig that the control plane wrote".to_owned()),
        Some(bearer) => match aws_lc_rs::constant_time::verify_slices_are_equal(bearer.as_bytes(), token.as_bytes()) {
            Ok(()) => Ok(ADMIN.to_owned()),
            Err(_) => Err("the bearer token is not valid here; use the kubeconfig that this control plane wrote".to_owned()),
        },
    })
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
