//! `kubectl auth can-i`: whoever is let in may do everything.

use super::answer::Answer;
use super::asked::Asked;
use super::body;
use super::refusal::Refusal;
use http::{Method, StatusCode};
use serde_json::json;

pub(super) fn access(asked: &Asked) -> Result<Answer, Refusal> {
    if asked.method != Method::POST {
        return Err(Refusal::method_not_allowed(&asked.method));
    }
    let review = body::object(asked)?;
    let reason = format!("{} was let in, and whoever is let in may do everything", asked.user);
    Ok(Answer::json(&json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": review["spec"], "status": {"allowed": true, "reason": reason},
    }))
    .with_code(StatusCode::CREATED))
}
