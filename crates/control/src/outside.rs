//! HTTP requests to servers outside the mesh: bounded in size, never led elsewhere. How long one may take is the caller's to say.

use crate::tls;
use crate::world::World;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use std::path::PathBuf;
use taut_wire::net::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

const LONGEST: usize = 256 << 10;

pub struct Outside {
    world: World,
    /// Whom servers prove themselves by; `None`: by the roots that this machine trusts.
    roots: Option<PathBuf>,
}

impl Outside {
    pub fn new(world: World) -> Self {
        Self { world, roots: None }
    }

    pub fn trusting(self, roots: Option<PathBuf>) -> Self {
        Self { roots, ..self }
    }

    /// # Errors
    /// What went wrong, as a sentence that names the server. Anything but 200 is wrong.
    pub async fn get(&self, uri: &str) -> Result<String, String> {
        let failed = |why: String| format!("{uri}: {why}");
        let request = Request::get(uri).body(String::new()).map_err(|_| failed("is no URL".to_owned()))?;
        let (status, text) = self.ask(request).await.map_err(failed)?;
        if status == StatusCode::OK { Ok(text) } else { Err(failed(format!("answered {status}, and only 200 counts"))) }
    }

    /// # Errors
    /// There was no answer, or not a whole one: as a sentence.
    pub async fn ask(&self, request: Request<String>) -> Result<(StatusCode, String), String> {
        let uri = request.uri();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("is no URL of http or https".to_owned()),
        };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = self.dial(&host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 })).await?;
        if secure {
            exchange(tls::outside(&self.world, self.roots.as_deref(), &host, &[], stream).await?, request).await
        } else {
            exchange(stream, request).await
        }
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

async fn exchange<S>(stream: S, request: Request<String>) -> Result<(StatusCode, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the sender, or before.
    let connection = tokio::spawn(connection);
    let request = prepared(request)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| format!("the answer broke off, or is longer than {LONGEST} bytes: {error}"))?;
        Ok((status, String::from_utf8(body.to_bytes().into()).map_err(|_| "the answer is no text")?))
    };
    let answer = answer.await;
    connection.abort();
    answer
}

/// As HTTP/1.1 has it on a connection: the path alone, the rest as `Host`.
fn prepared(request: Request<String>) -> Result<Request<Full<Bytes>>, String> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map_or("", |authority| authority.as_str());
    let host = header::HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    head.uri = path;
    head.headers.insert(header::HOST, host);
    head.headers.entry(header::ACCEPT).or_insert(header::HeaderValue::from_static("application/json"));
    Ok(Request::from_parts(head, Full::from(body)))
}
