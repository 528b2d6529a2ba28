//! A successful answer, before it is an HTTP response.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WARNING};
use serde_json::Value;
use taut_model::object::Object;
use taut_model::problem::Problem;

pub(super) struct Answer {
    pub code: StatusCode,
    pub content_type: &'static str,
    pub body: Body,
    /// Shown to the user by `kubectl`, one line each.
    pub warnings: Vec<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub fn new(content_type: &'static str, body: Body) -> Self {
        Answer { code: StatusCode::OK, content_type, body, warnings: Vec::new(), headers: Vec::new() }
    }

    pub fn json(value: &Value) -> Self {
        Answer::new("application/json", Body::from(value.to_string()))
    }

    pub fn text(text: &'static str) -> Self {
        Answer::new("text/plain; charset=utf-8", Body::from(text))
    }

    pub fn with_code(self, code: StatusCode) -> Self {
        Answer { code, ..self }
    }

    pub fn with_warnings(self, warnings: Vec<String>) -> Self {
        Answer { warnings, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.code;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for warning in self.warnings.iter().filter_map(|text| warning(text)) {
            response.headers_mut().append(WARNING, warning);
        }
        response
            .headers_mut()
            .extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)).filter_map(|(name, value)| Some((name?, value))));
        response
    }
}

/// The whole object at the version that the client speaks.
pub(super) fn at_version(object: &Object, version: &str) -> Value {
    let mut value = object.value.clone();
    value["apiVersion"] = object.kind.api_version_at(version).into();
    value["kind"] = object.kind.kind.into();
    value
}

/// `spec.http[0].route: what is wrong. What to do.`
pub(super) fn sentence(problem: &Problem) -> String {
    // What a translator says begins with the path already.
    let mut text = match problem.message.starts_with(&problem.path) {
        true => problem.message.clone(),
        false => format!("{}: {}", problem.path, problem.message),
    };
    if let Some(help) = &problem.help {
        text.push_str(&format!("; {help}"));
    }
    text
}

/// RFC 9111 (obsoletes RFC 7234), 5.5: `299 - "text"`.
fn warning(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_model::problem::Severity;

    #[test]
    fn a_path_is_told_once() {
        let problem = |path: &str, message: &str| Problem {
            severity: Severity::Error,
            code: "InvalidValue",
            object: None,
            path: path.into(),
            location: None,
            message: message.into(),
            help: Some("choose one".into()),
            excerpt: None,
        };
        for (path, message, told) in [
            ("spec.hosts", "is empty", "spec.hosts: is empty; choose one"),
            ("spec.hosts", "spec.hosts is not supported yet", "spec.hosts is not supported yet; choose one"),
            ("", "is not an object", "is not an object; choose one"),
        ] {
            assert_eq!(sentence(&problem(path, message)), told);
        }
    }
}
