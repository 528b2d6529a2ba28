//! HAProxy: two of it, with mutual TLS 1.3 between them.

use super::program;
use crate::bench::certificates::NAME;
use crate::bench::place::Side;
use crate::bench::process::Spec;
use crate::bench::system::{Ports, Site, System};
use std::fs;
use std::path::PathBuf;

pub struct Haproxy {
    program: PathBuf,
}

const DEFAULTS: &str = "global
  nbthread 1
  maxconn 4000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout client 1h
  timeout server 1h
  timeout connect 5s
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
";

impl Haproxy {
    pub fn find() -> Result<Self, String> {
        Ok(Self { program: program("HAPROXY", "haproxy", "apt-get install haproxy")? })
    }

    fn spec(&self, site: &Site, ports: &Ports, side: Side, sections: &[String]) -> Result<Option<Spec>, String> {
        let name = format!("haproxy-{side:?}");
        let path = site.directory.join(format!("{name}-{}.cfg", ports.slot.0));
        fs::write(&path, format!("{DEFAULTS}{}", sections.concat())).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        // -db: no fork, so the process we start is the one we measure.
        let spec = Spec::new(side, &self.program, site.log(&name, ports.slot));
        Ok(Some(spec.arguments(["-db", "-f", &path.display().to_string()])))
    }
}

impl System for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn server(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (secure, backend, directory) = (ports.secure(site), site.backend(), site.directory.display());
        let tls = format!("ssl crt {directory}/node.pem ca-file {directory}/ca.crt verify required");
        let sections = [
            section("http1", "http", &format!("{} {tls}", secure.http1), &backend.http1.to_string()),
            section("http2", "http", &format!("{} {tls} alpn h2", secure.http2), &format!("{} proto h2", backend.http2)),
            section("tcp", "tcp", &format!("{} {tls}", secure.tcp), &backend.tcp.to_string()),
        ];
        self.spec(site, ports, Side::Server, &sections)
    }

    fn client(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (plain, secure, directory) = (ports.plain(site), ports.secure(site), site.directory.display());
        let tls = format!("ssl crt {directory}/node.pem ca-file {directory}/ca.crt verify required verifyhost {NAME}");
        let sections = [
            section("http1", "http", &plain.http1.to_string(), &format!("{} {tls}", secure.http1)),
            section("http2", "http", &format!("{} proto h2", plain.http2), &format!("{} {tls} alpn h2", secure.http2)),
            section("tcp", "tcp", &plain.tcp.to_string(), &format!("{} {tls}", secure.tcp)),
        ];
        self.spec(site, ports, Side::Client, &sections)
    }
}

fn section(name: &str, mode: &str, bind: &str, server: &str) -> String {
    format!(
        "frontend {name}-in\n  mode {mode}\n  bind {bind}\n  default_backend {name}-out\nbackend {name}-out\n  mode {mode}\n  server next {server}\n"
    )
}
