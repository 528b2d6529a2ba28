//! What a rule of an HTTPRoute or a GRPCRoute matches.

use super::api;
use crate::translate::reader::Reader;
use crate::translate::values;
use taut_model::route::{HttpMatch, NamedMatch, PathMatch, TextMatch};

pub fn http(reader: &mut Reader<'_>, at: &str, matching: api::HttpMatch) -> HttpMatch {
    HttpMatch {
        origin: reader.origin(at),
        path: Some(path(reader, &format!("{at}.path"), matching.path.unwrap_or_default())),
        method: matching.method.map(TextMatch::Exact),
        headers: headers(reader, &format!("{at}.headers"), matching.headers),
        query: query(reader, &format!("{at}.queryParams"), matching.query_params),
        ..HttpMatch::default()
    }
}

/// The API's default is the prefix `/`. A trailing slash is no part of a segment prefix.
fn path(reader: &mut Reader<'_>, at: &str, written: api::PathMatch) -> PathMatch {
    let value = written.value.unwrap_or_else(|| "/".to_owned());
    match written.r#type.as_deref().unwrap_or("PathPrefix") {
        "RegularExpression" => {
            reader.taken(&format!("{at}.value"), values::pattern(&value));
            return PathMatch::Regex(value);
        }
        kind @ ("Exact" | "PathPrefix") => {
            if !value.starts_with('/') {
                reader.invalid(&format!("{at}.value"), format_args!("{value:?} does not start with /"));
            }
            if kind == "Exact" {
                return PathMatch::Exact(value);
            }
        }
        other => reader.unsupported_value(&format!("{at}.type"), other, "use Exact, PathPrefix or RegularExpression"),
    }
    match value.trim_end_matches('/') {
        "" => PathMatch::Segments("/".to_owned()),
        prefix => PathMatch::Segments(prefix.to_owned()),
    }
}

/// Of headers that are named twice the first counts (HTTPHeaderMatch.name).
fn headers(reader: &mut Reader<'_>, at: &str, written: Vec<api::NamedMatch>) -> Vec<NamedMatch> {
    let mut matches: Vec<NamedMatch> = Vec::new();
    for (index, header) in written.into_iter().enumerate() {
        let at = format!("{at}[{index}]");
        let Some(name) = reader.taken(&format!("{at}.name"), values::header_name(&header.name)) else { continue };
        if !matches.iter().any(|earlier| earlier.name == name) {
            matches.push(NamedMatch { name, value: text(reader, &at, header.r#type.as_deref(), header.value) });
        }
    }
    matches
}

fn query(reader: &mut Reader<'_>, at: &str, written: Vec<api::NamedMatch>) -> Vec<NamedMatch> {
    let mut matches: Vec<NamedMatch> = Vec::new();
    for (index, parameter) in written.into_iter().enumerate() {
        if !matches.iter().any(|earlier| earlier.name == parameter.name) {
            let value = text(reader, &format!("{at}[{index}]"), parameter.r#type.as_deref(), parameter.value);
            matches.push(NamedMatch { name: parameter.name, value });
        }
    }
    matches
}

fn text(reader: &mut Reader<'_>, at: &str, kind: Option<&str>, value: String) -> TextMatch {
    match kind {
        None | Some("Exact") => {}
        Some("RegularExpression") => {
            reader.taken(&format!("{at}.value"), values::pattern(&value));
            return TextMatch::Regex(value);
        }
        Some(other) => reader.unsupported_value(&format!("{at}.type"), other, "use Exact or RegularExpression"),
    }
    TextMatch::Exact(value)
}

pub fn grpc(reader: &mut Reader<'_>, at: &str, matching: api::GrpcMatch) -> HttpMatch {
    let method = matching.method.unwrap_or_default();
    HttpMatch {
        origin: reader.origin(at),
        path: Some(grpc_path(reader, &format!("{at}.method"), method)),
        headers: headers(reader, &format!("{at}.headers"), matching.headers),
        ..HttpMatch::default()
    }
}

fn grpc_path(reader: &mut Reader<'_>, at: &str, written: api::GrpcMethod) -> PathMatch {
    let kind = written.r#type;
    let mut part = |field: &str, value: Option<String>| {
        let value = value.filter(|value| !value.is_empty())?;
        match kind.as_deref().unwrap_or("Exact") {
            "Exact" => Some(TextMatch::Exact(value)),
            "RegularExpression" => {
                reader.taken(&format!("{at}.{field}"), values::pattern(&value));
                Some(TextMatch::Regex(value))
            }
            other => {
                reader.unsupported_value(&format!("{at}.type"), other, "use Exact or RegularExpression");
                Some(TextMatch::Exact(value))
            }
        }
    };
    PathMatch::Grpc { service: part("service", written.service), method: part("method", written.method) }
}
