//! An agent whose identities come, change, and are somebody else's.

use super::*;
use crate::tests::{Authority, run};
use crate::workload_api::tests::workload;
use taut_wire::agent::AgentSvid;
use zeroize::Zeroizing;

fn svid(authority: &Authority, id: &str, account: &str) -> AgentSvid {
    let (held, key) = authority.issue_with_key(account);
    AgentSvid {
        id: id.to_owned(),
        chain: held.chain.iter().map(|one| one.to_vec()).collect(),
        key: Zeroizing::new(key),
        bundle: held.roots.iter().map(|one| one.to_vec()).collect(),
    }
}

const OWN: &str = "spiffe://mesh.local/ns/default/sa/reviews";

#[test]
fn the_workloads_own_identity_is_taken_up_and_followed_and_no_other() {
    run(async {
        let (world, authority) = (World::os(), Authority::new("mesh.local"));
        let (current, _) = Current::new(workload());
        let refused = |said: AgentSays| chosen(said, &world, &current).unwrap_err().0;
        let web = "spiffe://mesh.local/ns/default/sa/web";
        let no_shape = refused(vec![svid(&authority, "spiffe://mesh.local/spire/agent/x", "web"), svid(&authority, web, "web")]);
        assert!(
            no_shape.contains("gives spiffe://mesh.local/spire/agent/x and spiffe://mesh.local/ns/default/sa/web")
                && no_shape.contains("/ns/default/sa/reviews"),
            "{no_shape}"
        );
        assert!(refused(vec![svid(&authority, OWN, "web")]).contains("says spiffe://mesh.local/ns/default/sa/web"));
        let other_key = AgentSvid { key: svid(&authority, OWN, "reviews").key, ..svid(&authority, OWN, "reviews") };
        assert!(refused(vec![other_key]).contains("for another key"));
        let no_root = AgentSvid { bundle: vec![vec![0x30, 0]], ..svid(&authority, OWN, "reviews") };
        assert!(refused(vec![no_root]).contains("cannot be used"));
        assert!(current.identity().is_none());
        // It need not be the first one.
        chosen(vec![svid(&authority, web, "web"), svid(&authority, OWN, "reviews")], &world, &current).unwrap();
        let first = current.identity().unwrap();
        assert_eq!((first.identity.to_string().as_str(), first.roots.len()), (OWN, 1));
        chosen(vec![svid(&authority, OWN, "reviews")], &world, &current).unwrap();
        let second = current.identity().unwrap();
        assert!(second.serial > first.serial && second.chain != first.chain);
        // The mesh's roots are the control plane's to say: what the agent believes beside them counts for nothing.
        let mesh = crate::trust::Trust {
            roots: first.roots.clone(),
            revoked: Arc::default(),
            signer: None,
            federated: Arc::default(),
            trust_domain: "mesh.local".into(),
            names: Arc::default(),
        };
        current.trust(Arc::new(mesh));
        let stranger = Authority::new("mesh.local");
        let mut wider = svid(&authority, OWN, "reviews");
        wider.bundle.push(stranger.root().to_vec());
        chosen(vec![wider], &world, &current).unwrap();
        assert_eq!(current.identity().unwrap().roots, first.roots);
        let west = Authority::new("west.example");
        assert!(refused(vec![svid(&west, "spiffe://west.example/ns/default/sa/reviews", "reviews")]).contains("of trust domain west.example"));
    });
}

#[test]
fn what_an_agents_identity_does_not_go_with_is_refused_by_name() {
    let from = |change: fn(&mut Options)| {
        let mut options = Options::new(workload(), "127.0.0.1:1");
        options.identity_from = Some("unix:///run/spire/agent.sock".parse().unwrap());
        change(&mut options);
        may_be_followed(&options).err().map(|(what, _)| what)
    };
    assert_eq!(from(|_| ()), None);
    let token = from(|options| options.token = Some(crate::options::Secret::new("x".to_owned())));
    assert_eq!(token.as_deref(), Some("--identity-from and a join token are given together"));
    let served = from(|options| options.workload_api = Some(crate::options::WorkloadApi { place: "a".into(), users: vec![] }));
    assert_eq!(served.as_deref(), Some("--identity-from and --workload-api are given together"));
}
