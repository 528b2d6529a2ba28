//! The token that a request carries: found, verified, told to the application, and taken away from it. What it may do is the plan's to
//! say. No token and no claim is ever logged.

mod json;
mod jwt;
mod keys;
mod places;
mod svid;
#[cfg(test)]
pub mod tests;
mod verified;

pub use svid::validate;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use jwt::Unverified;
use keys::Keys;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::{RequestAuthentication, TokenKeys, TokenRule};
use taut_plan::token::{BadToken, Claim, Claims, Flaw, Token};
use taut_plan::{Issuers, Plan};
use verified::{Entry, Verified};

/// Of one worker: the keys of the plan in use, and the tokens that were verified with them.
#[derive(Default)]
pub struct Tokens {
    issuers: RefCell<Rc<Compiled>>,
    verified: RefCell<Verified>,
}

/// The policies of a plan, with their keys read.
#[derive(Default)]
struct Compiled {
    policies: Vec<Arc<RequestAuthentication>>,
    /// Position of the policy, and of the rule in it.
    keys: Vec<((usize, usize), Option<Keys>)>,
}

/// A rule that could vouch for the token of a request.
struct Issuer<'a> {
    position: (usize, usize),
    rule: &'a TokenRule,
    keys: Option<&'a Keys>,
}

impl Tokens {
    /// Looks for the token of a request for `service`, and verifies it. The application is then told what it says, in the headers that
    /// the rules name, which nobody else may have set; it gets the token itself only where a rule says so.
    ///
    /// `now`: seconds since 1970.
    pub fn read(&self, plan: &Plan, service: Option<&str>, head: &mut Parts, now: f64) -> Option<Arc<Token>> {
        if plan.issuers().is_empty() {
            return None;
        }
        let compiled = self.compiled(plan.issuers());
        let issuers = compiled.about(plan.issuers(), service);
        let found = find(&issuers, head);
        for rule in issuers.iter().map(|issuer| issuer.rule) {
            let told = rule.payload_header.iter().chain(rule.claim_headers.iter().map(|(_, header)| header));
            told.for_each(|name| drop(head.headers.remove(name.as_str())));
        }
        let (text, from) = match found {
            Ok(found) => found?,
            Err(flaw) => return Some(Arc::new(Token::Refused(BadToken { flaw, rule: None }))),
        };
        match self.verify(&text, &from, now) {
            Ok(entry) => {
                if !entry.forward {
                    from.iter().for_each(|issuer| places::take_away(issuer.rule, head));
                }
                entry.headers.iter().for_each(|(name, value)| drop(head.headers.insert(name.clone(), value.clone())));
                Some(entry.token.clone())
            }
            Err(bad) => Some(Arc::new(Token::Refused(bad))),
        }
    }

    /// A plan shares the policies that did not change with the one before it, so most plans cost a comparison of pointers.
    fn compiled(&self, issuers: &Issuers) -> Rc<Compiled> {
        let mut known = self.issuers.borrow_mut();
        let same = known.policies.len() == issuers.policies().len()
            && known.policies.iter().zip(issuers.policies()).all(|(one, other)| Arc::ptr_eq(one, other));
        if !same {
            *known = Rc::new(Compiled::new(issuers));
            *self.verified.borrow_mut() = Verified::default();
        }
        known.clone()
    }

    fn verify(&self, text: &str, from: &[&Issuer<'_>], now: f64) -> Result<Rc<Entry>, BadToken> {
        if text.len() > jwt::LONGEST {
            return Err(BadToken { flaw: Flaw::TooLong, rule: None });
        }
        let digest = verified::digest(text);
        let known = self.verified.borrow_mut().get(&digest, now);
        if let Some(entry) = known.filter(|entry| from.iter().any(|issuer| issuer.position == entry.position)) {
            return Ok(entry);
        }
        let token = Unverified::read(text).map_err(|flaw| BadToken { flaw, rule: None })?;
        let mut worst = BadToken { flaw: Flaw::UnknownIssuer, rule: None };
        for issuer in from.iter().filter(|issuer| Some(&issuer.rule.issuer) == token.issuer.as_ref()) {
            match vouch(issuer, &token, now) {
                Ok(()) => {
                    let entry = Rc::new(entry(issuer, token));
                    self.verified.borrow_mut().insert(digest, entry.clone());
                    return Ok(entry);
                }
                Err(flaw) => worst = BadToken { flaw, rule: Some(Box::new(issuer.rule.origin.clone())) },
            }
        }
        Err(worst)
    }
}

impl Compiled {
    fn new(issuers: &Issuers) -> Self {
        let policies = issuers.policies().to_vec();
        let numbered = policies.iter().enumerate().flat_map(|(at, policy)| policy.rules.iter().enumerate().map(move |(rule, one)| ((at, rule), one)));
        let keys = numbered.map(|(position, rule)| (position, text_of(&rule.keys).and_then(Keys::read))).collect();
        Self { policies, keys }
    }

    fn about<'a>(&'a self, issuers: &Issuers, service: Option<&str>) -> Vec<Issuer<'a>> {
        let is_about = |policy: &Arc<RequestAuthentication>| issuers.of(service).any(|one| Arc::ptr_eq(one, policy));
        let issuer = |((at, rule), keys): &'a ((usize, usize), Option<Keys>)| {
            let policy = self.policies.get(*at).filter(|policy| is_about(policy))?;
            Some(Issuer { position: (*at, *rule), rule: policy.rules.get(*rule)?, keys: keys.as_ref() })
        };
        self.keys.iter().filter_map(issuer).collect()
    }
}

fn text_of(keys: &TokenKeys) -> Option<&str> {
    match keys {
        TokenKeys::Inline(text) => Some(text),
        TokenKeys::Fetched { keys, .. } => keys.as_deref(),
    }
}

/// The token, and the rules that take it from where it is.
type Found<'a> = (String, Vec<&'a Issuer<'a>>);

fn find<'a>(issuers: &'a [Issuer<'a>], head: &Parts) -> Result<Option<Found<'a>>, Flaw> {
    let mut found: Option<Found<'a>> = None;
    for issuer in issuers {
        for token in places::tokens(issuer.rule, head) {
            match &mut found {
                None => found = Some((token.into_owned(), vec![issuer])),
                Some((first, _)) if *first != *token => return Err(Flaw::Several),
                Some((_, from)) => from.push(issuer),
            }
        }
    }
    Ok(found)
}

/// Times and audience first: they cost nothing.
fn vouch(issuer: &Issuer<'_>, token: &Unverified<'_>, now: f64) -> Result<(), Flaw> {
    token.check(issuer.rule, now)?;
    let keys = issuer.keys.ok_or(Flaw::NoKeys)?;
    keys.verify(token.algorithm, token.key.as_deref(), token.signed, &token.signature)
}

fn entry(issuer: &Issuer<'_>, token: Unverified<'_>) -> Entry {
    let rule = issuer.rule;
    let payload = rule.payload_header.iter().map(|name| (name, token.payload.to_owned()));
    let told = rule.claim_headers.iter().filter_map(|(claim, name)| Some((name, written(&token.claims, claim)?)));
    // What cannot stand in a header is not told.
    let header = |(name, value): (&String, String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    let headers = payload.chain(told).filter_map(header).collect();
    let until = token.good_until();
    let mut all = token.claims;
    all.split(&rule.spaced_claims);
    let origin: Origin = rule.origin.clone();
    let claims = Claims { rule: origin, all };
    Entry { token: Arc::new(Token::Proven(claims)), position: issuer.position, until, headers, forward: rule.forward }
}

/// A claim as a header's value. Lists and objects have none, as in Istio.
fn written(claims: &Claim, path: &str) -> Option<String> {
    match claims.at([path]).or_else(|| claims.at(path.split('.')))? {
        Claim::Text(text) | Claim::Number(text) => Some(text.clone()),
        Claim::Bool(value) => Some(value.to_string()),
        Claim::Null | Claim::List(_) | Claim::Object(_) => None,
    }
}

/// Feeds one token to the parser: what it reads must be what it was made of.
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = Unverified::read(text) {
        assert!(text.len() <= jwt::LONGEST && text.as_bytes().starts_with(token.signed), "what is signed is not what came");
        assert_eq!(text.matches('.').count(), 2, "not three parts");
        assert!(token.claims.at(["exp"]).is_some(), "a token without an end");
    }
    if let Some(keys) = Keys::read(text) {
        assert!(keys.verify(keys::Algorithm::Rs256, None, b"", b"").is_err(), "an empty signature is taken");
    }
}
