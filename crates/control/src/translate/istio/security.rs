//! PeerAuthentication and AuthorizationPolicy, and what stands in for one that cannot be honoured: the stricter thing.

use super::api;
use super::attach::{self, selector};
use crate::translate::meaning::Meaning;
use crate::translate::reader::{Reader, code};
use crate::translate::values;
use std::collections::BTreeMap;
use taut_model::object::Object;
use taut_model::origin::Origin;
use taut_model::policy::{
    AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, ConditionKey, MtlsMode, OperationMatch, PeerAuthentication, SourceMatch,
};

pub fn peer_authentication(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::PeerAuthentication = reader.spec(&[]);
    let mode = spec.mtls.and_then(|mtls| mtls_mode(reader, "spec.mtls.mode", mtls.mode.as_deref()));
    if !spec.port_level_mtls.is_empty() && spec.selector.match_labels.is_empty() {
        reader.invalid("spec.portLevelMtls", "needs a selector: ports are those of the workloads that it selects");
    }
    let mut ports = BTreeMap::new();
    for (written, mtls) in spec.port_level_mtls {
        let at = format!("spec.portLevelMtls.{written}");
        let port = reader.taken(&at, values::port(&written));
        let mode = mtls_mode(reader, &format!("{at}.mode"), mtls.mode.as_deref());
        ports.extend(port.zip(mode));
    }
    Meaning::PeerAuthentication(PeerAuthentication {
        origin: reader.origin(""),
        namespace: reader.namespace().to_owned(),
        selector: spec.selector.match_labels,
        mode,
        ports,
        created: reader.created(),
    })
}

fn mtls_mode(reader: &mut Reader<'_>, at: &str, written: Option<&str>) -> Option<MtlsMode> {
    match written {
        None | Some("UNSET") => None,
        Some("STRICT") => Some(MtlsMode::Strict),
        Some("PERMISSIVE") => Some(MtlsMode::Permissive),
        Some("DISABLE") => Some(MtlsMode::Disable),
        Some(other) => {
            reader.invalid(at, format_args!("{other:?} is not one of STRICT, PERMISSIVE, DISABLE and UNSET"));
            None
        }
    }
}

/// In place of a PeerAuthentication that is not accepted: STRICT for the same workloads.
pub fn strict(object: &Object) -> PeerAuthentication {
    PeerAuthentication {
        origin: stand_in(object, "not accepted, so STRICT holds"),
        namespace: object.namespace.clone(),
        selector: selector(object),
        mode: Some(MtlsMode::Strict),
        ports: BTreeMap::new(),
        created: object.value["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned(),
    }
}

/// In place of an AuthorizationPolicy that is not accepted: nothing may reach the same workloads.
/// `None`: it is about nobody here.
pub fn deny_everything(object: &Object) -> Option<AuthorizationPolicy> {
    let (selector, services) = attach::readable(object)?;
    let origin = stand_in(object, "not accepted, so everything is denied");
    let rule = AuthorizationRule { origin: origin.clone(), from: Vec::new(), to: Vec::new(), when: Vec::new() };
    Some(AuthorizationPolicy {
        origin,
        namespace: object.namespace.clone(),
        selector,
        services,
        action: AuthorizationAction::Deny,
        provider: String::new(),
        dry_run: false,
        rules: vec![rule],
    })
}

/// The origin of what holds in place of an object that is not accepted.
pub fn stand_in(object: &Object, because: &str) -> Origin {
    Origin { path: format!("({because})"), location: object.location(""), ..object.origin("") }
}

/// Whether a policy says that it is not to be enforced.
pub fn is_dry_run(policy: &Object) -> bool {
    policy.value["metadata"]["annotations"]["istio.io/dry-run"] == "true"
}

pub fn authorization_policy(reader: &mut Reader<'_>) -> Meaning {
    let dry_run = is_dry_run(reader.object());
    let spec: api::AuthorizationPolicy = reader.spec(&[]);
    let (selector, services) = attach::attachment(reader, spec.selector.match_labels, spec.target_ref, spec.target_refs);
    let action = match spec.action.as_deref() {
        None | Some("ALLOW") => AuthorizationAction::Allow,
        Some("DENY") => AuthorizationAction::Deny,
        Some("AUDIT") => AuthorizationAction::Audit,
        Some("CUSTOM") => AuthorizationAction::Custom,
        Some(other) => {
            reader.unsupported_value("spec.action", other, "use ALLOW, DENY, AUDIT or CUSTOM");
            AuthorizationAction::Deny
        }
    };
    let provider = spec.provider.map(|provider| provider.name);
    match (action, &provider) {
        (AuthorizationAction::Custom, Some(name)) if !name.is_empty() => {}
        (AuthorizationAction::Custom, _) => reader.invalid("spec.provider", "is missing: name an extension provider of the mesh's settings"),
        (_, Some(_)) => reader.invalid("spec.provider", "is for the action CUSTOM"),
        (_, None) => {}
    }
    if dry_run && action == AuthorizationAction::Custom {
        let instead = "nobody is asked in a dry run, as in Istio: remove the annotation";
        reader.unsupported_value("metadata.annotations", "istio.io/dry-run with the action CUSTOM", instead);
    }
    if spec.rules.is_empty() && action != AuthorizationAction::Allow {
        reader.warn(code::NO_EFFECT, "spec.rules", "names nothing, so this policy never matches; one empty rule matches everything");
    }
    Meaning::AuthorizationPolicy(AuthorizationPolicy {
        origin: reader.origin(""),
        namespace: reader.namespace().to_owned(),
        selector,
        services,
        action,
        provider: provider.unwrap_or_default(),
        dry_run,
        rules: spec
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, written)| authorization_rule(reader, &format!("spec.rules[{index}]"), written))
            .collect(),
    })
}

/// The rule that is written at the field `at`.
pub fn authorization_rule(reader: &mut Reader<'_>, at: &str, written: api::Rule) -> AuthorizationRule {
    for (field, empty) in [("from", written.from.as_ref().is_some_and(Vec::is_empty)), ("to", written.to.as_ref().is_some_and(Vec::is_empty))] {
        if empty {
            reader.invalid(&format!("{at}.{field}"), "is empty, which reads as nobody: remove it or name something");
        }
    }
    let from = written.from.unwrap_or_default().into_iter().enumerate();
    let from = from.map(|(index, from)| source(reader, &format!("{at}.from[{index}].source"), from.source)).collect();
    let to = written.to.unwrap_or_default().into_iter().enumerate();
    let to = to.map(|(index, to)| operation(reader, &format!("{at}.to[{index}].operation"), to.operation)).collect();
    let when = written.when.into_iter().enumerate();
    let when = when.filter_map(|(index, written)| condition(reader, &format!("{at}.when[{index}]"), written)).collect();
    AuthorizationRule { origin: reader.origin(at), from, to, when }
}

/// What the values of one list must look like.
#[derive(Clone, Copy)]
enum Form {
    /// Exact, `prefix*`, `*suffix` or `*`.
    Text,
    Path,
    Block,
    Port,
    /// `account` or `namespace/account`, no patterns.
    Account,
}

/// A list of `source` or `operation`: every value checked. `None` and the values as they are otherwise.
fn list(reader: &mut Reader<'_>, at: &str, written: Option<Vec<String>>, form: Form) -> Vec<String> {
    let Some(values) = written else { return Vec::new() };
    if values.is_empty() {
        reader.invalid(at, "is empty, which reads as nobody: remove it or name something");
    }
    for (index, value) in values.iter().enumerate() {
        check(reader, &format!("{at}[{index}]"), value, form);
    }
    values
}

fn check(reader: &mut Reader<'_>, at: &str, value: &str, form: Form) {
    let inner = value.strip_prefix('*').unwrap_or_else(|| value.strip_suffix('*').unwrap_or(value));
    match form {
        _ if value.is_empty() => reader.invalid(at, "is empty"),
        Form::Block => drop(reader.taken(at, values::ip_block(value))),
        Form::Port => drop(reader.taken(at, values::port(value))),
        Form::Account if value.contains('*') || value.split('/').count() > 2 || value.split('/').any(str::is_empty) => {
            reader.invalid(at, format_args!("{value:?} is neither a service account nor namespace/account"));
        }
        Form::Path if value.contains(['{', '}']) => {
            if let Err(why) = template(value) {
                reader.invalid(at, format_args!("{value:?} {why}"));
            }
        }
        Form::Text | Form::Path if inner.contains('*') => {
            reader.unsupported_value(at, format_args!("the pattern {value:?}"), "use one * at the start or at the end");
        }
        Form::Text | Form::Path | Form::Account => {}
    }
}

/// Istio's path templates: `{*}` and `{**}` stand for whole segments, no other `*` beside them, and `{**}` comes once, last of them.
fn template(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("is a path template, which begins with /");
    }
    let mut ended = false;
    for segment in path.split('/') {
        match segment {
            "{*}" | "{**}" if ended => return Err("has a template after {**}, which must be the last"),
            "{*}" => {}
            "{**}" => ended = true,
            text if text.contains(['{', '}']) => return Err("has braces that are no template: {*} is one segment, {**} the rest"),
            text if text.contains('*') => return Err("has a * beside a template: {*} is one segment, {**} the rest"),
            _ => {}
        }
    }
    Ok(())
}

fn source(reader: &mut Reader<'_>, at: &str, written: api::Source) -> SourceMatch {
    let namespace = reader.namespace().to_owned();
    let qualified = |accounts| qualified(&namespace, accounts);
    let mut take = |field: &str, values, form| list(reader, &format!("{at}.{field}"), values, form);
    let source = SourceMatch {
        principals: take("principals", written.principals, Form::Text),
        not_principals: take("notPrincipals", written.not_principals, Form::Text),
        namespaces: take("namespaces", written.namespaces, Form::Text),
        not_namespaces: take("notNamespaces", written.not_namespaces, Form::Text),
        trust_domains: take("trustDomains", written.trust_domains, Form::Text),
        not_trust_domains: take("notTrustDomains", written.not_trust_domains, Form::Text),
        service_accounts: qualified(take("serviceAccounts", written.service_accounts, Form::Account)),
        not_service_accounts: qualified(take("notServiceAccounts", written.not_service_accounts, Form::Account)),
        request_principals: take("requestPrincipals", written.request_principals, Form::Text),
        not_request_principals: take("notRequestPrincipals", written.not_request_principals, Form::Text),
        ip_blocks: take("ipBlocks", written.ip_blocks, Form::Block),
        not_ip_blocks: take("notIpBlocks", written.not_ip_blocks, Form::Block),
        remote_ip_blocks: take("remoteIpBlocks", written.remote_ip_blocks, Form::Block),
        not_remote_ip_blocks: take("notRemoteIpBlocks", written.not_remote_ip_blocks, Form::Block),
    };
    let accounts = !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
    let others = [&source.principals, &source.not_principals, &source.namespaces, &source.not_namespaces];
    if accounts && others.iter().any(|list| !list.is_empty()) {
        reader.invalid(at, "names service accounts beside principals or namespaces, which the API does not allow: write two sources");
    }
    if source == SourceMatch::default() {
        reader.invalid(at, "restricts nothing: name a principal, a namespace, a service account or an address");
    }
    source
}

fn operation(reader: &mut Reader<'_>, at: &str, written: api::Operation) -> OperationMatch {
    let mut take = |field: &str, values, form| list(reader, &format!("{at}.{field}"), values, form);
    let numbers = |texts: Vec<String>| -> Vec<u16> { texts.iter().filter_map(|text| text.parse().ok()).collect() };
    let operation = OperationMatch {
        hosts: take("hosts", written.hosts, Form::Text),
        not_hosts: take("notHosts", written.not_hosts, Form::Text),
        ports: numbers(take("ports", written.ports, Form::Port)),
        not_ports: numbers(take("notPorts", written.not_ports, Form::Port)),
        methods: take("methods", written.methods, Form::Text),
        not_methods: take("notMethods", written.not_methods, Form::Text),
        paths: take("paths", written.paths, Form::Path),
        not_paths: take("notPaths", written.not_paths, Form::Path),
    };
    if operation == OperationMatch::default() {
        reader.invalid(at, "restricts nothing: name a host, a port, a method or a path");
    }
    operation
}

fn condition(reader: &mut Reader<'_>, at: &str, written: api::Condition) -> Option<Condition> {
    let (key, form) = condition_key(reader, &format!("{at}.key"), &written.key)?;
    if written.values.is_none() && written.not_values.is_none() {
        reader.invalid(at, "has neither values nor notValues");
    }
    let mut values = list(reader, &format!("{at}.values"), written.values, form);
    let mut not_values = list(reader, &format!("{at}.notValues"), written.not_values, form);
    if key == ConditionKey::SourceServiceAccount {
        let namespace = reader.namespace();
        (values, not_values) = (qualified(namespace, values), qualified(namespace, not_values));
    }
    Some(Condition { key, values, not_values })
}

/// `namespace/account` each; one without a namespace is of the policy's.
fn qualified(namespace: &str, accounts: Vec<String>) -> Vec<String> {
    accounts.into_iter().map(|account| if account.contains('/') { account } else { format!("{namespace}/{account}") }).collect()
}

fn condition_key(reader: &mut Reader<'_>, at: &str, written: &str) -> Option<(ConditionKey, Form)> {
    if let Some(name) = written.strip_prefix("request.headers[").and_then(|rest| rest.strip_suffix(']')) {
        return Some((ConditionKey::RequestHeader(reader.taken(at, values::header_name(name))?), Form::Text));
    }
    if let Some(path) = written.strip_prefix("request.auth.claims") {
        let path = reader.taken(at, claim_path(path))?;
        return Some((ConditionKey::RequestClaim(path), Form::Text));
    }
    Some(match written {
        "source.ip" => (ConditionKey::SourceIp, Form::Block),
        "remote.ip" => (ConditionKey::RemoteIp, Form::Block),
        "source.namespace" => (ConditionKey::SourceNamespace, Form::Text),
        "source.principal" => (ConditionKey::SourcePrincipal, Form::Text),
        "source.serviceAccount" => (ConditionKey::SourceServiceAccount, Form::Account),
        "source.trustDomain" => (ConditionKey::SourceTrustDomain, Form::Text),
        "destination.ip" => (ConditionKey::DestinationIp, Form::Block),
        "destination.port" => (ConditionKey::DestinationPort, Form::Port),
        "connection.sni" => (ConditionKey::ConnectionSni, Form::Text),
        "request.auth.principal" => (ConditionKey::RequestPrincipal, Form::Text),
        "request.auth.audiences" => (ConditionKey::RequestAudiences, Form::Text),
        "request.auth.presenter" => (ConditionKey::RequestPresenter, Form::Text),
        other => {
            let supported = "use request.headers[name], request.auth.principal, request.auth.audiences, request.auth.presenter, request.auth.claims[name], source.ip, remote.ip, source.namespace, source.principal, source.serviceAccount, source.trustDomain, destination.ip, destination.port or connection.sni";
            reader.unsupported_value(at, format_args!("{other:?}"), supported);
            return None;
        }
    })
}

/// `[a][b]`: the names that lead to a claim.
fn claim_path(written: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("request.auth.claims{written} names no claim: write request.auth.claims[name], or [outer][inner]");
    let inner = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(wrong)?;
    let names: Vec<String> = inner.split("][").map(str::to_owned).collect();
    if names.iter().any(|name| name.is_empty() || name.contains(['[', ']'])) { Err(wrong()) } else { Ok(names) }
}
