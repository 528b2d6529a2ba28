//! nginx: two of it, with mutual TLS 1.3 between them.

use super::program;
use crate::bench::certificates::NAME;
use crate::bench::place::Side;
use crate::bench::process::Spec;
use crate::bench::system::{Entries, Ports, Site, System};
use std::fs;
use std::path::{Path, PathBuf};

pub struct Nginx {
    program: PathBuf,
}

/// Debian's place for what is not compiled in.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

impl Nginx {
    pub fn find() -> Result<Self, String> {
        let program = program("NGINX", "nginx", "apt-get install nginx-core libnginx-mod-stream")?;
        // Checked here, so that a missing module is told as such and not as a proxy that does not answer.
        match Path::new(STREAM_MODULE).exists() {
            true => Ok(Self { program }),
            false => Err(format!("{STREAM_MODULE} is missing (apt-get install libnginx-mod-stream)")),
        }
    }

    fn spec(&self, site: &Site, ports: &Ports, side: Side, http: &str, stream: &str) -> Result<Option<Spec>, String> {
        let name = format!("nginx-{side:?}");
        let prefix = site.directory.join(format!("{name}-{}", ports.slot.0));
        let text = format!(
            "load_module {STREAM_MODULE};\nuser root;\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile 16384;\npid {prefix}/pid;\nerror_log {prefix}/error.log error;\n\
             events {{ worker_connections 8000; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  client_body_temp_path {prefix}/body;\n  proxy_temp_path {prefix}/proxy;\n  fastcgi_temp_path {prefix}/fastcgi;\n  uwsgi_temp_path {prefix}/uwsgi;\n  scgi_temp_path {prefix}/scgi;\n{http}}}\n\
             stream {{\n{stream}}}\n",
            prefix = prefix.display()
        );
        let path = prefix.join("nginx.conf");
        let written = fs::create_dir_all(&prefix).and_then(|()| fs::write(&path, text));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let spec = Spec::new(side, &self.program, site.log(&name, ports.slot));
        Ok(Some(spec.arguments(["-p", &prefix.display().to_string(), "-e", "stderr", "-c", &path.display().to_string()])))
    }
}

impl System for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn server(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (secure, directory) = (ports.secure(site), site.directory.display());
        let tls = format!(
            "    ssl_certificate {directory}/node.crt; ssl_certificate_key {directory}/node.key;\n    ssl_client_certificate {directory}/ca.crt; ssl_verify_client on; ssl_protocols TLSv1.3;\n"
        );
        let http = format!(
            "{}  server {{\n    listen {} ssl;\n{tls}{}  }}\n  server {{\n    listen {} ssl http2;\n{tls}    location / {{ grpc_pass grpc://http2; }}\n  }}\n",
            upstreams(&site.backend()),
            secure.http1,
            plain_location("http"),
            secure.http2
        );
        let stream = format!("  server {{\n    listen {} ssl;\n{tls}    proxy_pass {};\n  }}\n", secure.tcp, site.backend().tcp);
        self.spec(site, ports, Side::Server, &http, &stream)
    }

    fn client(&self, site: &Site, ports: &Ports) -> Result<Option<Spec>, String> {
        let (plain, secure) = (ports.plain(site), ports.secure(site));
        let http = format!(
            "{}  server {{\n    listen {};\n{}{}  }}\n  server {{\n    listen {} http2;\n{}    location / {{ grpc_pass grpcs://http2; }}\n  }}\n",
            upstreams(&secure),
            plain.http1,
            upstream_tls(&site.directory, "proxy"),
            plain_location("https"),
            plain.http2,
            upstream_tls(&site.directory, "grpc"),
        );
        let stream = format!(
            "  server {{\n    listen {};\n    proxy_ssl on;\n{}    proxy_pass {};\n  }}\n",
            plain.tcp,
            upstream_tls(&site.directory, "proxy"),
            secure.tcp
        );
        self.spec(site, ports, Side::Client, &http, &stream)
    }
}

fn upstreams(next: &Entries) -> String {
    let upstream = |name: &str, address| {
        format!("  upstream {name} {{ server {address}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h; }}\n")
    };
    upstream("http1", next.http1) + &upstream("http2", next.http2)
}

fn plain_location(scheme: &str) -> String {
    format!("    location / {{ proxy_pass {scheme}://http1; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n")
}

fn upstream_tls(directory: &Path, module: &str) -> String {
    let directory = directory.display();
    format!(
        "    {module}_ssl_certificate {directory}/node.crt; {module}_ssl_certificate_key {directory}/node.key; {module}_ssl_protocols TLSv1.3;\n    {module}_ssl_trusted_certificate {directory}/ca.crt; {module}_ssl_verify on; {module}_ssl_name {NAME}; {module}_ssl_server_name on;\n"
    )
}
