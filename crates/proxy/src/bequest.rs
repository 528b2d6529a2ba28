//! A TCP connection that goes on in another process: its two sockets and what must be known to go on with it.

use crate::proxy_protocol::Ends;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Both directions are quiet: every byte that was read has been written.
#[derive(Debug)]
pub struct Bequest {
    pub client: TcpStream,
    pub upstream: TcpStream,
    pub story: Story,
}

/// How the connection came in, where it leads, and what its record holds so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    pub inbound: bool,
    pub destination: Option<(String, u16)>,
    pub from: IpAddr,
    /// The client that policies are held against, which a load balancer may have named.
    pub ends: Ends,
    pub sni: Option<String>,
    pub endpoint: String,
    pub connection_id: String,
    /// RFC 3339.
    pub started: String,
    pub age_us: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub idle_ms: u64,
    /// Until it has been open for as long as it may, if there is such a limit.
    #[serde(default)]
    pub left_ms: Option<u64>,
    /// The end of what a client has said of its first line, if it may still turn out to speak HTTP.
    #[serde(default)]
    pub first_line: Option<Vec<u8>>,
}

/// Whom to give connections to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heir(mpsc::UnboundedSender<Given>);

/// A connection, and where to say whether it was taken.
pub type Given = (Bequest, oneshot::Sender<Result<(), Bequest>>);
pub type Bequests = mpsc::UnboundedReceiver<Given>;

impl Heir {
    pub fn new() -> (Self, Bequests) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// # Errors
    /// The heir does not take it any more: here it is again, unless it was lost.
    pub async fn give(&self, bequest: Bequest) -> Result<(), Option<Bequest>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((bequest, answer)).map_err(|refused| Some(refused.0.0))?;
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(bequest)) => Err(Some(bequest)),
            // Lost with the task that was to send it.
            Err(_) => Err(None),
        }
    }
}
