//! The admin server, on loopback only: `/ready`, `/metrics`, `/config`, `/records`. Reads, never changes anything.

use crate::process::Process;
use crate::sink::Sink;
use crate::status::Status;
use crate::world::World;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use taut_model::problem::Severity;
use taut_observe::exposition::Format;
use taut_observe::metrics::{Kind, Sample};
use taut_observe::names::{self, label};
use taut_wire::net::Listener;

const HEAD_LIMIT: Duration = Duration::from_secs(10);
const MOST_RECORDS: usize = 100;
const PATHS: &str = "taut-proxy admin\n\n/ready     200 when certificate, plan and application are ready, else 503 and why\n\
    /metrics   Prometheus text, or OpenMetrics with exemplars\n/config    what this proxy runs, as JSON\n/records   newest records; ?request_id=ID: those of one request, explained\n";

/// What the server shows.
#[derive(Clone)]
pub struct Admin {
    pub world: World,
    pub status: Arc<Status>,
    pub sink: Sink,
}

/// Serves until dropped.
pub async fn serve(listener: Listener, admin: Admin) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let response = admin.respond(request.method(), request.uri(), Format::accepted(accept));
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // A client that breaks off is its own affair.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Admin {
    /// `format`: of the metrics.
    fn respond(&self, method: &Method, uri: &http::Uri, format: Format) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match uri.path() {
            "/" => text(StatusCode::OK, PATHS.to_owned()),
            "/ready" | "/healthz/ready" => match self.status.ready() {
                Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            },
            "/metrics" | "/stats/prometheus" => response(StatusCode::OK, format.content_type(), self.metrics(format)),
            "/config" => json(&self.status.config()),
            "/records" => json(&self.records(uri.query().unwrap_or_default())),
            path => text(StatusCode::NOT_FOUND, format!("there is no {path}; there are:\n\n{PATHS}")),
        }
    }

    fn records(&self, query: &str) -> Value {
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("request_id="));
        let found = match asked {
            Some(id) => self.sink.find(id),
            None => self.sink.newest(MOST_RECORDS),
        };
        found.iter().map(|kept| if asked.is_some() { kept.to_json() } else { kept.record_json() }).collect()
    }

    fn metrics(&self, format: Format) -> String {
        let current = self.status.current();
        let process = Process::read();
        let expires = current.identity().map(|held| held.not_after.duration_since(self.world.wall()).as_secs_f64());
        let alarm = current.identity().map(|held| match held.alarm(self.world.wall()) {
            Some(Severity::Error) => 2.0,
            Some(_) => 1.0,
            None => 0.0,
        });
        let version = [(label::VERSION, env!("CARGO_PKG_VERSION"))];
        let connected = f64::from(u8::from(current.connected()));
        let mut samples = vec![
            Sample { name: names::BUILD, help: "The build that runs.", kind: Kind::Gauge, labels: &version, value: 1.0 },
            Sample::gauge(names::CONNECTED, "1 while the control plane is reached.", connected),
            Sample::gauge(names::PLAN_VERSION, "Version of the plan that is pinned.", current.plan_version() as f64),
            Sample::counter(names::ACCESS_LOG_DROPPED, "Access log lines that were lost.", self.sink.access_log_dropped() as f64),
        ];
        let signals = self.status.signals();
        samples.push(Sample::gauge(names::SIGNALS_WAITING, "Seconds of signals that the control plane has not kept yet.", signals.waiting() as f64));
        samples.push(Sample::counter(names::SIGNALS_LOST, "Seconds of signals that had to be dropped.", signals.dropped() as f64));
        samples.push(Sample::counter(names::SIGNALS_CROWDED, "Exchanges that were summed as other.", signals.overflow() as f64));
        let unwell = current.checks().unwell().iter().count();
        samples.push(Sample::gauge(names::ENDPOINTS_UNWELL, "Endpoints that fail the health checks of this proxy.", unwell as f64));
        let limited = current.limited();
        let limits: Vec<_> = limited.iter().map(|(name, count)| ([(label::LIMIT, &**name)], *count as f64)).collect();
        samples.extend(limits.iter().map(|(labels, value)| Sample {
            name: names::RATE_LIMITED,
            help: "Requests that found no room in a RateLimit.",
            kind: Kind::Counter,
            labels,
            value: *value,
        }));
        let (refused, would_be) = (self.sink.refusals().refused(), self.sink.refusals().would_be());
        let refused: Vec<_> =
            refused.iter().map(|((reason, policy), count)| ([(label::REASON, &**reason), (label::POLICY, &**policy)], *count as f64)).collect();
        let would_be: Vec<_> = would_be.iter().map(|(policy, count)| ([(label::POLICY, &**policy)], *count as f64)).collect();
        let counted = |name, help, labels, value| Sample { name, help, kind: Kind::Counter, labels, value };
        let help = "Requests that a policy of this workload has refused.";
        samples.extend(refused.iter().map(|(labels, value)| counted(names::POLICY_REFUSALS, help, labels.as_slice(), *value)));
        let help = "Requests that a dry run of an AuthorizationPolicy would have refused.";
        samples.extend(would_be.iter().map(|(labels, value)| counted(names::DRY_RUN_REFUSALS, help, labels.as_slice(), *value)));
        samples.extend(expires.map(|left| Sample::gauge(names::CERTIFICATE_EXPIRY, "Seconds until the certificate expires.", left)));
        let help = "1 when the certificate should have been renewed long ago (a third of its life is left), 2 when it ends soon (a tenth), else 0.";
        samples.extend(alarm.map(|alarm| Sample::gauge(names::CERTIFICATE_ALARM, help, alarm)));
        samples.extend(process.resident_bytes.map(|bytes| Sample::gauge(names::PROCESS_MEMORY, "Resident memory.", bytes as f64)));
        samples.extend(process.cpu.map(|cpu| Sample::counter(names::PROCESS_CPU, "User and system CPU time.", cpu.as_secs_f64())));
        samples.extend(process.started.map(|at| Sample::gauge(names::PROCESS_START, "Start of the process, Unix time.", at)));
        let (exported, lost): (Vec<_>, Vec<_>) = (self.sink.telemetry().exported().collect(), self.sink.telemetry().lost().collect());
        let exported: Vec<_> = exported.iter().map(|(signal, count)| ([(label::SIGNAL, *signal)], *count as f64)).collect();
        let lost: Vec<_> = lost.iter().map(|(signal, reason, count)| ([(label::SIGNAL, *signal), (label::REASON, *reason)], *count as f64)).collect();
        let counter = |name, help, labels, value| Sample { name, help, kind: Kind::Counter, labels, value };
        let help = "Spans, metric points and log records that collectors have taken.";
        samples.extend(exported.iter().map(|(labels, value)| counter(names::TELEMETRY_EXPORTED, help, labels.as_slice(), *value)));
        let help = "The same that were lost, and why.";
        samples.extend(lost.iter().map(|(labels, value)| counter(names::TELEMETRY_DROPPED, help, labels.as_slice(), *value)));
        self.sink.registry().render_as(format, &samples)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn json(value: &Value) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
