//! The systems that can be compared, and which of them are here.

mod direct;
mod envoy;
mod haproxy;
mod nginx;
mod tautline;
mod ztunnel;

use super::place::Place;
use super::system::System;
use std::path::{Path, PathBuf};

pub const NAMES: [&str; 6] = ["direct", "tautline", "haproxy", "nginx", "envoy", "ztunnel"];

pub struct Present {
    pub systems: Vec<Box<dyn System>>,
    /// A line for each that is not here.
    pub missing: Vec<String>,
}

/// Those asked for; all if none is named.
pub fn present(asked: &[String], place: &Place) -> Result<Present, String> {
    let mut present = Present { systems: Vec::new(), missing: Vec::new() };
    if let Some(unknown) = asked.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("there is no system {unknown:?}; there are {}", NAMES.join(", ")));
    }
    for name in NAMES.iter().filter(|name| asked.is_empty() || asked.iter().any(|one| one == *name)) {
        match find(name, place) {
            Ok(system) => present.systems.push(system),
            Err(why) => present.missing.push(format!("{name} is left out: {why}")),
        }
    }
    match present.systems.is_empty() {
        true => Err(present.missing.join("\n")),
        false => Ok(present),
    }
}

fn find(name: &str, place: &Place) -> Result<Box<dyn System>, String> {
    Ok(match name {
        "tautline" => Box::new(tautline::Tautline::find()?),
        "haproxy" => Box::new(haproxy::Haproxy::find()?),
        "nginx" => Box::new(nginx::Nginx::find()?),
        "envoy" => Box::new(envoy::Envoy::find()?),
        "ztunnel" => Box::new(ztunnel::Ztunnel::find(place)?),
        _ => Box::new(direct::Direct),
    })
}

/// The program that the environment names, else that of the search path.
fn program(variable: &str, name: &str, install: &str) -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        return match path.is_file() {
            true => Ok(path),
            false => Err(format!("{variable} names {}, which is not a file", path.display())),
        };
    }
    let search = std::env::var("PATH").unwrap_or_default();
    let found = search.split(':').chain(["/usr/sbin"]).map(|directory| Path::new(directory).join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("there is no {name} on PATH and {variable} is not set ({install})"))
}

/// What the environment names, else the release binary beside this program.
pub fn built(variable: &str, name: &str) -> Result<PathBuf, String> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().map_err(|error| error.to_string())?.with_file_name(name),
    };
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not built (cargo build --release -p taut -p taut-proxy, or set {variable})", path.display())),
    }
}
