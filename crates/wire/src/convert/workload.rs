//! Workloads.

use super::field::{Malformed, choice, encoded, list, optional, required, short};
use crate::generated::mesh as proto;
use taut_model::workload as model;

impl From<&model::Workload> for proto::Workload {
    fn from(workload: &model::Workload) -> Self {
        Self {
            origin: Some((&workload.origin).into()),
            uid: workload.uid.clone(),
            name: workload.name.clone(),
            namespace: workload.namespace.clone(),
            identity: Some((&workload.identity).into()),
            labels: workload.labels.clone(),
            address: workload.address.clone(),
            serves: encoded(&workload.serves),
            peer: workload.peer.as_ref().map(Into::into),
            health: proto::Health::from(workload.health).into(),
            weight: workload.weight,
            locality: workload.locality.clone(),
        }
    }
}

impl TryFrom<proto::Workload> for model::Workload {
    type Error = Malformed;
    fn try_from(workload: proto::Workload) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", workload.origin)?,
            uid: workload.uid,
            name: workload.name,
            namespace: workload.namespace,
            identity: required("identity", workload.identity)?,
            labels: workload.labels,
            address: workload.address,
            serves: list("serves", workload.serves)?,
            peer: optional("peer", workload.peer)?,
            health: choice::<proto::Health, _>("health", workload.health)?,
            weight: workload.weight,
            locality: workload.locality,
        })
    }
}

impl From<&model::Serves> for proto::Serves {
    fn from(serves: &model::Serves) -> Self {
        Self { host: serves.host.clone(), port: serves.port.into(), target: serves.target.into() }
    }
}

impl TryFrom<proto::Serves> for model::Serves {
    type Error = Malformed;
    fn try_from(serves: proto::Serves) -> Result<Self, Malformed> {
        Ok(Self { host: serves.host, port: short("port", serves.port)?, target: short("target", serves.target)? })
    }
}

impl From<model::Health> for proto::Health {
    fn from(health: model::Health) -> Self {
        match health {
            model::Health::Ready => Self::Ready,
            model::Health::Draining => Self::Draining,
            model::Health::NotReady => Self::NotReady,
        }
    }
}

impl TryFrom<proto::Health> for model::Health {
    type Error = Malformed;
    fn try_from(health: proto::Health) -> Result<Self, Malformed> {
        match health {
            proto::Health::Unspecified => Err(Malformed::unspecified("")),
            proto::Health::Ready => Ok(Self::Ready),
            proto::Health::Draining => Ok(Self::Draining),
            proto::Health::NotReady => Ok(Self::NotReady),
        }
    }
}
