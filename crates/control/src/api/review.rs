//! `kubectl auth can-i`: whether the user who asks may do something, as the guard before this API decides it.

use super::answer::Answer;
use super::asked::Asked;
use super::body;
use super::refusal::Refusal;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use taut_model::kinds;

pub(super) fn access(asked: &Asked) -> Result<Answer, Refusal> {
    if asked.method != Method::POST {
        return Err(Refusal::method_not_allowed(&asked.method));
    }
    let review = body::object(asked)?;
    let (allowed, reason) = decide(asked, &review["spec"]["resourceAttributes"]);
    Ok(Answer::json(&json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": review["spec"], "status": {"allowed": allowed, "reason": reason},
    }))
    .with_code(StatusCode::CREATED))
}

fn decide(asked: &Asked, about: &Value) -> (bool, String) {
    let Some(user) = &asked.user else { return (false, "nobody is signed in".to_owned()) };
    let said = |field: &str| about[field].as_str().unwrap_or_default();
    let method = match said("verb") {
        "get" | "list" | "watch" => Method::GET,
        "delete" | "deletecollection" => Method::DELETE,
        _ => Method::PATCH,
    };
    // A resource of `*` is all kinds.
    let may = match kinds::by_plural(said("group"), said("resource")) {
        Some(kind) => (user.may)(&method, kind),
        None => kinds::KINDS.iter().all(|kind| (user.may)(&method, kind)),
    };
    (may, format!("{} {} do this with their role", user.name, if may { "may" } else { "may not" }))
}
