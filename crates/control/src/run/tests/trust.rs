//! Certificates of a control plane that runs: who gets which, what is revoked, and what the audit log says of it.

use super::client::certificate_as;
use super::*;
use crate::authority::limits::IssuanceLimits;
use crate::authority::serial;
use crate::kubernetes::{Kubernetes, tests as kubernetes};
use taut_wire::certificate::IstioCertificateRequest;
use taut_wire::svid::SignTokenRequest;
use taut_wire::svid::svids_client::SvidsClient;
use tonic::Status;

async fn audit(running: &Running, what: &str) -> Vec<Value> {
    let (status, answer) = http(running, "GET", &format!("/taut/v1/audit?what={what}"), Some(&running.admin_token), "").await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str::<Value>(&answer[answer.find('{').unwrap()..]).unwrap()["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_live_certificate_is_renewed_for_nobody_else_and_a_revoked_one_not_at_all() {
    let running = up().await;
    let held = join(&running, "reviews").await;
    let ask = async |uri: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
        certificate_of(&running, params, &rcgen::KeyPair::generate().unwrap(), None, Some(&held)).await
    };
    assert!(ask("spiffe://cluster.local/ns/default/sa/reviews").await.is_ok());
    let refused = ask("spiffe://cluster.local/ns/default/sa/admin").await.err().unwrap();
    assert!(refused.code() == Code::PermissionDenied && refused.message().contains("and the request is for"), "{refused}");
    let serial = serial(&held.0[0]);
    let body = format!(r#"{{"serial":"{serial}"}}"#);
    let (status, answer) = http(&running, "POST", "/taut/v1/trust/revoke", Some(&running.admin_token), &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(ask("spiffe://cluster.local/ns/default/sa/reviews").await.is_err());

    let issued = audit(&running, "certificate.issued").await;
    assert_eq!((issued.len(), issued[0]["details"]["serial"].as_str(), issued[0]["details"]["by"].as_str()), (2, Some(&*serial), Some("join token")));
    let refused = audit(&running, "certificate.refused").await;
    assert_eq!(refused[0]["who"], "spiffe://cluster.local/ns/default/sa/reviews");
    assert_eq!(audit(&running, "certificate.revoked").await[0]["details"]["serial"], serial);
    let (status, answer) = http(&running, "GET", "/taut/v1/audit/verify", Some(&running.admin_token), "").await;
    assert!(status == 200 && answer.contains(r#""broken":null"#), "{status} {answer}");
    running.stop().await;
}

async fn signed(running: &Running, held: Option<&Identity>, audiences: &[&str]) -> Result<String, Status> {
    let audiences = audiences.iter().map(|&one| one.to_owned()).collect();
    let mut client = SvidsClient::new(channel(running, held).await.unwrap());
    client.sign_token(SignTokenRequest { audiences }).await.map(|answer| answer.into_inner().token)
}

#[tokio::test]
async fn tokens_are_signed_for_who_proves_itself_and_verified_by_the_bundle_that_everybody_may_read() {
    let running = up().await;
    let held = join(&running, "reviews").await;
    assert!(signed(&running, Some(&held), &["bank"]).await.unwrap().starts_with("eyJ"));
    assert_eq!(signed(&running, None, &["bank"]).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(signed(&running, Some(&held), &[]).await.unwrap_err().code(), Code::InvalidArgument);
    let issued = audit(&running, "jwt.issued").await;
    assert_eq!((&issued[0]["who"], &issued[0]["details"]["audiences"][0]), (&"spiffe://cluster.local/ns/default/sa/reviews".into(), &"bank".into()));
    assert!(audit(&running, "jwt.refused").await[0]["details"]["why"].as_str().unwrap().contains("needs a certificate"));
    // The bundle is for everybody, and everything else still needs a token.
    let (status, answer) = http(&running, "GET", "/taut/v1/trust/bundle", None, "").await;
    assert!(status == 200 && answer.contains(r#""use":"x509-svid""#) && answer.contains(r#""use":"jwt-svid""#), "{status} {answer}");
    assert_eq!(http(&running, "GET", "/taut/v1/trust", None, "").await.0, 401);
    // A revoked certificate signs no token, on whatever connection.
    let mut open = SvidsClient::new(channel(&running, Some(&held)).await.unwrap());
    let audiences = vec!["bank".to_owned()];
    assert!(open.sign_token(SignTokenRequest { audiences: audiences.clone() }).await.is_ok());
    running.authority.revoke(&[serial(&held.0[0])], None, "test", jiff::Timestamp::now()).unwrap();
    assert_eq!(open.sign_token(SignTokenRequest { audiences }).await.unwrap_err().code(), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_so_and_others_are_not_hurt() {
    let limits = IssuanceLimits { each: 1, all: 100 };
    let running = start(World::os(), Options { issuance_limits: limits, ..options() }).await.unwrap();
    let held = join(&running, "reviews").await;
    let mut refused = None;
    for _ in 0..20 {
        refused = refused.or(signed(&running, Some(&held), &["bank"]).await.err());
    }
    let refused = refused.unwrap();
    assert!(refused.code() == Code::ResourceExhausted && refused.message().contains("1 a second for one identity"), "{refused}");
    assert!(certificate(&running, None, Some(&held)).await.is_err(), "certificates count with tokens");
    join(&running, "page").await;
    assert!(audit(&running, "jwt.refused").await[0]["details"]["why"].as_str().unwrap().contains("for one identity"));
    let (_, metrics) = http(&running, "GET", "/metrics", Some(&running.admin_token), "").await;
    assert!(metrics.contains("taut_control_issued_total{kind=\"certificate\"} 2\n"), "{metrics}");
    assert!(!metrics.contains("taut_control_issuance_limited_total{kind=\"jwt\"} 0\n"), "{metrics}");
    running.stop().await;
}

#[tokio::test]
async fn a_pod_gets_in_by_its_service_account_token_as_istios_clients_ask() {
    let (api, seen) = kubernetes::api_server("201 Created", kubernetes::vouches("system:serviceaccount:shop:reviews", &["istio-ca"])).await;
    let wanted =
        Kubernetes { api: format!("http://{api}"), roots: None, token: None, audiences: vec!["istio-ca".to_owned()], node_agents: Vec::new() };
    let running = start(World::os(), Options { kubernetes: Some(wanted), ..options() }).await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    // Istio's agents name themselves in the request, and what node they are on beside it.
    let ask = async |uri: &str, metadata: &[(&str, &str)]| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = IstioCertificateRequest { csr, validity_duration: 86_400, metadata: Some(taut_wire::istio::metadata(metadata)) };
        certificate_as(&running, request, &key, Some("eyJ.pod.token"), None).await
    };
    let held = ask("spiffe://cluster.local/ns/shop/sa/reviews", &[("NodeName", "a")]).await.unwrap();
    assert_eq!(crate::serve::tls::identity_of(&held.0[0]).unwrap().to_string(), "spiffe://cluster.local/ns/shop/sa/reviews");
    assert!(ask("spiffe://cluster.local/ns/shop/sa/admin", &[]).await.unwrap_err().message().contains("and the request is for"));
    let node = ask("spiffe://cluster.local/ns/shop/sa/reviews", &[("ImpersonatedIdentity", "spiffe://cluster.local/ns/shop/sa/web")]).await;
    assert!(
        node.unwrap_err().message().contains("shop/reviews asks for a certificate of spiffe://cluster.local/ns/shop/sa/web, and is no node agent")
    );
    assert_eq!(seen.count.load(std::sync::atomic::Ordering::SeqCst), 1, "the answer is kept for a while");
    assert_eq!(audit(&running, "certificate.issued").await[0]["details"]["by"], "service account token");
    // Without an API server such a token proves nothing.
    let other = up().await;
    assert!(certificate(&other, Some("eyJ.pod.token"), None).await.unwrap_err().message().contains("--kube-api"));
    other.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn a_nodes_agent_gets_certificates_for_the_workloads_of_its_node_alone() {
    let (api, _) = kubernetes::cluster(|line| match () {
        () if line.contains("tokenreviews") => ("201 Created", kubernetes::agent(kubernetes::bound("ztunnel-x", Some("node-1")))),
        () if line.contains("spec.serviceAccountName%3Dreviews,") => {
            ("200 OK", json!({"items": [kubernetes::pod("shop", "reviews", "node-1", "Running")]}))
        }
        () => ("200 OK", json!({"items": []})),
    })
    .await;
    let node_agents = vec!["kube-system/ztunnel".to_owned()];
    let wanted = Kubernetes { api: format!("http://{api}"), roots: None, token: None, audiences: vec!["istio-ca".to_owned()], node_agents };
    let running = start(World::os(), Options { kubernetes: Some(wanted), ..options() }).await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let of = |account: &str| format!("spiffe://cluster.local/ns/shop/sa/{account}");
    let ask = async |csr_for: &str, impersonated: &str, bearer: Option<&str>, held: Option<&Identity>| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(csr_for.try_into().unwrap())];
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let metadata = Some(taut_wire::istio::metadata(&[("ImpersonatedIdentity", impersonated)]));
        certificate_as(&running, IstioCertificateRequest { csr, validity_duration: 0, metadata }, &key, bearer, held).await
    };
    let (reviews, own) = (of("reviews"), "spiffe://cluster.local/ns/kube-system/sa/ztunnel".to_owned());
    let token = Some("eyJ.ztunnel.token");
    let held = ask(&reviews, &reviews, token, None).await.unwrap();
    assert_eq!(crate::serve::tls::identity_of(&held.0[0]).unwrap().to_string(), reviews);
    assert_eq!(audit(&running, "certificate.issued").await[0]["details"]["by"], "node agent kube-system/ztunnel on node-1");
    let agent = ask(&own, &own, token, None).await.unwrap();
    let control = "spiffe://cluster.local/ns/istio-system/sa/taut-control";
    for (csr_for, wanted, bearer, held, why) in [
        (of("web"), of("web"), token, None, "no pod of spiffe://cluster.local/ns/shop/sa/web runs on node node-1"),
        (of("web"), reviews.clone(), token, None, "and the request is for spiffe://cluster.local/ns/shop/sa/web"),
        (reviews.clone(), reviews.clone(), None, Some(&agent), "shows the service account token of its pod"),
        (reviews.clone(), "reviews".to_owned(), token, None, "ImpersonatedIdentity"),
        (control.to_owned(), control.to_owned(), token, None, "no pod of"),
    ] {
        let refused = ask(&csr_for, &wanted, bearer, held).await.unwrap_err();
        assert!(refused.message().contains(why), "{refused}, expected {why}");
    }
    let refusals = audit(&running, "certificate.refused").await;
    assert!(refusals[0]["details"]["why"].as_str().unwrap().contains("runs on node node-1"), "{refusals:?}");
    running.stop().await;
}
