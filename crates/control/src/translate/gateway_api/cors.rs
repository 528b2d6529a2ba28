//! The CORS filter: which pages of other origins may read responses.

use super::api;
use crate::translate::reader::{Reader, code};
use crate::translate::values;
use std::time::Duration;
use taut_model::route::{Allowed, Cors, Credentials, StrangersPreflight, TextMatch};

/// `maxAge` when none is written.
const MAX_AGE_SECONDS: i64 = 5;

pub fn cors(reader: &mut Reader<'_>, at: &str, written: &api::Cors) -> Cors {
    let credentials = if written.allow_credentials { Credentials::Allowed } else { Credentials::Withheld };
    let age = written.max_age.unwrap_or(MAX_AGE_SECONDS);
    let max_age = u64::try_from(age).ok().filter(|age| *age > 0);
    let max_age = reader.taken(&format!("{at}.maxAge"), max_age.ok_or_else(|| format!("{age} is not a number of seconds above zero")));
    let mut expose_headers = written.expose_headers.clone();
    if credentials == Credentials::Allowed && expose_headers.iter().any(|name| name == "*") {
        // The API forbids the answer `*`, and there is no list to give instead.
        reader.warn(code::NO_EFFECT, &format!("{at}.exposeHeaders"), "* means nothing with allowCredentials: name the headers");
        expose_headers.retain(|name| name != "*");
    }
    for (index, name) in expose_headers.iter().enumerate() {
        reader.taken(&format!("{at}.exposeHeaders[{index}]"), values::token(name));
    }
    Cors {
        origin: reader.origin(at),
        allow_origins: origins(reader, at, &written.allow_origins),
        allow_methods: allowed(reader, &format!("{at}.allowMethods"), &written.allow_methods),
        allow_headers: allowed(reader, &format!("{at}.allowHeaders"), &written.allow_headers),
        expose_headers,
        max_age: max_age.map(Duration::from_secs),
        credentials,
        strangers: StrangersPreflight::Refuse,
    }
}

/// `*` alone is whatever is asked for: what the API wants with credentials, and allows without.
fn allowed(reader: &mut Reader<'_>, at: &str, names: &[String]) -> Allowed {
    for (index, name) in names.iter().enumerate() {
        reader.taken(&format!("{at}[{index}]"), values::token(name));
    }
    match names {
        [only] if only == "*" => Allowed::Asked,
        names => Allowed::Listed(names.to_vec()),
    }
}

fn origins(reader: &mut Reader<'_>, at: &str, written: &[String]) -> Vec<TextMatch> {
    let read = |(index, origin): (usize, &String)| reader.taken(&format!("{at}.allowOrigins[{index}]"), self::origin(origin));
    written.iter().enumerate().filter_map(read).collect()
}

/// `*`, or a scheme and a host, which may be `*` or begin with `*.`, and a port. Browsers leave a scheme's own port out.
fn origin(written: &str) -> Result<TextMatch, String> {
    if written == "*" {
        return Ok(TextMatch::Present);
    }
    let wrong = || format!("{written:?} is not an origin: write https://host, https://*.suffix or \"*\"");
    let lower = written.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")).ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or((rest, None), |(host, port)| (host, Some(port)));
    if port.is_some_and(|port| values::port(port).is_err()) || host.is_empty() || host.contains(['/', '@']) {
        return Err(wrong());
    }
    let port = port.filter(|port| !matches!((scheme, *port), ("http", "80") | ("https", "443")));
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    match host.strip_prefix('*') {
        None if host.contains('*') => Err(wrong()),
        None => Ok(TextMatch::Exact(format!("{scheme}://{host}{port}"))),
        Some(suffix) if (suffix.is_empty() || suffix.starts_with('.')) && !suffix.contains('*') => {
            Ok(TextMatch::Regex(format!("{scheme}://[^/:]+{}{port}", regex::escape(suffix))))
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_browsers_send_them() {
        let exact = |text: &str| Ok(TextMatch::Exact(text.to_owned()));
        let regex = |text: &str| Ok(TextMatch::Regex(text.to_owned()));
        for (written, want) in [
            ("*", Ok(TextMatch::Present)),
            ("https://Shop.example.com", exact("https://shop.example.com")),
            ("https://a.b:443", exact("https://a.b")),
            ("http://a.b:443", exact("http://a.b:443")),
            ("http://*", regex("http://[^/:]+")),
            ("https://*.example.com:8443", regex("https://[^/:]+\\.example\\.com:8443")),
        ] {
            assert_eq!(origin(written), want, "{written}");
        }
        for bad in ["", "a.b", "ftp://a.b", "https://", "https://a.b:0", "https://a.*.b", "https://*a.b", "https://a.b/c", "https://**"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
