//! Which requests are meant for this listener and come from its own pages.

use axum::extract::Request;
use http::{HeaderMap, Method, header};
use std::net::{IpAddr, SocketAddr};

/// Where the listener is, as browsers see it.
#[derive(Clone, Debug)]
pub struct Here {
    pub bound: SocketAddr,
    pub tls: bool,
    /// Names under which it may be opened, beside its addresses and `localhost`.
    pub names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was sent to a name that is not ours.
    Host,
    /// A page of another origin made it.
    Origin,
}

impl Here {
    /// `http://127.0.0.1:15080`, as this request calls it. A name can be made to point here by whoever owns it; an address
    /// cannot, so any address does.
    ///
    /// # Errors
    /// The name is not ours.
    pub fn own_origin(&self, request: &Request) -> Result<String, Refusal> {
        let said = request.uri().authority().map(http::uri::Authority::as_str);
        let said = said.or_else(|| request.headers().get(header::HOST)?.to_str().ok()).ok_or(Refusal::Host)?;
        let authority: http::uri::Authority = said.parse().map_err(|_| Refusal::Host)?;
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let named = |name: &String| name.eq_ignore_ascii_case(host);
        match bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") || self.names.iter().any(named) {
            true if !said.contains('@') => Ok(format!("{}://{}", self.scheme(), said.to_ascii_lowercase())),
            _ => Err(Refusal::Host),
        }
    }

    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Browsers share cookies among the ports of a host, so that the name says the port where nothing else keeps them apart.
    pub fn cookie_name(&self) -> String {
        match self.tls {
            true => "__Host-taut_session".to_owned(),
            false => format!("taut_session_{}", self.bound.port()),
        }
    }
}

/// Fetch Metadata where the browser sends it, else `Origin`. Programs send neither, and have no cookie to abuse; a cookie
/// without a word of where the request comes from may read and not change.
pub fn from_our_pages(method: &Method, headers: &HeaderMap, own: &str, has_cookie: bool) -> Result<(), Refusal> {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let (site, origin) = (said("sec-fetch-site"), said("origin"));
    let ours = origin.map(|origin| origin.eq_ignore_ascii_case(own));
    match (site, ours) {
        (_, Some(false)) => Err(Refusal::Origin),
        (Some("same-origin"), _) => Ok(()),
        // Typed or a bookmark.
        (Some("none"), _) if reads => Ok(()),
        (Some(_), _) => Err(Refusal::Origin),
        (None, Some(true)) => Ok(()),
        (None, None) if reads || !has_cookie => Ok(()),
        (None, None) => Err(Refusal::Origin),
    }
}
