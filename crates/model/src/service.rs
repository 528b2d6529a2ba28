//! A service: a name that clients call, its ports, and whether it is inside the mesh.

use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub origin: Origin,
    /// Fully qualified, lower case: `reviews.default.svc.cluster.local`, `www.googleapis.com`. The key of everything.
    pub host: String,
    /// The short name, the value of `destination_service_name`.
    pub name: String,
    pub namespace: String,
    pub ports: Vec<ServicePort>,
    pub place: Place,
    pub resolution: Resolution,
    /// Virtual addresses that clients may dial instead of the name.
    pub addresses: Vec<IpAddr>,
    /// Which endpoints a client is to prefer, unless a destination says more.
    pub distribution: Distribution,
    /// Whether a client address keeps its endpoint (`sessionAffinity: ClientIP`), unless a destination names a balancer.
    pub affinity: Affinity,
}

/// Kubernetes' `trafficDistribution`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    #[default]
    Any,
    /// PreferClose, PreferSameZone.
    SameZone,
    SameNode,
}

/// Kubernetes' `sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Affinity {
    #[default]
    None,
    ClientAddress,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    pub number: u16,
    pub name: String,
    pub protocol: AppProtocol,
}

/// What the application speaks on a port: declared (`appProtocol`, else the port name's prefix, as Istio reads them), or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AppProtocol {
    /// HTTP/1.1; an HTTP/2 client is served as HTTP/2.
    Http,
    Http2,
    /// Over HTTP/2; a client of gRPC-Web is translated.
    Grpc,
    Tcp,
    /// TLS that the mesh passes through.
    Tls,
    /// Not declared: learned from the first bytes a client sends.
    Unknown,
}

impl AppProtocol {
    /// Kubernetes `appProtocol` values and Istio's port-name prefixes (`http`, `http-web`, `grpc-x`, `tcp-store`).
    pub fn declared(app_protocol: Option<&str>, port_name: &str) -> Self {
        let said = app_protocol.unwrap_or_else(|| port_name.split('-').next().unwrap_or(""));
        match said {
            "http" | "kubernetes.io/ws" | "http1" => Self::Http,
            "http2" | "kubernetes.io/h2c" | "h2c" => Self::Http2,
            // A port named `grpc-web` is one, too: its clients speak gRPC-Web, and the application gRPC.
            "grpc" | "grpc-web" => Self::Grpc,
            "https" | "tls" | "kubernetes.io/wss" => Self::Tls,
            "tcp" | "mongo" | "mysql" | "redis" => Self::Tcp,
            _ => Self::Unknown,
        }
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Mesh,
    /// A ServiceEntry with `location: MESH_EXTERNAL`: no proxy on the other side.
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// Endpoints are the workloads that the control plane knows.
    Static,
    /// Endpoints are host names (or the service's own host), resolved by the proxy.
    Dns,
    /// The address the client dialled.
    Passthrough,
}

impl Service {
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}
