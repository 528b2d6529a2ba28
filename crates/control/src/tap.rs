//! `taut tap`: records of the whole mesh as they come, as server-sent events. Proxies are asked once a second for what their rings hold
//! anyway, so tapping costs the path of an exchange nothing, and what does not fit the rate is counted and left out.

use crate::proxies::{Proxies, Proxy};
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::join_all;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use taut_observe::secrets::is_secret;
use taut_wire::desk::{Tap, TapHeader, ask};

/// Records per second that are told at most, over all proxies.
const HIGHEST_RATE: u32 = 500;
const DEFAULT_RATE: u32 = 20;
const EVERY: Duration = Duration::from_secs(1);
/// A proxy that does not answer by then is left out this time.
const ASK_LIMIT: Duration = Duration::from_millis(800);

/// Whoever may not see requests is to be kept away by the caller.
pub fn router<S: Clone + Send + Sync + 'static>(proxies: Proxies) -> Router<S> {
    Router::new().route("/taut/v1/tap", get(tap)).with_state(proxies)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    source: String,
    destination: String,
    method: String,
    path: String,
    status: String,
    /// `name=value`, or `name` alone for any value; several on lines of their own.
    header: String,
    /// Names of headers to tell, likewise.
    show: String,
    rate: Option<u32>,
}

/// Headers of one tap.
const MOST_HEADERS: usize = 4;

impl Wanted {
    fn headers(&self) -> Vec<TapHeader> {
        let header = |line: &str| {
            let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value.to_owned())));
            TapHeader { name: name.trim().to_ascii_lowercase(), value }
        };
        self.header.lines().filter(|line| !line.trim().is_empty()).map(header).collect()
    }

    fn shown(&self) -> Vec<String> {
        self.show.lines().map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
    }

    /// Why it cannot be asked for, if it cannot.
    fn mistake(&self) -> Option<String> {
        if self.rate.is_some_and(|rate| rate == 0 || rate > HIGHEST_RATE) {
            return Some(format!("rate is records per second: 1 to {HIGHEST_RATE}"));
        }
        let is_status = |text: &str| text.is_empty() || (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x'));
        if !is_status(&self.status) {
            return Some("status is a number such as 503, or a class such as 5xx".to_owned());
        }
        let (headers, shown) = (self.headers(), self.shown());
        if headers.len() + shown.len() > MOST_HEADERS {
            return Some(format!("a tap looks at {MOST_HEADERS} headers at most"));
        }
        headers.iter().map(|header| &header.name).chain(&shown).find_map(|name| match HeaderName::try_from(name) {
            Err(_) => Some(format!("{name:?} is no name of a header; write NAME=VALUE, such as x-user=jason")),
            Ok(_) if is_secret(name) => Some(format!("{name} may hold a secret, so nobody can tap by it or see it; choose by another header")),
            Ok(_) => None,
        })
    }
}

/// One tap that is open.
struct Tapping {
    proxies: Proxies,
    wanted: Wanted,
    /// How far each proxy's ring was read, by the number of its line: a proxy that was started again counts anew.
    read: BTreeMap<(String, u64), u64>,
    ready: VecDeque<Event>,
}

async fn tap(
    State(proxies): State<Proxies>,
    Query(wanted): Query<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, (StatusCode, Json<Value>)> {
    if let Some(why) = wanted.mistake() {
        return Err((StatusCode::BAD_REQUEST, Json(json!({"error": why}))));
    }
    let tapping = Tapping { proxies, wanted, read: BTreeMap::new(), ready: VecDeque::new() };
    let events = stream::unfold(tapping, |mut tapping| async move {
        while tapping.ready.is_empty() {
            tapping.round().await;
        }
        let event = tapping.ready.pop_front()?;
        Some((Ok(event), tapping))
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default()))
}

impl Tapping {
    /// Asks every proxy once.
    async fn round(&mut self) {
        if !self.read.is_empty() {
            tokio::time::sleep(EVERY).await;
        }
        let all = self.proxies.all();
        let rate = self.wanted.rate.unwrap_or(DEFAULT_RATE);
        let known = all.iter().map(|proxy| (proxy, self.read.get(&place(proxy)).copied().unwrap_or_default()));
        let answers = join_all(known.map(|(proxy, after)| ask_one(proxy, &self.wanted, rate, after))).await;
        let (mut records, mut left_out) = (Vec::new(), 0);
        let mut read = BTreeMap::new();
        for (proxy, answer) in all.iter().zip(answers) {
            let before = self.read.get(&place(proxy)).copied().unwrap_or_default();
            let next = answer.as_ref().and_then(|answer| answer["next"].as_u64()).unwrap_or(before);
            read.insert(place(proxy), next);
            let Some(mut answer) = answer else { continue };
            if let Some(why) = answer["refused"].as_str() {
                self.ready.push_back(Event::default().event("refused").data(json!({"proxy": proxy.uid, "why": why}).to_string()));
            }
            left_out += answer["leftOut"].as_u64().unwrap_or_default() + answer["missed"].as_u64().unwrap_or_default();
            if let Value::Array(told) = answer["records"].take() {
                records.extend(told.into_iter().map(|record| json!({"proxy": proxy.uid, "record": record})));
            }
        }
        self.read = read;
        let keep = records.len().div_ceil((rate as usize).max(1)).max(1);
        let told: Vec<Value> = records.iter().step_by(keep).cloned().collect();
        left_out += (records.len() - told.len()) as u64;
        self.ready.extend(told.iter().map(|record| Event::default().event("record").data(record.to_string())));
        if left_out > 0 {
            self.ready.push_back(Event::default().event("leftOut").data(json!({"leftOut": left_out}).to_string()));
        }
        if self.read.is_empty() {
            // Nobody to ask: this round took no time.
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn place(proxy: &Proxy) -> (String, u64) {
    (proxy.uid.clone(), proxy.line.number)
}

async fn ask_one(proxy: &Proxy, wanted: &Wanted, most: u32, after: u64) -> Option<Value> {
    let (headers, show) = (wanted.headers(), wanted.shown());
    let Wanted { source, destination, method, path, status, .. } = wanted.clone();
    let tap = Tap { source, destination, method, path, status, most, after, headers, show };
    let json = proxy.line.ask(ask::What::Tap(tap), ASK_LIMIT).await?;
    serde_json::from_str(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_asked_for_by_name_and_value_and_never_secrets() {
        let wanted = |header: &str, show: &str| Wanted { header: header.into(), show: show.into(), ..Wanted::default() };
        let asked = wanted("X-User=jason=2\nx-tenant\n", "x-request-id");
        let headers: Vec<_> = asked.headers().into_iter().map(|header| (header.name, header.value)).collect();
        assert_eq!(headers, [("x-user".to_owned(), Some("jason=2".to_owned())), ("x-tenant".to_owned(), None)]);
        assert_eq!((asked.shown(), asked.mistake()), (vec!["x-request-id".to_owned()], None));
        for (header, show, why) in [
            ("authorization=Bearer x", "", "may hold a secret"),
            ("", "Cookie", "may hold a secret"),
            ("a b=c", "", "is no name of a header"),
            ("a\nb\nc", "d\ne", "4 headers at most"),
        ] {
            let said = wanted(header, show).mistake().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }
}
