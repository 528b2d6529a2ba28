//! TLSRoute and TCPRoute: rules for connections.

use super::api;
use super::backend::backend;
use crate::translate::reader::Reader;
use std::collections::BTreeMap;
use taut_model::route::TcpRule;

/// `named`: a TLSRoute, whose connections ask for server names.
pub fn rules(reader: &mut Reader<'_>, hostnames: &[String], rules: Vec<api::ConnectionRule>, named: bool) -> Vec<TcpRule> {
    if named && hostnames.is_empty() {
        reader.invalid("spec.hostnames", "names no server name: write those that clients ask for");
    }
    for (index, name) in hostnames.iter().enumerate() {
        let bare = name.strip_prefix("*.").unwrap_or(name);
        if bare.is_empty() || bare.contains('*') || bare.parse::<std::net::IpAddr>().is_ok() {
            reader.invalid(&format!("spec.hostnames[{index}]"), format_args!("{name:?} is not a server name or \"*.suffix\""));
        }
    }
    let sni: Vec<String> = hostnames.iter().map(|name| name.to_ascii_lowercase()).collect();
    rules.into_iter().enumerate().map(|(index, rule)| self::rule(reader, index, rule, &sni)).collect()
}

fn rule(reader: &mut Reader<'_>, index: usize, rule: api::ConnectionRule, sni: &[String]) -> TcpRule {
    let at = format!("spec.rules[{index}]");
    let mut backends = Vec::new();
    for (index, reference) in rule.backend_refs.iter().enumerate() {
        let at = format!("{at}.backendRefs[{index}]");
        if !reference.filters.is_empty() {
            reader.unsupported(&format!("{at}.filters"));
        }
        backends.push(backend(reader, &at, reference));
    }
    TcpRule {
        origin: reader.origin(&at),
        port: None,
        source_labels: BTreeMap::new(),
        source_namespace: None,
        destination_subnets: Vec::new(),
        sni: sni.to_vec(),
        backends,
    }
}
