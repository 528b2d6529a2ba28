//! Who a Kubernetes service account token proves somebody to be, as the cluster's API server says (TokenReview, authentication.k8s.io/v1). For
//! whom a node's agent may ask is in `node`.

mod node;

use crate::outside::Outside;
use crate::world::World;
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Semaphore;

/// An answer is good for this long: pods that start ask several times, and a token that was withdrawn is soon not taken any more.
const KEEP: Duration = Duration::from_secs(10);
const KEPT: usize = 4096;
/// The API server is asked so many questions at the same time, and each takes so long at most.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 16 << 10;

/// Where the API server is, and how to ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// `https://host:port`.
    pub api: String,
    /// What its certificate leads to; `None`: one of the roots that this machine trusts.
    pub roots: Option<PathBuf>,
    /// The control plane's own token for it, read anew each time since the kubelet renews it.
    pub token: Option<PathBuf>,
    /// A token must be meant for one of these.
    pub audiences: Vec<String>,
    /// Service accounts, as `namespace/name`, whose pods may ask for the workloads of the node that they run on.
    pub node_agents: Vec<String>,
}

impl Kubernetes {
    /// What proves the control plane to the API server; `None`: nothing.
    ///
    /// # Errors
    /// The token cannot be read: as a sentence.
    pub fn bearer(&self) -> Result<Option<String>, String> {
        let Some(file) = &self.token else { return Ok(None) };
        let own = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Some(format!("Bearer {}", own.trim())))
    }
}

/// A service account, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    pub name: String,
    /// What the token is bound to; `None` for a token of no pod.
    pub pod: Option<Pod>,
}

/// The pod that a token was made for: it is good as long as the pod is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// Clusters before 1.30 do not say it.
    pub node: Option<String>,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why it is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// The API server could not be asked.
    Unknown(String),
    Refused(String),
}

/// Until when an answer holds, and what it was.
type Reviewed = (Duration, Result<Account, String>);

pub struct Reviewer {
    kubernetes: Kubernetes,
    outside: Outside,
    world: World,
    /// By SHA-256 of the token: until when, and what.
    known: Mutex<BTreeMap<[u8; 32], Reviewed>>,
    room: Semaphore,
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    user: ReviewUser,
    audiences: Vec<String>,
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewUser {
    username: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl ReviewUser {
    /// What the API server says beside the name (`authentication.kubernetes.io/…`), if it says one thing.
    fn said(&self, what: &str) -> Option<String> {
        match self.extra.get(&format!("authentication.kubernetes.io/{what}")).map(Vec::as_slice) {
            Some([one]) => Some(one.clone()),
            _ => None,
        }
    }

    fn pod(&self) -> Option<Pod> {
        Some(Pod { name: self.said("pod-name")?, uid: self.said("pod-uid")?, node: self.said("node-name") })
    }
}

impl Reviewer {
    pub fn new(kubernetes: Kubernetes, world: World) -> Self {
        let outside = Outside::new(world.clone()).trusting(kubernetes.roots.clone());
        Self { kubernetes, outside, world, known: Mutex::default(), room: Semaphore::new(AT_ONCE) }
    }

    /// # Errors
    /// See [`NotProven`]. Nothing of the token is in the words.
    pub async fn account(&self, token: &str) -> Result<Account, NotProven> {
        if token.len() > LONGEST {
            return Err(NotProven::Refused("the service account token is longer than any that is read".to_owned()));
        }
        let digest = digest(token);
        let known = self.known.lock().get(&digest).filter(|(until, _)| self.world.now() < *until).map(|(_, answer)| answer.clone());
        if let Some(answer) = known {
            return answer.map_err(NotProven::Refused);
        }
        let answer = self.judge(self.in_time(self.review(token)).await?);
        self.keep(digest, answer.clone());
        answer.map_err(NotProven::Refused)
    }

    /// An answer of the API server, or that there was none.
    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, String>>) -> Result<T, NotProven> {
        let answer = tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err("it did not answer in 5 s".to_owned()));
        answer.map_err(|why| NotProven::Unknown(format!("the Kubernetes API server {} was not asked: {why}", self.kubernetes.api)))
    }

    async fn review(&self, token: &str) -> Result<ReviewStatus, String> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": self.kubernetes.audiences}});
        let uri = self.uri("/apis/authentication.k8s.io/v1/tokenreviews");
        match self.ask(Request::post(uri).header(header::CONTENT_TYPE, "application/json"), review.to_string()).await? {
            (StatusCode::OK | StatusCode::CREATED, text) => {
                let review: Review = serde_json::from_str(&text).map_err(|error| format!("its answer is no TokenReview: {error}"))?;
                Ok(review.status)
            }
            (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => Err(format!(
                "it answered {status}: give the control plane's service account the ClusterRole system:auth-delegator, and its token with --kube-token-file"
            )),
            (status, _) => Err(format!("it answered {status}")),
        }
    }

    fn uri(&self, path: &str) -> String {
        format!("{}{path}", self.kubernetes.api.trim_end_matches('/'))
    }

    async fn ask(&self, request: http::request::Builder, body: String) -> Result<(StatusCode, String), String> {
        // Nobody closes the semaphore.
        let _place = self.room.acquire().await.map_err(|error| error.to_string())?;
        let mut request = request;
        if let Some(bearer) = self.kubernetes.bearer()? {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        self.outside.ask(request.body(body).map_err(|error| error.to_string())?).await
    }

    fn judge(&self, status: ReviewStatus) -> Result<Account, String> {
        if !status.authenticated {
            let why = if status.error.is_empty() { "no reason given" } else { &status.error };
            return Err(format!("the Kubernetes API server does not take the service account token: {why}"));
        }
        // A server that knows nothing of audiences names none, and has checked none (TokenReviewStatus.audiences).
        let wanted = &self.kubernetes.audiences;
        if !status.audiences.iter().any(|audience| wanted.contains(audience)) {
            return Err(format!(
                "the service account token is not meant for this control plane: project one with audience {:?}",
                wanted.join(" or ")
            ));
        }
        let account = status.user.username.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        let (namespace, name) = account.ok_or_else(|| format!("{:?} is no service account", status.user.username))?;
        Ok(Account { namespace: namespace.to_owned(), name: name.to_owned(), pod: status.user.pod() })
    }

    fn keep(&self, digest: [u8; 32], answer: Result<Account, String>) {
        let (mut known, now) = (self.known.lock(), self.world.now());
        if known.len() >= KEPT {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() < KEPT {
            known.insert(digest, (now + KEEP, answer));
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
pub(crate) mod tests;
