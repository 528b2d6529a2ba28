//! Why a rule does not match a visit: the first attribute that it wants otherwise, by the name that policies give it. Values of headers,
//! tokens and claims are never told.

use super::{Operation, Policy, Rule, Source, Visit, When};
use crate::token::Claims;
use std::borrow::Cow;
use std::fmt;
use taut_model::identity::Identity;
use taut_model::policy::AuthorizationAction;

/// Rules of a policy that are told of.
const MOST_RULES: usize = 3;

/// What a visit has of an attribute.
enum Has {
    Value(String),
    Nothing,
    /// Something that is nobody's business.
    Another,
}

/// An attribute that does not fit.
struct Misfit {
    name: Cow<'static, str>,
    has: Has,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.has {
            Has::Value(value) => write!(f, "{} is {value}", self.name),
            Has::Nothing => write!(f, "there is no {}", self.name),
            Has::Another => write!(f, "{} is another", self.name),
        }
    }
}

fn misfit(name: impl Into<Cow<'static, str>>, value: Option<String>) -> Misfit {
    Misfit { name: name.into(), has: value.map_or(Has::Nothing, Has::Value) }
}

/// One whose value stays untold.
fn hidden(name: impl Into<Cow<'static, str>>, is_there: bool) -> Misfit {
    Misfit { name: name.into(), has: if is_there { Has::Another } else { Has::Nothing } }
}

impl Policy {
    /// Of a policy without a rule that matches: what each rule wants otherwise.
    pub(crate) fn mismatch(&self, visit: &Visit<'_>) -> String {
        let unknown = self.action != AuthorizationAction::Allow;
        if !self.is_about(visit, unknown) {
            return "it is attached to a Service, and this is not known to be for that".to_owned();
        }
        if self.rules.is_empty() {
            return "it has no rule".to_owned();
        }
        let mut told: Vec<String> = self.rules.iter().take(MOST_RULES).filter_map(|rule| rule.mismatch(visit, unknown)).collect();
        if self.rules.len() > MOST_RULES {
            told.push(format!("{} more rules do not match either", self.rules.len() - MOST_RULES));
        }
        told.join("; ")
    }
}

impl Rule {
    /// `spec.rules[0]: source.principal is mesh.local/ns/default/sa/x`; `None` where it matches.
    fn mismatch(&self, visit: &Visit<'_>, unknown: bool) -> Option<String> {
        let of_each = |misfits: Vec<Option<Misfit>>| {
            // One alternative that fits is enough.
            let misfits: Option<Vec<String>> = misfits.into_iter().map(|misfit| misfit.map(|misfit| misfit.to_string())).collect();
            let mut told = misfits.unwrap_or_default();
            told.dedup();
            (!told.is_empty()).then(|| told.join(" and "))
        };
        let from = || of_each(self.from.iter().map(|source| source.misfit(visit, unknown)).collect());
        let to = || of_each(self.to.iter().map(|operation| operation.misfit(visit, unknown)).collect());
        let when = || self.when.iter().find(|when| !when.matches(visit, unknown)).map(|when| when.misfit(visit).to_string());
        let why = from().or_else(to).or_else(when)?;
        let origin = self.origin();
        Some(if origin.path.is_empty() { why } else { format!("{}: {why}", origin.path) })
    }
}

fn principal(visit: &Visit<'_>) -> Option<String> {
    visit.identity.map(Identity::principal)
}

fn account(visit: &Visit<'_>) -> Option<String> {
    visit.identity.map(|identity| format!("{}/{}", identity.namespace, identity.service_account))
}

fn of_identity(visit: &Visit<'_>, part: fn(&Identity) -> &String) -> Option<String> {
    visit.identity.map(part).cloned()
}

impl Source {
    fn misfit(&self, visit: &Visit<'_>, unknown: bool) -> Option<Misfit> {
        let namespace = visit.identity.map(|identity| identity.namespace.as_str());
        let trust_domain = visit.identity.map(|identity| identity.trust_domain.as_str());
        if !super::holds_principal(&self.principals, visit.principals) {
            return Some(misfit("source.principal", principal(visit)));
        }
        if !super::holds_text(&self.namespaces, namespace, super::Glob::matches) {
            return Some(misfit("source.namespace", of_identity(visit, |identity| &identity.namespace)));
        }
        if !super::holds_account(&self.accounts, visit.identity) {
            return Some(misfit("source.serviceAccount", account(visit)));
        }
        if !super::holds_requester(&self.requesters, unknown, visit) {
            return Some(hidden("request.auth.principal", visit.requester.is_some()));
        }
        if !super::holds_text(&self.trust_domains, trust_domain, super::Glob::matches) {
            return Some(misfit("source.trustDomain", of_identity(visit, |identity| &identity.trust_domain)));
        }
        if !super::holds_address(&self.blocks, unknown, visit.address) {
            return Some(misfit("source.ip", visit.address.map(|address| address.to_string())));
        }
        let remote = || misfit("remote.ip", visit.client.map(|client| client.to_string()));
        (!super::holds_address(&self.client_blocks, unknown, visit.client)).then(remote)
    }
}

impl Operation {
    fn misfit(&self, visit: &Visit<'_>, unknown: bool) -> Option<Misfit> {
        let of_http = |value: &str| visit.http.map(|_| value.to_owned());
        if !self.takes_port(visit, unknown) {
            return Some(misfit("destination.port", Some(visit.port.to_string())));
        }
        if !self.takes_host(visit, unknown) {
            return Some(misfit("request.host", visit.http.map(|http| http.authority.to_owned())));
        }
        if !self.takes_method(visit, unknown) {
            return Some(misfit("request.method", visit.http.map(|http| http.method.to_owned())));
        }
        (!self.takes_path(visit, unknown)).then(|| misfit("request.path", of_http(visit.path)))
    }
}

impl When {
    /// Of a condition that does not hold.
    fn misfit(&self, visit: &Visit<'_>) -> Misfit {
        let text = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string());
        match self {
            Self::Header(name, _) => {
                let is_there = visit.http.is_some_and(|http| http.headers.contains_key(name.as_str()));
                hidden(format!("request.headers[{name}]"), is_there)
            }
            Self::SourceIp(_) => misfit("source.ip", text(visit.address)),
            Self::RemoteIp(_) => misfit("remote.ip", text(visit.client)),
            Self::DestinationIp(_) => misfit("destination.ip", text(visit.own_address)),
            Self::Namespace(_) => misfit("source.namespace", of_identity(visit, |identity| &identity.namespace)),
            Self::Principal(_) => misfit("source.principal", principal(visit)),
            Self::Account(_) => misfit("source.serviceAccount", account(visit)),
            Self::TrustDomain(_) => misfit("source.trustDomain", of_identity(visit, |identity| &identity.trust_domain)),
            Self::Port(_) => misfit("destination.port", Some(visit.port.to_string())),
            Self::Sni(_) => misfit("connection.sni", visit.sni.map(str::to_owned)),
            Self::Requester(_) => hidden("request.auth.principal", visit.requester.is_some()),
            Self::Claim(path, _) => {
                let has = |claims: &Claims| claims.all.at(path.iter().map(String::as_str)).is_some();
                hidden(format!("request.auth.claims[{}]", path.join("][")), visit.claims.is_some_and(has))
            }
        }
    }
}
