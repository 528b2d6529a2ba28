//! How urgent a request is: RFC 9218's urgency, 0 (most urgent) to 7, from what it says of itself and what it is.

use http::HeaderMap;

/// RFC 9218 section 4.1: what a request that says nothing has.
pub const USUAL: u8 = 3;
/// What is sent away first.
pub const LEAST: u8 = 7;

/// The mesh's own name wins over the standard's, so that an urgency inside the mesh need not be what a browser said.
const HEADERS: [&str; 2] = ["x-taut-priority", "priority"];
/// Values longer than this are not read: none that means something is.
const LONGEST: usize = 256;

/// What `x-taut-priority` or `priority` say: the `u` of a dictionary (`u=1, i`), or the bare number. What cannot be read says nothing.
pub fn urgency(headers: &HeaderMap) -> u8 {
    let said = HEADERS.iter().find_map(|name| headers.get(*name));
    said.filter(|value| value.len() <= LONGEST).and_then(|value| value.to_str().ok()).and_then(read).unwrap_or(USUAL)
}

fn read(value: &str) -> Option<u8> {
    let number = |text: &str| text.parse::<u8>().ok().filter(|urgency| *urgency <= LEAST);
    // RFC 8941 section 3.2: of members with the same key the last one counts.
    let member = |member: &str| number(member.trim().strip_prefix("u=")?.split(';').next()?.trim());
    number(value.trim()).or_else(|| value.split(',').rev().find_map(member))
}

/// Whether a request asks how the application is: Kubernetes' and common load balancers' probes, and gRPC's health protocol.
pub fn is_probe(method: &str, path: &str, headers: &HeaderMap) -> bool {
    const AGENTS: [&[u8]; 5] = [b"kube-probe/", b"ELB-HealthChecker/", b"GoogleHC/", b"Consul Health Check", b"Envoy/HC"];
    let agent = || headers.get(http::header::USER_AGENT).map_or(&[][..], |agent| agent.as_bytes());
    match method {
        "GET" | "HEAD" => AGENTS.iter().any(|known| agent().starts_with(known)),
        "POST" => path == "/grpc.health.v1.Health/Check",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_is_read_as_rfc_9218_writes_it() {
        for (value, want) in [
            ("u=0", 0),
            ("u=7, i", 7),
            ("i, u=1", 1),
            ("u=5;x=1", 5),
            ("u=1, u=6", 6),
            ("2", 2),
            ("", USUAL),
            ("u=8", USUAL),
            ("u=-1", USUAL),
            ("u=", USUAL),
            ("critical", USUAL),
            (&"u=0,".repeat(1000), USUAL),
        ] {
            let headers = HeaderMap::from_iter([("priority".parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(urgency(&headers), want, "{value}");
        }
        let both = HeaderMap::from_iter(
            [("priority", "u=6"), ("x-taut-priority", "u=1")].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
        );
        assert_eq!((urgency(&both), urgency(&HeaderMap::new())), (1, USUAL));
    }

    #[test]
    fn probes_are_known_by_who_asks_or_what() {
        let agent = |agent: &str| HeaderMap::from_iter([(http::header::USER_AGENT, agent.parse().unwrap())]);
        for (method, path, from, want) in [
            ("GET", "/healthz", "kube-probe/1.31", true),
            ("POST", "/healthz", "kube-probe/1.31", false),
            ("GET", "/", "Mozilla/5.0 kube-probe/", false),
            ("POST", "/grpc.health.v1.Health/Check", "grpc-go/1.60", true),
            ("POST", "/grpc.health.v1.Health/Watch", "grpc-go/1.60", false),
            ("GET", "/", "", false),
        ] {
            assert_eq!(is_probe(method, path, &agent(from)), want, "{method} {path} {from}");
        }
    }
}
