//! What a client is told when it does not get what it asked for: the `Status` object of Kubernetes.

use super::answer::{Answer, sentence};
use crate::store::{Expired, StoreError};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use taut_model::kinds::Kind;
use taut_model::merge::PatchError;
use taut_model::merge::apply::Conflict;
use taut_model::problem::{Problem, Severity};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub code: StatusCode,
    /// A `StatusReason` of Kubernetes.
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Refusal { code, reason, message: message.into(), details: None }
    }

    fn about(self, kind: &Kind, name: &str, causes: Vec<Value>) -> Self {
        let mut details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        if !causes.is_empty() {
            details["causes"] = causes.into();
        }
        Refusal { details: Some(details), ..self }
    }

    pub fn no_such_path() -> Self {
        Refusal { details: Some(json!({})), ..Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource") }
    }

    pub fn no_such_metric(name: &str, known: &[&str]) -> Self {
        let message = format!("there is no external metric {name:?}; there are: {}", known.join(", "));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{} {name:?} not found", kind.full_name())).about(kind, name, Vec::new())
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub fn unauthorized(because: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", format!("Unauthorized: {because}"))
    }

    pub fn forbidden(kind: &Kind, name: &str, because: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("{} {name:?} is forbidden: {because}", kind.full_name())).about(kind, name, Vec::new())
    }

    pub fn method_not_allowed(method: &Method) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", format!("the server does not allow {method} on the requested resource"))
    }

    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io, \
                       application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub fn unsupported_media_type(given: &str, accepted: &[&str]) -> Self {
        let message = format!("the body of the request was in an unknown format ({given:?}) - accepted media types include: {}", accepted.join(", "));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// A body of a known type that holds what cannot be read.
    pub fn unsupported_body(why: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", format!("protobuf: {why}"))
    }

    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body of the request is larger than {limit} bytes, or ended early");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub fn conflict(kind: &Kind, name: &str, because: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {because}", kind.full_name());
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name, Vec::new())
    }

    pub fn expired(expired: &Expired) -> Self {
        Self::new(StatusCode::GONE, "Expired", format!("too old resource version: {} ({})", expired.from, expired.oldest))
    }

    /// All errors among `problems`. When all of them are fields that there are not, the text is that of Kubernetes'
    /// strict decoding, which tools know.
    pub fn invalid(kind: &Kind, version: &str, name: &str, problems: &[Problem]) -> Self {
        let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        let causes = errors.iter().map(|problem| json!({"reason": cause(problem), "message": told(problem), "field": problem.path})).collect();
        if errors.iter().all(|problem| is_strict(problem)) {
            let list: Vec<String> = errors.iter().map(|problem| strict(problem)).collect();
            let message = format!("{0} in version {version:?} cannot be handled as a {0}: strict decoding error: {1}", kind.kind, list.join(", "));
            return Self::bad_request(message).about(kind, name, causes);
        }
        let list: Vec<String> = errors.iter().map(|problem| sentence(problem)).collect();
        let list = if list.len() == 1 { list.concat() } else { format!("[{}]", list.join(", ")) };
        let message = match kind.group {
            "" => format!("{} {name:?} is invalid: {list}", kind.kind),
            group => format!("{}.{group} {name:?} is invalid: {list}", kind.kind),
        };
        let refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(kind, name, causes);
        refusal.with_kind(kind.kind)
    }

    /// One field of what was sent is wrong.
    pub fn invalid_field(kind: &Kind, name: &str, path: &str, message: &str) -> Self {
        let cause = json!({"reason": "FieldValueInvalid", "message": message, "field": path});
        let message = format!("{} {name:?} is invalid: {path}: {message}", kind.kind);
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(kind, name, vec![cause]).with_kind(kind.kind)
    }

    pub fn patch(kind: &Kind, name: &str, error: &PatchError) -> Self {
        match error.path.is_empty() {
            true => Self::bad_request(error.message.clone()),
            false => Self::invalid_field(kind, name, &error.path, &error.message),
        }
    }

    /// Server-side apply met fields of others.
    pub fn field_conflicts(conflicts: &[Conflict]) -> Self {
        let causes: Vec<Value> =
            conflicts.iter().map(|each| json!({"reason": "FieldManagerConflict", "message": each.to_string(), "field": each.field})).collect();
        let list: Vec<String> = conflicts.iter().map(|each| format!("{each}: {}", each.field)).collect();
        let message = match &list[..] {
            [one] => format!("Apply failed with 1 conflict: {one}"),
            many => format!("Apply failed with {} conflicts: {}", many.len(), many.join("; ")),
        };
        Refusal { details: Some(json!({"causes": causes})), ..Self::new(StatusCode::CONFLICT, "Conflict", message) }
    }

    pub fn store(kind: &Kind, name: &str, error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::not_found(kind, name),
            StoreError::AlreadyExists { .. } => {
                let message = format!("{} {name:?} already exists", kind.full_name());
                Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name, Vec::new())
            }
            StoreError::Conflict { .. } => {
                let because = "the object has been modified; please apply your changes to the latest version and try again";
                Self::conflict(kind, name, because)
            }
            StoreError::Declined | StoreError::InUse { .. } | StoreError::Unusable { .. } | StoreError::Disk { .. } => {
                Self::internal(error.to_string())
            }
        }
    }

    /// `kubectl` prints `details.kind` of an invalid object, so there it is the kind and not the plural.
    fn with_kind(mut self, kind: &str) -> Self {
        if let Some(details) = &mut self.details {
            details["kind"] = kind.into();
        }
        self
    }

    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Answer::json(&self.status()).with_code(self.code).into_response()
    }
}

fn is_strict(problem: &Problem) -> bool {
    matches!(problem.code, "UnknownField" | "DuplicateField")
}

/// `unknown field "spec.htp" (did you mean "http"?)`
fn strict(problem: &Problem) -> String {
    let sort = if problem.code == "DuplicateField" { "duplicate" } else { "unknown" };
    match &problem.help {
        Some(help) => format!("{sort} field {:?} ({help})", problem.path),
        None => format!("{sort} field {:?}", problem.path),
    }
}

fn told(problem: &Problem) -> String {
    match &problem.help {
        Some(help) => format!("{}; {help}", problem.message),
        None => problem.message.clone(),
    }
}

/// A `CauseType` of Kubernetes.
fn cause(problem: &Problem) -> &'static str {
    match problem.code {
        "WrongType" => "FieldValueTypeInvalid",
        "Required" | "MissingField" => "FieldValueRequired",
        "UnsupportedValue" => "FieldValueNotSupported",
        "DuplicateField" | "DuplicateItem" => "FieldValueDuplicate",
        _ => "FieldValueInvalid",
    }
}
