//! HTTP proxying as applications ask for it (`HTTP_PROXY`): CONNECT opens a tunnel to the authority it names.

use crate::facts::split_authority;
use crate::websocket;
use http::Method;
use http::request::Parts;

/// Where a CONNECT request wants to go (RFC 9110 section 9.3.6: host and port, both). `None` when it does not say.
pub fn tunnel_to(head: &Parts) -> Option<(String, u16)> {
    let authority = head.uri.authority()?.as_str();
    let (host, port) = split_authority(authority, 0);
    (!host.is_empty() && port != 0).then_some((host, port))
}

pub fn asks_for_tunnel(head: &Parts) -> bool {
    head.method == Method::CONNECT && !websocket::is_extended(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn connect_names_host_and_port() {
        for (target, want) in [("reviews:9080", Some(("reviews", 9080))), ("[::1]:80", Some(("::1", 80))), ("reviews", None), ("/x", None)] {
            let (head, ()) = Request::connect(target).body(()).unwrap().into_parts();
            assert_eq!(tunnel_to(&head), want.map(|(host, port)| (host.to_owned(), port)), "{target}");
        }
    }
}
