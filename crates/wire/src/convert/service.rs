//! Services.

use super::field::{Malformed, choice, encoded, list, required, short};
use super::origin::{address, to_address};
use crate::generated::mesh as proto;
use taut_model::service as model;

impl From<&model::Service> for proto::Service {
    fn from(service: &model::Service) -> Self {
        Self {
            origin: Some((&service.origin).into()),
            host: service.host.clone(),
            name: service.name.clone(),
            namespace: service.namespace.clone(),
            ports: encoded(&service.ports),
            place: proto::Place::from(service.place).into(),
            resolution: proto::Resolution::from(service.resolution).into(),
            addresses: service.addresses.iter().map(|address| to_address(*address)).collect(),
            distribution: proto::Distribution::from(service.distribution).into(),
            affinity: proto::Affinity::from(service.affinity).into(),
        }
    }
}

impl TryFrom<proto::Service> for model::Service {
    type Error = Malformed;
    fn try_from(service: proto::Service) -> Result<Self, Malformed> {
        let addresses = service.addresses.iter().enumerate().map(|(index, bytes)| address(&format!("addresses[{index}]"), bytes));
        Ok(Self {
            origin: required("origin", service.origin)?,
            host: service.host,
            name: service.name,
            namespace: service.namespace,
            ports: list("ports", service.ports)?,
            place: choice::<proto::Place, _>("place", service.place)?,
            resolution: choice::<proto::Resolution, _>("resolution", service.resolution)?,
            addresses: addresses.collect::<Result<_, _>>()?,
            distribution: choice::<proto::Distribution, _>("distribution", service.distribution)?,
            affinity: choice::<proto::Affinity, _>("affinity", service.affinity)?,
        })
    }
}

impl From<&model::ServicePort> for proto::ServicePort {
    fn from(port: &model::ServicePort) -> Self {
        Self { number: port.number.into(), name: port.name.clone(), protocol: proto::AppProtocol::from(port.protocol).into() }
    }
}

impl TryFrom<proto::ServicePort> for model::ServicePort {
    type Error = Malformed;
    fn try_from(port: proto::ServicePort) -> Result<Self, Malformed> {
        Ok(Self { number: short("number", port.number)?, name: port.name, protocol: choice::<proto::AppProtocol, _>("protocol", port.protocol)? })
    }
}

impl From<model::AppProtocol> for proto::AppProtocol {
    fn from(protocol: model::AppProtocol) -> Self {
        match protocol {
            model::AppProtocol::Http => Self::Http,
            model::AppProtocol::Http2 => Self::Http2,
            model::AppProtocol::Grpc => Self::Grpc,
            model::AppProtocol::Tcp => Self::Tcp,
            model::AppProtocol::Tls => Self::Tls,
            model::AppProtocol::Unknown => Self::Unknown,
        }
    }
}

impl TryFrom<proto::AppProtocol> for model::AppProtocol {
    type Error = Malformed;
    fn try_from(protocol: proto::AppProtocol) -> Result<Self, Malformed> {
        match protocol {
            proto::AppProtocol::Unspecified => Err(Malformed::unspecified("")),
            proto::AppProtocol::Http => Ok(Self::Http),
            proto::AppProtocol::Http2 => Ok(Self::Http2),
            proto::AppProtocol::Grpc => Ok(Self::Grpc),
            proto::AppProtocol::Tcp => Ok(Self::Tcp),
            proto::AppProtocol::Tls => Ok(Self::Tls),
            proto::AppProtocol::Unknown => Ok(Self::Unknown),
        }
    }
}

impl From<model::Place> for proto::Place {
    fn from(place: model::Place) -> Self {
        match place {
            model::Place::Mesh => Self::Mesh,
            model::Place::External => Self::External,
        }
    }
}

impl TryFrom<proto::Place> for model::Place {
    type Error = Malformed;
    fn try_from(place: proto::Place) -> Result<Self, Malformed> {
        match place {
            proto::Place::Unspecified => Err(Malformed::unspecified("")),
            proto::Place::Mesh => Ok(Self::Mesh),
            proto::Place::External => Ok(Self::External),
        }
    }
}

impl From<model::Resolution> for proto::Resolution {
    fn from(resolution: model::Resolution) -> Self {
        match resolution {
            model::Resolution::Static => Self::Static,
            model::Resolution::Dns => Self::Dns,
            model::Resolution::Passthrough => Self::Passthrough,
        }
    }
}

impl TryFrom<proto::Resolution> for model::Resolution {
    type Error = Malformed;
    fn try_from(resolution: proto::Resolution) -> Result<Self, Malformed> {
        match resolution {
            proto::Resolution::Unspecified => Err(Malformed::unspecified("")),
            proto::Resolution::Static => Ok(Self::Static),
            proto::Resolution::Dns => Ok(Self::Dns),
            proto::Resolution::Passthrough => Ok(Self::Passthrough),
        }
    }
}

impl From<model::Distribution> for proto::Distribution {
    fn from(distribution: model::Distribution) -> Self {
        match distribution {
            model::Distribution::Any => Self::Any,
            model::Distribution::SameZone => Self::SameZone,
            model::Distribution::SameNode => Self::SameNode,
        }
    }
}

impl TryFrom<proto::Distribution> for model::Distribution {
    type Error = Malformed;
    fn try_from(distribution: proto::Distribution) -> Result<Self, Malformed> {
        match distribution {
            proto::Distribution::Any => Ok(Self::Any),
            proto::Distribution::SameZone => Ok(Self::SameZone),
            proto::Distribution::SameNode => Ok(Self::SameNode),
        }
    }
}

impl From<model::Affinity> for proto::Affinity {
    fn from(affinity: model::Affinity) -> Self {
        match affinity {
            model::Affinity::None => Self::None,
            model::Affinity::ClientAddress => Self::ClientAddress,
        }
    }
}

impl TryFrom<proto::Affinity> for model::Affinity {
    type Error = Malformed;
    fn try_from(affinity: proto::Affinity) -> Result<Self, Malformed> {
        match affinity {
            proto::Affinity::None => Ok(Self::None),
            proto::Affinity::ClientAddress => Ok(Self::ClientAddress),
        }
    }
}
