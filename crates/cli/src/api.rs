//! A small client of the resource API: HTTPS with the kubeconfig's authority and token.

use crate::kubeconfig::Kubeconfig;
use crate::{Failure, Outcome};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use taut_model::kinds::Kind;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub struct Api {
    config: Kubeconfig,
    tls: TlsConnector,
}

/// An answer of the API: its status and its JSON (or text, as a JSON string).
pub struct Answer {
    pub status: StatusCode,
    pub value: Value,
}

/// The longest the API may take; `why` asks proxies, which have 5 s.
const PATIENCE: Duration = Duration::from_secs(30);

impl Api {
    pub fn new(config: Kubeconfig) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in &config.authority {
            roots.add(certificate.clone()).map_err(|e| format!("{}: the certificate authority is no good: {e}", config.path.display()))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let tls = tls.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config, tls: TlsConnector::from(Arc::new(tls)) })
    }

    pub fn default_namespace(&self) -> &str {
        &self.config.namespace
    }

    /// Sends one request. A refusal by the API is an answer, not a failure.
    pub async fn send(&self, method: Method, path: &str, content_type: &str, accept: &str, body: Vec<u8>) -> Outcome<Answer> {
        let work = self.exchange(method, path, content_type, accept, body);
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(answer)) if answer.status == StatusCode::UNAUTHORIZED => Err(Failure::cannot(format!(
                "the control plane at {} does not accept the token of {}\n  is this the kubeconfig of another mesh? `taut up` writes a fresh one into its state directory",
                self.config.server,
                self.config.path.display()
            ))),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(Failure::cannot(format!(
                "no control plane answers at {} ({why})\n  start one with `taut up`, or name another with --kubeconfig; what a sidecar says of itself: `taut status --sidecar IP:15000`",
                self.config.server
            ))),
            Err(_) => Err(Failure::cannot(format!("the control plane at {} did not answer within {} s", self.config.server, PATIENCE.as_secs()))),
        }
    }

    async fn exchange(&self, method: Method, path: &str, content_type: &str, accept: &str, body: Vec<u8>) -> Result<Answer, String> {
        let response = self.ask(method, path, content_type, accept, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 256 << 20).collect().await.map_err(|e| e.to_string())?.to_bytes();
        let value = serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Ok(Answer { status, value })
    }

    /// Hears server-sent events, each with its name and its data as JSON, until `hear` has heard enough or the control plane ends.
    pub async fn events(&self, path: &str, mut hear: impl FnMut(&str, &Value) -> Outcome<ControlFlow<()>>) -> Outcome {
        let broken = |why: String| Failure::cannot(format!("the control plane at {} broke off: {why}", self.config.server));
        let asked = self.ask(Method::GET, path, "application/json", "text/event-stream", Vec::new());
        let response = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| broken("no answer".to_owned()))?.map_err(&broken)?;
        let mut body = refused(response).await.map_err(&broken)??;
        let (mut rest, mut event) = (String::new(), String::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| broken(e.to_string()))?;
            rest.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data)));
            while let Some((line, after)) = rest.split_once('\n') {
                if let Some(name) = line.strip_prefix("event:") {
                    event = name.trim().to_owned();
                } else if let Some(data) = line.strip_prefix("data:")
                    && let Ok(value) = serde_json::from_str(data.trim())
                    && hear(&event, &value)?.is_break()
                {
                    return Ok(());
                }
                rest = after.to_owned();
            }
        }
        Err(broken("it has ended".to_owned()))
    }

    /// Hears an answer of any length, piece by piece. It is whole when this returns without a failure.
    pub async fn download(&self, path: &str, mut hear: impl FnMut(&[u8]) -> Outcome) -> Outcome {
        let broken = |why: String| Failure::cannot(format!("the control plane at {} broke off: {why}; nothing was kept", self.config.server));
        let asked = self.ask(Method::GET, path, "application/json", "*/*", Vec::new());
        let response = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| broken("no answer".to_owned()))?.map_err(&broken)?;
        let mut body = refused(response).await.map_err(&broken)??;
        loop {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.map_err(|_| broken("no more came".to_owned()))?;
            let Some(frame) = frame else { return Ok(()) };
            if let Some(data) = frame.map_err(|e| broken(e.to_string()))?.data_ref() {
                hear(data)?;
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, content_type: &str, accept: &str, body: Vec<u8>) -> Result<Response<Incoming>, String> {
        let authority = self.config.server.strip_prefix("https://").ok_or("the server's address must start with https://")?.trim_end_matches('/');
        let stream = TcpStream::connect(authority).await.map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
        let stream = self.tls.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::task::spawn_local(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.config.token))
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        sender.send_request(request).await.map_err(|e| e.to_string())
    }

    pub async fn get(&self, path: &str) -> Outcome<Answer> {
        self.send(Method::GET, path, "application/json", "application/json", Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Outcome<Answer> {
        self.send(Method::POST, path, "application/json", "application/json", body.to_string().into_bytes()).await
    }
}

/// The body of an answer, or the refusal in it.
async fn refused(response: Response<Incoming>) -> Result<Outcome<Incoming>, String> {
    let (status, body) = (response.status(), response.into_body());
    if status.is_success() {
        return Ok(Ok(body));
    }
    let text = Limited::new(body, 1 << 20).collect().await.map_err(|e| e.to_string())?.to_bytes();
    let value = serde_json::from_slice(&text).unwrap_or(Value::Null);
    let message = Answer { status, value }.message();
    Ok(Err(Failure { code: if status == StatusCode::NOT_FOUND { 1 } else { 2 }, message }))
}

impl Answer {
    /// The value, or the API's own message as a failure.
    pub fn good(self) -> Outcome<Value> {
        match self.status.is_success() {
            true => Ok(self.value),
            false => Err(Failure { code: if self.status == StatusCode::NOT_FOUND { 1 } else { 2 }, message: self.message() }),
        }
    }

    pub fn message(&self) -> String {
        let said = self.value["message"].as_str().or(self.value["error"].as_str()).or(self.value.as_str()).unwrap_or_default().trim();
        match said.is_empty() {
            true => format!("the control plane answered {}", self.status),
            false => said.to_owned(),
        }
    }
}

/// The API path of a kind's objects: in one namespace, in all, or of a cluster-scoped kind.
pub fn collection(kind: &Kind, namespace: Option<&str>) -> String {
    let group = match kind.group {
        "" => format!("/api/{}", kind.versions[0]),
        group => format!("/apis/{group}/{}", kind.versions[0]),
    };
    match namespace.filter(|_| kind.namespaced) {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{}", kind.plural),
        None => format!("{group}/{}", kind.plural),
    }
}

/// `virtualservice.networking.istio.io/reviews`, as kubectl names objects.
pub fn shown(kind: &Kind, name: &str) -> String {
    match kind.group {
        "" => format!("{}/{name}", kind.singular),
        group => format!("{}.{group}/{name}", kind.singular),
    }
}
