//! `taut why`: the decision path of a request, with the object, field and line behind each step.

use crate::output::{self, Format};
use crate::place::Place;
use crate::request::{self, RequestLine};
use crate::{Failure, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taut_plan::Explanation;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut why --from productpage --to reviews --request 'GET /reviews/1' -H 'end-user: jason'
  taut why --from ratings --to store:7000
  taut why 3f1c9f4e-8a44-4d0b-9a3c-6f3a5d1c2b7e      (the x-request-id of one that happened)")]
pub struct Arguments {
    /// Request id of an exchange that happened, from its x-request-id header, an access log or an error text
    #[arg(required_unless_present_all = ["from", "to"], conflicts_with_all = ["from", "to"])]
    request_id: Option<String>,
    /// The caller: a workload or service, NAME or NAMESPACE/NAME
    #[arg(long, value_name = "CALLER")]
    from: Option<String>,
    /// The destination as the caller names it: HOST or HOST:PORT
    #[arg(long, value_name = "HOST[:PORT]")]
    to: Option<String>,
    /// The request; without one, a TCP connection (or GET / when the port speaks HTTP)
    #[arg(long, value_name = "'METHOD /PATH'", value_parser = request::line)]
    request: Option<RequestLine>,
    /// A header of the request; may be given again
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", value_parser = request::header)]
    headers: Vec<(String, String)>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn why(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let value = match &arguments.request_id {
        Some(id) => api.get(&format!("/taut/v1/why/{}", crate::get::escape(id))).await?.good()?,
        None => {
            let headers: BTreeMap<_, _> = arguments.headers.iter().cloned().collect();
            let mut body = json!({ "from": arguments.from, "to": arguments.to, "headers": headers });
            if let Some(line) = &arguments.request {
                body["method"] = line.method.as_str().into();
                body["path"] = line.target.as_str().into();
            }
            api.post("/taut/v1/why", &body).await?.good()?
        }
    };
    match arguments.output {
        Format::Table => match value["text"].as_str() {
            Some(text) => output::print(&format!("{}\n", text.trim_end())),
            None => output::print(&happened(&value)?),
        },
        format => output::structured(format, &value),
    }
}

/// The halves in the order a request passes them: the caller's proxy, then the destination's.
fn happened(value: &Value) -> Outcome<String> {
    let mut text = String::new();
    for half in value["halves"].as_array().into_iter().flatten() {
        if !text.is_empty() {
            text.push('\n');
        }
        let answer = &half["answer"];
        let side = answer["record"]["edge"]["reporter"].as_str().unwrap_or("some");
        text += &format!("{} ({side} side)\n", half["proxy"].as_str().unwrap_or_default());
        let explanation: Explanation = serde_json::from_value(answer["explanation"].clone())
            .map_err(|e| Failure::cannot(format!("the control plane's answer does not read: {e}")))?;
        text += explanation.to_string().trim_end();
        text.push('\n');
        text += &record(&answer["record"]);
    }
    match text.is_empty() {
        true => Err(Failure::no("no proxy remembers this request")),
        false => Ok(text),
    }
}

/// What happened, below what was decided.
fn record(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let ms = |value: &Value| value.as_f64().unwrap_or(0.0) / 1000.0;
    let mut lines = format!(
        "  happened     {} {} at {}: {} in {:.1} ms\n",
        text("method"),
        text("path"),
        text("started"),
        record["status"],
        ms(&record["duration_us"])
    );
    for (number, attempt) in record["attempts"].as_array().into_iter().flatten().enumerate() {
        let field = |key: &str| attempt[key].as_str().unwrap_or_default();
        // The application itself is an endpoint without a name.
        let named = if field("endpoint").is_empty() { "the application" } else { field("endpoint") };
        lines +=
            &format!("  attempt {}    {named} ({}): {} after {:.1} ms\n", number + 1, field("address"), field("result"), ms(&attempt["duration_us"]));
    }
    if let Some(failure) = record["failure"].as_object() {
        let field = |key: &str| failure.get(key).and_then(Value::as_str).unwrap_or_default();
        let retry = if failure.get("retry_safe").and_then(Value::as_bool) == Some(true) { "safe to retry" } else { "not safe to retry blindly" };
        lines += &format!("  failed       {} side, {}: {} ({retry})\n", field("side"), field("reason"), field("detail"));
    }
    lines
}
