//! The control plane's own HTTP routes beside the Kubernetes API: status, liveness, tokens, explanations, metrics.

use crate::access::{Access, Visitor};
use crate::audit::Audit;
use crate::authority::Authority;
use crate::authority::tokens::{DEFAULT_LIFETIME, Grant};
use crate::dashboard::Counts;
use crate::incidents::Incidents;
use crate::profiling;
use crate::proxies::Proxies;
use crate::publish::Published;
use crate::signal_routes;
use crate::signals;
use crate::source::directory::Report;
use crate::status::{Board, Survey, Surveyed};
use crate::tap;
use crate::trust::{Alarm, Trust};
use crate::why::{self, NoAnswer, Question};
use crate::world::World;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use taut_model::kinds;
use taut_model::problem::Problem;
use taut_model::service::Place;
use taut_model::workload::Health;
use taut_observe::names;
use tokio::sync::watch;

/// The user behind a bearer token, or why it is not let in.
pub type Authenticate = Arc<dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync>;

/// The longest that `?wait=` may hold a request, in seconds.
const LONGEST_WAIT: u64 = 300;

/// What the routes stand on.
pub struct Side {
    pub authority: Arc<Authority>,
    pub proxies: Proxies,
    pub board: Board,
    pub published: watch::Receiver<Arc<Published>>,
    pub directory: Option<Report>,
    pub world: World,
    /// `host:port` of the gRPC listener, as join tokens name it.
    pub advertised: String,
    pub authenticate: Authenticate,
    pub access: Access,
    /// `None` without a dashboard.
    pub dashboard: Option<Arc<Counts>>,
    pub signals: signals::Store,
    pub trust: Trust,
    pub audit: Audit,
    pub incidents: Incidents,
}

/// `beside`: other routes that ask for no more than to be known.
pub fn router(side: Arc<Side>, beside: Router<Arc<Side>>) -> Router {
    Router::new()
        .route("/taut/v1/status", get(status))
        .route("/taut/v1/tokens", post(tokens))
        .route("/taut/v1/live/{kind}/{namespace}/{name}", get(live))
        .route("/taut/v1/why", post(hypothetical))
        .route("/taut/v1/why/{request_id}", get(exchange))
        .route("/metrics", get(metrics))
        .merge(signal_routes::router(side.signals.clone()))
        .merge(tap::router(side.proxies.clone()))
        .merge(profiling::router(side.proxies.clone()))
        .merge(beside)
        .route_layer(from_fn_with_state(side.clone(), authenticated))
        .with_state(side)
}

async fn authenticated(State(side): State<Arc<Side>>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    match (side.authenticate)(bearer) {
        Ok(_) => next.run(request).await,
        Err(why) => refuse(StatusCode::UNAUTHORIZED, why),
    }
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

/// Proxies connected, what each object of interest is up to, and what is wrong.
async fn status(State(side): State<Arc<Side>>) -> Json<Value> {
    let Survey { published, proxies: connected, objects } = side.board.survey();
    let lagging = |uid: &str| objects.iter().filter(|(_, live)| live.lagging.iter().any(|one| one == uid)).count();
    let proxies: Vec<Value> = connected
        .iter()
        .map(|Surveyed { proxy, readiness }| {
            json!({
                "uid": proxy.uid, "namespace": proxy.hello.namespace, "name": proxy.hello.name, "serviceAccount": proxy.hello.service_account,
                "service": proxy.hello.service, "labels": proxy.hello.labels, "address": proxy.hello.address, "peer": proxy.hello.peer,
                "admin": proxy.hello.admin, "proxyVersion": proxy.hello.proxy_version, "readiness": readiness, "since": proxy.since,
                "plan": proxy.plan, "hosts": proxy.viewer.hosts, "resources": proxy.acknowledged.len(), "lagging": lagging(&proxy.uid),
            })
        })
        .collect();
    let delivered =
        |object: &taut_model::origin::ObjectRef| published.made.contains_key(object) || published.translation.findings.contains_key(object);
    let resources: Vec<Value> = objects
        .iter()
        .filter(|(object, _)| delivered(object) || published.translation.idle.contains_key(object))
        .map(|(object, live)| json!({"kind": object.kind, "namespace": object.namespace, "name": object.name, "live": live}))
        .collect();
    Json(json!({
        "version": published.version, "controlPlaneVersion": env!("CARGO_PKG_VERSION"), "trustDomain": side.authority.trust_domain(),
        "proxies": proxies, "resources": resources, "problems": problems(&side), "away": away(&side, &published), "starved": starved(&side, &published),
        "incidents": side.incidents.open().into_iter().map(|shown| json!({"id": shown.incident.id, "title": shown.story.title})).collect::<Vec<_>>(),
    }))
}

/// Workloads with a proxy that the control plane does not hear from.
fn away(side: &Side, published: &Published) -> Vec<String> {
    let connected = side.proxies.all();
    let workloads = published.translation.workloads.values();
    let silent = workloads.filter(|workload| workload.peer.is_some() && workload.health != Health::Ready);
    silent.map(|workload| workload.uid.clone()).filter(|uid| !connected.iter().any(|proxy| proxy.uid == *uid)).collect()
}

/// Services that some proxy uses and that no workload serves now.
fn starved(side: &Side, published: &Published) -> Vec<String> {
    let mesh = &published.translation;
    let used: BTreeSet<String> = side.proxies.all().into_iter().flat_map(|proxy| proxy.viewer.hosts).collect();
    let serves =
        |host: &str| mesh.workloads.values().any(|workload| workload.health == Health::Ready && workload.serves.iter().any(|s| s.host == host));
    let in_mesh = |host: &String| mesh.services.get(host).is_some_and(|service| service.place == Place::Mesh);
    used.into_iter().filter(|host| in_mesh(host) && !serves(host)).collect()
}

/// With the text that people read beside the fields.
fn problems(side: &Side) -> Vec<Value> {
    let files = side.directory.as_ref().map(Report::problems).unwrap_or_default();
    let with_text = |problem: &Problem| {
        let mut value = serde_json::to_value(problem).unwrap_or_default();
        value["text"] = problem.to_string().into();
        value
    };
    let alarms = side.trust.alarms();
    alarms.iter().map(Alarm::to_json).chain(files.iter().chain(&side.board.problems()).map(with_text)).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    namespace: String,
    #[serde(default)]
    service_account: Option<String>,
    #[serde(default)]
    ttl_seconds: Option<u64>,
}

async fn tokens(State(side): State<Arc<Side>>, visitor: Visitor, body: Bytes) -> Response {
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the body must be {{namespace, serviceAccount?, ttlSeconds?}}: {error}")),
    };
    let account = wanted.service_account.filter(|account| !account.is_empty());
    let lifetime = wanted.ttl_seconds.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let grant = Grant { namespace: wanted.namespace, service_account: account };
    if grant.is_reserved() {
        let message =
            format!("{} is the control plane's own identity; ask for a token for another service account", side.authority.control_identity());
        return refuse(StatusCode::BAD_REQUEST, message);
    }
    let about = json!({"namespace": grant.namespace, "serviceAccount": grant.service_account, "seconds": lifetime.as_secs()});
    match side.authority.join_token(&side.advertised, grant, lifetime, side.world.wall()) {
        Ok((token, expires)) => {
            side.audit.note(side.world.wall(), &visitor.user, "token.made", json!({"id": token.id, "for": about}));
            Json(json!({"token": token.text().as_str(), "id": token.id, "expires": expires.to_string()})).into_response()
        }
        Err(fault) => refuse(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    }
}

#[derive(Deserialize)]
struct Patience {
    /// Seconds to wait until the object is live.
    #[serde(default)]
    wait: u64,
}

/// `{kind}` is `plural.group`, or the plural alone for the core group; `{namespace}` is `-` for cluster-scoped kinds.
async fn live(
    State(side): State<Arc<Side>>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    Query(patience): Query<Patience>,
) -> Response {
    let (plural, group) = kind.split_once('.').unwrap_or((&kind, ""));
    let Some(kind) = kinds::by_plural(group, plural) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no kind {kind:?}; write plural.group, as in virtualservices.networking.istio.io"));
    };
    let namespace = if namespace == "-" { "" } else { &namespace };
    let (mut published, mut proxies) = (side.published.clone(), side.proxies.changes());
    let until = tokio::time::Instant::now() + Duration::from_secs(patience.wait.min(LONGEST_WAIT));
    loop {
        published.borrow_and_update();
        proxies.borrow_and_update();
        match side.board.liveness(kind, namespace, &name) {
            None => return refuse(StatusCode::NOT_FOUND, format!("{} {namespace}/{name} does not exist", kind.kind)),
            Some(live) if live.live || patience.wait == 0 || tokio::time::Instant::now() >= until => return Json(live).into_response(),
            Some(_) => {}
        }
        tokio::select! {
            biased;
            _ = published.changed() => {}
            _ = proxies.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

async fn hypothetical(State(side): State<Arc<Side>>, body: Bytes) -> Response {
    let question: Question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the body must be {{from, to, method?, path?, headers?}}: {error}")),
    };
    let published = side.published.borrow().clone();
    match why::hypothetical(&published, side.authority.trust_domain(), &question) {
        Ok(answer) => Json(answer).into_response(),
        Err(fault @ NoAnswer::UnknownFrom { .. }) => refuse(StatusCode::NOT_FOUND, fault.to_string()),
        Err(fault) => refuse(StatusCode::BAD_REQUEST, fault.to_string()),
    }
}

async fn exchange(State(side): State<Arc<Side>>, Path(request_id): Path<String>) -> Response {
    match why::exchange(&side.proxies, &request_id).await {
        Some(answer) => Json(answer).into_response(),
        None => refuse(StatusCode::NOT_FOUND, format!("no connected proxy remembers request {request_id:?}; each keeps its newest requests only")),
    }
}

fn trust_metrics(trust: &Trust) -> String {
    let name = names::CERTIFICATE_EXPIRY;
    let mut text = format!("# HELP {name} Seconds until the certificate expires.\n# TYPE {name} gauge\n");
    for (certificate, left) in trust.expiries() {
        text.push_str(&format!("{name}{{certificate=\"{certificate}\"}} {left}\n"));
    }
    let standing = trust.authority.standing();
    let waiting = standing.rotation.as_ref().map_or(0, |rotation| trust.waiting(rotation).len());
    let rows: [(&str, &str, usize); 3] = [
        (names::CONTROL_ROTATING, "1 while the root is being replaced.", usize::from(standing.rotation.is_some())),
        (names::CONTROL_ROTATION_WAITING, "Proxies that the rotation of the root waits for.", waiting),
        (names::CONTROL_ALARMS, "Certificates and their sources that need care.", trust.alarms().len()),
    ];
    for (name, help, value) in rows {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    }
    text + &trust.signing.metrics()
}

async fn metrics(State(side): State<Arc<Side>>) -> Response {
    let Survey { published, proxies, objects } = side.board.survey();
    let resources: usize = published.encoded.values().map(std::collections::BTreeMap::len).sum();
    let lagging = objects.iter().filter(|(_, live)| !live.lagging.is_empty()).count();
    let refused = objects.iter().filter(|(_, live)| !live.refused.is_empty()).count();
    let rows: [(&str, &str, u64); 7] = [
        (names::CONTROL_PROXIES, "Proxies that are connected.", proxies.len() as u64),
        (names::CONTROL_VERSION, "Version of the store that is delivered.", published.version),
        (names::CONTROL_OBJECTS, "Objects in the store.", objects.len() as u64),
        (names::CONTROL_RESOURCES, "Resources that proxies can be told.", resources as u64),
        (names::CONTROL_LAGGING, "Objects that some proxy does not run yet.", lagging as u64),
        (names::CONTROL_REFUSED, "Objects that some proxy refused.", refused as u64),
        (names::CONTROL_PROBLEMS, "Findings about what users wrote.", problems(&side).len() as u64),
    ];
    let mut text = String::new();
    for (name, help, value) in rows {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    }
    text.push_str(&trust_metrics(&side.trust));
    text.push_str(&side.authority.limits.metrics());
    text.push_str(&side.dashboard.as_ref().map(|counts| counts.text(side.access.sessions())).unwrap_or_default());
    text.push_str(&side.signals.metrics());
    text.push_str(&side.incidents.metrics());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
