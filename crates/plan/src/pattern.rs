//! Patterns over text: what a user wrote, compiled, able to test a value and to describe itself.

use crate::index::Demand;
use regex::{Regex, RegexBuilder};
use taut_model::route::{PathMatch, TextMatch};

/// Compiled programs larger than this are refused, so that one route cannot take a proxy's memory.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// A regular expression that must cover the whole value, as RE2 full matches do in Envoy.
///
/// # Errors
/// Says why the pattern cannot be used, in a sentence that quotes it.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    // The bare pattern must compile on its own first: `a)|(b` would else break out of the group below.
    part(pattern)?;
    build(pattern, &format!("^(?:{pattern})$"))
}

/// A regular expression that may match anywhere.
///
/// # Errors
/// As [`whole`].
pub(crate) fn part(pattern: &str) -> Result<Regex, String> {
    build(pattern, pattern)
}

fn build(written: &str, pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).dfa_size_limit(REGEX_SIZE_LIMIT).build().map_err(|error| {
        let because = match error {
            regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {limit} bytes"),
            other => other.to_string().lines().last().unwrap_or("it does not parse").trim().to_owned(),
        };
        format!("the regular expression {written:?} cannot be used: {because}")
    })
}

#[derive(Debug, Clone)]
pub(crate) enum Text {
    Exact(String),
    Prefix(String),
    Regex(Regex, String),
    Present,
}

impl Text {
    pub(crate) fn compile(said: &TextMatch) -> Result<Self, String> {
        Ok(match said {
            TextMatch::Exact(text) => Self::Exact(text.clone()),
            TextMatch::Prefix(text) => Self::Prefix(text.clone()),
            TextMatch::Regex(text) => Self::Regex(whole(text)?, text.clone()),
            TextMatch::Present => Self::Present,
        })
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Prefix(text) => value.starts_with(text.as_str()),
            Self::Regex(regex, _) => regex.is_match(value),
            Self::Present => true,
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Exact(text) => format!("is {text:?}"),
            Self::Prefix(text) => format!("starts with {text:?}"),
            Self::Regex(_, text) => format!("matches /{text}/"),
            Self::Present => "is present".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Path {
    Exact(String),
    Prefix(String),
    Segments(String),
    Regex(Regex, String),
    Grpc(GrpcPath),
}

/// `/package.Service/Method`
#[derive(Debug, Clone)]
pub(crate) struct GrpcPath {
    service: Option<Text>,
    method: Option<Text>,
    /// What every path begins with that this matches, as far as that is fixed.
    start: Option<String>,
}

impl GrpcPath {
    fn compile(service: Option<&TextMatch>, method: Option<&TextMatch>) -> Result<Self, String> {
        let start = match (service, method) {
            (Some(TextMatch::Exact(service)), Some(TextMatch::Exact(method))) => Some(format!("/{service}/{method}")),
            (Some(TextMatch::Exact(service)), _) => Some(format!("/{service}/")),
            _ => None,
        };
        let text = |said: Option<&TextMatch>| said.map(Text::compile).transpose();
        Ok(Self { service: text(service)?, method: text(method)?, start })
    }

    fn matches(&self, path: &str) -> bool {
        let Some((service, method)) = path.strip_prefix('/').and_then(|rest| rest.split_once('/')) else { return false };
        let fits = |want: &Option<Text>, have: &str| !have.is_empty() && want.as_ref().is_none_or(|want| want.matches(have));
        !method.contains('/') && fits(&self.service, service) && fits(&self.method, method)
    }

    fn describe(&self) -> String {
        let part = |what: &str, text: &Option<Text>| text.as_ref().map(|text| format!("gRPC {what} {}", text.describe()));
        let parts: Vec<String> = [part("service", &self.service), part("method", &self.method)].into_iter().flatten().collect();
        if parts.is_empty() { "path is that of a gRPC method".to_owned() } else { parts.join(", ") }
    }
}

impl Path {
    pub(crate) fn compile(said: &PathMatch) -> Result<Self, String> {
        Ok(match said {
            PathMatch::Exact(text) => Self::Exact(text.clone()),
            PathMatch::Prefix(text) => Self::Prefix(text.clone()),
            // `/foo/` and `/foo` mean the same (HTTPRoute `PathPrefix`: a trailing slash is ignored).
            PathMatch::Segments(text) => Self::Segments(text.trim_end_matches('/').to_owned()),
            PathMatch::Regex(text) => Self::Regex(whole(text)?, text.clone()),
            PathMatch::Grpc { service, method } => Self::Grpc(GrpcPath::compile(service.as_ref(), method.as_ref())?),
        })
    }

    /// `ignore_case` concerns exact and prefix matches only, ASCII letters only.
    pub(crate) fn matches(&self, path: &str, ignore_case: bool) -> bool {
        match self {
            Self::Exact(text) if ignore_case => text.eq_ignore_ascii_case(path),
            Self::Exact(text) => text == path,
            Self::Prefix(text) => starts_with(path, text, ignore_case),
            Self::Segments(text) => path.strip_prefix(text.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(regex, _) => regex.is_match(path),
            Self::Grpc(grpc) => grpc.matches(path),
        }
    }

    /// What every path has that this matches; with case ignored, that is not so.
    pub(crate) fn demand(&self) -> Option<Demand<'_>> {
        match self {
            Self::Exact(text) => Some(Demand::Path(text)),
            Self::Prefix(text) | Self::Segments(text) => Some(Demand::PathStart(text)),
            Self::Regex(..) => None,
            Self::Grpc(grpc) => grpc.start.as_deref().map(Demand::PathStart),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Exact(text) => format!("path is {text:?}"),
            Self::Prefix(text) => format!("path starts with {text:?}"),
            Self::Segments(text) if text.is_empty() => "path is under \"/\"".to_owned(),
            Self::Segments(text) => format!("path is {text:?} or under it"),
            Self::Regex(_, text) => format!("path matches /{text}/"),
            Self::Grpc(grpc) => grpc.describe(),
        }
    }
}

fn starts_with(value: &str, prefix: &str, ignore_case: bool) -> bool {
    match ignore_case {
        true => value.as_bytes().get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes())),
        false => value.starts_with(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_covers_the_whole_value() {
        for (pattern, value, want) in
            [("a|ab", "ab", true), ("v[0-9]", "v12", false), ("^/x$", "/x", true), (".*jason.*", "x jason y", true), ("(?i)Jason", "JASON", true)]
        {
            assert_eq!(whole(pattern).unwrap().is_match(value), want, "{pattern} {value}");
        }
    }

    #[test]
    fn a_pattern_cannot_break_out_or_eat_memory() {
        for bad in ["a)|(b", "(", "[z-a]", "(?x)a #", "(a{1000}){1000}"] {
            let message = whole(bad).unwrap_err();
            assert!(message.contains("cannot be used"), "{message}");
        }
    }

    #[test]
    fn paths() {
        let prefix = |p: &str| Path::compile(&PathMatch::Prefix(p.into())).unwrap();
        let segments = |p: &str| Path::compile(&PathMatch::Segments(p.into())).unwrap();
        let exact = |text: &str| Some(TextMatch::Exact(text.to_owned()));
        let grpc = |service, method| Path::compile(&PathMatch::Grpc { service, method }).unwrap();
        for (path, value, case, want) in [
            (prefix("/foo"), "/foobar", false, true),
            (prefix("/Foo"), "/foobar", false, false),
            (prefix("/Foo"), "/foobar", true, true),
            (segments("/foo"), "/foobar", false, false),
            (segments("/foo"), "/foo", false, true),
            (segments("/foo/"), "/foo", false, true),
            (segments("/foo/"), "/foo/x", false, true),
            (segments("/"), "/anything", false, true),
            (segments("/"), "", false, true),
            (prefix("/é"), "/e", true, false),
            (grpc(exact("a.B"), exact("C")), "/a.B/C", false, true),
            (grpc(exact("a.B"), None), "/a.B/C", false, true),
            (grpc(exact("a.B"), None), "/a.B", false, false),
            (grpc(exact("a.B"), None), "/a.B/C/D", false, false),
            (grpc(exact("a.B"), None), "/a.Bc/C", false, false),
            (grpc(None, exact("C")), "/a.B/C", false, true),
            (grpc(None, exact("C")), "//C", false, false),
            (grpc(Some(TextMatch::Regex("a|b".to_owned())), None), "/b/C", false, true),
            (grpc(Some(TextMatch::Regex("a|b".to_owned())), None), "/ba/C", false, false),
            (grpc(None, None), "/a/b", false, true),
            (grpc(None, None), "/a/", false, false),
        ] {
            assert_eq!(path.matches(value, case), want, "{path:?} {value}");
        }
    }
}
