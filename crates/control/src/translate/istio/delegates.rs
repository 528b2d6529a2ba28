//! VirtualServices that leave rules to others: a root says for which requests, a delegate (one without hosts) what becomes of them.

use super::http;
use crate::translate::meaning::{Delegate, Delegation, Draft, Root};
use crate::translate::reader::{code, problem};
use std::collections::{BTreeMap, BTreeSet};
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::route::{HttpMatch, NamedMatch, PathMatch, Route, TextMatch};

/// Puts roots and delegates together.
pub struct Merger<'a> {
    delegates: BTreeMap<ObjectRef, (&'a Object, Delegate)>,
    used: BTreeSet<ObjectRef>,
    /// VirtualServices that are no delegates, and why.
    others: BTreeMap<ObjectRef, &'static str>,
    problems: Vec<(ObjectRef, Problem)>,
}

impl<'a> Merger<'a> {
    pub fn new(delegates: Vec<(&'a Object, Delegate)>, others: BTreeMap<ObjectRef, &'static str>) -> Self {
        let delegates = delegates.into_iter().map(|(object, delegate)| (object.reference(), (object, delegate))).collect();
        Self { delegates, used: BTreeSet::new(), others, problems: Vec::new() }
    }

    /// The root with all its rules. A rule whose delegate cannot be used is left out, as in Istio, and the root is told.
    pub fn merge(&mut self, object: &Object, root: Root) -> Route {
        let Root { mut route, rules } = root;
        for (draft, delegation) in rules {
            match delegation {
                None => route.http.push(http::finish(draft)),
                Some(delegation) => {
                    let merged = self.delegated(object, &draft, &delegation);
                    route.http.extend(merged.into_iter().map(http::finish));
                }
            }
        }
        route
    }

    /// What a root's rule becomes: its delegate's rules, within its own.
    fn delegated(&mut self, root: &Object, draft: &Draft, delegation: &Delegation) -> Vec<Draft> {
        let Delegation { to, at } = delegation;
        if let Err(because) = self.usable(to, &root.namespace) {
            let message = format!("{at}: {to} {because}, so this rule has no effect");
            let help = Some("a delegate is a VirtualService without hosts".to_owned());
            self.problems.push((root.reference(), problem(root, Severity::Warning, code::UNKNOWN_REFERENCE, at, message, help)));
            return Vec::new();
        }
        self.used.insert(to.clone());
        let Some((object, delegate)) = self.delegates.get(to) else { return Vec::new() };
        let mut merged = Vec::new();
        for rule in &delegate.rules {
            let within = merge(draft, rule);
            if within.is_none() {
                let (path, outer) = (&rule.rule.origin.path, &draft.rule.origin.path);
                let message = format!("{path}: asks for requests that {} {outer} does not leave to it, so it has no effect there", root.reference());
                let help = Some("a delegate's matches must be narrower than its root's".to_owned());
                self.problems.push((to.clone(), problem(object, Severity::Warning, code::CONFLICT, path, message, help)));
            }
            merged.extend(within);
        }
        merged
    }

    /// # Errors
    /// Why a root in `namespace` cannot delegate to it.
    fn usable(&self, to: &ObjectRef, namespace: &String) -> Result<(), &'static str> {
        match self.delegates.get(to) {
            None => Err(self.others.get(to).copied().unwrap_or("does not exist")),
            Some((_, delegate)) if delegate.visible.is_empty() || delegate.visible.contains(namespace) => Ok(()),
            Some(_) => Err("is not exported to this namespace"),
        }
    }

    /// What was found, and the delegates that nobody uses.
    pub fn finish(self) -> (Vec<(ObjectRef, Problem)>, Vec<ObjectRef>) {
        let Self { delegates, used, problems, .. } = self;
        (problems, delegates.into_keys().filter(|delegate| !used.contains(delegate)).collect())
    }
}

/// The delegate's rule within its root's: what it leaves open is the root's. `None`: no request could meet both (Istio's rules in
/// `mergeHTTPRoute`: a delegate's every match must be narrower than one of its root's).
fn merge(root: &Draft, delegate: &Draft) -> Option<Draft> {
    let mut merged = delegate.clone();
    let (rule, from) = (&mut merged.rule, &root.rule);
    rule.matches = matches(&from.matches, &rule.matches)?;
    rule.name = joined(&from.name, &rule.name);
    if rule.request_headers.is_empty() && rule.response_headers.is_empty() && merged.set_authority.is_none() {
        (rule.request_headers, rule.response_headers) = (from.request_headers.clone(), from.response_headers.clone());
        merged.set_authority.clone_from(&root.set_authority);
    }
    rule.rewrite = rule.rewrite.take().or_else(|| from.rewrite.clone());
    rule.timeout = rule.timeout.or(from.timeout);
    rule.retry = rule.retry.take().or_else(|| from.retry.clone());
    rule.fault = rule.fault.take().or_else(|| from.fault.clone());
    rule.cors = rule.cors.take().or_else(|| from.cors.clone());
    rule.hedging = rule.hedging.take().or_else(|| from.hedging.clone());
    if rule.mirrors.is_empty() {
        rule.mirrors.clone_from(&from.mirrors);
    }
    Some(merged)
}

fn joined(root: &str, delegate: &str) -> String {
    match (root, delegate) {
        (one, "") | ("", one) => one.to_owned(),
        (root, delegate) => format!("{root}-{delegate}"),
    }
}

/// Every way of meeting one match of each. A match of the delegate that is within none of the root's spoils the rule.
fn matches(root: &[HttpMatch], delegate: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || delegate.is_empty() {
        return Some(if root.is_empty() { delegate.to_vec() } else { root.to_vec() });
    }
    let mut all = Vec::new();
    for inner in delegate {
        let before = all.len();
        all.extend(root.iter().filter_map(|outer| within(outer, inner)));
        if all.len() == before {
            return None;
        }
    }
    Some(all)
}

/// Both at once; `None` if `inner` is not narrower than `outer` in some respect.
fn within(outer: &HttpMatch, inner: &HttpMatch) -> Option<HttpMatch> {
    let (path, ignore_path_case) = match (&outer.path, &inner.path) {
        (_, None) => (outer.path.clone(), outer.ignore_path_case),
        (None, Some(_)) => (inner.path.clone(), inner.ignore_path_case),
        (Some(one), Some(other)) if outer.ignore_path_case == inner.ignore_path_case => {
            narrower(&text_of(one)?, &text_of(other)?)?;
            (inner.path.clone(), inner.ignore_path_case)
        }
        (Some(_), Some(_)) => return None,
    };
    let mut source_labels = outer.source_labels.clone();
    for (name, value) in &inner.source_labels {
        if source_labels.insert(name.clone(), value.clone()).is_some_and(|before| before != *value) {
            return None;
        }
    }
    Some(HttpMatch {
        origin: inner.origin.clone(),
        path,
        ignore_path_case,
        method: text(outer.method.as_ref(), inner.method.as_ref())?,
        scheme: text(outer.scheme.as_ref(), inner.scheme.as_ref())?,
        authority: text(outer.authority.as_ref(), inner.authority.as_ref())?,
        headers: named(&outer.headers, &inner.headers)?,
        // Each takes requests away, so both do no harm to each other.
        without_headers: outer.without_headers.iter().chain(&inner.without_headers).cloned().collect(),
        query: named(&outer.query, &inner.query)?,
        port: same(outer.port, inner.port)?,
        source_labels,
        source_namespace: same(outer.source_namespace.clone(), inner.source_namespace.clone())?,
    })
}

fn same<T: PartialEq>(outer: Option<T>, inner: Option<T>) -> Option<Option<T>> {
    match (&outer, &inner) {
        (Some(one), Some(other)) if one != other => None,
        (_, None) => Some(outer),
        (_, Some(_)) => Some(inner),
    }
}

fn text(outer: Option<&TextMatch>, inner: Option<&TextMatch>) -> Option<Option<TextMatch>> {
    if let (Some(outer), Some(inner)) = (outer, inner) {
        narrower(outer, inner)?;
    }
    Some(inner.or(outer).cloned())
}

fn named(outer: &[NamedMatch], inner: &[NamedMatch]) -> Option<Vec<NamedMatch>> {
    let mut all: BTreeMap<&str, &TextMatch> = outer.iter().map(|outer| (outer.name.as_str(), &outer.value)).collect();
    for inner in inner {
        if let Some(outer) = all.insert(&inner.name, &inner.value) {
            narrower(outer, &inner.value)?;
        }
    }
    Some(all.into_iter().map(|(name, value)| NamedMatch { name: name.to_owned(), value: value.clone() }).collect())
}

/// Whether every text that `inner` matches is one that `outer` matches, as far as that can be told: of two regular expressions it cannot.
fn narrower(outer: &TextMatch, inner: &TextMatch) -> Option<()> {
    let holds = match (outer, inner) {
        (TextMatch::Present, _) => true,
        (TextMatch::Exact(outer), TextMatch::Exact(inner)) => inner == outer,
        (TextMatch::Prefix(outer), TextMatch::Exact(inner) | TextMatch::Prefix(inner)) => inner.starts_with(outer.as_str()),
        (TextMatch::Exact(_) | TextMatch::Prefix(_) | TextMatch::Regex(_), _) => false,
    };
    holds.then_some(())
}

/// `None` for what VirtualServices do not have.
fn text_of(path: &PathMatch) -> Option<TextMatch> {
    match path {
        PathMatch::Exact(path) => Some(TextMatch::Exact(path.clone())),
        PathMatch::Prefix(path) => Some(TextMatch::Prefix(path.clone())),
        PathMatch::Regex(pattern) => Some(TextMatch::Regex(pattern.clone())),
        PathMatch::Segments(_) | PathMatch::Grpc { .. } => None,
    }
}
