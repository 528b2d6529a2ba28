//! VirtualService -> Route: hosts, gateways, visibility, TCP and TLS rules; HTTP rules are in `http`.

use super::api;
use super::http;
use super::parts::{backend, for_mesh, weight};
use crate::translate::meaning::Meaning;
use crate::translate::reader::Reader;
use std::collections::BTreeMap;
use taut_model::route::{Backend, Dialect, Parent, Route, TcpRule};

/// Names for statistics and logs, and a switch whose only effect is on localities, by which the mesh does not hold back retries.
const HARMLESS: &[&str] = &["spec.http[].match[].statPrefix", "spec.http[].match[].name", "spec.http[].retries.retryRemoteLocalities"];

pub fn virtual_service(reader: &mut Reader<'_>) -> Meaning {
    let gateways = reader.part::<Gateways>("spec").gateways;
    if !gateways.is_empty() && !for_mesh(&gateways) {
        return Meaning::Idle(format!("bound to gateways only ({}), which this version does not serve", gateways.join(", ")));
    }
    let spec: api::VirtualService = reader.spec(HARMLESS);
    let consumer_namespace = visibility(reader, &spec.export_to);
    if spec.hosts.is_empty() {
        reader.invalid("spec.hosts", "names no host: write the service that this is about");
    }
    let parents = spec.hosts.iter().enumerate().filter_map(|(index, host)| parent(reader, index, host)).collect();
    let http = spec.http.into_iter().enumerate().filter_map(|(index, rule)| http::rule(reader, index, rule)).collect();
    let mut tcp = Vec::new();
    for (index, rule) in spec.tls.into_iter().enumerate() {
        tls_rules(reader, index, rule, &mut tcp);
    }
    for (index, rule) in spec.tcp.into_iter().enumerate() {
        tcp_rules(reader, index, rule, &mut tcp);
    }
    Meaning::Route(Route {
        origin: reader.origin(""),
        dialect: Dialect::Istio,
        parents,
        consumer_namespace,
        hostnames: Vec::new(),
        created: reader.created(),
        http,
        tcp,
    })
}

/// Read first and alone, so that a gateway's own fields are nobody's problem.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Gateways {
    gateways: Vec<String>,
}

/// `exportTo` as the namespace whose clients see the object; `None`: all of them.
fn visibility(reader: &mut Reader<'_>, export_to: &[String]) -> Option<String> {
    let own = reader.namespace();
    match export_to {
        [] => None,
        [only] if only == "*" => None,
        [only] if only == "." || only == own => Some(own.to_owned()),
        _ => {
            reader.unsupported_value("spec.exportTo", export_to.join(", "), "use \".\" (this namespace) or \"*\" (all)");
            None
        }
    }
}

/// A host, or a pattern `*` or `*.suffix` that `translate` spreads over the services it covers.
fn parent(reader: &mut Reader<'_>, index: usize, written: &str) -> Option<Parent> {
    let at = format!("spec.hosts[{index}]");
    match written.strip_prefix('*') {
        Some("") => {}
        Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => {}
        None if !written.contains('*') && !written.is_empty() && !written.contains('/') => {}
        _ => {
            reader.unsupported_value(&at, format_args!("{written:?}"), "write a host name, \"*\" or \"*.suffix\"");
            return None;
        }
    }
    Some(Parent { host: reader.host(written), port: None })
}

fn tcp_rules(reader: &mut Reader<'_>, index: usize, rule: api::TcpRoute, rules: &mut Vec<TcpRule>) {
    let at = format!("spec.tcp[{index}]");
    let backends = l4_backends(reader, &at, rule.route);
    if rule.r#match.is_empty() {
        rules.push(TcpRule {
            origin: reader.origin(&at),
            port: None,
            source_labels: BTreeMap::new(),
            source_namespace: None,
            sni: Vec::new(),
            backends,
        });
        return;
    }
    for (index, matching) in rule.r#match.into_iter().enumerate().filter(|(_, matching)| for_mesh(&matching.gateways)) {
        let at = format!("{at}.match[{index}]");
        rules.push(TcpRule {
            origin: reader.origin(&at),
            port: reader.port(&format!("{at}.port"), matching.port),
            source_labels: matching.source_labels,
            source_namespace: matching.source_namespace,
            sni: Vec::new(),
            backends: backends.clone(),
        });
    }
}

fn tls_rules(reader: &mut Reader<'_>, index: usize, rule: api::TlsRoute, rules: &mut Vec<TcpRule>) {
    let at = format!("spec.tls[{index}]");
    let backends = l4_backends(reader, &at, rule.route);
    if rule.r#match.is_empty() {
        reader.invalid(&format!("{at}.match"), "is missing: a TLS rule needs at least one match with sniHosts");
    }
    for (index, matching) in rule.r#match.into_iter().enumerate().filter(|(_, matching)| for_mesh(&matching.gateways)) {
        let at = format!("{at}.match[{index}]");
        if matching.sni_hosts.is_empty() {
            reader.invalid(&format!("{at}.sniHosts"), "names no server name");
        }
        for (index, name) in matching.sni_hosts.iter().enumerate() {
            if name.is_empty() || name.strip_prefix('*').unwrap_or(name).contains('*') {
                reader.invalid(&format!("{at}.sniHosts[{index}]"), format_args!("{name:?} is not a server name, \"*\" or \"*.suffix\""));
            }
        }
        rules.push(TcpRule {
            origin: reader.origin(&at),
            port: reader.port(&format!("{at}.port"), matching.port),
            source_labels: matching.source_labels,
            source_namespace: matching.source_namespace,
            sni: matching.sni_hosts.iter().map(|name| name.to_ascii_lowercase()).collect(),
            backends: backends.clone(),
        });
    }
}

fn l4_backends(reader: &mut Reader<'_>, at: &str, route: Vec<api::L4Destination>) -> Vec<Backend> {
    if route.is_empty() {
        reader.invalid(&format!("{at}.route"), "is missing: name at least one destination");
    }
    let only = route.len() == 1;
    route
        .into_iter()
        .enumerate()
        .map(|(index, share)| {
            let at = format!("{at}.route[{index}]");
            let weight = weight(reader, &at, share.weight, only);
            backend(reader, &at, &format!("{at}.destination"), &share.destination, weight)
        })
        .collect()
}
