//! Conditions: the `type`, `status`, `reason`, `message` entries of a Kubernetes status.

use serde_json::{Value, json};

/// Puts a condition into `status.conditions`, in the place of the one of the same type. The time of the last transition
/// stays when the status stays (Kubernetes API conventions, "Typical status properties").
pub fn set(status: &mut Value, condition: Value) {
    if !status.is_object() {
        *status = json!({});
    }
    put(&mut status["conditions"], condition);
}

/// As [`set`], in a list of conditions.
pub fn put(conditions: &mut Value, mut condition: Value) {
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            if known["status"] == condition["status"] && known["lastTransitionTime"].is_string() {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_dated_when_the_status_changes_and_only_then() {
        let mut status = Value::Null;
        let live = |status: &str, message: &str, at: &str| json!({"type": "Live", "status": status, "message": message, "lastTransitionTime": at});
        set(&mut status, live("False", "0/2", "t1"));
        set(&mut status, json!({"type": "Accepted", "status": "True", "lastTransitionTime": "t1"}));
        set(&mut status, live("False", "1/2", "t2"));
        assert_eq!(status["conditions"][0], live("False", "1/2", "t1"));
        set(&mut status, live("True", "2/2", "t3"));
        assert_eq!(status["conditions"][0], live("True", "2/2", "t3"));
        assert_eq!(status["conditions"].as_array().unwrap().len(), 2);
    }
}
