//! Reading a request: who asks, for what, with which options, and what they sent.

use super::accept::Accept;
use super::refusal::Refusal;
use super::selector::Selector;
use super::target::{self, Target};
use super::{Api, User};
use axum::extract::{Query, Request};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, Method, Uri};

/// As much as Kubernetes takes.
const BODY_AT_MOST: usize = 3 << 20;

/// A request, read.
pub(super) struct Asked {
    pub method: Method,
    pub target: Target,
    pub options: Options,
    pub accept: Accept,
    /// The media type of the body in lower case, without parameters; empty if not given.
    pub content_type: String,
    /// The name of the client program, for `managedFields`.
    pub agent: String,
    /// `None` where nobody needs to be known.
    pub user: Option<User>,
    pub body: Bytes,
}

/// The query parameters of the Kubernetes API that change an answer. `limit` is not one: a list is always whole.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub watch: bool,
    pub labels: Selector,
    pub fields: Selector,
    pub resource_version: Option<String>,
    pub exact_version: bool,
    pub timeout_seconds: Option<u64>,
    pub bookmarks: bool,
    pub dry_run: bool,
    pub force: bool,
    pub field_manager: Option<String>,
    /// A number by which a client calls several requests one change; ours do.
    pub change: Option<u64>,
    /// `fieldValidation=Ignore` or `Warn`: the client would have unknown fields dropped.
    pub lenient: bool,
    /// `includeObject` of a table.
    pub rows: RowObject,
}

/// What a row of a table carries besides its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RowObject {
    None,
    #[default]
    Metadata,
    Whole,
}

pub(super) async fn read(api: &Api, request: Request) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    let target = target::parse(parts.uri.path());
    let user = match target {
        Some(Target::Health | Target::Version) => None,
        _ => Some((api.authenticate)(bearer(&parts.headers)).map_err(|because| Refusal::unauthorized(&because))?),
    };
    let body = axum::body::to_bytes(body, BODY_AT_MOST).await.map_err(|_| Refusal::too_large(BODY_AT_MOST))?;
    Ok(Asked {
        target: target.ok_or_else(Refusal::no_such_path)?,
        options: options(&parts.uri)?,
        accept: Accept::parse(text(&parts.headers, &ACCEPT)),
        content_type: text(&parts.headers, &CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        agent: text(&parts.headers, &USER_AGENT).split('/').next().unwrap_or_default().chars().take(128).collect(),
        method: parts.method,
        user,
        body,
    })
}

impl Asked {
    /// Who owns the fields that this request writes: the name it gives, else the client program's.
    pub fn manager(&self) -> &str {
        match self.options.field_manager.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ if self.agent.is_empty() => "unknown",
            _ => &self.agent,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn options(uri: &Uri) -> Result<Options, Refusal> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| Refusal::bad_request("the query of the URL cannot be read"))?;
    let mut options = Options::default();
    for (name, value) in pairs {
        match name.as_str() {
            "watch" => options.watch = truth(&value),
            "labelSelector" => options.labels = Selector::labels(&value).map_err(Refusal::bad_request)?,
            "fieldSelector" => options.fields = Selector::fields(&value).map_err(Refusal::bad_request)?,
            "resourceVersion" if !value.is_empty() => options.resource_version = Some(value),
            "resourceVersionMatch" => options.exact_version = value == "Exact",
            "timeoutSeconds" => options.timeout_seconds = Some(number(&name, &value)?),
            "allowWatchBookmarks" => options.bookmarks = truth(&value),
            // Clients fall back to a list and a watch when they are told so.
            "sendInitialEvents" if truth(&value) => {
                return Err(Refusal::bad_request("sendInitialEvents is not offered here: list first, then watch from the list's resourceVersion"));
            }
            "continue" if !value.is_empty() => return Err(Refusal::bad_request("lists are never cut here, so there is nothing to continue")),
            "dryRun" if value == "All" => options.dry_run = true,
            "dryRun" if !value.is_empty() => return Err(Refusal::bad_request(format!("dryRun: {value:?} is not supported; use \"All\""))),
            "force" => options.force = truth(&value),
            "fieldManager" => options.field_manager = Some(manager(value)?),
            "change" => {
                options.change = Some(
                    u64::from_str_radix(&value, 16)
                        .map_err(|_| Refusal::bad_request(format!("change: {value:?} is not a hexadecimal number of at most 16 digits")))?,
                )
            }
            "fieldValidation" => options.lenient = validation(&value)?,
            "includeObject" => options.rows = row_object(&value)?,
            _ => {}
        }
    }
    Ok(options)
}

fn truth(value: &str) -> bool {
    matches!(value, "" | "1" | "true" | "True" | "TRUE")
}

fn number(name: &str, value: &str) -> Result<u64, Refusal> {
    value.parse().map_err(|_| Refusal::bad_request(format!("{name}: {value:?} is not a whole number of seconds")))
}

fn manager(value: String) -> Result<String, Refusal> {
    match value.len() > 128 || value.chars().any(char::is_control) {
        true => Err(Refusal::bad_request("fieldManager: must be at most 128 printable characters")),
        false => Ok(value),
    }
}

fn validation(value: &str) -> Result<bool, Refusal> {
    match value {
        "" | "Strict" => Ok(false),
        "Warn" | "Ignore" => Ok(true),
        other => Err(Refusal::bad_request(format!("fieldValidation: {other:?} is not one of Ignore, Warn, Strict"))),
    }
}

fn row_object(value: &str) -> Result<RowObject, Refusal> {
    match value {
        "" | "Metadata" => Ok(RowObject::Metadata),
        "None" => Ok(RowObject::None),
        "Object" => Ok(RowObject::Whole),
        other => Err(Refusal::bad_request(format!("includeObject: {other:?} is not one of None, Metadata, Object"))),
    }
}
