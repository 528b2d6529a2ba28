//! A VirtualService's `corsPolicy`: which pages of other origins may read responses.

use super::api;
use super::parts::text_match;
use crate::translate::reader::Reader;
use crate::translate::values;
use taut_model::route::{Allowed, Cors, Credentials, StrangersPreflight, TextMatch};

pub fn cors(reader: &mut Reader<'_>, at: &str, written: &api::CorsPolicy) -> Cors {
    let strangers = match written.unmatched_preflights.as_deref() {
        None | Some("UNSPECIFIED" | "FORWARD") => StrangersPreflight::Forward,
        Some("IGNORE") => StrangersPreflight::Refuse,
        Some(other) => {
            reader.invalid(&format!("{at}.unmatchedPreflights"), format_args!("{other:?} is neither FORWARD nor IGNORE"));
            StrangersPreflight::Refuse
        }
    };
    Cors {
        origin: reader.origin(at),
        allow_origins: origins(reader, at, written),
        allow_methods: Allowed::Listed(listed(reader, &format!("{at}.allowMethods"), &written.allow_methods)),
        allow_headers: Allowed::Listed(listed(reader, &format!("{at}.allowHeaders"), &written.allow_headers)),
        expose_headers: listed(reader, &format!("{at}.exposeHeaders"), &written.expose_headers),
        max_age: reader.duration(&format!("{at}.maxAge"), written.max_age.as_deref()),
        credentials: if written.allow_credentials { Credentials::Allowed } else { Credentials::Withheld },
        strangers,
    }
}

/// The deprecated list counts where the other is empty.
fn origins(reader: &mut Reader<'_>, at: &str, written: &api::CorsPolicy) -> Vec<TextMatch> {
    if written.allow_origins.is_empty() {
        return written.allow_origin.iter().cloned().map(TextMatch::Exact).collect();
    }
    let mut origins = Vec::new();
    for (index, origin) in written.allow_origins.iter().enumerate() {
        let at = format!("{at}.allowOrigins[{index}]");
        match text_match(reader, &at, origin) {
            Some(TextMatch::Present) => reader.invalid(&at, "names none of exact, prefix and regex"),
            found => origins.extend(found),
        }
    }
    origins
}

/// Names of methods or headers, or `*`: what Envoy puts into the header as it is written.
fn listed(reader: &mut Reader<'_>, at: &str, names: &[String]) -> Vec<String> {
    for (index, name) in names.iter().enumerate() {
        reader.taken(&format!("{at}[{index}]"), values::token(name));
    }
    names.to_vec()
}
