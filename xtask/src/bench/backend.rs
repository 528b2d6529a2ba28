//! The application behind every system: HAProxy answering HTTP/1.1 by itself, nghttpd as a gRPC-like server, and our own TCP server.

use super::place::Side;
use super::process::{Process, Spec};
use super::system::Site;
use std::fs;

/// The request and the answer of the gRPC-like calls: a length-prefixed message of 21 bytes.
pub const MESSAGE: &[u8] = b"\0\0\0\0\x15hello from the bench.";
pub const METHOD: &str = "/bench.Echo/Say";

pub fn start(site: &Site) -> Result<Vec<Process>, String> {
    let cannot = |error: std::io::Error| format!("cannot write the backend's files: {error}");
    let address = site.backend();
    let text = format!(
        "global\n  nbthread 1\n  maxconn 8000\ndefaults\n  mode http\n  timeout client 1h\n  timeout server 1h\n  timeout connect 5s\n  timeout http-keep-alive 1h\n\
         frontend in\n  bind {}\n  http-request return status 200 content-type text/plain string \"hello from the backend\\n\"\n",
        address.http1
    );
    let configuration = site.directory.join("backend.cfg");
    fs::write(&configuration, text).map_err(cannot)?;
    let http1 = Spec::new(Side::Server, "haproxy", site.directory.join("backend-http1.log"));
    let http1 = http1.arguments(["-db", "-f", &configuration.display().to_string()]);

    let documents = site.directory.join("documents");
    let file = documents.join(METHOD.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap_or(&documents)).map_err(cannot)?;
    fs::write(&file, MESSAGE).map_err(cannot)?;
    let http2 = Spec::new(Side::Server, "nghttpd", site.directory.join("backend-http2.log"));
    let http2 = http2.arguments(["--no-tls", "--address", &address.http2.ip().to_string(), "--htdocs", &documents.display().to_string()]);
    let http2 = http2.arguments(["--trailer", "grpc-status: 0", &address.http2.port().to_string()]);

    let own = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let tcp = Spec::new(Side::Server, own, site.directory.join("backend-tcp.log"));
    let tcp = tcp.arguments(["load", "serve", "--listen", &address.tcp.to_string()]);
    [http1, http2, tcp].iter().map(|spec| Process::start(&site.place, spec)).collect()
}
