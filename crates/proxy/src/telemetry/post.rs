//! The line to one collector: OTLP over gRPC, or as protobuf over HTTP/1.1. One connection, made when it is needed.

use crate::world::World;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost::Message;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use taut_model::telemetry::{Collector, OtlpProtocol};
use taut_wire::net::Stream;
use taut_wire::otlp::{ExportResponse, Signal, export};
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// A collector has little to say.
const LONGEST_ANSWER: usize = 64 << 10;

/// Not sampled: should the way to the collector lead through a proxy of the mesh, its spans would make more spans.
const NO_TRACE: (&str, &str) = ("traceparent", "00-00000000000000000000000000000001-0000000000000001-00");

pub struct Post {
    world: World,
    collector: Arc<Collector>,
    line: Line,
}

enum Line {
    None,
    Grpc(Channel),
    Http(SendRequest<Full<Bytes>>),
}

/// What became of one request.
pub enum Sent {
    /// So many of its parts were not taken, and why.
    Taken {
        rejected: u64,
        why: String,
    },
    /// Worth another try, not before this time has passed.
    Later {
        wait: Option<Duration>,
        why: String,
    },
    Refused {
        why: String,
    },
}

impl Post {
    pub fn new(world: World, collector: Arc<Collector>) -> Self {
        Self { world, collector, line: Line::None }
    }

    /// Sends one request, within the collector's timeout.
    pub async fn send<M: Message + Clone + 'static>(&mut self, signal: Signal, message: &M) -> Sent {
        let limit = self.collector.timeout;
        let sent = timeout(limit, self.try_to_send(signal, message)).await;
        let sent = sent.unwrap_or_else(|_| Sent::Later { wait: None, why: format!("no answer within {limit:?}") });
        if matches!(sent, Sent::Later { .. }) {
            // Whatever it was, a new connection may lead elsewhere.
            self.line = Line::None;
        }
        sent
    }

    async fn try_to_send<M: Message + Clone + 'static>(&mut self, signal: Signal, message: &M) -> Sent {
        let collector = self.collector.clone();
        if let Err(error) = self.connect().await {
            return Sent::Later { wait: None, why: error.to_string() };
        }
        match (&mut self.line, &collector.protocol) {
            (Line::Grpc(channel), OtlpProtocol::Grpc { headers }) => over_grpc(channel.clone(), signal, message, headers).await,
            (Line::Http(sender), OtlpProtocol::Http { base, headers }) => {
                over_http(sender, &authority(&collector), &format!("{base}/v1/{}", signal.name()), headers, message).await
            }
            _ => Sent::Later { wait: None, why: "not connected".to_owned() },
        }
    }

    async fn connect(&mut self) -> io::Result<()> {
        let usable = match &self.line {
            Line::None => false,
            Line::Grpc(_) => true,
            Line::Http(sender) => sender.is_ready(),
        };
        if usable {
            return Ok(());
        }
        let stream = TokioIo::new(self.dial().await?);
        self.line = match &self.collector.protocol {
            OtlpProtocol::Http { .. } => {
                let (sender, connection) = handshake(stream).await.map_err(io::Error::other)?;
                // It ends with the sender, or with the collector; who sends next notices.
                tokio::spawn(connection);
                Line::Http(sender)
            }
            OtlpProtocol::Grpc { .. } => {
                let endpoint = Endpoint::from_shared(format!("http://{}", authority(&self.collector))).map_err(io::Error::other)?;
                let mut stream = Some(stream);
                // Only the first call gets a connection: a channel never connects a second time behind our back.
                let connector = tower::service_fn(move |_| {
                    let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
                    std::future::ready(stream)
                });
                Line::Grpc(endpoint.connect_with_connector(connector).await.map_err(io::Error::other)?)
            }
        };
        Ok(())
    }

    /// The first address of the name that takes a connection.
    async fn dial(&self) -> io::Result<Stream> {
        let Collector { host, port, .. } = &*self.collector;
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in self.world.network.resolve(host, *port).await? {
            match self.world.network.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// `collector:4317`, `[::1]:4317`
pub fn authority(collector: &Collector) -> String {
    match collector.host.contains(':') {
        true => format!("[{}]:{}", collector.host, collector.port),
        false => format!("{}:{}", collector.host, collector.port),
    }
}

async fn over_grpc<M: Message + Clone + 'static>(channel: Channel, signal: Signal, message: &M, headers: &[(String, String)]) -> Sent {
    let mut headers = headers.to_vec();
    headers.push((NO_TRACE.0.to_owned(), NO_TRACE.1.to_owned()));
    match export(channel, signal, message.clone(), &headers).await {
        Ok(answer) => taken(answer),
        Err(status) => {
            let why = format!("{:?}: {}", status.code(), status.message());
            // OTLP, "Failures": these codes, and RESOURCE_EXHAUSTED only with the time to wait, which is not read here.
            match status.code() {
                Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange | Code::Unavailable | Code::DataLoss => {
                    Sent::Later { wait: None, why }
                }
                // A connection that broke off.
                Code::Unknown if status.metadata().is_empty() => Sent::Later { wait: None, why },
                _ => Sent::Refused { why },
            }
        }
    }
}

async fn over_http<M: Message>(
    sender: &mut SendRequest<Full<Bytes>>,
    authority: &str,
    path: &str,
    headers: &[(String, String)],
    message: &M,
) -> Sent {
    let later = |why: String| Sent::Later { wait: None, why };
    let mut request = Request::post(path).header(header::HOST, authority).header(header::CONTENT_TYPE, "application/x-protobuf");
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([NO_TRACE]);
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            request = request.header(name, value);
        }
    }
    let request = match request.body(Full::new(Bytes::from(message.encode_to_vec()))) {
        Ok(request) => request,
        Err(error) => return Sent::Refused { why: error.to_string() },
    };
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => return later(error.to_string()),
    };
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, LONGEST_ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return later(error.to_string()),
    };
    match head.status {
        // What cannot be read says nothing against the request.
        status if status.is_success() => taken(ExportResponse::decode(body).unwrap_or_default()),
        // OTLP, "Retryable Response Codes".
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
            let after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Sent::Later { wait: after.map(Duration::from_secs), why: status.to_string() }
        }
        status => Sent::Refused { why: status.to_string() },
    }
}

fn taken(answer: ExportResponse) -> Sent {
    let partial = answer.partial_success.unwrap_or_default();
    Sent::Taken { rejected: u64::try_from(partial.rejected).unwrap_or_default(), why: partial.error_message }
}
