//! Who sent plain text to whom in the last hour, as the control plane has seen it.

use crate::Outcome;
use crate::api::Api;
use serde_json::Value;

/// Who it is that sends plain text.
pub fn from(row: &Value) -> String {
    row["from"].as_str().unwrap_or("(no proxy)").to_owned()
}

/// What was carried in plain text in the last hour; `None` where the control plane does not say.
pub async fn lately(api: &Api) -> Outcome<Option<Value>> {
    let answer = api.get("/taut/v1/trust/plaintext?since=1h").await?;
    Ok(answer.status.is_success().then_some(answer.value))
}

/// A line for each flow of that.
pub fn lines(report: &Value) -> Vec<String> {
    let line = |row: &Value| {
        let word = |field: &str| row[field].as_str().unwrap_or_default();
        let (to, service, carried, last) = (word("to"), word("service"), &row["carried"], word("last"));
        format!("{} -> {to} ({service}): {carried} requests or connections, the last at {last}", from(row))
    };
    report["plaintext"].as_array().into_iter().flatten().map(line).collect()
}
