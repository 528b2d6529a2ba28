//! The host that policies are held against is the one that the application gets.

use super::policy::only;
use super::*;
use taut_model::policy::{AuthorizationAction, OperationMatch};

fn deny_hosts(snapshot: &mut Snapshot) {
    let hosts = vec!["admin.internal".to_owned(), "reviews".to_owned()];
    only(snapshot, AuthorizationAction::Deny, OperationMatch { hosts, ..OperationMatch::default() });
}

#[test]
fn a_host_denied_is_denied_in_every_spelling_and_when_it_is_missing() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(deny_hosts);
        pair.server.pin(&pair.mesh);
        // A request of HTTP/1.1 without a host is none; one of HTTP/1.0 is.
        let version = |host: &str| if host.is_empty() { "1.0" } else { "1.1" };
        let ask = |entry, host: &str| talk(entry, format!("GET / HTTP/{}\r\n{host}Connection: close\r\n\r\n", version(host)));
        for host in ["Host: admin.internal\r\n", "Host: Admin.Internal.:9080\r\n", "Host: x@admin.internal\r\n", "Host: \r\n", ""] {
            for entry in [pair.client.upstream, pair.server.exposed] {
                let answer = ask(entry, host).await;
                assert!(answer.starts_with(&format!("HTTP/{} 403", version(host))), "{host:?}: {answer}");
            }
        }
        let answer = ask(pair.server.exposed, "Host: public.internal.:80\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("host: public.internal:80\n"), "{answer}");
    });
}
