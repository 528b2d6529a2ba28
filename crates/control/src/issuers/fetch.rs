//! One question to one server of keys, bounded in size, never led elsewhere. How long it may take is the caller's to say.

use crate::serve::tls;
use crate::translate::key_set;
use crate::world::World;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use taut_wire::net::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

const LONGEST: usize = 256 << 10;

pub struct Fetch {
    world: World,
}

impl Fetch {
    pub fn new(world: World) -> Self {
        Self { world }
    }

    /// # Errors
    /// What went wrong, as a sentence that names the server.
    pub async fn keys(&self, uri: &str) -> Result<String, String> {
        let text = self.text(uri).await.map_err(|why| format!("{uri}: {why}"))?;
        key_set(&text).map_err(|why| format!("what {uri} answers {why}"))?;
        Ok(text)
    }

    async fn text(&self, uri: &str) -> Result<String, String> {
        let uri: Uri = uri.parse().map_err(|_| "is no URL")?;
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = self.dial(&host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 })).await?;
        if secure { get(tls::outside(&self.world, &host, stream).await?, &uri).await } else { get(stream, &uri).await }
    }

    async fn dial(&self, host: &str, port: u16) -> Result<Stream, String> {
        let addresses = self.world.network.resolve(host, port).await.map_err(|error| format!("the name cannot be resolved: {error}"))?;
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            if gives_away_machines(address.ip()) {
                last = format!("{} is an address at which machines tell their own secrets, and is not asked", address.ip());
                continue;
            }
            match self.world.network.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("no connection to {address}: {error}"),
            }
        }
        Err(last)
    }
}

/// Link-local addresses, where clouds tell a machine its credentials: who may write a policy must not learn what is there (istiod
/// keeps away from them, too).
fn gives_away_machines(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    }
}

async fn get<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, uri: &Uri) -> Result<String, String> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the sender, or before.
    let connection = tokio::spawn(connection);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(header::HOST, authority).header(header::ACCEPT, "application/json").body(Empty::<Bytes>::new());
    let answer = async {
        let response = sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}, and only 200 counts", response.status()));
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| format!("the answer broke off, or is longer than {LONGEST} bytes: {error}"))?;
        String::from_utf8(body.to_bytes().into()).map_err(|_| "the answer is no text".to_owned())
    };
    let answer = answer.await;
    connection.abort();
    answer
}
