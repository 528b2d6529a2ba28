//! Whether a node's agent may ask for a workload: only where a pod of that service account runs on the node of the agent's own pod.

use super::{Account, NotProven, Pod, Reviewer};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use taut_model::identity::Identity;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pods {
    items: Vec<PodObject>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodObject {
    metadata: PodMetadata,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodMetadata {
    namespace: String,
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    service_account_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

impl PodObject {
    fn runs_as(&self, namespace: &str, account: &str) -> bool {
        self.metadata.namespace == namespace && self.spec.service_account_name == account
    }

    fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }
}

impl Reviewer {
    /// The node on which both run: the pod of `agent`, which is a node's agent, and a pod of the service account that is `wanted`.
    ///
    /// # Errors
    /// It is none, its token says nothing of a pod, or no such pod runs there: by name.
    pub async fn runs(&self, agent: &Account, wanted: &Identity) -> Result<String, NotProven> {
        let refused = |why: String| Err(NotProven::Refused(why));
        if !self.kubernetes.node_agents.contains(&agent.to_string()) {
            return refused(format!(
                "{agent} asks for a certificate of {wanted}, and is no node agent: name it with `taut up --trusted-node-account {agent}` if it is to be one"
            ));
        }
        let Some(pod) = &agent.pod else {
            return refused(format!(
                "the token of the node agent {agent} is bound to no pod, so nothing says which node it is on: project it into its pod"
            ));
        };
        let node = self.node_of(agent, pod).await?;
        let (namespace, account) = (&wanted.namespace, &wanted.service_account);
        for name in [&node, namespace, account] {
            if !is_name(name) {
                return refused(format!("{name:?} is no name of a Kubernetes object"));
            }
        }
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?limit=1&fieldSelector=spec.nodeName%3D{node},spec.serviceAccountName%3D{account},status.phase!%3DSucceeded,status.phase!%3DFailed"
        );
        let pods: Pods = self.in_time(self.get(&path)).await?.unwrap_or_default();
        // A server that does not know one of the fields must not let anybody in.
        match pods.items.iter().any(|found| found.runs_as(namespace, account) && found.spec.node_name == node && !found.has_ended()) {
            true => Ok(node),
            false => refused(format!("no pod of {wanted} runs on node {node}, where the node agent {agent} runs as pod {}", pod.name)),
        }
    }

    /// Where the agent's own pod runs: as its token says, or as the pod itself does.
    async fn node_of(&self, agent: &Account, pod: &Pod) -> Result<String, NotProven> {
        if let Some(node) = &pod.node {
            return Ok(node.clone());
        }
        let refused = |why: &str| NotProven::Refused(format!("the pod {} of the node agent {agent} {why}", pod.name));
        if !is_name(&pod.name) || !is_name(&agent.namespace) {
            return Err(refused("has no name of a Kubernetes object"));
        }
        let path = format!("/api/v1/namespaces/{}/pods/{}", agent.namespace, pod.name);
        let found: PodObject = self.in_time(self.get(&path)).await?.ok_or_else(|| refused("is not there any more"))?;
        let own = found.metadata.uid == pod.uid && found.runs_as(&agent.namespace, &agent.name);
        match own && !found.spec.node_name.is_empty() {
            true => Ok(found.spec.node_name),
            false => Err(refused("is another one by now, or runs on no node yet")),
        }
    }

    /// `None`: there is no such object.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, String> {
        match self.ask(Request::get(self.uri(path)), String::new()).await? {
            (StatusCode::OK, text) => serde_json::from_str(&text).map(Some).map_err(|error| format!("its answer about pods cannot be read: {error}")),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => Err(format!(
                "it answered {status}: let the control plane's service account get and list pods, and name its token with --kube-token-file"
            )),
            (status, _) => Err(format!("it answered {status}")),
        }
    }
}

/// What may stand in a path and in a field selector as it is.
fn is_name(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    (1..=253).contains(&text.len()) && text.chars().all(ok) && !text.starts_with('.')
}
