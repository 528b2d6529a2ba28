//! The filters of a route's rules and backends.

use super::api;
use super::backend::backend;
use super::cors::cors;
use crate::translate::reader::Reader;
use crate::translate::values;
use taut_model::route::{Cors, HeaderChange, Mirror, PathRewrite, Redirect, RedirectPort, Rewrite};

/// All filters of one rule or backend, by what they do.
#[derive(Default)]
pub struct Filters {
    pub request_headers: HeaderChange,
    pub response_headers: HeaderChange,
    pub rewrite: Option<Rewrite>,
    pub redirect: Option<Redirect>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
}

pub fn on_rule(reader: &mut Reader<'_>, at: &str, written: Vec<api::Filter>) -> Filters {
    let mut filters = Filters::default();
    let mut seen: Vec<String> = Vec::new();
    for (index, filter) in written.into_iter().enumerate() {
        let at = format!("{at}.filters[{index}]");
        if filter.r#type != "RequestMirror" && seen.contains(&filter.r#type) {
            reader.invalid(&at, format_args!("a second {} filter: merge it into the first", filter.r#type));
        }
        seen.push(filter.r#type.clone());
        apply(reader, &at, filter, &mut filters);
    }
    if filters.redirect.is_some() && filters.rewrite.is_some() {
        reader.invalid(&format!("{at}.filters"), "holds both RequestRedirect and URLRewrite: choose one");
    }
    filters
}

/// A backend's own filters: header changes only.
pub fn on_backend(reader: &mut Reader<'_>, at: &str, written: Vec<api::Filter>) -> Filters {
    for (index, filter) in written.iter().enumerate() {
        if matches!(filter.r#type.as_str(), "RequestMirror" | "RequestRedirect" | "URLRewrite" | "CORS") {
            let at = format!("{at}.filters[{index}]");
            reader.unsupported_value(&at, format_args!("{} on a backend", filter.r#type), "move it to the rule's filters");
        }
    }
    on_rule(reader, at, written)
}

fn apply(reader: &mut Reader<'_>, at: &str, filter: api::Filter, filters: &mut Filters) {
    let missing = match filter.r#type.as_str() {
        "RequestHeaderModifier" => filter
            .request_header_modifier
            .map(|modifier| filters.request_headers = header_change(reader, &format!("{at}.requestHeaderModifier"), modifier))
            .is_none(),
        "ResponseHeaderModifier" => filter
            .response_header_modifier
            .map(|modifier| filters.response_headers = header_change(reader, &format!("{at}.responseHeaderModifier"), modifier))
            .is_none(),
        "RequestMirror" => {
            filter.request_mirror.map(|written| filters.mirrors.push(mirror(reader, &format!("{at}.requestMirror"), &written))).is_none()
        }
        "RequestRedirect" => {
            filter.request_redirect.map(|written| filters.redirect = Some(redirect(reader, &format!("{at}.requestRedirect"), written))).is_none()
        }
        "URLRewrite" => filter
            .url_rewrite
            .map(|written| {
                let path = path_rewrite(reader, &format!("{at}.urlRewrite.path"), written.path);
                filters.rewrite = Some(Rewrite { path, authority: written.hostname });
            })
            .is_none(),
        "CORS" => filter.cors.map(|written| filters.cors = Some(cors(reader, &format!("{at}.cors"), &written))).is_none(),
        other => {
            reader.unsupported_value(&format!("{at}.type"), format_args!("the filter {other:?}"), "remove it");
            false
        }
    };
    if missing {
        reader.invalid(at, format_args!("has type {} and not the settings that go with it", filter.r#type));
    }
}

fn header_change(reader: &mut Reader<'_>, at: &str, written: api::HeaderModifier) -> HeaderChange {
    let set = header_values(reader, &format!("{at}.set"), written.set);
    let add = header_values(reader, &format!("{at}.add"), written.add);
    let mut remove = Vec::new();
    for (index, name) in written.remove.iter().enumerate() {
        remove.extend(reader.taken(&format!("{at}.remove[{index}]"), values::header_name(name)));
    }
    HeaderChange { set, add, remove, computed: Vec::new() }
}

fn header_values(reader: &mut Reader<'_>, at: &str, written: Vec<api::HeaderValue>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (index, header) in written.into_iter().enumerate() {
        let at = format!("{at}[{index}]");
        if header.name.eq_ignore_ascii_case("host") {
            reader.unsupported_value(&format!("{at}.name"), "changing the host here", "use a URLRewrite filter with hostname");
        }
        if let Err(reason) = values::header_value(&header.value) {
            reader.invalid(&format!("{at}.value"), reason);
        }
        headers.extend(reader.taken(&format!("{at}.name"), values::header_name(&header.name)).map(|name| (name, header.value)));
    }
    headers
}

fn mirror(reader: &mut Reader<'_>, at: &str, written: &api::RequestMirror) -> Mirror {
    let percent = match (written.percent, &written.fraction) {
        (None, None) => 100.0,
        (Some(percent), None) => reader.percent(&format!("{at}.percent"), percent as f64),
        (None, Some(fraction)) => {
            let denominator = fraction.denominator.unwrap_or(100);
            match fraction.numerator >= 0 && denominator > 0 && fraction.numerator <= denominator {
                true => fraction.numerator as f64 * 100.0 / denominator as f64,
                false => {
                    reader.invalid(&format!("{at}.fraction"), format_args!("{}/{denominator} is not between 0 and 1", fraction.numerator));
                    0.0
                }
            }
        }
        (Some(_), Some(_)) => {
            reader.invalid(at, "names both percent and fraction: choose one");
            0.0
        }
    };
    Mirror { backend: backend(reader, &format!("{at}.backendRef"), &written.backend_ref), percent }
}

fn redirect(reader: &mut Reader<'_>, at: &str, written: api::RequestRedirect) -> Redirect {
    let status = written.status_code.unwrap_or(302);
    if ![301, 302, 303, 307, 308].contains(&status) {
        reader.invalid(&format!("{at}.statusCode"), format_args!("{status} is not one of 301, 302, 303, 307 and 308"));
    }
    // Without a port: a new scheme brings its own well-known port (HTTPRequestRedirectFilter.port).
    let port = match (reader.port(&format!("{at}.port"), written.port), &written.scheme) {
        (Some(number), _) => RedirectPort::Number(number),
        (None, Some(_)) => RedirectPort::FromScheme,
        (None, None) => RedirectPort::Keep,
    };
    Redirect {
        status: u16::try_from(status).unwrap_or(302),
        scheme: written.scheme,
        authority: written.hostname,
        port,
        path: path_rewrite(reader, &format!("{at}.path"), written.path),
    }
}

fn path_rewrite(reader: &mut Reader<'_>, at: &str, written: Option<api::PathModifier>) -> Option<PathRewrite> {
    let written = written?;
    match (written.r#type.as_str(), written.replace_full_path, written.replace_prefix_match) {
        ("ReplaceFullPath", Some(path), None) => Some(PathRewrite::Full(path)),
        ("ReplacePrefixMatch", None, Some(prefix)) => Some(PathRewrite::Prefix(prefix)),
        (other, ..) => {
            reader.invalid(at, format_args!("type {other:?} must come with replaceFullPath or replacePrefixMatch, and only the one it names"));
            None
        }
    }
}
