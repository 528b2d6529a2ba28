//! `taut trust`: whom the mesh believes, who holds what, replacing the root, and revoking certificates. Demanding mutual TLS is in `strict`.

mod strict;

use crate::api::Api;
use crate::duration::duration;
use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  taut trust                                  roots, intermediate, what expires when, and which proxy holds what
  taut trust rotate                           replace the root by a new one, and wait until every proxy is through
  taut trust rotate --to /etc/taut/new-ca     go over to an authority of your own (Istio's cacerts layout)
  taut trust rotate --abort                   take a rotation back
  taut trust revoke default/reviews-v2        nobody believes the certificate of that workload any more
  taut trust strict --dry-run                 which flows of the last day would break if plain text were refused"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Replace the root: believe both, sign with the new one, then forget the old one; each when every connected proxy is ready
    Rotate(Rotate),
    /// Revoke a certificate: proxies refuse it, and end the connections of whoever shows it
    Revoke(Revoke),
    /// Refuse plain text (PeerAuthentication STRICT), or say which flows of the last day that would break
    Strict(strict::Arguments),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut trust rotate
  taut trust rotate --to /etc/taut/new-ca --wait 30m
  taut trust rotate --wait 0s                 only begin; `taut trust` shows how far it is
  taut trust rotate --abort")]
struct Rotate {
    /// Directory on the control plane's machine with ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem [default: the one of
    /// `taut up --ca-dir`, else a new root is made]
    #[arg(long, value_name = "DIR", conflicts_with = "abort")]
    to: Option<PathBuf>,
    /// Take the rotation that is under way back
    #[arg(long)]
    abort: bool,
    /// How long to wait until it is done; it goes on by itself after that
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    wait: Duration,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut trust revoke default/reviews-v2
  taut trust revoke 4f:0a:91:c3")]
struct Revoke {
    /// namespace/name of a connected workload, or a serial number in hexadecimal
    #[arg(value_name = "SERIAL|WORKLOAD")]
    which: String,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const TRUST: &str = "/taut/v1/trust";
const LOOK: Duration = Duration::from_millis(300);
/// How long `revoke` waits for every proxy.
const TOLD_IN: Duration = Duration::from_secs(10);

pub async fn trust(place: &Place, arguments: Arguments) -> Outcome<ExitCode> {
    let api = place.api()?;
    match arguments.command {
        None => show(&api.get(TRUST).await?.good()?, arguments.output)?,
        Some(Command::Rotate(rotation)) => rotate(place, &api, rotation).await?,
        Some(Command::Revoke(revocation)) => revoke(&api, revocation).await?,
        Some(Command::Strict(demand)) => return strict::strict(&api, demand).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(status: &Value, format: Format) -> Outcome {
    match format {
        Format::Table => output::print(&render(status)),
        format => output::structured(format, status),
    }
}

async fn revoke(api: &Api, revocation: Revoke) -> Outcome {
    let body = match revocation.which.contains('/') {
        true => json!({ "workload": revocation.which }),
        false => json!({ "serial": revocation.which }),
    };
    let status = api.post(&format!("{TRUST}/revoke"), &body).await?.good()?;
    let (status, late) = everywhere(api, status).await?;
    match revocation.output {
        Format::Table => output::tell(&format!(
            "revoked {}: proxies refuse it and have ended its connections; to come back, a workload needs a new join token",
            revocation.which
        )),
        format => output::structured(format, &status["revoked"])?,
    }
    match late.is_empty() {
        true => Ok(()),
        false => Err(Failure::no(format!("not told yet: {}; they are when they answer", late.join(", ")))),
    }
}

/// Waits until every connected proxy knows what is revoked; the names of those that do not in time.
async fn everywhere(api: &Api, mut status: Value) -> Outcome<(Value, Vec<String>)> {
    let until = Instant::now() + TOLD_IN;
    loop {
        let late: Vec<String> =
            list(&status["proxies"]).iter().filter(|proxy| proxy["bundle"] != "current").map(|proxy| text(&proxy["uid"])).collect();
        if late.is_empty() || Instant::now() >= until {
            return Ok((status, late));
        }
        tokio::time::sleep(LOOK).await;
        status = api.get(TRUST).await?.good()?;
    }
}

async fn rotate(place: &Place, api: &Api, rotation: Rotate) -> Outcome {
    let status = match rotation.abort {
        true => api.post(&format!("{TRUST}/abort"), &json!({})).await?.good()?,
        false => {
            let to = rotation.to.map(std::path::absolute).transpose().map_err(|error| Failure::cannot(format!("--to: {error}")))?;
            api.post(&format!("{TRUST}/rotate"), &json!({ "to": to })).await?.good()?
        }
    };
    let mut status = follow(place, status, rotation.wait, rotation.output).await?;
    if status["rotation"].is_null() {
        // The last bundle, too, which holds one root.
        (status, _) = everywhere(&place.api()?, status).await?;
    }
    if rotation.output != Format::Table {
        output::structured(rotation.output, &status)?;
    }
    match status["rotation"].is_null() {
        true if rotation.output == Format::Table => output::print(&render(&status)),
        true => Ok(()),
        false if rotation.wait.is_zero() => Ok(()),
        false => Err(Failure::no(format!(
            "the rotation is not over yet: {}; it goes on by itself, `taut trust` shows how far it is",
            waits(&status["rotation"])
        ))),
    }
}

/// Tells each step until it is over or the time is. A control plane that restarts meanwhile is asked again.
async fn follow(place: &Place, mut status: Value, wait: Duration, format: Format) -> Outcome<Value> {
    let until = Instant::now() + wait;
    let mut told = String::new();
    loop {
        let step = if status["rotation"].is_null() { "done: one root is believed".to_owned() } else { waits(&status["rotation"]) };
        if step != told && format == Format::Table {
            output::tell(&step);
        }
        told = step;
        if status["rotation"].is_null() || Instant::now() >= until {
            return Ok(status);
        }
        tokio::time::sleep(LOOK).await;
        // Read again each time: the kubeconfig names the roots, and they change.
        let asked = async { place.api()?.get(TRUST).await };
        status = match asked.await {
            Ok(answer) => answer.good()?,
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => status,
        };
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `the new root signs; proxies get new certificates; waiting for 2: default/a (…), default/b (…)`
fn waits(rotation: &Value) -> String {
    let waiting = list(&rotation["waitingFor"]);
    let named: Vec<String> = waiting.iter().take(5).map(|one| format!("{} ({})", text(&one["uid"]), text(&one["why"]))).collect();
    match waiting.len() {
        0 => text(&rotation["detail"]),
        count => format!("{}; waiting for {count}: {}", text(&rotation["detail"]), named.join(", ")),
    }
}

/// The first characters of a fingerprint, enough to tell two apart.
fn short(fingerprint: &Value) -> String {
    text(fingerprint).chars().take(16).collect()
}

fn render(status: &Value) -> String {
    let mut out = String::new();
    for problem in list(&status["problems"]) {
        out += &format!("{} {}\n", if problem["severity"] == "error" { '✗' } else { '!' }, text(&problem["text"]));
    }
    if !status["rotation"].is_null() {
        out += &format!("… rotation since {}: {}\n", text(&status["rotation"]["since"]), waits(&status["rotation"]));
    }
    if out.is_empty() {
        out += "✓ nothing is near its end\n";
    }
    let (key, elsewhere) = (text(&status["rootKey"]), !status["signedBy"].is_null());
    let root = |root: &Value| {
        let state = match (root["signing"] == true, &root["until"]) {
            (true, _) => format!("signs; its key is {key}"),
            (false, Value::Null) => "believed".to_owned(),
            (false, until) => format!("named no more; believed until {}", text(until)),
        };
        vec!["root".to_owned(), short(&root["fingerprint"]), text(&root["notAfter"]), state]
    };
    let intermediate = &status["intermediate"];
    let plugged = text(&status["plugged"]["directory"]);
    let state =
        if plugged.is_empty() || status["plugged"]["inForce"] != true { "signs leaves".to_owned() } else { format!("signs leaves; from {plugged}") };
    let signer = vec!["intermediate".to_owned(), short(&intermediate["fingerprint"]), text(&intermediate["notAfter"]), state];
    let rows = list(&status["roots"]).iter().map(root).chain((!elsewhere).then_some(signer));
    out += &format!("\ntrust domain {}\n", text(&status["trustDomain"]));
    if elsewhere {
        let (by, last) = (&status["signedBy"], text(&status["signedBy"]["lastSigned"]));
        let last = if last.is_empty() { "nothing yet".to_owned() } else { format!("last at {last}") };
        out += &format!("signed by the {} {} ({last})\n", text(&by["kind"]), text(&by["address"]));
    }
    let aliases: Vec<String> = list(&status["aliases"]).iter().map(text).collect();
    if !aliases.is_empty() {
        out += &format!("also called {}\n", aliases.join(", "));
    }
    for other in list(&status["federated"]) {
        let tokens = if other["signsTokens"] == true { ", and its tokens" } else { "" };
        out += &format!("believes members of {} by {} of its own roots{tokens}\n", text(&other["trustDomain"]), other["roots"]);
    }
    out.push('\n');
    out += &output::table(&["authority", "sha-256", "until", "state"], rows);
    let revoked = (list(&status["revoked"]["named"]).len(), status["revoked"]["listed"].as_u64().unwrap_or(0));
    if revoked != (0, 0) {
        out += &format!("\nrevoked: {} by name, {} by lists\n", revoked.0, revoked.1);
    }
    let proxies = list(&status["proxies"]);
    if proxies.is_empty() {
        return out;
    }
    let row = |proxy: &Value| {
        let leaf = &proxy["leaf"];
        let signer = match text(&leaf["signer"]).as_str() {
            "other" => "another",
            "elsewhere" => "another CA",
            _ => "this one",
        };
        vec![text(&proxy["uid"]), text(&proxy["bundle"]), text(&leaf["serial"]), text(&leaf["notAfter"]), signer.to_owned()]
    };
    out + "\n" + &output::table(&["proxy", "bundle", "certificate", "until", "signed by"], proxies.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_and_rotation_come_first() {
        let shown = render(&json!({
            "trustDomain": "cluster.local", "rootKey": "offline",
            "problems": [{ "severity": "warning", "text": "the root certificate expires soon" }],
            "rotation": { "since": "now", "detail": "proxies are told", "waitingFor": [{ "uid": "default/a", "why": "has not acknowledged" }] },
            "roots": [{ "fingerprint": "0123456789abcdef99", "notAfter": "2036", "signing": true }],
            "intermediate": { "fingerprint": "ff", "notAfter": "2027" },
            "proxies": [{ "uid": "default/a", "bundle": "behind", "leaf": { "serial": "4f0a", "notAfter": "soon", "signer": "current" } }] }));
        let start = "! the root certificate expires soon\n… rotation since now: proxies are told; waiting for 1: default/a (has not acknowledged)\n";
        assert!(shown.starts_with(start), "{shown}");
        let squeezed = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains("root 0123456789abcdef 2036 signs; its key is offline"), "{shown}");
        assert!(render(&json!({})).starts_with("✓ nothing is near its end"));
    }
}
