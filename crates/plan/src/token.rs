//! What the token of a request says, once it was verified, or what is wrong with it. Verifying is the caller's: this is what the
//! plan decides by, and whose tokens it takes.

use crate::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::{ROOT_NAMESPACE, RequestAuthentication, TokenRule};

/// Claims whose text is a list, whatever the rule says (Envoy's names).
pub const SPACED_CLAIMS: [&str; 2] = ["scope", "permission"];

/// The one token that a request carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Proven(Claims),
    Refused(BadToken),
}

/// What a verified token says. Its values are secrets of its holder: no sentence of the plan repeats them.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// The rule that the token was verified under.
    pub rule: Origin,
    /// All of them; the root is an object.
    pub all: Claim,
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Claim>),
    Object(BTreeMap<String, Claim>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct BadToken {
    pub flaw: Flaw,
    /// The rule that it fell short of, where it got so far.
    pub rule: Option<Box<Origin>>,
}

/// What is wrong with a token, or with the request that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// More than one, and they differ.
    Several,
    TooLong,
    /// Not three parts of base64url, or no JSON in them, or a claim of the wrong type.
    Malformed,
    /// A name twice in one object: two readers would read two things.
    Ambiguous,
    /// `none`, one with a shared secret, or one that the key is not for.
    Algorithm,
    /// The header demands an extension that is not known (`crit`).
    Critical,
    UnknownIssuer,
    Audience,
    Expired,
    /// It would be good for ever.
    NoExpiry,
    NotYetValid,
    UnknownKey,
    Signature,
    /// Not the token's fault: the issuer's keys have not been received.
    NoKeys,
}

impl Flaw {
    pub fn name(self) -> &'static str {
        match self {
            Self::Several => "token_several",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Ambiguous => "token_ambiguous",
            Self::Algorithm => "token_algorithm_refused",
            Self::Critical => "token_extension_unknown",
            Self::UnknownIssuer => "token_issuer_unknown",
            Self::Audience => "token_audience_wrong",
            Self::Expired => "token_expired",
            Self::NoExpiry => "token_without_expiry",
            Self::NotYetValid => "token_not_yet_valid",
            Self::UnknownKey => "token_key_unknown",
            Self::Signature => "token_signature_wrong",
            Self::NoKeys => "token_keys_not_received",
        }
    }

    /// One sentence, which repeats nothing of the token.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Several => "the request carries several tokens that differ: send one",
            Self::TooLong => "the token is longer than any that is read",
            Self::Malformed => "the token is not a signed JWT",
            Self::Ambiguous => "the token says one thing twice",
            Self::Algorithm => "the token's algorithm is none, needs a shared secret, or is not its key's: sign it with RS, PS, ES or EdDSA",
            Self::Critical => "the token's header demands an extension (crit) that is not known here",
            Self::UnknownIssuer => "no RequestAuthentication takes tokens of this issuer from there",
            Self::Audience => "the token is meant for others: none of its audiences is one of the rule's",
            Self::Expired => "the token has expired",
            Self::NoExpiry => "the token has no expiry (exp), so it would be good for ever",
            Self::NotYetValid => "the token is not valid yet (nbf)",
            Self::UnknownKey => "the issuer's key set has no key that the token names and that is of its algorithm",
            Self::Signature => "the token's signature is wrong",
            Self::NoKeys => "the issuer's keys have not been received yet, so no token of it can be verified",
        }
    }

    pub fn status(self) -> u16 {
        if self == Self::NoKeys { 503 } else { 401 }
    }
}

impl Claims {
    /// Istio's `issuer/subject`; `None` without both.
    pub fn principal(&self) -> Option<String> {
        match (self.text("iss"), self.text("sub")) {
            (Some(issuer), Some(subject)) if !issuer.is_empty() && !subject.is_empty() => Some(format!("{issuer}/{subject}")),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.all.at([name])? {
            Claim::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Claim {
    /// The claim inside of claims that these names lead to. One that is null is none.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        let mut found = self;
        for name in path {
            let Self::Object(all) = found else { return None };
            found = all.get(name)?;
        }
        (*found != Self::Null).then_some(found)
    }

    /// Whether it is a text that matches, or a list with one. `None`: neither, so nothing can be held against it.
    pub(crate) fn any_text(&self, matches: impl Fn(&str) -> bool) -> Option<bool> {
        match self {
            Self::Text(text) => Some(matches(text)),
            Self::List(all) if all.iter().any(|one| matches!(one, Self::Text(text) if matches(text))) => Some(true),
            Self::List(all) if all.iter().all(|one| matches!(one, Self::Text(_))) => Some(false),
            Self::List(_) | Self::Null | Self::Bool(_) | Self::Number(_) | Self::Object(_) => None,
        }
    }

    /// Makes lists of the texts that are one for their readers.
    pub fn split(&mut self, names: &[String]) {
        let Self::Object(all) = self else { return };
        for (_, claim) in all.iter_mut().filter(|(name, _)| SPACED_CLAIMS.contains(&name.as_str()) || names.contains(name)) {
            if let Self::Text(text) = claim {
                *claim = Self::List(text.split(' ').filter(|word| !word.is_empty()).map(|word| Self::Text(word.to_owned())).collect());
            }
        }
    }
}

/// The RequestAuthentications of the workload beside this proxy.
#[derive(Debug, Default)]
pub struct Issuers {
    policies: Vec<Arc<RequestAuthentication>>,
}

impl Issuers {
    pub(crate) fn compile(snapshot: &Snapshot) -> Self {
        let Some(own) = snapshot.own.as_deref() else { return Self::default() };
        let concerns = |policy: &RequestAuthentication| {
            (policy.namespace == own.namespace || policy.namespace == ROOT_NAMESPACE)
                && own.has_labels(&policy.selector)
                && (policy.services.is_empty() || own.serves.iter().any(|serves| policy.services.contains(&serves.host)))
        };
        Self { policies: snapshot.tokens.values().filter(|policy| concerns(policy)).cloned().collect() }
    }

    /// No token means anything here.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    pub fn policies(&self) -> &[Arc<RequestAuthentication>] {
        &self.policies
    }

    /// Those about what comes for `service`; all, where that cannot be told.
    pub fn of(&self, service: Option<&str>) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.policies.iter().filter(move |policy| is_about(&policy.services, service))
    }

    pub(crate) fn rule(&self, origin: &Origin, service: Option<&str>) -> Option<&TokenRule> {
        self.of(service).flat_map(|policy| &policy.rules).find(|rule| rule.origin.object == origin.object && rule.origin.path == origin.path)
    }

    pub(crate) fn closed(&self, service: Option<&str>) -> Option<&RequestAuthentication> {
        self.of(service).find(|policy| policy.closed).map(|policy| &**policy)
    }
}

/// Whether a policy attached to `services` is about what comes for `service`: where that cannot be told, it could be.
fn is_about(services: &[String], service: Option<&str>) -> bool {
    services.is_empty() || service.is_none_or(|service| services.iter().any(|one| one == service))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Claim {
        Claim::Text(text.to_owned())
    }

    #[test]
    fn a_claim_is_found_inside_of_others_and_null_is_none() {
        let inner = Claim::Object([("role".to_owned(), text("admin")), ("gone".to_owned(), Claim::Null)].into());
        let all = Claim::Object([("realm".to_owned(), inner)].into());
        assert_eq!(all.at(["realm", "role"]), Some(&text("admin")));
        assert_eq!(all.at(["realm", "gone"]), None);
        assert_eq!(all.at(["realm", "role", "deeper"]), None);
        assert_eq!(all.at(["role"]), None);
    }

    #[test]
    fn only_texts_can_be_held_against_texts() {
        let is_a = |claim: Claim| claim.any_text(|text| text == "a");
        assert_eq!(is_a(text("a")), Some(true));
        assert_eq!(is_a(Claim::List(vec![Claim::Bool(true), text("a")])), Some(true));
        assert_eq!(is_a(Claim::List(vec![text("b")])), Some(false));
        assert_eq!(is_a(Claim::List(vec![text("b"), Claim::Bool(true)])), None);
        assert_eq!(is_a(Claim::Number("1".to_owned())), None);
    }

    #[test]
    fn scopes_are_lists() {
        let mut all = Claim::Object([("scope".to_owned(), text("read  write")), ("roles".to_owned(), text("a b"))].into());
        all.split(&["roles".to_owned()]);
        for name in ["scope", "roles"] {
            assert!(matches!(all.at([name]), Some(Claim::List(words)) if words.len() == 2), "{name}");
        }
    }
}
