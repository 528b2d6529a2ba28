//! Requests with tokens, from end to end: who is let in, and what the application sees.

use super::*;
use crate::token::tests::{ISSUER, Signer, policy, rule};
use std::sync::OnceLock;
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, SourceMatch, TokenKeys};

static SIGNER: OnceLock<Signer> = OnceLock::new();

fn signer() -> &'static Signer {
    SIGNER.get_or_init(Signer::new)
}

/// Tokens of one issuer, and only who has one comes in.
fn tokens_wanted(snapshot: &mut Snapshot) {
    snapshot.tokens.insert("RequestAuthentication/default/tokens".into(), policy(vec![rule(TokenKeys::Inline(signer().keys()))]));
    let origin = Origin { object: ObjectRef::new("AuthorizationPolicy", "default", "holders"), ..Origin::default() };
    let from = vec![SourceMatch { request_principals: vec![format!("{ISSUER}/*")], ..SourceMatch::default() }];
    let rules = vec![AuthorizationRule { origin: origin.clone(), from, to: vec![], when: vec![] }];
    let policy = AuthorizationPolicy {
        origin,
        namespace: "default".into(),
        selector: BTreeMap::new(),
        services: vec![],
        action: AuthorizationAction::Allow,
        provider: String::new(),
        dry_run: false,
        rules,
    };
    snapshot.authorizations.insert("AuthorizationPolicy/default/holders".into(), Arc::new(policy));
}

async fn ask(to: SocketAddr, headers: &str) -> String {
    talk(to, format!("GET /x HTTP/1.1\r\nHost: reviews:9080\r\n{headers}Connection: close\r\n\r\n")).await
}

#[test]
fn who_holds_a_good_token_is_let_in_and_the_application_does_not_get_it() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(tokens_wanted);
        pair.server.pin(&pair.mesh);
        let answer = ask(pair.client.outbound, &format!("Authorization: Bearer {}\r\n", signer().good())).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("authorization:"), "{answer}");

        let nobody = ask(pair.client.outbound, "").await;
        assert!(nobody.starts_with("HTTP/1.1 403") && nobody.contains("authorization_denied"), "{nobody}");

        for entry in [pair.client.outbound, pair.server.exposed] {
            let forged = ask(entry, &format!("Authorization: Bearer {}x\r\n", signer().good())).await;
            assert!(forged.starts_with("HTTP/1.1 401") && forged.contains("www-authenticate: Bearer error=\"invalid_token\""), "{forged}");
            assert!(forged.contains("x-taut-reason: token_"), "{forged}");
        }
        let failure = pair.server.exchanges().pop().unwrap().failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.origin.unwrap().object.name.as_str()), ("client", "tokens"));
    });
}

#[test]
fn the_explanation_repeats_nothing_of_a_token() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(tokens_wanted);
        pair.server.pin(&pair.mesh);
        ask(pair.client.outbound, &format!("Authorization: Bearer {}\r\n", signer().good())).await;
        eventually(|| pair.server.exchanges().pop()).await;
        let kept = pair.server.sink.newest(1).pop().unwrap();
        let told = kept.to_json().to_string();
        assert!(told.contains("verified") && told.contains("a rule matches"), "{told}");
        for secret in ["zebedee", "quaestor", "eyJ"] {
            assert!(!told.contains(secret), "{told}");
        }
    });
}
