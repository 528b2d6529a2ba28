//! The talk between a proxy and its successor, without either.

use super::line::Line;
use super::message::{Door, FromPredecessor, FromSuccessor, Hello, Listening, PROTOCOL};
use super::place;
use super::{Estate, Inheritance, Predecessor, Replaced};
use crate::current::{Current, Stage, Wanted};
use crate::options::OwnWorkload;
use crate::renewal::{Refused, Signer};
use crate::status::Status;
use crate::world::World;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

fn workload(name: &str) -> OwnWorkload {
    OwnWorkload {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        service_account: "web".to_owned(),
        labels: BTreeMap::new(),
        address: [127, 0, 0, 1].into(),
        ports: vec![],
        locality: String::new(),
    }
}

struct NoSigner;

impl Signer for NoSigner {
    async fn sign(&self, _: &str, _: Duration) -> Result<Vec<String>, Refused> {
        Err(Refused("the control plane is away".to_owned()))
    }
}

/// A proxy that has one listening socket to hand over.
struct Old {
    place: PathBuf,
    address: std::net::SocketAddr,
    current: Arc<Current>,
    replaced: oneshot::Receiver<Replaced>,
    _wanted: Wanted,
    _directory: tempfile::TempDir,
}

async fn old(user: u32) -> Old {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("door.sock");
    let listener = place::open(&place).await.unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (current, wanted) = Current::new(workload("web"));
    let status = Status::new(World::os(), current.clone(), "".into());
    let listening = Listening { what: "peer".to_owned(), at: Door::Tcp(address) };
    let predecessor =
        Predecessor { listener, estate: Estate { listeners: vec![(listening, socket)] }, status, signer: NoSigner, user, started: None };
    let (tell, replaced) = oneshot::channel();
    tokio::task::spawn_local(predecessor.serve(tell));
    Old { place, address, current, replaced, _wanted: wanted, _directory: directory }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") });
}

async fn refusal(place: &Path, name: &str) -> String {
    match Inheritance::ask(place, &workload(name)).await {
        Err(refused) => refused.to_string(),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn messages_and_many_sockets_arrive_in_their_order() {
    run(async {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, mut there) = (Line::new(here), Line::new(there));
        let sockets: Vec<TcpListener> = (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let large = "x".repeat(1 << 20);
        let saying = async {
            here.say(&"first", &[]).await.unwrap();
            here.say(&large, &borrowed).await.unwrap();
            drop(here);
        };
        let hearing = async {
            let (first, none) = there.hear::<String>().await.unwrap().unwrap();
            assert_eq!((first.as_str(), none.len()), ("first", 0));
            let (second, passed) = there.hear::<String>().await.unwrap().unwrap();
            assert!(second == large && passed.len() == 300);
            for (passed, sent) in passed.into_iter().zip(&sockets) {
                assert_eq!(TcpListener::from(passed).local_addr().unwrap(), sent.local_addr().unwrap());
            }
            assert!(there.hear::<String>().await.unwrap().is_none());
        };
        tokio::join!(saying, hearing);
    });
}

#[test]
fn noise_is_an_error_and_no_panic() {
    run(async {
        for noise in [&b"\xff\xff\xff\xff\0\0\0\0"[..], b"\0\0\0\x02\0\0\0\x01\0{}", b"\0\0\0\x02\0\0\0\0{]", b"\0\0\0"] {
            let (mut here, there) = UnixStream::pair().unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut here, noise).await.unwrap();
            drop(here);
            assert!(Line::new(there).hear::<FromSuccessor>().await.is_err(), "{noise:?}");
        }
    });
}

#[test]
fn only_the_own_user_and_the_own_workload_may_take_over() {
    run(async {
        let strangers = old(place::own_user() + 1).await;
        assert_eq!(refusal(&strangers.place, "web").await, "only the user that runs this proxy may replace it");
        let mine = old(place::own_user()).await;
        assert!(refusal(&mine.place, "other").await.starts_with("the running proxy is of workload default/web"));
        let mode = std::fs::metadata(&mine.place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Inheritance::ask(&mine.place, &workload("web")).await.unwrap().is_some());
    });
}

#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let refused = place::open(&directory.path().join("door.sock")).await.unwrap_err();
        assert!(refused.to_string().contains("writable by nobody else"), "{refused}");
    });
}

#[test]
fn another_version_s_protocol_is_refused_and_the_next_successor_is_heard() {
    run(async {
        let old = old(place::own_user()).await;
        let mut line = Line::new(UnixStream::connect(&old.place).await.unwrap());
        let own = workload("web");
        let hello = Hello {
            protocol: PROTOCOL + 1,
            version: "9.9.9".to_owned(),
            namespace: own.namespace.clone(),
            name: own.name.clone(),
            service_account: own.service_account.clone(),
        };
        line.say(&FromSuccessor::Hello(hello), &[]).await.unwrap();
        let Some((FromPredecessor::Refused { why }, _)) = line.hear().await.unwrap() else { panic!("not refused") };
        assert!(why.contains("needs a restart"), "{why}");
        let mut next = Inheritance::ask(&old.place, &own).await.unwrap().unwrap();
        let socket = next.take(old.address).unwrap();
        assert!(next.take(old.address).is_none() && next.take_handover().is_some());
        // The very same kernel object: what connects to the address is accepted here.
        let mut client = TcpStream::connect(old.address).unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.accept().unwrap().0.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    });
}

#[test]
fn without_a_certificate_nothing_is_taken_over() {
    run(async {
        let mut old = old(place::own_user()).await;
        let mut next = Inheritance::ask(&old.place, &workload("web")).await.unwrap().unwrap();
        let (current, _wanted) = Current::new(workload("web"));
        let refused = next.certificate(&World::os(), &current).await.err().unwrap();
        assert!(refused.to_string().ends_with("the running one goes on: the control plane is away"), "{refused}");
        drop(next);
        assert!(old.replaced.try_recv().is_err() && old.current.stage() == Stage::Serving);
        // It died with the sockets in its hands, and the next one may try.
        assert!(Inheritance::ask(&old.place, &workload("web")).await.unwrap().is_some());
    });
}

#[test]
fn taking_over_replaces_and_gives_an_heir() {
    run(async {
        let old = old(place::own_user()).await;
        let mut line = Line::new(UnixStream::connect(&old.place).await.unwrap());
        let own = workload("web");
        let hello =
            Hello { protocol: PROTOCOL, version: "next".to_owned(), namespace: own.namespace, name: own.name, service_account: own.service_account };
        line.say(&FromSuccessor::Hello(hello), &[]).await.unwrap();
        let Some((FromPredecessor::Estate(will), sockets)) = line.hear().await.unwrap() else { panic!("no estate") };
        assert_eq!((will.listeners.len(), sockets.len()), (2, 2));
        line.say(&FromSuccessor::TakeOver { linger_seconds: 7 }, &[]).await.unwrap();
        let Some((FromPredecessor::Leaving, _)) = line.hear().await.unwrap() else { panic!("does not leave") };
        let Replaced { heir, linger } = old.replaced.await.unwrap();
        assert_eq!(linger, Duration::from_secs(7));
        old.current.replace(heir, linger);
        assert!(old.current.leaving() && !old.current.draining() && old.current.heir().is_some());
    });
}
