//! OTLP as proxies send it: the messages, and the one call that each signal has. Who sends what, and when, is not here.

pub use crate::generated::otlp::*;

use prost::Message;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Bytes, StdError};
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic_prost::ProstCodec;

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// `traces`, as in `/v1/traces`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// Exports one request over gRPC. Headers that cannot stand in metadata are left out: the control plane does not accept them.
///
/// # Errors
/// What the receiver, or the way to it, says.
pub async fn export<T, M>(channel: T, signal: Signal, message: M, headers: &[(String, String)]) -> Result<ExportResponse, tonic::Status>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
    M: Message + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| tonic::Status::unavailable(error.into().to_string()))?;
    let mut request = tonic::Request::new(message);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (MetadataKey::from_bytes(name.as_bytes()), MetadataValue::try_from(value)) {
            request.metadata_mut().insert(name, value);
        }
    }
    let path = PathAndQuery::from_static(signal.method());
    client.unary(request, path, ProstCodec::default()).await.map(tonic::Response::into_inner)
}
