//! Origins, identities and addresses, which every other message is made of.

use super::field::{Malformed, short};
use crate::generated::mesh as proto;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use taut_model::{identity, origin as model};

impl From<&model::Origin> for proto::Origin {
    fn from(origin: &model::Origin) -> Self {
        Self {
            kind: origin.object.kind.clone(),
            namespace: origin.object.namespace.clone(),
            name: origin.object.name.clone(),
            generation: origin.generation,
            path: origin.path.clone(),
            location: origin.location.as_ref().map(|at| proto::Location { file: at.file.clone(), line: at.line, column: at.column }),
        }
    }
}

impl TryFrom<proto::Origin> for model::Origin {
    type Error = Malformed;
    fn try_from(origin: proto::Origin) -> Result<Self, Malformed> {
        Ok(Self {
            object: model::ObjectRef::new(origin.kind, origin.namespace, origin.name),
            generation: origin.generation,
            path: origin.path,
            location: origin.location.map(|at| model::Location { file: at.file, line: at.line, column: at.column }),
        })
    }
}

impl From<&identity::Identity> for proto::Identity {
    fn from(identity: &identity::Identity) -> Self {
        Self { trust_domain: identity.trust_domain.clone(), namespace: identity.namespace.clone(), service_account: identity.service_account.clone() }
    }
}

impl TryFrom<proto::Identity> for identity::Identity {
    type Error = Malformed;
    fn try_from(identity: proto::Identity) -> Result<Self, Malformed> {
        Ok(Self::new(identity.trust_domain, identity.namespace, identity.service_account))
    }
}

pub fn to_address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub fn address(field: &str, bytes: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(octets.into());
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ok(octets.into()),
        Err(_) => Err(Malformed::new(field, format!("an address has 4 or 16 bytes, not {}", bytes.len()))),
    }
}

/// The IPv6 flow label is no part of where an endpoint is, so it is not carried.
impl From<&SocketAddr> for proto::SocketAddress {
    fn from(address: &SocketAddr) -> Self {
        let scope = match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => address.scope_id(),
        };
        Self { ip: to_address(address.ip()), port: address.port().into(), scope }
    }
}

impl TryFrom<proto::SocketAddress> for SocketAddr {
    type Error = Malformed;
    fn try_from(value: proto::SocketAddress) -> Result<Self, Malformed> {
        let port = short("port", value.port)?;
        Ok(match address("ip", &value.ip)? {
            IpAddr::V4(ip) => Self::new(ip.into(), port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, value.scope).into(),
        })
    }
}
