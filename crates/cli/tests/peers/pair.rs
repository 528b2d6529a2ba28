//! A client and a server, each with a sidecar of its own, mutual TLS between them.

use crate::support::{Member, Mesh};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

const CLIENT: u8 = 1;
const SERVER: u8 = 2;

pub struct Pair {
    pub mesh: Mesh,
}

impl Pair {
    /// A server that the test itself is: it listens where [`Prepared::listen`] says.
    pub fn prepare() -> Prepared {
        Prepared { mesh: Mesh::start(), ports: Vec::new() }
    }

    /// Where the client reaches a port of the server, without knowing of any proxy.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.mesh.address(CLIENT))
    }

    /// The client's sidecar as an HTTP proxy.
    pub fn proxy(&self) -> String {
        self.mesh.outbound(CLIENT)
    }

    pub fn client_metrics(&self) -> String {
        self.mesh.admin(CLIENT, "/metrics").body
    }

    /// The sum of the client's counters of that name whose labels hold all of `labels`.
    pub fn counted(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.client_metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

pub struct Prepared {
    mesh: Mesh,
    ports: Vec<(u16, String)>,
}

impl Prepared {
    /// A port of the server, with its name, which says the protocol.
    pub fn port(mut self, port: u16, name: &str) -> Self {
        self.ports.push((port, name.to_owned()));
        self
    }

    /// The same, served by the test.
    pub fn listen(self, port: u16, name: &str, serve: fn(std::net::TcpStream)) -> Self {
        let listener = TcpListener::bind((self.server().as_str(), port)).expect("an address of this mesh is free");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        self.port(port, name)
    }

    /// Where the server listens.
    pub fn server(&self) -> String {
        self.mesh.address(SERVER)
    }

    /// For files that a server needs.
    pub fn directory(&self) -> &Path {
        self.mesh.directory.path()
    }

    /// Runs both, the server as `program` says, or as something that only waits.
    pub fn start(self, program: &[&str]) -> Pair {
        let Self { mut mesh, ports } = self;
        let member = |service: &str, last, program: &[&str]| Member {
            service: service.to_owned(),
            version: "v1".to_owned(),
            name: format!("{service}-v1"),
            account: service.to_owned(),
            last,
            ports: Vec::new(),
            extra: Vec::new(),
            program: program.iter().map(|word| (*word).to_owned()).collect(),
        };
        let waits = ["sleep", "3600"];
        let mut server = member("server", SERVER, if program.is_empty() { &waits } else { program });
        server.ports = ports.iter().map(|(port, name)| if name.is_empty() { port.to_string() } else { format!("{port}/{name}") }).collect();
        mesh.run(&server);
        let mut client = member("client", CLIENT, &waits);
        for (port, _) in &ports {
            client.extra.extend(["--upstream".to_owned(), format!("server:{port}={}:{port}", mesh.address(CLIENT))]);
        }
        mesh.run(&client);
        mesh.wait_ready(2);
        Pair { mesh }
    }
}

/// A program's standard output; it must succeed.
pub fn ran(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out.into_owned()
}

/// A program written for these tests.
pub fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name).display().to_string()
}
