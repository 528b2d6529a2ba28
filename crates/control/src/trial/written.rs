//! A RouteTest as it is written; its schema is beside this file, and has been checked when these are read.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub workloads: Vec<WrittenWorkload>,
    pub cases: Vec<Case>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WrittenWorkload {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub service_account: Option<String>,
    pub ports: BTreeMap<String, u16>,
    /// Whether it has a proxy. The default is that it has.
    pub meshed: Option<bool>,
}

/// Somebody who only asks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Caller {
    pub namespace: Option<String>,
    pub service_account: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub meshed: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Case {
    pub name: Option<String>,
    pub from: Option<String>,
    pub r#as: Option<Caller>,
    pub to: String,
    pub request: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub expect: Expect,
}

impl Case {
    /// `GET /reviews/1 from productpage to reviews`
    pub fn summary(&self, caller: Option<&str>) -> String {
        let who = self.from.as_deref().or(caller).unwrap_or("nobody");
        format!("{} from {who} to {}", self.request.as_deref().unwrap_or("connection"), self.to)
    }
}

/// What is not named is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Expect {
    /// Destination -> its part, in any unit: of the requests that go anywhere.
    pub goes_to: Option<BTreeMap<String, f64>>,
    pub answered: Option<Answered>,
    pub redirected: Option<Redirected>,
    pub aborted: Option<Aborted>,
    pub refused: Option<Refused>,
    pub delayed: Option<Delayed>,
    /// A duration or `none`.
    pub timeout: Option<String>,
    pub retries: Option<Retries>,
    /// As it is sent on, with the query.
    pub path: Option<String>,
    pub authority: Option<String>,
    pub request_headers: Option<Headers>,
    pub response_headers: Option<Headers>,
    /// Destination -> percentage of all requests.
    pub mirrors: Option<BTreeMap<String, f64>>,
    pub mutual_tls: Option<bool>,
    /// `VirtualService default/reviews`, with or without the field's path.
    pub decided_by: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answered {
    pub status: Option<u16>,
    pub body: Option<String>,
    /// Percentage of all requests; so for all below.
    pub share: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Redirected {
    pub status: Option<u16>,
    pub location: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Aborted {
    pub status: Option<u16>,
    pub grpc_status: Option<u16>,
    pub share: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refused {
    pub status: Option<u16>,
    pub reason: Option<String>,
    /// As `decidedBy`.
    pub by: Option<String>,
    pub share: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Delayed {
    pub time: String,
    pub share: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retries {
    pub attempts: Option<u32>,
    pub per_try_timeout: Option<String>,
    /// The conditions as `taut why` words them, in any order: `connect failure, 5xx`.
    pub on: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Headers {
    pub set: BTreeMap<String, String>,
    pub add: BTreeMap<String, String>,
    pub remove: Vec<String>,
}
