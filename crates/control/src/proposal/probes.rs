//! The requests by which two worlds are told apart: a plain one, and one for each rule that names some, in either world.

use crate::publish::Published;
use crate::why::Question;
use std::collections::BTreeMap;
use taut_model::host;
use taut_model::policy::OperationMatch;
use taut_model::route::{HttpMatch, PathMatch, TextMatch};

/// Of one flow.
const MOST: usize = 24;

/// A kind of request.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    pub method: Option<String>,
    pub path: Option<String>,
    pub headers: BTreeMap<String, String>,
}

impl Probe {
    /// `GET /reviews/1 with end-user: jason`; empty for the plain one.
    pub fn describe(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let line = format!("{} {}", self.method.as_deref().unwrap_or("GET"), self.path.as_deref().unwrap_or("/"));
        let headers: Vec<String> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        if headers.is_empty() { line } else { format!("{line} with {}", headers.join(", ")) }
    }

    pub fn question(&self, from: &str, to: &str) -> Question {
        let named = *self != Self::default();
        let method = self.method.clone().or_else(|| named.then(|| "GET".to_owned()));
        Question { from: from.to_owned(), to: to.to_owned(), method, path: self.path.clone(), headers: self.headers.clone() }
    }
}

/// The plain request first.
pub fn probes(worlds: [&Published; 2], to: &str) -> Vec<Probe> {
    let mut probes = vec![Probe::default()];
    let mut add = |probe: Option<Probe>| {
        if let Some(probe) = probe.filter(|probe| !probes.contains(probe) && probes.len() < MOST) {
            probes.push(probe);
        }
    };
    for published in worlds {
        let mesh = &published.translation;
        let about = mesh.routes.values().filter(|route| route.parents.iter().any(|parent| host::matches(&parent.host, to)));
        about.flat_map(|route| &route.http).flat_map(|rule| &rule.matches).for_each(|one| add(of_match(one)));
        let rules = mesh.authorizations.values().flat_map(|policy| &policy.rules);
        rules.flat_map(|rule| &rule.to).flat_map(of_operation).for_each(|probe| add(Some(probe)));
        let limits = mesh.limits.values().flat_map(|limit| &limit.limits);
        limits.flat_map(|limit| &limit.matching.to).flat_map(of_operation).for_each(|probe| add(Some(probe)));
    }
    probes
}

/// A request that matches; `None` where a pattern would have to be guessed.
fn of_match(one: &HttpMatch) -> Option<Probe> {
    let path = match &one.path {
        None => None,
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Segments(path)) => Some(path.clone()),
        Some(PathMatch::Grpc { service, method }) => Some(format!("/{}/{}", sample(service.as_ref())?, sample(method.as_ref())?)),
        Some(PathMatch::Regex(_)) => return None,
    };
    let method = one.method.as_ref().map(|method| sample(Some(method))).map_or(Some(None), |method| method.map(Some))?;
    let headers: Option<BTreeMap<String, String>> =
        one.headers.iter().map(|header| Some((header.name.clone(), sample(Some(&header.value))?))).collect();
    let query: Option<Vec<String>> = one.query.iter().map(|item| Some(format!("{}={}", item.name, sample(Some(&item.value))?))).collect();
    let query = query?.join("&");
    let path = if query.is_empty() { path } else { Some(format!("{}?{query}", path.unwrap_or_else(|| "/".to_owned()))) };
    Some(Probe { method, path, headers: headers? })
}

fn sample(text: Option<&TextMatch>) -> Option<String> {
    match text {
        None | Some(TextMatch::Present) => Some("x".to_owned()),
        Some(TextMatch::Exact(text) | TextMatch::Prefix(text)) => Some(text.clone()),
        Some(TextMatch::Regex(_)) => None,
    }
}

/// What a policy speaks of.
fn of_operation(operation: &OperationMatch) -> Vec<Probe> {
    let concrete = |text: &String| text.trim_end_matches('*').to_owned();
    let methods: Vec<Option<String>> = match operation.methods.as_slice() {
        [] => vec![None],
        methods => methods.iter().filter(|method| !method.contains('*')).cloned().map(Some).collect(),
    };
    let paths: Vec<Option<String>> = match operation.paths.as_slice() {
        [] => vec![None],
        paths => paths.iter().filter(|path| path.starts_with('/') && !path.contains('{')).map(concrete).map(Some).collect(),
    };
    methods.iter().flat_map(|method| paths.iter().map(move |path| Probe { method: method.clone(), path: path.clone(), ..Probe::default() })).collect()
}
