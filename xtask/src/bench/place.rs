//! Where the two sides run: two network namespaces joined by a veth pair, or loopback where these cannot be made.

use super::process::Spec;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Load generator and client-side proxy.
    Client,
    /// Server-side proxy, backend and what proxies need beside them.
    Server,
}

pub struct Place {
    pub client: IpAddr,
    pub server: IpAddr,
    /// Loopback addresses, apart even where both sides share one loopback.
    pub client_private: IpAddr,
    pub server_private: IpAddr,
    namespaces: Option<Namespaces>,
}

impl Place {
    /// Both sides on this machine's loopback.
    pub fn loopback() -> Self {
        Self::on(None)
    }

    /// Namespaces if possible; else loopback, and the reason.
    pub fn make() -> (Self, Option<String>) {
        let made = Namespaces::make();
        let (namespaces, why) = match made {
            Ok(namespaces) => (Some(namespaces), None),
            Err(why) => (None, Some(why)),
        };
        (Self::on(namespaces), why)
    }

    fn on(namespaces: Option<Namespaces>) -> Self {
        // 198.18.0.0/15 is set aside for benchmarks (RFC 2544).
        let (client, server) = match &namespaces {
            Some(_) => ([198, 18, 0, 1], [198, 18, 0, 2]),
            None => ([127, 99, 0, 1], [127, 99, 0, 2]),
        };
        let address = |octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets));
        Self {
            client: address(client),
            server: address(server),
            client_private: address([127, 99, 1, 1]),
            server_private: address([127, 99, 1, 2]),
            namespaces,
        }
    }

    pub fn isolated(&self) -> bool {
        self.namespaces.is_some()
    }

    pub fn own(&self, side: Side) -> IpAddr {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    pub fn private(&self, side: Side) -> IpAddr {
        match side {
            Side::Client => self.client_private,
            Side::Server => self.server_private,
        }
    }

    /// The program and arguments that run this on its side. `ip netns exec` becomes what it runs, so process ids are those of the program.
    pub fn command(&self, spec: &Spec) -> Command {
        let mut command = match &self.namespaces {
            Some(namespaces) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespaces.of(spec.side)]).arg(&spec.program);
                command
            }
            None => Command::new(&spec.program),
        };
        command.args(&spec.arguments).envs(spec.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

struct Namespaces {
    client: String,
    server: String,
}

impl Namespaces {
    fn make() -> Result<Self, String> {
        let process = std::process::id();
        let made = Self { client: format!("taut-bench-{process}-client"), server: format!("taut-bench-{process}-server") };
        // From here on, dropping `made` removes what there is.
        ip(&["netns", "add", &made.client])?;
        ip(&["netns", "add", &made.server])?;
        ip(&["link", "add", "veth0", "netns", &made.client, "type", "veth", "peer", "name", "veth0", "netns", &made.server])?;
        for (name, address) in [(&made.client, "198.18.0.1/24"), (&made.server, "198.18.0.2/24")] {
            ip(&["-n", name, "address", "add", address, "dev", "veth0"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", "veth0", "up"])?;
            // New connections by the thousand per second: without this, ports in TIME_WAIT run out.
            for (setting, value) in [("ip_local_port_range", "25000 65535"), ("tcp_tw_reuse", "1"), ("tcp_max_syn_backlog", "4096")] {
                let write = format!("echo {value} > /proc/sys/net/ipv4/{setting}");
                ip(&["netns", "exec", name, "sh", "-c", &write])?;
            }
        }
        Ok(made)
    }

    fn of(&self, side: Side) -> &str {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error} (apt-get install iproute2)"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}
