//! Text that must have a form: patterns and formats of the schemas, and the names of Kubernetes.

use regex::Regex;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Whether `text` fits `pattern` (RE2 syntax, anywhere in the text). A pattern that does not compile fits all: the schemas'
/// own are tested.
pub fn fits(pattern: &str, text: &str) -> bool {
    compiled(pattern).is_none_or(|pattern| pattern.is_match(text))
}

/// The patterns are those of the schemas, so the cache is bounded by them.
pub fn compiled(pattern: &str) -> Option<Regex> {
    static COMPILED: OnceLock<Mutex<BTreeMap<String, Option<Regex>>>> = OnceLock::new();
    let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    match compiled.get(pattern) {
        Some(known) => known.clone(),
        None => compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok()).clone(),
    }
}

/// What text of `pattern` looks like, in words where people meet the pattern often.
pub fn wanted(pattern: &str) -> String {
    const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
    const HOST: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    match pattern {
        DURATION => "write a duration such as 500ms, 5s or 1h30m".to_owned(),
        HOST => "write a DNS name in lower case; *. in front covers every name below".to_owned(),
        _ => format!("it must match {pattern}"),
    }
}

/// What `text` should be, when it is not of `format`. Formats that Kubernetes does not check are not checked here either.
pub fn misses(format: &str, text: &str) -> Option<&'static str> {
    let (fits, wanted) = match format {
        "date-time" => (text.parse::<jiff::Timestamp>().is_ok(), "a time as in RFC 3339, such as 2026-11-21T03:00:00Z"),
        "ipv4" => (text.parse::<Ipv4Addr>().is_ok(), "an IPv4 address"),
        "ipv6" => (text.parse::<Ipv6Addr>().is_ok(), "an IPv6 address"),
        "byte" => (is_base64(text), "base64"),
        _ => (true, ""),
    };
    (!fits).then_some(wanted)
}

/// RFC 4648 section 4 with padding; line breaks are allowed, as Kubernetes' decoder does.
fn is_base64(text: &str) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &bytes[..bytes.len() - padding];
    bytes.len().is_multiple_of(4) && padding <= 2 && body.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// RFC 1123 label: at most 63 of `a-z`, `0-9`, `-`, with a letter or digit at both ends.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && is_dns_label_of_any_length(label))
}

fn is_dns_label_of_any_length(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The name part of a label key, and a label value that is not empty: at most 63 of letters, digits, `-`, `_`, `.`, with a
/// letter or digit at both ends.
pub fn is_label_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().last())
}

/// A label or annotation key: `name`, or `dns.prefix/name`.
pub fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_word(name),
        None => is_label_word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_those_of_kubernetes() {
        for good in ["a", "a-1", "1a"] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(is_dns_subdomain("a.b-c.1") && !is_dns_subdomain("a..b") && !is_dns_subdomain(&"a.".repeat(150)) && !is_dns_subdomain(""));
        assert!(is_qualified_name("app.kubernetes.io/name") && is_qualified_name("App_1.x"));
        assert!(!is_qualified_name("a/b/c") && !is_qualified_name("/a") && !is_qualified_name("a/") && !is_qualified_name("-a"));
        assert_eq!(misses("byte", "aGk="), None);
        assert!(misses("byte", "aGk").is_some() && misses("byte", "a b=").is_some() && misses("byte", "a===").is_some());
        assert_eq!(misses("date-time", "2026-11-21T03:00:00Z"), None);
        assert!(misses("date-time", "yesterday").is_some() && misses("ipv4", "1.2.3").is_some() && misses("ipv6", "::1").is_none());
    }
}
