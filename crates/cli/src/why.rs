//! `taut why`: the decision path of a request, with the object, field and line behind each step.

use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taut_control::request::{self, RequestLine};
use taut_observe::record::{ConnectionRecord, ExchangeRecord, Reporter};
use taut_observe::text::Came;
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
    let halves: Vec<Half> =
        serde_json::from_value(value["halves"].clone()).map_err(|e| Failure::cannot(format!("the control plane's answer does not read: {e}")))?;
    match halves.is_empty() {
        true => Err(Failure::no("no proxy remembers this request")),
        false => Ok(halves.iter().map(half).collect::<Vec<_>>().join("\n")),
    }
}

/// What one proxy says of a request.
#[derive(Deserialize)]
struct Half {
    proxy: String,
    answer: Answer,
}

#[derive(Deserialize)]
struct Answer {
    record: Record,
    /// `None` when it failed before there was anything to decide.
    explanation: Option<Explanation>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Exchange(Box<ExchangeRecord>),
    Connection(Box<ConnectionRecord>),
}

/// Why it was decided so, and below that what came of it.
fn half(half: &Half) -> String {
    let (edge, lines) = match &half.answer.record {
        Record::Exchange(record) => (&record.edge, exchange(record)),
        Record::Connection(record) => (&record.edge, connection(record)),
    };
    let side = match edge.reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    };
    let mut text = format!("{} ({side} side)\n", half.proxy);
    if let Some(explanation) = &half.answer.explanation {
        text += explanation.to_string().trim_end();
        text.push('\n');
    }
    for (topic, line) in lines {
        text += &format!("  {topic:<12} {line}\n");
    }
    text
}

type Lines = Vec<(String, String)>;

fn exchange(record: &ExchangeRecord) -> Lines {
    let result = match (record.status, record.grpc_status) {
        (0, _) => "no status was sent".to_owned(),
        (status, None) => status.to_string(),
        (status, Some(grpc)) => format!("{status}, gRPC status {grpc}"),
    };
    let happened = format!("{} {} at {}: {result} in {}", record.method, record.path, record.started, milliseconds(record.duration_us));
    let mut lines = vec![("happened".to_owned(), happened)];
    if record.waited_us > 0 {
        lines.push(("waited".to_owned(), format!("{} for its turn with the application", milliseconds(record.waited_us))));
    }
    for (number, attempt) in record.attempts.iter().enumerate() {
        // The application beside the proxy and what is outside the mesh have an address and no name.
        let to = match attempt.endpoint.is_empty() {
            true if record.edge.reporter == Reporter::Destination => format!("the application ({})", attempt.address),
            true => attempt.address.to_string(),
            false => format!("{} ({})", attempt.endpoint, attempt.address),
        };
        lines.push((format!("attempt {}", number + 1), format!("{to}: {} after {}", attempt.result, milliseconds(attempt.duration_us))));
    }
    // A second copy that was not needed is no retry.
    let hedged = record.attempts.iter().filter(|attempt| attempt.result == Came::Failed("hedged".into())).count();
    match record.attempts.len() - hedged {
        0 if record.status == 0 => lines.push(("reached".to_owned(), "nobody".to_owned())),
        0 => lines.push(("reached".to_owned(), "nobody: this proxy answered by itself".to_owned())),
        1 => {}
        count => lines.push(("retried".to_owned(), if count == 2 { "once".to_owned() } else { format!("{} times", count - 1) })),
    }
    lines.extend(record.failure.as_ref().map(|failure| failed(failure, record.edge.reporter)));
    lines
}

fn connection(record: &ConnectionRecord) -> Lines {
    let to = match &*record.edge.service_host {
        "" => "",
        host => &format!(" to {host}"),
    };
    let (time, started) = (milliseconds(record.duration_us), &record.started);
    let happened = match record.endpoint.is_empty() {
        true => format!("connection{to} at {started}: ended after {time}"),
        false => {
            let (there, back) = (record.received_bytes, record.sent_bytes);
            format!("connection{to} at {started}: {there} bytes from the client, {back} bytes back, in {time}")
        }
    };
    let reached = if record.endpoint.is_empty() { "nobody" } else { &record.endpoint };
    let mut lines = vec![("happened".to_owned(), happened), ("reached".to_owned(), reached.to_owned())];
    lines.extend(record.failure.as_ref().map(|failure| failed(failure, record.edge.reporter)));
    lines
}

/// Reasons that come from what was configured: sending the same again changes nothing.
const REFUSALS: [&str; 9] = [
    "authorization_denied",
    "mutual_tls_required",
    "not_served_here",
    "unknown_service",
    "unknown_port",
    "no_route_matched",
    "origin_not_allowed",
    "backend_unresolved",
    "subset_undefined",
];

fn failed(failure: &taut_observe::record::Failure, reporter: Reporter) -> (String, String) {
    let by = failure.origin.as_ref().map_or_else(String::new, |origin| format!(" [{origin}]"));
    let (topic, advice) = match failure.reason.as_str() {
        reason if REFUSALS.contains(&reason) => ("refused", "the same request will be refused again"),
        _ if failure.retry_safe => ("failed", "safe to retry"),
        _ => ("failed", "not safe to retry blindly"),
    };
    let topic = if failure.reason == "fault_injected" { "injected" } else { topic };
    // What a source's proxy calls upstream may be the destination's proxy, which says more in its own half.
    let side = match (topic, failure.side.as_str(), reporter) {
        ("refused", "upstream", Reporter::Source) => "by the destination's proxy",
        (_, "upstream", _) => "upstream side",
        (_, "client", _) => "client side",
        (_, "mesh", _) => "mesh side",
        (_, other, _) => other,
    };
    (topic.to_owned(), format!("{side}, {}: {}{by} ({advice})", failure.reason, failure.detail))
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.1} ms", microseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
