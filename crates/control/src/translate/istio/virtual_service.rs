//! VirtualService -> Route: hosts, gateways, visibility, TCP and TLS rules; HTTP rules are in `http`, merging with delegates in `delegates`.

use super::api;
use super::http;
use super::parts::{backend, for_mesh, weight};
use crate::translate::hedging;
use crate::translate::meaning::{Delegate, Delegation, Meaning, Root};
use crate::translate::reader::Reader;
use crate::translate::telemetry::sampling;
use crate::translate::values;
use std::collections::BTreeMap;
use taut_model::origin::ObjectRef;
use taut_model::route::{Backend, Dialect, Hedging, Parent, Route, RouteProtocol, TcpRule};

/// Names for statistics and logs, and a switch whose only effect is on localities, by which the mesh does not hold back retries.
const HARMLESS: &[&str] = &["spec.http[].match[].statPrefix", "spec.http[].match[].name", "spec.http[].retries.retryRemoteLocalities"];

pub fn virtual_service(reader: &mut Reader<'_>) -> Meaning {
    let gateways = reader.part::<Gateways>("spec").gateways;
    if !gateways.is_empty() && !for_mesh(&gateways) {
        return Meaning::Idle(format!("bound to gateways only ({}), which this version does not serve", gateways.join(", ")));
    }
    let spec: api::VirtualService = reader.spec(HARMLESS);
    let Some(consumer_namespaces) = visibility(reader, &spec.export_to) else {
        return Meaning::Idle("exportTo is \"~\", so nobody sees it".to_owned());
    };
    let hedging = hedging::annotated(reader);
    if spec.hosts.is_empty() {
        return delegate(reader, spec, consumer_namespaces, hedging.as_ref());
    }
    let parents = spec.hosts.iter().enumerate().filter_map(|(index, host)| parent(reader, index, host)).collect();
    let mut rules = Vec::new();
    for (index, mut rule) in spec.http.into_iter().enumerate() {
        let delegation = rule.delegate.take().map(|to| delegation(reader, index, &to));
        // `http` is told that there is one by an empty one.
        rule.delegate = delegation.as_ref().map(|_| api::Delegate::default());
        rules.extend(http::rule(reader, index, rule).map(|draft| (draft, delegation)));
    }
    rules.iter_mut().for_each(|(draft, _)| draft.rule.hedging.clone_from(&hedging));
    let mut tcp = Vec::new();
    for (index, rule) in spec.tls.into_iter().enumerate() {
        tls_rules(reader, index, rule, &mut tcp);
    }
    for (index, rule) in spec.tcp.into_iter().enumerate() {
        tcp_rules(reader, index, rule, &mut tcp);
    }
    let route = Route {
        origin: reader.origin(""),
        dialect: Dialect::Istio,
        protocol: RouteProtocol::Http,
        parents,
        consumer_namespaces,
        hostnames: Vec::new(),
        created: reader.created(),
        http: Vec::new(),
        tcp,
        sampling: sampling(reader),
    };
    match rules.iter().any(|(_, delegation)| delegation.is_some()) {
        true => Meaning::Root(Root { route, rules }),
        false => Meaning::Route(Route { http: rules.into_iter().map(|(draft, _)| http::finish(draft)).collect(), ..route }),
    }
}

fn delegation(reader: &mut Reader<'_>, index: usize, to: &api::Delegate) -> Delegation {
    let at = format!("spec.http[{index}].delegate");
    if to.name.is_empty() {
        reader.invalid(&format!("{at}.name"), "is missing: name the VirtualService that says what becomes of these requests");
    }
    let namespace = if to.namespace.is_empty() { reader.namespace() } else { &to.namespace };
    Delegation { to: ObjectRef::new("VirtualService", namespace, to.name.as_str()), at }
}

/// A VirtualService without hosts: rules for others to delegate to, one level deep, so that there is no way round in a circle.
fn delegate(reader: &mut Reader<'_>, spec: api::VirtualService, visible: Vec<String>, hedging: Option<&Hedging>) -> Meaning {
    if spec.http.is_empty() {
        reader.invalid("spec.hosts", "names no host: write the service that this is about, or http rules for others to delegate to");
    }
    for (field, written) in [("gateways", !spec.gateways.is_empty()), ("tls", !spec.tls.is_empty()), ("tcp", !spec.tcp.is_empty())] {
        if written {
            reader.invalid(&format!("spec.{field}"), "cannot be in a VirtualService without hosts: only http rules are delegated");
        }
    }
    let mut rules = Vec::new();
    for (index, rule) in spec.http.into_iter().enumerate() {
        if rule.delegate.is_some() {
            reader
                .invalid(&format!("spec.http[{index}].delegate"), "is in a delegate already (no hosts), and only one level of delegates is allowed");
        }
        rules.extend(http::rule(reader, index, rule));
    }
    rules.iter_mut().for_each(|draft| draft.rule.hedging = hedging.cloned());
    Meaning::Delegate(Delegate { rules, visible })
}

/// Read first and alone, so that a gateway's own fields are nobody's problem.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Gateways {
    gateways: Vec<String>,
}

/// `exportTo` as the namespaces whose clients see the object; empty: all. `None`: nobody does.
fn visibility(reader: &Reader<'_>, export_to: &[String]) -> Option<Vec<String>> {
    let named = export_to.iter().filter(|namespace| *namespace != "~");
    let mut namespaces: Vec<String> =
        named.map(|namespace| if namespace == "." { reader.namespace().to_owned() } else { namespace.clone() }).collect();
    namespaces.sort();
    namespaces.dedup();
    match export_to.is_empty() || namespaces.iter().any(|namespace| namespace == "*") {
        true => Some(Vec::new()),
        false => Some(namespaces).filter(|namespaces| !namespaces.is_empty()),
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
            destination_subnets: Vec::new(),
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
            destination_subnets: subnets(reader, &at, matching.destination_subnets),
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
            destination_subnets: subnets(reader, &at, matching.destination_subnets),
            sni: matching.sni_hosts.iter().map(|name| name.to_ascii_lowercase()).collect(),
            backends: backends.clone(),
        });
    }
}

fn subnets(reader: &mut Reader<'_>, at: &str, written: Vec<String>) -> Vec<String> {
    for (index, subnet) in written.iter().enumerate() {
        reader.taken(&format!("{at}.destinationSubnets[{index}]"), values::ip_block(subnet));
    }
    written
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
