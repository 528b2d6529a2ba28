//! What a proxy and its successor say to each other. Two builds say it, so new fields must have defaults.

use crate::bequest::Story;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Grows when an older build could no longer make sense of what is said.
pub const PROTOCOL: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub enum FromSuccessor {
    Hello(Hello),
    /// A PEM certificate request, which the predecessor's live certificate is to vouch for.
    Sign {
        request: String,
        lifetime_seconds: u64,
    },
    TakeOver {
        linger_seconds: u64,
    },
    /// It cannot serve.
    GiveUp {
        why: String,
    },
    /// From somebody else: start a successor.
    Upgrade,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum FromPredecessor {
    Estate(Will),
    Refused {
        why: String,
    },
    /// PEM: the leaf, intermediates, the root last.
    Signed {
        chain: Vec<String>,
    },
    NotSigned {
        why: String,
    },
    Leaving,
    /// Answers `Upgrade`.
    Upgraded {
        version: String,
        process: i32,
        before: String,
    },
    /// With the client's socket and the upstream's.
    Connection(Story),
}

/// Who wants to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
    pub namespace: String,
    pub name: String,
    pub service_account: String,
}

/// What there is to take over. As many sockets go with it as it has listeners, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Will {
    pub version: String,
    pub listeners: Vec<Listening>,
    /// Services that the predecessor's plan holds, so that the successor's does too before it is asked.
    pub hosts: Vec<String>,
    /// Of the mesh, so that the successor's first request can name it.
    #[serde(default)]
    pub trust_domain: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// For people: `outbound`, `peer`, `upstream store:7000`.
    pub what: String,
    pub at: Door,
}

/// What a listening socket was bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Door {
    /// The address that was asked for, which may have port 0.
    Tcp(SocketAddr),
    /// The handover socket itself.
    Handover,
}
