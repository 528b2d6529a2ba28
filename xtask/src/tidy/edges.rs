//! What may import what: the crate edges, and what the pure crates must not know.

use super::Untidy;
use std::fs;
use std::path::Path;

/// Crate -> the workspace crates it may depend on (dev-dependencies are free, but for `sim`).
const EDGES: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("plan", &["taut-model"]),
    ("insight", &["taut-model"]),
    ("wire", &["taut-model"]),
    ("observe", &["taut-model"]),
    ("proxy", &["taut-model", "taut-plan", "taut-wire", "taut-observe"]),
    ("control", &["taut-model", "taut-plan", "taut-insight", "taut-wire", "taut-observe"]),
    ("cli", &["taut-model", "taut-plan", "taut-insight", "taut-wire", "taut-observe", "taut-proxy", "taut-control", "taut-demo"]),
    ("sim", &["taut-model", "taut-plan", "taut-insight", "taut-wire", "taut-observe", "taut-proxy", "taut-control"]),
];

/// Pure crates get time and dice from their callers, so they may not even link what gives them.
const PURE: [&str; 3] = ["model", "plan", "insight"];
const IMPURE: [&str; 12] = ["tokio", "hyper", "tonic", "axum", "rustls", "rand", "fastrand", "getrandom", "socket2", "nix", "notify", "redb"];

pub fn check(root: &Path) -> Result<Vec<Untidy>, String> {
    let mut untidy = Vec::new();
    for (name, allowed) in EDGES {
        let place = format!("crates/{name}/Cargo.toml");
        let text = fs::read_to_string(root.join(&place)).map_err(|e| format!("cannot read {place}: {e}"))?;
        for dependency in dependencies(&text) {
            if dependency.starts_with("taut-") && !allowed.contains(&dependency.as_str()) {
                untidy.push(Untidy::new(&place, format!("{name} may not depend on {dependency} (docs/ARCHITECTURE.md, what may import what)")));
            }
            if PURE.contains(&name) && IMPURE.contains(&dependency.as_str()) {
                untidy.push(Untidy::new(&place, format!("{name} is pure: it may not depend on {dependency}")));
            }
        }
    }
    Ok(untidy)
}

/// Names in `[dependencies]`; `[dev-dependencies]` may hold what tests need.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some(name) = line.split(['=', '.', ' ']).next().filter(|n| !n.is_empty() && !n.starts_with('#')) {
            names.push(name.to_owned());
        }
    }
    names
}
