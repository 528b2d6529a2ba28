//! The client of the SPIFFE Workload API, for those who take their identity from one (SPIRE's agent): where it is, and what it says, for as long
//! as it is followed. Nothing here judges what it says.

use crate::workload_api::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::workload_api::{X509svidRequest, X509svidResponse};
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use zeroize::Zeroizing;

/// SPIFFE Workload API section 4.1: a call without it is refused, so that nobody is led into making one.
const HEADER: &str = "workload.spiffe.io";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A stream that has lived this long was no failure to begin with.
const SETTLED: Duration = Duration::from_secs(30);

/// As SPIFFE_ENDPOINT_SOCKET names it (SPIFFE Workload Endpoint section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAddress {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl FromStr for AgentAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') && !path.contains(['?', '#']) {
                true => Ok(Self::Unix(path.into())),
                false => Err("expected an absolute path: unix:///run/spire/agent.sock"),
            };
        }
        match text.strip_prefix("tcp://").map(str::parse) {
            Some(Ok(address)) => Ok(Self::Tcp(address)),
            _ => Err("expected unix:///PATH or tcp://IP:PORT, as in SPIFFE_ENDPOINT_SOCKET"),
        }
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// One identity, with all that proves it.
#[derive(Clone)]
pub struct AgentSvid {
    pub id: String,
    /// DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
    /// DER: the roots of its trust domain.
    pub bundle: Vec<Vec<u8>>,
}

/// Everything that the agent says at one time, the default identity first.
pub type AgentSays = Vec<AgentSvid>;

/// Tells `take` whatever the agent says, or why it says nothing, and goes on for ever: a stream that ends is opened again.
pub async fn follow(address: &AgentAddress, mut take: impl FnMut(Result<AgentSays, String>)) {
    let mut pause = FIRST_PAUSE;
    loop {
        let since = tokio::time::Instant::now();
        let why = match open(address).await {
            Ok(mut stream) => listen(&mut stream, &mut take).await,
            Err(why) => why,
        };
        if since.elapsed() > SETTLED {
            pause = FIRST_PAUSE;
        }
        take(Err(format!("the SPIFFE Workload API at {address}: {why}")));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why it ended.
async fn listen(stream: &mut Streaming<X509svidResponse>, take: &mut impl FnMut(Result<AgentSays, String>)) -> String {
    loop {
        match stream.message().await {
            Ok(Some(said)) => match read(said) {
                Ok(said) => take(Ok(said)),
                Err(why) => return why,
            },
            Ok(None) => return "it ended the stream".to_owned(),
            Err(status) => return format!("{:?}: {}", status.code(), status.message()),
        }
    }
}

async fn open(address: &AgentAddress) -> Result<Streaming<X509svidResponse>, String> {
    let channel = tokio::time::timeout(CONNECT_LIMIT, connect(address)).await.map_err(|_| "it did not answer in 5 s".to_owned())??;
    let mut request = Request::new(X509svidRequest {});
    request.metadata_mut().insert(HEADER, MetadataValue::from_static("true"));
    let opened = SpiffeWorkloadApiClient::new(channel).fetch_x509svid(request).await;
    opened.map(tonic::Response::into_inner).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}

async fn connect(address: &AgentAddress) -> Result<Channel, String> {
    let uri = match address {
        AgentAddress::Unix(path) => format!("unix://{}", path.display()),
        AgentAddress::Tcp(address) => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|error| error.to_string())?;
    endpoint.connect().await.map_err(|error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        format!("no connection{cause}")
    })
}

fn read(said: X509svidResponse) -> Result<AgentSays, String> {
    let one = |svid: crate::workload_api::X509svid| {
        let key = Zeroizing::new(svid.x509_svid_key);
        let wrong = |what: &str| format!("{what} of {} cannot be read", svid.spiffe_id);
        let chain = certificates(&svid.x509_svid).ok_or_else(|| wrong("the certificates"))?;
        let bundle = certificates(&svid.bundle).ok_or_else(|| wrong("the bundle"))?;
        Ok(AgentSvid { id: svid.spiffe_id, chain, key, bundle })
    };
    match said.svids.is_empty() {
        true => Err("it gave no identity".to_owned()),
        false => said.svids.into_iter().map(one).collect(),
    }
}

/// DER values one after another; `None` where they are not.
fn certificates(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = bytes.split_at_checked(sequence(bytes)?)?;
        found.push(one.to_vec());
        bytes = rest;
    }
    (!found.is_empty()).then_some(found)
}

/// How many bytes a DER sequence takes with its header (X.690 sections 8.1.3 and 10.1).
fn sequence(bytes: &[u8]) -> Option<usize> {
    let (&tag, &first) = (bytes.first()?, bytes.get(1)?);
    if tag != 0x30 {
        return None;
    }
    if first < 0x80 {
        return Some(2 + usize::from(first));
    }
    let count = usize::from(first & 0x7f);
    let length = bytes.get(2..2 + count).filter(|length| (1..=4).contains(&length.len()))?;
    let length = length.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    usize::try_from(length).ok()?.checked_add(2 + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_spiffe_names_them() {
        let read = |text: &str| text.parse::<AgentAddress>();
        let unix = AgentAddress::Unix("/run/spire/agent.sock".into());
        assert_eq!((read("unix:///run/spire/agent.sock"), read("unix:/run/spire/agent.sock")), (Ok(unix.clone()), Ok(unix.clone())));
        assert_eq!(unix.to_string(), "unix:///run/spire/agent.sock");
        assert_eq!(read("tcp://127.0.0.1:8000"), Ok(AgentAddress::Tcp("127.0.0.1:8000".parse().unwrap())));
        for bad in ["", "/run/a.sock", "unix:", "unix://run/a.sock", "unix:///a?b", "tcp://agent:8000", "tcp://127.0.0.1", "http://127.0.0.1:1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn certificates_that_follow_each_other_are_told_apart() {
        let long = [&[0x30, 0x81, 0x80][..], &[7; 128]].concat();
        let both = [&[0x30, 1, 9][..], &long].concat();
        assert_eq!(certificates(&both), Some(vec![vec![0x30, 1, 9], long.clone()]));
        for cut in 1..both.len() {
            assert_eq!(certificates(&both[..cut]).is_some(), cut == 3, "{cut}");
        }
        for bad in [&[][..], &[0x31, 0], &[0x30, 0x80], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(certificates(bad), None, "{bad:?}");
        }
    }
}
