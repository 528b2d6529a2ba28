//! RequestAuthentication, and what stands in for one that cannot be honoured: no request at all.

use super::api::WorkloadSelector;
use super::attach::{self, TargetReference};
use crate::translate::meaning::Meaning;
use crate::translate::reader::{Reader, code};
use crate::translate::translation::Settings;
use crate::translate::values;
use serde::Deserialize;
use std::time::Duration;
use taut_model::object::Object;
use taut_model::policy::{RequestAuthentication, TokenHeader, TokenKeys, TokenRule};

/// Istio's.
const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: WorkloadSelector,
    target_ref: Option<TargetReference>,
    target_refs: Option<Vec<TargetReference>>,
    jwt_rules: Vec<RuleSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleSpec {
    issuer: String,
    audiences: Vec<String>,
    jwks: Option<String>,
    /// `jwks_uri`: as the API once wrote it.
    #[serde(alias = "jwks_uri")]
    jwks_uri: Option<String>,
    timeout: Option<String>,
    from_headers: Vec<HeaderSpec>,
    from_params: Vec<String>,
    from_cookies: Vec<String>,
    output_payload_to_header: Option<String>,
    output_claim_to_headers: Vec<ClaimSpec>,
    forward_original_token: bool,
    space_delimited_claims: Vec<String>,
    presence: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeaderSpec {
    name: String,
    prefix: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimSpec {
    claim: String,
    header: String,
}

pub fn request_authentication(reader: &mut Reader<'_>, settings: &Settings) -> Meaning {
    let spec: Spec = reader.spec(&[]);
    let (selector, services) = attach::attachment(reader, spec.selector.match_labels, spec.target_ref, spec.target_refs);
    if spec.jwt_rules.is_empty() {
        reader.warn(code::NO_EFFECT, "spec.jwtRules", "names no issuer, so no token is looked for");
    }
    let rules = spec.jwt_rules.into_iter().enumerate();
    let rules = rules.filter_map(|(index, written)| rule(reader, settings, &format!("spec.jwtRules[{index}]"), written)).collect();
    Meaning::RequestAuthentication(RequestAuthentication {
        origin: reader.origin(""),
        namespace: reader.namespace().to_owned(),
        selector,
        services,
        rules,
        closed: false,
    })
}

/// In place of a RequestAuthentication that is not accepted: nobody knows which tokens its workloads should take, so they take no request.
/// `None`: it is about nobody here.
pub fn no_requests(object: &Object) -> Option<RequestAuthentication> {
    let (selector, services) = attach::readable(object)?;
    Some(RequestAuthentication {
        origin: super::stand_in(object, "not accepted, so no request is let in"),
        namespace: object.namespace.clone(),
        selector,
        services,
        rules: Vec::new(),
        closed: true,
    })
}

fn rule(reader: &mut Reader<'_>, settings: &Settings, at: &str, written: RuleSpec) -> Option<TokenRule> {
    if written.issuer.is_empty() {
        reader.invalid(&format!("{at}.issuer"), "is missing");
    }
    match written.presence.as_deref() {
        None | Some("OPTIONAL") => {}
        Some(other) => reader.unsupported_value(
            &format!("{at}.presence"),
            format_args!("{other:?}"),
            "demand a token in an AuthorizationPolicy, with requestPrincipals",
        ),
    }
    let texts = [
        ("audiences", &written.audiences),
        ("fromParams", &written.from_params),
        ("fromCookies", &written.from_cookies),
        ("spaceDelimitedClaims", &written.space_delimited_claims),
    ];
    for (field, values) in texts {
        for (index, _) in values.iter().enumerate().filter(|(_, value)| value.is_empty()) {
            reader.invalid(&format!("{at}.{field}[{index}]"), "is empty");
        }
    }
    let headers = written.from_headers.into_iter().enumerate().filter_map(|(index, header)| {
        let name = header_name(reader, &format!("{at}.fromHeaders[{index}].name"), &header.name)?;
        Some(TokenHeader { name, prefix: header.prefix })
    });
    let headers = headers.collect();
    let claim_headers = written.output_claim_to_headers.into_iter().enumerate().filter_map(|(index, told)| {
        let at = format!("{at}.outputClaimToHeaders[{index}]");
        if told.claim.is_empty() {
            reader.invalid(&format!("{at}.claim"), "is missing");
        }
        Some((told.claim, header_name(reader, &format!("{at}.header"), &told.header)?))
    });
    let claim_headers = claim_headers.collect();
    let payload_header = written.output_payload_to_header;
    let payload_header = payload_header.and_then(|name| header_name(reader, &format!("{at}.outputPayloadToHeader"), &name));
    let timeout = reader.positive_duration(&format!("{at}.timeout"), written.timeout.as_deref()).unwrap_or(TIMEOUT);
    if timeout > LONGEST_TIMEOUT {
        reader.unsupported_value(&format!("{at}.timeout"), format_args!("{timeout:?}"), "use at most 60s");
    }
    Some(TokenRule {
        origin: reader.origin(at),
        issuer: written.issuer,
        audiences: written.audiences,
        keys: keys(reader, settings, at, written.jwks, written.jwks_uri, timeout)?,
        headers,
        parameters: written.from_params,
        cookies: written.from_cookies,
        payload_header,
        claim_headers,
        forward: written.forward_original_token,
        spaced_claims: written.space_delimited_claims,
    })
}

fn header_name(reader: &mut Reader<'_>, at: &str, written: &str) -> Option<String> {
    reader.taken(at, values::header_name(written))
}

fn keys(reader: &mut Reader<'_>, settings: &Settings, at: &str, inline: Option<String>, uri: Option<String>, timeout: Duration) -> Option<TokenKeys> {
    match (inline.filter(|text| !text.is_empty()), uri.filter(|text| !text.is_empty())) {
        (Some(text), None) => {
            reader.taken(&format!("{at}.jwks"), values::key_set(&text))?;
            Some(TokenKeys::Inline(text))
        }
        (None, Some(uri)) => {
            let at = format!("{at}.jwksUri");
            reader.taken(&at, values::key_uri(&uri))?;
            let known = settings.keys.get(&uri).cloned().unwrap_or_default();
            if let Some(problem) = &known.problem {
                let meanwhile = match known.text {
                    Some(_) => "the keys of the last good answer are used",
                    None => "until there are keys, requests with tokens of this issuer are refused",
                };
                reader.warn(code::KEYS_NOT_FETCHED, &at, format_args!("{problem}; {meanwhile}"));
            }
            Some(TokenKeys::Fetched { uri, timeout, keys: known.text })
        }
        (Some(_), Some(_)) => {
            reader.invalid(&format!("{at}.jwksUri"), "stands beside jwks, and the API allows one of the two");
            None
        }
        (None, None) => {
            reader.unsupported_value(
                &format!("{at}.jwksUri"),
                "leaving out both jwks and jwksUri",
                "name the issuer's jwks_uri (it is in its /.well-known/openid-configuration)",
            );
            None
        }
    }
}
