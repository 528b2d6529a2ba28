//! Whether one request meets the conditions of one match, and which condition it fails.

use crate::facts::HttpFacts;
use crate::index::{AnyOf, Demand};
use crate::path::{query_value, split_authority};
use crate::pattern::{Path, Text};
use std::collections::{BTreeMap, BTreeSet};
use taut_model::origin::Origin;
use taut_model::route::{HttpMatch, NamedMatch};
use taut_model::workload::Workload;

/// Values of headers whose names hold one of these are never shown.
const SECRET_NAMES: &[&str] = &["auth", "cookie", "token", "key", "secret", "password", "session", "credential"];

/// What the conditions are held against.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) http: HttpFacts<'a>,
    /// The service port the client called.
    pub(crate) port: u16,
    /// The client.
    pub(crate) own: Option<&'a Workload>,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) origin: Origin,
    pub(crate) path: Option<Path>,
    ignore_path_case: bool,
    method: Option<Text>,
    scheme: Option<Text>,
    authority: Option<Text>,
    headers: Vec<(String, Text)>,
    without_headers: Vec<(String, Text)>,
    query: Vec<(String, Text)>,
    source: Source,
}

/// Conditions on the client and the port, which rules for connections share.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) port: Option<u16>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) namespace: Option<String>,
}

/// The first condition that does not hold.
#[derive(Debug)]
pub(crate) enum Miss<'a> {
    Port(u16),
    SourceLabels(&'a BTreeMap<String, String>),
    SourceNamespace(&'a str),
    Path(&'a Path),
    Method(&'a Text),
    Scheme(&'a Text),
    Authority(&'a Text),
    Header(&'a str, &'a Text),
    Unwanted(&'a str, &'a Text),
    Query(&'a str, &'a Text),
}

impl Source {
    pub(crate) fn check(&self, port: u16, own: Option<&Workload>) -> Result<(), Miss<'_>> {
        if let Some(want) = self.port.filter(|want| *want != port) {
            return Err(Miss::Port(want));
        }
        if !self.labels.is_empty() && !own.is_some_and(|own| own.has_labels(&self.labels)) {
            return Err(Miss::SourceLabels(&self.labels));
        }
        match &self.namespace {
            Some(want) if own.is_none_or(|own| own.namespace != *want) => Err(Miss::SourceNamespace(want)),
            _ => Ok(()),
        }
    }
}

impl Matcher {
    pub(crate) fn compile(said: &HttpMatch) -> Result<Self, String> {
        let text = |said: &Option<_>| said.as_ref().map(Text::compile).transpose();
        let named = |said: &[NamedMatch]| said.iter().map(|m| Ok((m.name.clone(), Text::compile(&m.value)?))).collect::<Result<Vec<_>, String>>();
        let headers = |said: &[NamedMatch]| -> Result<Vec<_>, String> {
            Ok(named(said)?.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
        };
        Ok(Self {
            origin: said.origin.clone(),
            path: said.path.as_ref().map(Path::compile).transpose()?,
            ignore_path_case: said.ignore_path_case,
            method: text(&said.method)?,
            scheme: text(&said.scheme)?,
            authority: text(&said.authority)?,
            headers: headers(&said.headers)?,
            without_headers: headers(&said.without_headers)?,
            query: named(&said.query)?,
            source: Source { port: said.port, labels: said.source_labels.clone(), namespace: said.source_namespace.clone() },
        })
    }

    /// The conditions are tried cheapest first; all must hold.
    pub(crate) fn check(&self, asked: &Asked<'_>) -> Result<(), Miss<'_>> {
        let http = &asked.http;
        self.source.check(asked.port, asked.own)?;
        if let Some(path) = self.path.as_ref().filter(|path| !path.matches(http.path, self.ignore_path_case)) {
            return Err(Miss::Path(path));
        }
        if let Some(method) = self.method.as_ref().filter(|text| !text.matches(http.method)) {
            return Err(Miss::Method(method));
        }
        if let Some(scheme) = self.scheme.as_ref().filter(|text| !text.matches(http.scheme)) {
            return Err(Miss::Scheme(scheme));
        }
        let authority_matches = |text: &Text| text.matches(http.authority) || text.matches(split_authority(http.authority).0);
        if let Some(authority) = self.authority.as_ref().filter(|text| !authority_matches(text)) {
            return Err(Miss::Authority(authority));
        }
        if let Some((name, text)) = self.headers.iter().find(|(name, text)| !header_matches(http, name, text)) {
            return Err(Miss::Header(name, text));
        }
        if let Some((name, text)) = self.without_headers.iter().find(|(name, text)| header_matches(http, name, text)) {
            return Err(Miss::Unwanted(name, text));
        }
        match self.query.iter().find(|(name, text)| !query_value(http.query, name).is_some_and(|value| text.matches(&value))) {
            Some((name, text)) => Err(Miss::Query(name, text)),
            None => Ok(()),
        }
    }

    /// What a request must have to meet the conditions; each of these.
    pub(crate) fn demands(&self) -> Vec<AnyOf<'_>> {
        let path = self.path.as_ref().filter(|_| !self.ignore_path_case).and_then(Path::demand);
        let headers = self.headers.iter().filter_map(|(name, text)| match text {
            Text::Exact(value) => Some(Demand::Header(name, value)),
            Text::Prefix(_) | Text::Regex(..) | Text::Present => None,
        });
        path.into_iter().chain(headers).map(|demand| vec![demand]).collect()
    }

    /// The conditions in words; `no conditions` when there are none.
    pub(crate) fn describe(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.path.iter().map(Path::describe));
        let mut add = |what: &str, text: &Option<Text>| parts.extend(text.iter().map(|text| format!("{what} {}", text.describe())));
        add("method", &self.method);
        add("scheme", &self.scheme);
        add("authority", &self.authority);
        parts.extend(self.headers.iter().map(|(name, text)| format!("header {name} {}", text.describe())));
        parts.extend(self.without_headers.iter().map(|(name, text)| format!("no header {name} that {}", text.describe())));
        parts.extend(self.query.iter().map(|(name, text)| format!("query {name} {}", text.describe())));
        parts.extend(self.source.port.map(|port| format!("port is {port}")));
        parts.extend((!self.source.labels.is_empty()).then(|| format!("the client has {}", labels(&self.source.labels))));
        parts.extend(self.source.namespace.iter().map(|namespace| format!("the client is in namespace {namespace}")));
        if parts.is_empty() { "no conditions".to_owned() } else { parts.join(", ") }
    }

    pub(crate) fn header_names(&self, into: &mut BTreeSet<String>) {
        let names = self.headers.iter().chain(&self.without_headers).map(|(name, _)| name);
        into.extend(names.filter(|name| !name.starts_with(':')).cloned());
    }
}

fn header_matches(http: &HttpFacts<'_>, name: &str, text: &Text) -> bool {
    http.header(name).is_some_and(|value| text.matches(&value))
}

impl Miss<'_> {
    /// The condition and what was there instead.
    pub(crate) fn describe(&self, asked: &Asked<'_>) -> String {
        let http = &asked.http;
        match self {
            Self::Port(_) | Self::SourceLabels(_) | Self::SourceNamespace(_) => self.describe_source(asked.port, asked.own),
            Self::Path(path) => format!("{}: it is {:?}", path.describe(), http.path),
            Self::Method(text) => format!("method {}: it is {}", text.describe(), http.method),
            Self::Scheme(text) => format!("scheme {}: it is {}", text.describe(), http.scheme),
            Self::Authority(text) => format!("authority {}: it is {:?}", text.describe(), http.authority),
            Self::Header(name, text) => format!("header {name} {}: {}", text.describe(), seen(http, name)),
            Self::Unwanted(name, text) => format!("no header {name} that {}: {}", text.describe(), seen(http, name)),
            Self::Query(name, text) => match query_value(http.query, name) {
                Some(_) => format!("query {name} {}: it is something else", text.describe()),
                None => format!("query {name} {}: not sent", text.describe()),
            },
        }
    }

    /// As [`Miss::describe`], for connections.
    pub(crate) fn describe_source(&self, port: u16, own: Option<&Workload>) -> String {
        match self {
            Self::Port(want) => format!("port is {want}: it is {port}"),
            Self::SourceLabels(want) => format!("the client has {}: it has {}", labels(want), own.map_or("none".into(), |own| labels(&own.labels))),
            Self::SourceNamespace(want) => {
                format!("the client is in namespace {want}: it is in {}", own.map_or("none", |own| own.namespace.as_str()))
            }
            _ => String::new(),
        }
    }
}

fn seen(http: &HttpFacts<'_>, name: &str) -> String {
    match http.header(name) {
        None => "not sent".to_owned(),
        Some(_) if SECRET_NAMES.iter().any(|secret| name.contains(secret)) => "another value was sent".to_owned(),
        Some(value) => format!("it is {value:?}"),
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if all.is_empty() { "no labels".to_owned() } else { all.join(",") }
}
