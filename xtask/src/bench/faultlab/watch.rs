//! What the mesh says: its incidents, asked of the dashboard's listener as a browser would, and read as far as they are scored.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Where a cause is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Service(String),
    /// A service, and the version of it.
    Part(String, String),
    Link(String, String),
    Outside(String),
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    pub place: Place,
    pub kind: String,
    pub confidence: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub id: String,
    /// Unix seconds.
    pub opened: i64,
    pub closed: bool,
    pub verdict: String,
    pub causes: Vec<Cause>,
    pub whole: Value,
}

impl Incident {
    pub fn read(value: &Value) -> Option<Self> {
        let causes = value["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            id: value["id"].as_str()?.to_owned(),
            opened: value["opened"].as_i64()?,
            closed: value["state"].as_str().map_or(!value["closed"].is_null(), |state| state == "closed"),
            verdict: value["verdict"].as_str().unwrap_or_default().to_owned(),
            causes: causes.iter().map(Cause::read).collect(),
            whole: value.clone(),
        })
    }
}

impl Cause {
    fn read(value: &Value) -> Self {
        Self {
            place: Place::read(&value["place"]),
            kind: value["kind"].as_str().unwrap_or_default().to_owned(),
            confidence: value["confidence"].as_f64().unwrap_or(0.0),
        }
    }
}

impl Place {
    fn read(value: &Value) -> Self {
        // Services are `namespace/name`; the lab has one namespace.
        let name = |value: &Value| value.as_str().map(|id| id.rsplit('/').next().unwrap_or(id).to_owned()).unwrap_or_default();
        let Some((kind, what)) = value.as_object().and_then(|object| object.iter().next()) else { return Self::Unknown(value.to_string()) };
        match kind.as_str() {
            "service" => Self::Service(name(what)),
            "part" => Self::Part(name(&what[0]), name(&what[1]["version"])),
            "link" => Self::Link(name(&what[0]), name(&what[1])),
            "outside" => Self::Outside(name(what)),
            _ => Self::Unknown(value.to_string()),
        }
    }
}

/// A session with the control plane.
pub struct Watch {
    authority: String,
    cookie: String,
}

impl Watch {
    /// `url` as the control plane wrote it, with its token.
    pub fn sign_in(url: &str) -> Result<Self, String> {
        let rest = url.trim().strip_prefix("http://").ok_or_else(|| format!("{url}: expected http://"))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| format!("{url}: no path"))?;
        let (_, head, _) = get(authority, &format!("/{path}"), "")?;
        let set = head.lines().find_map(|line| line.to_ascii_lowercase().starts_with("set-cookie:").then(|| line[11..].trim().to_owned()));
        let cookie = set.and_then(|set| set.split(';').next().map(str::to_owned)).ok_or("the dashboard signs nobody in")?;
        Ok(Self { authority: authority.to_owned(), cookie })
    }

    /// The newest first. An error is a control plane that is away, which is not the end.
    pub fn incidents(&self) -> Result<Vec<Incident>, String> {
        let value = self.json("/taut/v1/incidents?state=all&limit=50")?;
        let list = value["incidents"].as_array().ok_or_else(|| format!("no list of incidents: {value}"))?;
        Ok(list.iter().filter_map(Incident::read).collect())
    }

    pub fn json(&self, path: &str) -> Result<Value, String> {
        let (status, _, body) = get(&self.authority, path, &format!("cookie: {}\r\n", self.cookie))?;
        match status {
            200 => serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}")),
            status => Err(format!("{path}: {status}")),
        }
    }
}

/// One request on a connection of its own: status, head, body.
fn get(authority: &str, path: &str, headers: &str) -> Result<(u16, String, Vec<u8>), String> {
    let cannot = |error: std::io::Error| format!("http://{authority}{path}: {error}");
    let mut stream = TcpStream::connect(authority).map_err(cannot)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(cannot)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: {authority}\r\n{headers}\r\n").as_bytes()).map_err(cannot)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(cannot)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| format!("http://{authority}{path}: no answer"))?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, head, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_incident_is_read_as_the_mesh_writes_it() {
        let incident = Incident::read(&json!({
            "id": "i1", "opened": 100, "closed": null, "state": "open", "verdict": "found",
            "causes": [
                { "place": { "part": ["default/ratings", { "workload": "ratings-v2", "version": "v2" }] }, "kind": "failing", "confidence": 0.9 },
                { "place": { "link": ["default/reviews", "default/ratings"] }, "kind": "network" },
                { "place": { "outside": "outside" }, "kind": "surge" },
            ],
        }));
        let incident = incident.expect("an incident");
        assert!(!incident.closed && incident.opened == 100);
        let places: Vec<_> = incident.causes.iter().map(|cause| cause.place.clone()).collect();
        let expected = [
            Place::Part("ratings".to_owned(), "v2".to_owned()),
            Place::Link("reviews".to_owned(), "ratings".to_owned()),
            Place::Outside("outside".to_owned()),
        ];
        assert_eq!(places, expected);
        assert_eq!(Incident::read(&json!({ "id": "i2" })), None);
    }
}
