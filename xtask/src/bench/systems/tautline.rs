//! Tautline's two proxies, one worker each, with a control plane of their own on the server's side.

use super::built;
use crate::bench::place::Side;
use crate::bench::process::{Process, Spec};
use crate::bench::system::{Ports, Site, System};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub struct Tautline {
    taut: PathBuf,
    proxy: PathBuf,
}

impl Tautline {
    pub fn find() -> Result<Self, String> {
        Ok(Self { taut: built("TAUT", "taut")?, proxy: built("TAUT_PROXY", "taut-proxy")? })
    }

    /// Asks until the control plane is up. Every start takes a token of its own: a token is good for one proxy, once.
    fn token(&self, site: &Site, ports: &Ports) -> Result<String, String> {
        let spec = Spec::new(Side::Server, &self.taut, site.log("token", ports.slot)).arguments(["token"]);
        let spec = spec.environment("TAUT_STATE", state(site, ports));
        let mut said = String::new();
        for _ in 0..200 {
            let output = site.place.command(&spec).output().map_err(|error| format!("cannot start {}: {error}", self.taut.display()))?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the control plane does not hand out tokens: {said}"))
    }

    fn proxy(&self, site: &Site, ports: &Ports, side: Side, name: &str) -> Result<Spec, String> {
        let (own, private) = (site.place.own(side), site.place.private(side));
        let spec = Spec::new(side, &self.proxy, site.log(&format!("tautline-{side:?}"), ports.slot));
        let spec = spec.arguments(["--service", name, "--control", &format!("{}:{}", site.place.server, ports.more(0))]);
        let spec = spec.arguments(["--peer", &SocketAddr::new(own, ports.more(1)).to_string(), "--outbound", "off"]);
        let spec = spec.arguments(["--admin", &SocketAddr::new(private, ports.more(2)).to_string(), "--workers", "1"]);
        Ok(spec.environment("TAUT_TOKEN", self.token(site, ports)?))
    }
}

impl System for Tautline {
    fn name(&self) -> &'static str {
        "Tautline"
    }

    fn prepare(&self, site: &Site, ports: &Ports) -> Result<Vec<Process>, String> {
        let (api, grpc) = (SocketAddr::new(site.place.server, ports.more(3)), SocketAddr::new(site.place.server, ports.more(0)));
        let spec = Spec::new(Side::Server, &self.taut, site.log("control", ports.slot));
        let spec = spec
            .arguments(["up", "--dashboard", "off", "--api", &api.to_string(), "--grpc", &grpc.to_string()])
            .environment("TAUT_STATE", state(site, ports));
        Ok(vec![Process::start(&site.place, &spec)?])
    }

    fn server(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let backend = site.backend();
        let spec = self.proxy(site, ports, Side::Server, "backend")?.arguments(["--address", &site.place.server.to_string()]);
        let port = |at: SocketAddr, protocol: &str| ["--port".to_owned(), format!("{}/{protocol}", at.port())];
        let spec = spec.arguments(port(backend.http1, "http")).arguments(port(backend.http2, "grpc")).arguments(port(backend.tcp, "tcp"));
        Ok(Some(spec))
    }

    fn client(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (backend, plain) = (site.backend(), ports.plain(site));
        let upstream = |to: SocketAddr, at: SocketAddr| ["--upstream".to_owned(), format!("backend:{}={at}", to.port())];
        let spec = self.proxy(site, ports, Side::Client, "loadgen")?.arguments(upstream(backend.http1, plain.http1));
        Ok(Some(spec.arguments(upstream(backend.http2, plain.http2)).arguments(upstream(backend.tcp, plain.tcp))))
    }
}

fn state(site: &Site, ports: &Ports) -> String {
    site.directory.join(format!("tautline-state-{}", ports.slot.0)).display().to_string()
}
