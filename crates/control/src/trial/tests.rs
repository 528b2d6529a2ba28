//! Cases put to a small mesh.

use super::*;
use taut_model::read;

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: store}
spec: {selector: {app: store}, ports: [{name: tcp-store, port: 7000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: page}
spec:
  selector: {matchLabels: {app: page}}
  template:
    metadata: {labels: {app: page}}
    spec: {serviceAccountName: page, containers: [{name: page, image: page}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 302}
  - match: [{uri: {exact: /down}}]
    directResponse: {status: 503, body: {string: later}}
  - match: [{headers: {end-user: {exact: jason}}}]
    fault:
      delay: {fixedDelay: 7s, percentage: {value: 12.5}}
      abort: {httpStatus: 500, percentage: {value: 20}}
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /thirds}}]
    rewrite: {uri: /x, authority: other.example}
    headers: {request: {set: {x-a: b}, remove: [x-c]}, response: {add: {x-d: e}}}
    mirror: {host: reviews, subset: v3}
    mirrorPercentage: {value: 50}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 1}
    - {destination: {host: reviews, subset: v2}, weight: 1}
    - {destination: {host: reviews, subset: v3}, weight: 1}
  - timeout: 3s
    retries: {attempts: 2, perTryTimeout: 1s, retryOn: 5xx}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reading}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/page]}}], to: [{operation: {methods: [GET]}}]}]
";

fn judged(cases: &str) -> Vec<Judgement> {
    let text = format!(
        "apiVersion: tautline.dev/v1alpha1\nkind: RouteTest\nmetadata: {{name: t}}\nspec:\n  workloads:\n{}  cases:\n{cases}",
        ["v1", "v2", "v3"].map(|v| format!("  - {{name: reviews-{v}, labels: {{app: reviews, version: {v}}}}}\n")).concat()
    );
    let suites = read(&text, "tests.yaml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let objects = read::yaml(MESH, "mesh.yaml").objects.into_iter().map(Arc::new).collect();
    let trial = run(&suites, objects, &Settings { trust_domain: "cluster.local".into(), ..Settings::default() });
    assert!(trial.refused.is_empty(), "{:?}", trial.refused);
    trial.judgements
}

fn one(case: &str) -> Judgement {
    judged(&format!("  - {{from: page, to: reviews, {case}}}\n")).remove(0)
}

#[test]
fn what_holds_passes() {
    for case in [
        "request: GET /, expect: {goesTo: {reviews v1: 90, reviews v2: 10}, timeout: 3s, retries: {attempts: 2, perTryTimeout: 1s, on: 5xx}}",
        "request: GET /, expect: {goesTo: {reviews v1: 9, 'reviews:9080 v2': 1}, mutualTls: true, decidedBy: 'VirtualService default/reviews spec.http[4]'}",
        "request: GET /, expect: {decidedBy: VirtualService default/reviews, path: /, authority: reviews}",
        "request: GET /old/1, expect: {redirected: {status: 302, location: 'http://reviews/new'}}",
        "request: GET /down, expect: {answered: {status: 503, body: later}}",
        "request: GET /, headers: {end-user: jason}, expect: {goesTo: {reviews v2: 1}, aborted: {status: 500, share: 20}, delayed: {time: 7s, share: 12.5}}",
        "request: GET /, headers: {end-user: jason}, expect: {aborted: {status: 500, share: 20}}",
        "request: GET /thirds, expect: {goesTo: {reviews v1: 1, reviews v2: 1, reviews v3: 1}, mirrors: {reviews v3: 50}}",
        "request: GET /thirds?q=1, expect: {path: '/x?q=1', authority: other.example}",
        "request: GET /thirds, expect: {requestHeaders: {set: {X-A: b}, remove: [x-c]}, responseHeaders: {add: {x-d: e}}}",
        "request: DELETE /, expect: {refused: {status: 403, reason: authorization_denied}}",
    ] {
        let judgement = one(case);
        assert!(judgement.passed, "{case}: {:#?}\n{}", judgement.mismatches, judgement.explanation);
    }
}

#[test]
fn what_does_not_hold_fails_and_says_what_decided() {
    for (case, field, got, because) in [
        ("request: GET /, expect: {goesTo: {reviews v1: 91, reviews v2: 9}}", "goesTo", "90 % reviews v1, 10 % reviews v2", "spec.http[4].route["),
        ("request: GET /, expect: {goesTo: {reviews v1: 100}}", "goesTo", "10 % reviews v2", "spec.http[4].route[1]"),
        ("request: GET /, expect: {goesTo: {reviews v1: 90}}", "goesTo", "10 % reviews v2", "spec.http[4].route[1]"),
        (
            "request: GET /thirds, expect: {goesTo: {reviews v1: 33.333333, reviews v2: 33.333333, reviews v3: 33.333334}}",
            "goesTo",
            "1/3 reviews v1",
            "spec.http[3]",
        ),
        ("request: GET /old, expect: {goesTo: {reviews v1: 1}}", "goesTo", "redirected with 302", "spec.http[0]"),
        ("request: GET /, headers: {end-user: jason}, expect: {goesTo: {reviews v2: 1}}", "goesTo", "20 % aborted with 500", "spec.http[2].fault"),
        ("request: GET /, expect: {timeout: 5s}", "timeout", "3s", "spec.http[4]"),
        ("request: GET /thirds, expect: {timeout: 5s}", "timeout", "none", "spec.http[3]"),
        ("request: GET /, expect: {timeout: soon}", "timeout", "not a duration", ""),
        ("request: GET /, expect: {retries: {attempts: 3}}", "retries.attempts", "2", "spec.http[4]"),
        ("request: GET /, expect: {retries: {on: 'reset'}}", "retries.on", "5xx", "spec.http[4]"),
        ("request: GET /, expect: {mirrors: {reviews v3: 50}}", "mirrors", "no mirror", "spec.http[4]"),
        ("request: GET /thirds, expect: {mirrors: {reviews v3: 51}}", "mirrors", "50 % to reviews v3", "spec.http[3]"),
        ("request: GET /thirds, expect: {requestHeaders: {set: {x-a: c}}}", "requestHeaders.set", "set x-a b", "spec.http[3]"),
        ("request: GET /, expect: {mutualTls: false}", "mutualTls", "1 of 1", ""),
        ("request: GET /, expect: {answered: {status: 503}}", "answered", "90 % reviews v1", "spec.http[4]"),
        ("request: DELETE /, expect: {goesTo: {reviews v1: 90, reviews v2: 10}}", "goesTo", "refused with 403", ""),
        ("request: DELETE /, expect: {timeout: 3s}", "", "refused with 403", ""),
        ("request: GET /, expect: {refused: {by: AuthorizationPolicy default/reading}}", "refused", "90 % reviews v1", ""),
        ("request: GET /, expect: {decidedBy: HTTPRoute default/reviews}", "decidedBy", "VirtualService default/reviews", "spec.http[4]"),
    ] {
        let judgement = one(case);
        assert!(!judgement.passed, "{case}");
        let mismatch = &judgement.mismatches[0];
        assert!(mismatch.path.contains(field) && mismatch.got.contains(got), "{case}: {mismatch:#?}");
        assert!(mismatch.location.as_ref().is_some_and(|at| at.file == "tests.yaml" && at.line > 8), "{case}: {mismatch:#?}");
        let origin = mismatch.because.as_ref().map(|origin| origin.to_string()).unwrap_or_default();
        assert!(origin.contains(because) && (because.is_empty() || origin.contains("mesh.yaml:")), "{case}: {origin}");
    }
}

#[test]
fn callers_may_be_described() {
    let cases = "
  - {as: {serviceAccount: page}, to: reviews, request: GET /, expect: {goesTo: {reviews v1: 90, reviews v2: 10}}}
  - {as: {serviceAccount: thief}, to: reviews, request: GET /, expect: {refused: {status: 403}}}
  - {as: {serviceAccount: page, namespace: other}, to: reviews.default, request: GET /, expect: {refused: {status: 403}}}
  - {from: page, to: 'store:7000', expect: {refused: {reason: no_endpoint}}}
";
    for judgement in judged(cases) {
        assert!(judgement.passed, "{}: {:#?}\n{}", judgement.name, judgement.mismatches, judgement.explanation);
    }
}

#[test]
fn cases_that_cannot_be_tried_fail() {
    for (case, says) in [
        ("{from: nobody, to: reviews, expect: {timeout: 1s}}", "there is no workload"),
        ("{to: reviews, expect: {timeout: 1s}}", "nobody asks"),
        ("{from: page, as: {namespace: x}, to: reviews, expect: {timeout: 1s}}", "choose one"),
        ("{from: page, to: reviews, request: nonsense, expect: {timeout: 1s}}", "expected 'METHOD /path'"),
        ("{from: page, to: 'reviews:x', expect: {timeout: 1s}}", "is not a port"),
        ("{from: page, to: nosuch, request: GET /, expect: {goesTo: {nosuch: 1}}}", "no service"),
    ] {
        let judgement = judged(&format!("  - {case}\n")).remove(0);
        assert!(!judgement.passed && judgement.mismatches[0].got.contains(says), "{case}: {:#?}", judgement.mismatches);
    }
}

#[test]
fn a_misspelt_assertion_is_refused_with_its_place() {
    let text =
        "apiVersion: tautline.dev/v1alpha1\nkind: RouteTest\nmetadata: {name: t}\nspec:\n  cases:\n  - {from: a, to: b, expect: {gosTo: {b: 1}}}\n";
    let problems = read(text, "t.yaml").err().unwrap();
    assert_eq!((problems[0].code, problems[0].location.as_ref().unwrap().line), ("UnknownField", 6));
    assert_eq!(problems[0].help.as_deref(), Some("did you mean \"goesTo\"?"));
    for bad in ["kind: VirtualService", "kind: RouteTest\nspec: {cases: []}", "kind: RouteTest\nspec: {cases: [{from: a, to: b, expect: {}}]}"] {
        assert!(read(&format!("apiVersion: tautline.dev/v1alpha1\nmetadata: {{name: t}}\n{bad}\n"), "t.yaml").is_err(), "{bad}");
    }
}
