//! The kinds of faults and of benign changes, as tables: what is done, to whom, and what the answer ought to be. Nothing of this reaches the
//! mesh but the acts themselves.

use super::act::{Act, Of};
use super::load::{Manner, Rate};
use super::mesh::clock_library;
use super::watch::{Cause, Place};

#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub what: &'static str,
    /// One of them, by lot.
    pub services: &'static [&'static str],
    /// Done before the time that counts begins.
    pub prepare: &'static [Act],
    pub acts: &'static [Act],
    /// None: nobody is hurt, and nothing ought to be said.
    pub truth: Option<Truth>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    pub at: At,
    /// Kinds of causes that say it; an engine sees effects, and several describe some faults.
    pub kinds: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// The service itself.
    Service,
    /// The service, or the way to it: from the mesh both look alike.
    Reach,
    /// The way to the service, and not the service.
    Way,
    /// What the mesh calls and does not hold.
    Dependency,
    /// Those who call: they, or who cannot bear it, are a right answer.
    Visitors,
}

impl Kind {
    /// What this machine lacks for it.
    pub fn lacks(&self) -> Option<&'static str> {
        let clock = self.acts.iter().any(|act| matches!(act, Act::Clock(_)));
        (clock && clock_library().is_none()).then_some("libfaketime (apt-get install faketime)")
    }
}

impl Truth {
    /// True when the cause is where the fault is. A network that is bad for all who call a service is told as that service's network.
    pub fn at(&self, cause: &Cause, service: &str) -> bool {
        match (self.at, &cause.place) {
            (At::Way, Place::Service(name)) => name == service && cause.kind == NETWORK[0],
            (At::Service | At::Reach, Place::Service(name) | Place::Part(name, _)) => name == service,
            (At::Reach | At::Way, Place::Link(_, to)) => to == service,
            (At::Dependency, Place::Outside(name) | Place::Service(name)) => name.starts_with("books"),
            (At::Visitors, Place::Outside(name)) => name == "outside",
            (At::Visitors, Place::Service(name) | Place::Part(name, _)) => name == service || name == "productpage",
            _ => false,
        }
    }
}

const ANY: &[&str] = &["productpage", "reviews", "details", "ratings"];
const CALLED: &[&str] = &["reviews", "details", "ratings"];
/// With more than one process, all alike.
const SEVERAL: &[&str] = &["details", "ratings"];
const DETAILS: &[&str] = &["details"];

const fn fault(
    name: &'static str,
    what: &'static str,
    services: &'static [&'static str],
    acts: &'static [Act],
    at: At,
    kinds: &'static [&'static str],
) -> Kind {
    Kind { name, what, services, prepare: &[], acts, truth: Some(Truth { at, kinds }) }
}

const fn benign(name: &'static str, what: &'static str, services: &'static [&'static str], acts: &'static [Act]) -> Kind {
    Kind { name, what, services, prepare: &[], acts, truth: None }
}

const fn prepared(prepare: &'static [Act], kind: Kind) -> Kind {
    Kind { prepare, ..kind }
}

const SLOW: &[&str] = &["slow"];
const FAILING: &[&str] = &["failing"];
const BUSY: &[&str] = &["slow", "saturated"];
const SILENT: &[&str] = &["slow", "failing", "unreachable"];
const GONE: &[&str] = &["unreachable", "failing"];
const NETWORK: &[&str] = &["network", "unreachable"];
const REFUSED: &[&str] = &["refused"];

pub const FAULTS: &[Kind] = &[
    fault("slow", "300 ms more for every answer", ANY, &[Act::Trouble(Of::All, r#"{"delayMs":300}"#)], At::Service, SLOW),
    fault(
        "slow for one caller",
        "300 ms more for what productpage asks",
        &["ratings"],
        &[Act::Trouble(Of::All, r#"{"delayMs":300,"caller":"productpage"}"#)],
        At::Reach,
        SLOW,
    ),
    fault(
        "slow on one path",
        "every gRPC call takes 500 ms more",
        DETAILS,
        &[Act::Trouble(Of::All, r#"{"delayMs":500,"path":"/bookstore"}"#)],
        At::Service,
        SLOW,
    ),
    fault("failing", "every request is answered 500", ANY, &[Act::Trouble(Of::All, r#"{"status":500}"#)], At::Service, FAILING),
    fault("hanging", "nothing is answered", CALLED, &[Act::Trouble(Of::All, r#"{"hang":true}"#)], At::Service, SILENT),
    fault("partial", "every eighth request is answered 500", ANY, &[Act::Trouble(Of::All, r#"{"status":500,"share":0.125}"#)], At::Service, FAILING),
    fault("grey: one slow", "one process takes 600 ms more", SEVERAL, &[Act::Trouble(Of::One, r#"{"delayMs":600}"#)], At::Service, SLOW),
    fault("grey: one fails", "one process answers 500", SEVERAL, &[Act::Trouble(Of::One, r#"{"status":500}"#)], At::Service, FAILING),
    fault(
        "CPU saturated",
        "one process computes for 150 ms before each answer",
        SEVERAL,
        &[Act::Trouble(Of::One, r#"{"burnMs":150}"#)],
        At::Service,
        BUSY,
    ),
    fault(
        "lock contention",
        "one request at a time, 250 ms each",
        CALLED,
        &[Act::Trouble(Of::All, r#"{"atOnce":1,"delayMs":250}"#)],
        At::Service,
        BUSY,
    ),
    fault(
        "pauses",
        "the process stands still for 900 ms, every 2 s",
        CALLED,
        &[Act::Trouble(Of::All, r#"{"pauseMs":900,"pauseEveryMs":1100}"#)],
        At::Service,
        BUSY,
    ),
    fault("crash loop", "every process dies 4 s after it was started", SEVERAL, &[Act::CrashLoop(Of::All)], At::Reach, GONE),
    fault("killed", "program and sidecar are gone", CALLED, &[Act::Kill(Of::All)], At::Reach, GONE),
    fault("stopped", "SIGSTOP to the program, not to its sidecar", CALLED, &[Act::Signal(Of::All)], At::Service, SILENT),
    fault("connection refused", "the program listens no more", CALLED, &[Act::Trouble(Of::All, r#"{"refuse":true}"#)], At::Reach, GONE),
    fault(
        "reset mid-response",
        "half an answer, then the end of the connection",
        CALLED,
        &[Act::Trouble(Of::All, r#"{"cut":true}"#)],
        At::Reach,
        GONE,
    ),
    prepared(
        &[Act::Apply(ONE_VERSION), Act::Trouble(Of::Named("details-v3"), r#"{"status":500}"#), Act::Add("details-v3")],
        fault(
            "bad version",
            "40 % of the traffic goes to a version that fails",
            DETAILS,
            &[Act::Change(ONE_VERSION, NEW_VERSION)],
            At::Service,
            FAILING,
        ),
    ),
    fault(
        "no endpoints",
        "a route to a subset that nobody is in",
        CALLED,
        &[Act::Apply(EMPTY_SUBSET)],
        At::Reach,
        &["unreachable", "refused", "failing"],
    ),
    fault("denied", "a policy that lets only somebody else in", CALLED, &[Act::Apply(DENIED)], At::Reach, REFUSED),
    fault(
        "timeout too short",
        "a route gives up after 1 ms",
        CALLED,
        &[Act::Apply(IMPATIENT)],
        At::Reach,
        &["slow", "failing", "refused", "unreachable"],
    ),
    fault("STRICT", "visitors come without certificates", &["productpage"], &[Act::Apply(STRICT)], At::Reach, REFUSED),
    fault("network delay", "120 ms more each way", CALLED, &[Act::Way { of: Of::All, delay_ms: 120, lost: 0 }], At::Way, NETWORK),
    fault(
        "network loss",
        "every sixth piece waits for a retransmission",
        CALLED,
        &[Act::Way { of: Of::All, delay_ms: 0, lost: 166 }],
        At::Way,
        NETWORK,
    ),
    fault(
        "unreachable",
        "nothing comes through, and nobody is told",
        CALLED,
        &[Act::Severed(Of::All)],
        At::Reach,
        &["network", "unreachable", "slow"],
    ),
    fault("certificate revoked", "nobody believes it any more", SEVERAL, &[Act::Revoke(Of::All)], At::Reach, REFUSED),
    fault(
        "dependency slow",
        "the catalogue outside takes 900 ms more",
        DETAILS,
        &[Act::Trouble(Of::Named("books"), r#"{"delayMs":900}"#)],
        At::Dependency,
        SLOW,
    ),
    fault(
        "dependency fails",
        "the catalogue outside answers 503",
        DETAILS,
        &[Act::Trouble(Of::Named("books"), r#"{"status":503}"#)],
        At::Dependency,
        FAILING,
    ),
    fault(
        "retry storm",
        "60 % fail, and each is tried nine times",
        CALLED,
        &[Act::Apply(EAGER), Act::Trouble(Of::All, r#"{"status":503,"share":0.6,"delayMs":20}"#)],
        At::Service,
        &["failing", "saturated", "surge"],
    ),
    prepared(
        &[Act::Trouble(Of::All, r#"{"atOnce":1,"delayMs":40}"#)],
        fault("surge beyond capacity", "nine times the visits", DETAILS, &[Act::Visits(Rate::Steady(9.0))], At::Visitors, &["surge", "saturated"]),
    ),
];

pub const BENIGN: &[Kind] = &[
    benign("surge", "three times the visits", ANY, &[Act::Visits(Rate::Steady(3.0))]),
    benign("night", "a tenth of the visits", ANY, &[Act::Visits(Rate::Steady(0.1))]),
    benign("ramp", "from the usual to three times", ANY, &[Act::Visits(Rate::Ramp { to: 3.0, seconds: 20.0 })]),
    benign("bursts", "a second of four times the visits, every three", ANY, &[Act::Visits(Rate::Bursts(4.0))]),
    benign(
        "hourly job",
        "five seconds of three times the visits, again and again",
        ANY,
        &[Act::Visits(Rate::Spike { to: 3.0, every: 12.0, length: 5.0 })],
    ),
    benign("nobody comes", "no visits at all", ANY, &[Act::Visits(Rate::Steady(0.0))]),
    benign("deploy", "each process is stopped and started, one after the other", SEVERAL, &[Act::Roll(Of::All)]),
    benign("one restarts", "one process is stopped and started", CALLED, &[Act::Roll(Of::One)]),
    benign("scale up", "a process more", DETAILS, &[Act::Add("details-v1-b")]),
    benign("scale down", "a process less", SEVERAL, &[Act::Remove(Of::One)]),
    benign("slow visitors", "some take their answer at a trickle", ANY, &[Act::Visitors(Manner::ReadSlowly)]),
    benign("visitors leave", "some do not wait for their answer", ANY, &[Act::Visitors(Manner::LeaveEarly)]),
    benign("strangers: 404", "somebody asks for pages that are not there", ANY, &[Act::Stranger("/wp-login.php")]),
    prepared(
        &[Act::Apply(ONLY_KNOWN)],
        benign("strangers: 403", "somebody without rights knocks", &["ratings"], &[Act::Caller("http://ratings:9080/ratings/0")]),
    ),
    benign("new caller", "details begins to ask reviews", &["reviews"], &[Act::Caller("http://reviews:9080/reviews/0")]),
    prepared(
        &[Act::Apply(ONE_VERSION), Act::Add("details-v3")],
        benign("healthy canary", "40 % of the traffic goes to a version that is well", DETAILS, &[Act::Change(ONE_VERSION, NEW_VERSION)]),
    ),
    benign("traffic moves", "all of it to one version", &["reviews"], &[Act::Apply(THIRD_VERSION)]),
    benign("idle change", "a route that says what is so already", CALLED, &[Act::Apply(SAME)]),
    benign("clock ahead", "one sidecar's clock is two minutes ahead", DETAILS, &[Act::Clock(120)]),
    benign("root rotated", "every certificate is replaced", ANY, &[Act::RotateRoot]),
    benign("control plane restarts", "it is stopped and started", ANY, &[Act::RestartControlPlane]),
    benign("large answers", "200 kB more in each", CALLED, &[Act::Trouble(Of::All, r#"{"padBytes":200000}"#)]),
];

const ONE_VERSION: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: details }
spec:
  host: details
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v3, labels: { version: v3 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: details }
spec:
  hosts: [details]
  http: [{ route: [{ destination: { host: details, subset: v1 } }] }]
";
const NEW_VERSION: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: details }
spec:
  hosts: [details]
  http:
  - route:
    - { destination: { host: details, subset: v1 }, weight: 60 }
    - { destination: { host: details, subset: v3 }, weight: 40 }
";
const THIRD_VERSION: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews }
spec:
  host: reviews
  subsets: [{ name: v3, labels: { version: v3 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews }
spec:
  hosts: [reviews]
  http: [{ route: [{ destination: { host: reviews, subset: v3 } }] }]
";
const SAME: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: {s} }
spec:
  hosts: [{s}]
  http: [{ route: [{ destination: { host: {s} } }] }]
";
const EMPTY_SUBSET: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: {s} }
spec:
  host: {s}
  subsets: [{ name: next, labels: { version: v9 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: {s} }
spec:
  hosts: [{s}]
  http: [{ route: [{ destination: { host: {s}, subset: next } }] }]
";
const IMPATIENT: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: {s} }
spec:
  hosts: [{s}]
  http: [{ timeout: 1ms, route: [{ destination: { host: {s} } }] }]
";
const EAGER: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: {s} }
spec:
  hosts: [{s}]
  http: [{ retries: { attempts: 8, perTryTimeout: 2s, retryOn: 5xx }, route: [{ destination: { host: {s} } }] }]
";
const DENIED: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: {s} }
spec:
  selector: { matchLabels: { app: {s} } }
  rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/somebody] } }] }]
";
const ONLY_KNOWN: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ratings }
spec:
  selector: { matchLabels: { app: ratings } }
  rules:
  - from: [{ source: { principals: [cluster.local/ns/default/sa/bookinfo-reviews, cluster.local/ns/default/sa/bookinfo-productpage] } }]
";
const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: {s} }
spec:
  selector: { matchLabels: { app: {s} } }
  mtls: { mode: STRICT }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_hold_together() {
        let names: std::collections::BTreeSet<_> = FAULTS.iter().chain(BENIGN).map(|kind| kind.name).collect();
        assert_eq!(names.len(), FAULTS.len() + BENIGN.len(), "a name is for one kind");
        assert!(FAULTS.len() >= 20 && FAULTS.iter().all(|kind| kind.truth.is_some_and(|truth| !truth.kinds.is_empty())));
        assert!(BENIGN.len() >= 20 && BENIGN.iter().all(|kind| kind.truth.is_none()));
        assert!(FAULTS.iter().chain(BENIGN).all(|kind| !kind.services.is_empty() && !kind.acts.is_empty()));
    }

    #[test]
    fn a_place_is_right_or_not() {
        let cause = |place: Place, kind: &str| Cause { place, kind: kind.to_owned(), confidence: 1.0 };
        let of = |name: &str| Place::Service(name.to_owned());
        let (service, link) = (cause(of("ratings"), "slow"), cause(Place::Link("reviews".to_owned(), "ratings".to_owned()), "slow"));
        let truth = |at| Truth { at, kinds: SLOW };
        assert!(truth(At::Service).at(&service, "ratings") && !truth(At::Service).at(&link, "ratings"));
        assert!(truth(At::Reach).at(&service, "ratings") && truth(At::Reach).at(&link, "ratings"));
        assert!(!truth(At::Way).at(&service, "ratings") && truth(At::Way).at(&link, "ratings"));
        assert!(truth(At::Way).at(&cause(of("ratings"), "network"), "ratings") && !truth(At::Way).at(&cause(of("reviews"), "network"), "ratings"));
        assert!(!truth(At::Reach).at(&link, "reviews"), "a way is named for where it leads");
        assert!(truth(At::Dependency).at(&cause(Place::Outside("books.example".to_owned()), "slow"), "details"));
        assert!(!truth(At::Dependency).at(&cause(of("details"), "slow"), "details"));
    }
}
