//! ztunnel: one on each side, HBONE between them; it carries all protocols as bytes (L4).
//!
//! It takes connections by capture: the load goes to a virtual address, which nftables redirects to the client-side ztunnel, as a mesh's node
//! would. Its ports are fixed, so it needs namespaces, and only one pair can run at a time. The binary must be built with its feature
//! `testing`, which brings the built-in authority that `FAKE_CA` asks for.

use super::program;
use crate::bench::place::{Place, Side};
use crate::bench::process::{Process, Spec};
use crate::bench::system::{Entries, Ports, Site, System};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

pub struct Ztunnel {
    program: PathBuf,
}

/// Nobody has it; it lies in the network of the veth pair, so that packets for it have a route.
const VIRTUAL: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 9));

/// On the packets of ztunnel itself, which are not captured.
const MARK: u32 = 1337;

const OUTBOUND_PORT: u16 = 15001;

impl Ztunnel {
    pub fn find(place: &Place) -> Result<Self, String> {
        let program = program("ZTUNNEL", "ztunnel", "set ZTUNNEL to a binary built with its feature `testing`")?;
        match place.isolated() {
            true => Ok(Self { program }),
            false => Err("it captures connections, for which it needs network namespaces".to_owned()),
        }
    }

    fn spec(&self, site: &Site, ports: &Ports, side: Side, workload: &str) -> Result<Option<Spec>, String> {
        let known = site.directory.join("ztunnel.yaml");
        fs::write(&known, mesh(site)).map_err(|error| format!("cannot write {}: {error}", known.display()))?;
        let spec = Spec::new(side, &self.program, site.log(&format!("ztunnel-{side:?}"), ports.slot));
        let spec = spec.environment("PROXY_MODE", "dedicated").environment("PROXY_WORKLOAD_INFO", format!("default/{workload}/default"));
        let spec = spec.environment("FAKE_CA", "true").environment("XDS_ADDRESS", "").environment("LOCAL_XDS_PATH", known.display().to_string());
        let spec = spec.environment("PACKET_MARK", MARK.to_string()).environment("ENABLE_ORIG_SRC", "false");
        Ok(Some(spec.environment("ZTUNNEL_WORKER_THREADS", "1").environment("RUST_LOG", "warn").environment("IPV6_ENABLED", "false")))
    }
}

impl System for Ztunnel {
    fn name(&self) -> &'static str {
        "ztunnel (L4)"
    }

    /// What is not for the virtual address stays out of connection tracking, so that it costs the other systems nothing.
    fn prepare(&self, site: &Site, _ports: &Ports) -> Result<Vec<Process>, String> {
        let untracked = |hook: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} priority raw; ip daddr {VIRTUAL} accept; tcp sport {OUTBOUND_PORT} accept; tcp dport {OUTBOUND_PORT} accept; notrack; }}\n"
            )
        };
        let rules = format!(
            "table ip bench {{}}\ndelete table ip bench\ntable ip bench {{\n{}{}\
             chain capture {{ type nat hook output priority -100; ip daddr {VIRTUAL} meta mark != {MARK} tcp dport 1-65535 redirect to :{OUTBOUND_PORT}; }}\n}}\n",
            untracked("output"),
            untracked("prerouting")
        );
        let path = site.directory.join("ztunnel.nft");
        fs::write(&path, rules).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let spec = Spec::new(Side::Client, "nft", site.directory.join("nft.log")).arguments(["-f", &path.display().to_string()]);
        let output = site.place.command(&spec).output().map_err(|error| format!("nft: {error} (apt-get install nftables)"))?;
        match output.status.success() {
            true => Ok(Vec::new()),
            false => Err(format!("nft (apt-get install nftables): {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    fn server(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        self.spec(site, ports, Side::Server, "backend")
    }

    fn client(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        self.spec(site, ports, Side::Client, "loadgen")
    }

    fn entries(&self, site: &Site, _ports: &Ports) -> Entries {
        Entries::at(VIRTUAL, site.backend().http1.port())
    }
}

/// What a control plane would say: two workloads, and the service of one.
fn mesh(site: &Site) -> String {
    let backend = site.backend();
    // Port numbers must not be in quotes, so this is YAML and cannot be JSON.
    let ports: Vec<String> = [backend.http1, backend.http2, backend.tcp].iter().map(|at| format!("{port}: {port}", port = at.port())).collect();
    let ports = ports.join(", ");
    let workload = |name: &str, address: IpAddr, services: &str| {
        format!(
            "- uid: bench//v1/Pod/default/{name}\n  name: {name}\n  namespace: default\n  serviceAccount: default\n  workloadIps: [\"{address}\"]\n  \
             protocol: HBONE\n  node: {name}\n  network: \"\"\n  services: {{{services}}}\n"
        )
    };
    let client = workload("loadgen", site.place.client, "");
    let server = workload("backend", site.place.server, &format!("\"default/{SERVICE}\": {{{ports}}}"));
    format!(
        "workloads:\n{client}{server}services:\n- name: backend\n  namespace: default\n  hostname: {SERVICE}\n  vips: [\"/{VIRTUAL}\"]\n  ports: {{{ports}}}\n"
    )
}

const SERVICE: &str = "backend.bench.test";
