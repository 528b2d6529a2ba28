//! What sidecars of this machine say of themselves on their admin listeners: all there is while the control plane is away.

use crate::output::{self, Format};
use crate::{Failure, Outcome};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a sidecar may take.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: usize = 64 << 20;

/// Asks each of them, and says first what is wrong.
pub async fn status(sidecars: &[SocketAddr], format: Format) -> Outcome {
    let mut told = Vec::new();
    for sidecar in sidecars {
        told.push((*sidecar, config(*sidecar).await));
    }
    match format {
        Format::Table => output::print(&render(&told))?,
        format => {
            let one = |(sidecar, config): &(SocketAddr, Result<Value, String>)| json!({"sidecar": sidecar.to_string(), "config": config.as_ref().ok(), "error": config.as_ref().err()});
            output::structured(format, &told.iter().map(one).collect::<Vec<_>>())?;
        }
    }
    match told.iter().all(|(_, config)| config.is_ok()) {
        true => Ok(()),
        false => Err(Failure::cannot("")),
    }
}

/// The document behind `/config`.
async fn config(sidecar: SocketAddr) -> Result<Value, String> {
    tokio::time::timeout(PATIENCE, ask(sidecar)).await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

async fn ask(sidecar: SocketAddr) -> Result<Value, String> {
    let stream = TcpStream::connect(sidecar).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(connection);
    let request = Request::get("/config").header(header::HOST, sidecar.to_string()).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| "what answers is no sidecar's admin listener".to_owned())
}

fn render(told: &[(SocketAddr, Result<Value, String>)]) -> String {
    let mut out: String = told.iter().flat_map(|(sidecar, config)| troubles(*sidecar, config.as_ref())).map(|line| line + "\n").collect();
    if out.is_empty() {
        out += "✓ nothing is wrong\n";
    }
    let row = |(sidecar, config): &(SocketAddr, Result<Value, String>)| {
        let config = config.as_ref().ok()?;
        let text = |value: &Value| value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned);
        let control = if config["control"]["connected"] == true { "connected" } else { "away" };
        let (uid, plan, until) = (&config["workload"]["uid"], &config["plan"]["version"], &config["certificate"]["notAfter"]);
        Some(vec![sidecar.to_string(), text(uid), control.to_owned(), text(plan), text(until)])
    };
    out + "\n" + &output::table(&["sidecar", "workload", "control plane", "plan", "certificate until"], told.iter().filter_map(row))
}

fn troubles(sidecar: SocketAddr, config: Result<&Value, &String>) -> Vec<String> {
    let config = match config {
        Ok(config) => config,
        Err(why) => return vec![format!("✗ {sidecar} does not answer: {why}")],
    };
    let uid = config["workload"]["uid"].as_str().unwrap_or("a sidecar");
    let mut lines = Vec::new();
    let certificate = &config["certificate"];
    let mark = if certificate["alarm"] == "error" { '✗' } else { '!' };
    if !certificate["alarm"].is_null() {
        let until = certificate["notAfter"].as_str().unwrap_or_default();
        let what = "its sidecar renews it at half of its life and could not: start the control plane again, or see the sidecar's log";
        lines.push(format!("{mark} the certificate of {uid} expires at {until}: {what}"));
    }
    if config["control"]["connected"] == false {
        lines.push(format!("! {uid} does not reach the control plane at {}", config["control"]["address"].as_str().unwrap_or_default()));
    }
    if config["ready"]["ready"] == false {
        lines.push(format!("✗ {uid} is not ready: {}", config["ready"]["why"].as_str().unwrap_or_default()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_was_not_renewed_comes_first() {
        let config = json!({"workload": {"uid": "default/web"}, "control": {"connected": false, "address": "127.0.0.1:15012"}, "ready": {"ready": true},
            "plan": {"version": 7}, "certificate": {"notAfter": "soon", "alarm": "error"}});
        let (sidecar, gone) = ("127.0.0.1:15000".parse().unwrap(), "127.0.0.2:15000".parse().unwrap());
        let shown = render(&[(sidecar, Ok(config)), (gone, Err("refused".to_owned()))]);
        let start = "✗ the certificate of default/web expires at soon: its sidecar renews it";
        assert!(shown.starts_with(start) && shown.contains("! default/web does not reach the control plane at 127.0.0.1:15012\n"), "{shown}");
        assert!(shown.contains("✗ 127.0.0.2:15000 does not answer: refused\n") && shown.contains("away"), "{shown}");
    }
}
