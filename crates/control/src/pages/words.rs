//! Rules and policies in a few words, as the pages list them. The whole of each is in its object.

use taut_model::destination::Destination;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, MtlsMode, PeerAuthentication, RequestAuthentication};
use taut_model::rate_limit::RateLimit;
use taut_model::route::{Backend, HttpAction, HttpMatch, HttpRule, PathMatch, TcpRule, TextMatch};

/// Items of a list that are told before `…`.
const FEW: usize = 4;

pub fn http_rule(rule: &HttpRule) -> String {
    let matches: Vec<String> = rule.matches.iter().map(http_match).collect();
    let who = if matches.is_empty() { "every request".to_owned() } else { few(&matches, " or ") };
    let what = match &rule.action {
        HttpAction::Forward(to) => backends(to),
        HttpAction::Redirect(redirect) => format!("redirected with {}", redirect.status),
        HttpAction::Respond(answer) => format!("answered with {}", answer.status),
    };
    let mut more = Vec::new();
    if let Some(fault) = &rule.fault {
        more.extend(fault.delay.as_ref().map(|delay| format!("delays {} % by {:?}", delay.percent, delay.duration)));
        more.extend(fault.abort.as_ref().map(|abort| format!("aborts {} %", abort.percent)));
    }
    more.extend(rule.timeout.map(|timeout| format!("timeout {timeout:?}")));
    more.extend(rule.mirrors.iter().map(|mirror| format!("mirrors {} % to {}", mirror.percent, backend(&mirror.backend))));
    let more = if more.is_empty() { String::new() } else { format!("; {}", more.join(", ")) };
    format!("{who} → {what}{more}")
}

pub fn tcp_rule(rule: &TcpRule) -> String {
    let who = if rule.sni.is_empty() { "every connection".to_owned() } else { few(&rule.sni, " or ") };
    format!("{who} → {}", backends(&rule.backends))
}

pub fn destination(rule: &Destination) -> String {
    let subsets: Vec<String> = rule.subsets.iter().map(|subset| subset.name.clone()).collect();
    let policy = &rule.policy;
    let mut said = Vec::new();
    said.extend((!subsets.is_empty()).then(|| format!("subsets {}", few(&subsets, ", "))));
    said.extend(policy.tls.is_some().then(|| "TLS".to_owned()));
    said.extend(policy.limits.is_some().then(|| "limits".to_owned()));
    said.extend(policy.outlier.is_some().then(|| "ejects outliers".to_owned()));
    said.extend(policy.balancer.is_some().then(|| "balancer".to_owned()));
    said.extend(policy.health_check.is_some().then(|| "health checks".to_owned()));
    if said.is_empty() { "no settings for all ports".to_owned() } else { said.join(", ") }
}

pub fn authentication(policy: &PeerAuthentication) -> String {
    let mode = |mode: MtlsMode| match mode {
        MtlsMode::Strict => "STRICT",
        MtlsMode::Permissive => "PERMISSIVE",
        MtlsMode::Disable => "DISABLE",
    };
    let whole = policy.mode.map_or_else(|| "mutual TLS as inherited".to_owned(), |said| format!("mutual TLS {}", mode(said)));
    let ports: Vec<String> = policy.ports.iter().map(|(port, said)| format!("port {port} {}", mode(*said))).collect();
    let ports = if ports.is_empty() { String::new() } else { format!(", {}", few(&ports, ", ")) };
    format!("{whole}{ports} for {}", selected(&policy.selector))
}

pub fn authorization(policy: &AuthorizationPolicy) -> String {
    let action = match policy.action {
        AuthorizationAction::Allow => "ALLOW",
        AuthorizationAction::Deny => "DENY",
        AuthorizationAction::Audit => "AUDIT",
        AuthorizationAction::Custom => "CUSTOM",
    };
    let dry = if policy.dry_run { "dry run: " } else { "" };
    let rules: Vec<String> = policy.rules.iter().map(rule).collect();
    let rules = if rules.is_empty() { "nobody".to_owned() } else { few(&rules, "; or ") };
    format!("{dry}{action} {rules}; for {}", attached(&policy.selector, &policy.services))
}

pub fn tokens(policy: &RequestAuthentication) -> String {
    let issuers: Vec<String> = policy.rules.iter().map(|rule| rule.issuer.clone()).collect();
    let what = match (policy.closed, issuers.is_empty()) {
        (true, _) => "no request".to_owned(),
        (false, true) => "no tokens are looked for".to_owned(),
        (false, false) => format!("tokens of {}", few(&issuers, ", ")),
    };
    format!("{what}; for {}", attached(&policy.selector, &policy.services))
}

fn attached(selector: &std::collections::BTreeMap<String, String>, services: &[String]) -> String {
    if services.is_empty() { selected(selector) } else { few(services, ", ") }
}

pub fn limit(limit: &RateLimit) -> String {
    let rates = limit.limits.iter().map(|one| format!("{} in {:?}", one.requests, one.interval));
    let sizes = limit.sizes.iter().map(|one| format!("{} by size", one.name));
    let all: Vec<String> = rates.chain(sizes).collect();
    format!("{} for {}", few(&all, ", "), selected(&limit.selector))
}

fn rule(rule: &AuthorizationRule) -> String {
    let from: Vec<String> = rule
        .from
        .iter()
        .map(|source| {
            let named = source
                .principals
                .iter()
                .chain(&source.request_principals)
                .chain(&source.namespaces)
                .chain(&source.service_accounts)
                .chain(&source.ip_blocks);
            let not = source.not_principals.iter().chain(&source.not_namespaces).chain(&source.not_service_accounts).chain(&source.not_ip_blocks);
            let all: Vec<String> = named.cloned().chain(not.map(|one| format!("not {one}"))).collect();
            if all.is_empty() { "some clients".to_owned() } else { few(&all, ", ") }
        })
        .collect();
    let to: Vec<String> = rule
        .to
        .iter()
        .flat_map(|to| to.methods.iter().chain(&to.paths).chain(&to.hosts).cloned().chain(to.ports.iter().map(|port| format!("port {port}"))))
        .collect();
    let from = if from.is_empty() { "everybody".to_owned() } else { few(&from, " or ") };
    let to = if to.is_empty() { String::new() } else { format!(" to {}", few(&to, ", ")) };
    let when = if rule.when.is_empty() { "" } else { " under conditions" };
    format!("{from}{to}{when}")
}

fn selected(selector: &std::collections::BTreeMap<String, String>) -> String {
    let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "all workloads".to_owned() } else { labels.join(",") }
}

fn http_match(one: &HttpMatch) -> String {
    let path = one.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(path) | PathMatch::Segments(path) => format!("{path}*"),
        PathMatch::Regex(path) => format!("~{path}"),
        PathMatch::Grpc { service, method } => format!("{}/{}", some(service.as_ref()), some(method.as_ref())),
    });
    let named = |item: &taut_model::route::NamedMatch| format!("{}: {}", item.name, text(&item.value));
    let parts: Vec<String> = one
        .method
        .as_ref()
        .map(text)
        .into_iter()
        .chain(path)
        .chain(one.headers.iter().map(named))
        .chain(one.without_headers.iter().map(|item| format!("without {}", named(item))))
        .chain(one.query.iter().map(|item| format!("?{}", named(item))))
        .chain(one.source_labels.iter().map(|(key, value)| format!("from {key}={value}")))
        .collect();
    if parts.is_empty() { "every request".to_owned() } else { parts.join(" ") }
}

fn some(matched: Option<&TextMatch>) -> String {
    matched.map_or_else(|| "*".to_owned(), text)
}

fn text(matched: &TextMatch) -> String {
    match matched {
        TextMatch::Exact(value) => value.clone(),
        TextMatch::Prefix(value) => format!("{value}*"),
        TextMatch::Regex(value) => format!("~{value}"),
        TextMatch::Present => "*".to_owned(),
    }
}

fn backends(all: &[Backend]) -> String {
    let total: u64 = all.iter().map(|one| u64::from(one.weight)).sum();
    let told = |one: &Backend| match all.len() {
        1 => backend(one),
        _ if total == 0 => format!("0 % {}", backend(one)),
        _ => format!("{} % {}", (f64::from(one.weight) * 1000.0 / total as f64).round() / 10.0, backend(one)),
    };
    let all: Vec<String> = all.iter().map(told).collect();
    if all.is_empty() { "nowhere".to_owned() } else { few(&all, ", ") }
}

fn backend(one: &Backend) -> String {
    let host = taut_model::host::short(&one.host);
    one.subset.as_ref().map_or_else(|| host.to_owned(), |subset| format!("{host} {subset}"))
}

fn few(all: &[String], between: &str) -> String {
    let told = all.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(between);
    if all.len() > FEW { format!("{told}{between}…") } else { told }
}
