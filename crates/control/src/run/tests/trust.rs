//! Certificates of a control plane that runs: who gets which, what is revoked, and what the audit log says of it.

use super::*;
use crate::authority::serial;

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
