//! Where in a request a token may be: found there, and taken away from there.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::borrow::Cow;
use taut_model::policy::{TokenHeader, TokenRule};

/// Where tokens are when a rule names no place (Istio's).
const SCHEME: &str = "bearer ";
const PARAMETER: &str = "access_token";

/// The tokens at the places of a rule.
pub fn tokens<'a>(rule: &'a TokenRule, head: &'a Parts) -> Vec<Cow<'a, str>> {
    let query = head.uri.query().unwrap_or_default();
    let mut found: Vec<Cow<'a, str>> = Vec::new();
    if by_default(rule) {
        found.extend(values(&head.headers, header::AUTHORIZATION.as_str()).filter_map(bearer));
        found.extend(parameters(query, PARAMETER).map(Cow::Borrowed));
    }
    for TokenHeader { name, prefix } in &rule.headers {
        found.extend(values(&head.headers, name).filter_map(|value| after(value, prefix)));
    }
    for name in &rule.parameters {
        found.extend(parameters(query, name).map(Cow::Borrowed));
    }
    for name in &rule.cookies {
        found.extend(cookies(&head.headers, name).into_iter().map(Cow::Owned));
    }
    found.retain(|token| !token.is_empty());
    found
}

/// Takes the tokens away from the places of a rule, so that the application gets none.
pub fn take_away(rule: &TokenRule, head: &mut Parts) {
    if by_default(rule) {
        keep_values(&mut head.headers, header::AUTHORIZATION.as_str(), |value| bearer(Cow::Borrowed(value)).is_none());
        without_parameter(&mut head.uri, PARAMETER);
    }
    for TokenHeader { name, prefix } in &rule.headers {
        keep_values(&mut head.headers, name, |value| after(Cow::Borrowed(value), prefix).is_none());
    }
    rule.parameters.iter().for_each(|name| without_parameter(&mut head.uri, name));
    rule.cookies.iter().for_each(|name| without_cookie(&mut head.headers, name));
}

fn by_default(rule: &TokenRule) -> bool {
    rule.headers.is_empty() && rule.parameters.is_empty() && rule.cookies.is_empty()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// RFC 9110 section 11.1: the scheme in any case.
fn bearer(value: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let is_bearer = value.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    is_bearer.then(|| from(value, SCHEME.len()))
}

fn after<'a>(value: Cow<'a, str>, prefix: &str) -> Option<Cow<'a, str>> {
    value.starts_with(prefix).then(|| from(value, prefix.len()))
}

fn from(value: Cow<'_, str>, start: usize) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(text) => Cow::Borrowed(text[start..].trim()),
        Cow::Owned(text) => Cow::Owned(text[start..].trim().to_owned()),
    }
}

fn parameters<'a>(query: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).filter(move |(name, _)| *name == wanted).map(|(_, value)| value)
}

fn cookies(headers: &HeaderMap, wanted: &str) -> Vec<String> {
    let lines = values(headers, header::COOKIE.as_str());
    lines.flat_map(|line| line.split(';').filter_map(|pair| cookie(pair, wanted)).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The value of one `name=value`, if that is the name.
fn cookie<'a>(pair: &'a str, wanted: &str) -> Option<&'a str> {
    pair.trim().split_once('=').filter(|(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"'))
}

fn keep_values(headers: &mut HeaderMap, name: &str, keep: impl Fn(&str) -> bool) {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return };
    let kept = |value: &&HeaderValue| keep(&String::from_utf8_lossy(value.as_bytes()));
    let all = headers.get_all(&name);
    if all.iter().all(|value| kept(&value)) {
        return;
    }
    let kept: Vec<HeaderValue> = all.iter().filter(kept).cloned().collect();
    headers.remove(&name);
    for value in kept {
        headers.append(name.clone(), value);
    }
}

fn without_parameter(uri: &mut Uri, wanted: &str) {
    let Some(query) = uri.query().filter(|query| parameters(query, wanted).next().is_some()) else { return };
    let is_wanted = |pair: &&str| pair.split_once('=').is_none_or(|(name, _)| name != wanted);
    let rest = query.split('&').filter(is_wanted).collect::<Vec<_>>().join("&");
    let path = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{rest}", uri.path()) };
    let mut parts = std::mem::take(uri).into_parts();
    // Less of what was a path and a query is one, too.
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn without_cookie(headers: &mut HeaderMap, wanted: &str) {
    if cookies(headers, wanted).is_empty() {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for line in lines {
        let text = String::from_utf8_lossy(line.as_bytes());
        if !text.split(';').any(|pair| cookie(pair, wanted).is_some()) {
            headers.append(header::COOKIE, line);
            continue;
        }
        let kept = text.split(';').filter(|pair| cookie(pair, wanted).is_none()).map(str::trim).collect::<Vec<_>>().join("; ");
        // A line that is no text goes as a whole: what is left of it could not be told exactly.
        if let Some(kept) = HeaderValue::try_from(kept).ok().filter(|kept| line.to_str().is_ok() && !kept.is_empty()) {
            headers.append(header::COOKIE, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_model::origin::Origin;
    use taut_model::policy::TokenKeys;

    fn rule(headers: &[(&str, &str)], parameters: &[&str], cookies: &[&str]) -> TokenRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        TokenRule {
            origin: Origin::default(),
            issuer: String::new(),
            audiences: vec![],
            keys: TokenKeys::Inline(String::new()),
            headers: headers.iter().map(|(name, prefix)| TokenHeader { name: (*name).to_owned(), prefix: (*prefix).to_owned() }).collect(),
            parameters: owned(parameters),
            cookies: owned(cookies),
            payload_header: None,
            claim_headers: vec![],
            forward: false,
            spaced_claims: vec![],
        }
    }

    fn head(uri: &str, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_token_is_found_where_the_rule_says_and_taken_away_from_there() {
        let default = rule(&[], &[], &[]);
        let mut plain = head("/a?x=1&access_token=P&y", &[("authorization", "Basic abc"), ("authorization", "bEARER  T "), ("cookie", "t=C")]);
        assert_eq!(tokens(&default, &plain), ["T", "P"]);
        take_away(&default, &mut plain);
        assert_eq!(plain.uri, "/a?x=1&y");
        assert_eq!(plain.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Basic abc"]);

        let named = rule(&[("x-jwt", "jwt ")], &["q"], &["t"]);
        let mut all = head("/a?q=Q", &[("x-jwt", "jwt H"), ("authorization", "Bearer T"), ("cookie", "a=1; t=C; b=2"), ("cookie", "t=\"D\"")]);
        assert_eq!(tokens(&named, &all), ["H", "Q", "C", "D"]);
        take_away(&named, &mut all);
        assert_eq!(all.uri, "/a");
        assert!(all.headers.get("x-jwt").is_none() && all.headers.contains_key("authorization"));
        assert_eq!(all.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
