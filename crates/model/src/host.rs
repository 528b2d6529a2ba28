//! Host names as users write them and as the mesh keys them.

/// The DNS suffix of services unless MeshSettings says otherwise.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// `reviews`, `default` -> `reviews.default.svc.cluster.local`
pub fn service_host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.{CLUSTER_DOMAIN}")
}

/// The host a manifest means: Istio resolves a name without a dot against the namespace of the object that says it
/// (VirtualService `Destination.host`); Kubernetes DNS also knows `name.ns` and `name.ns.svc`. A name with dots that is
/// none of these is taken as it stands. Lower case; a trailing dot is dropped.
pub fn resolve(written: &str, namespace: &str) -> String {
    let written = written.trim_end_matches('.').to_ascii_lowercase();
    match written.split('.').collect::<Vec<_>>()[..] {
        ["*"] => written,
        [name] => service_host(name, namespace),
        [name, ns, "svc"] => service_host(name, ns),
        _ => written,
    }
}

/// The hosts a client in `namespace` may mean by `written`, most likely first. The last one is the name as it stands.
pub fn candidates(written: &str, namespace: &str) -> Vec<String> {
    let written = written.trim_end_matches('.').to_ascii_lowercase();
    match written.split('.').collect::<Vec<_>>()[..] {
        [name] => vec![service_host(name, namespace), written.clone()],
        [name, ns] => vec![service_host(name, ns), written.clone()],
        [name, ns, "svc"] => vec![service_host(name, ns), written.clone()],
        _ => vec![written],
    }
}

/// The short name of a mesh service's host (`reviews` of `reviews.default.svc.cluster.local`), or the host itself.
pub fn short(host: &str) -> &str {
    match host.strip_suffix(CLUSTER_DOMAIN).and_then(|rest| rest.strip_suffix(".svc.")) {
        Some(rest) => rest.split('.').next().unwrap_or(host),
        None => host,
    }
}

/// Whether `pattern` (a host, `*`, or `*.suffix`) covers `host`. Both lower case.
pub fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_as_istio_and_kubernetes_do() {
        for (written, namespace, want) in [
            ("reviews", "default", "reviews.default.svc.cluster.local"),
            ("reviews.prod.svc", "default", "reviews.prod.svc.cluster.local"),
            ("Reviews.prod.svc.cluster.local.", "default", "reviews.prod.svc.cluster.local"),
            ("www.googleapis.com", "default", "www.googleapis.com"),
            ("*", "default", "*"),
        ] {
            assert_eq!(resolve(written, namespace), want);
        }
        assert_eq!(candidates("reviews.prod", "default")[0], "reviews.prod.svc.cluster.local");
        assert_eq!(short("reviews.prod.svc.cluster.local"), "reviews");
        assert_eq!(short("www.googleapis.com"), "www.googleapis.com");
        assert!(matches("*.example.com", "a.example.com") && !matches("*.example.com", ".example.com"));
    }
}
