//! One mistake each, as people make them, and the whole of what is said about it.

use super::*;

const VIRTUAL_SERVICE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: reviews\nspec:\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: reviews\nspec:\n";

/// What is said, without the excerpt.
fn said(text: &str) -> Vec<String> {
    let bare = |problem: Problem| {
        let location = problem.location.unwrap_or_default();
        let help = problem.help.map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{}:{} {}: {}{help}", location.line, location.column, problem.code, problem.message)
    };
    yaml(text, "a.yaml").problems.into_iter().map(bare).collect()
}

/// What is written: head and body; and `line:column code: message | help`.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - route:\n    - wieght: 90\n      destination: {host: a}\n",
        r#"9:7 UnknownField: unknown field "wieght" in spec.http[0].route[0] | did you mean "weight"?"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - route:\n    - destination: {host: a}\n      retries: {attempts: 1}\n",
        r#"10:7 UnknownField: unknown field "retries" in spec.http[0].route[0] | "retries" is a field of spec.http[0]: indent it less"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - route:\n    - host: a\n",
        r#"9:7 UnknownField: unknown field "host" in spec.http[0].route[0] | "host" is a field of "destination": put it below that"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - route:\n    - destination: {host: a, subset: v1}\n      weight: \"90\"\n",
        r#"10:15 WrongType: spec.http[0].route[0].weight must be an integer, and is the text "90" | remove the quotes"#,
    ),
    (VIRTUAL_SERVICE, "  hosts: a\n", r#"6:10 WrongType: spec.hosts must be a list, and is the text "a" | make it a list: ["a"]"#),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n    route:\n    - destination: {host: a}\n",
        "8:5 WrongType: spec.http must be a list, and is a map | make it a list: start each item with `- `",
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - timeout: 5\n",
        r#"8:14 WrongType: spec.http[0].timeout must be text, and is the number 5 | put it in quotes: "5""#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - match:\n    - uri: {exact: /a, prefix: /b}\n",
        r#"9:24 Contradiction: spec.http[0].match[0].uri has both "exact" and "prefix" | set only one of exact, prefix, regex"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - match:\n    - uri: /a\n",
        r#"9:12 WrongType: spec.http[0].match[0].uri must be a map, and is the text "/a" | known here: exact, prefix, regex"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - fault:\n      abort: {httpStatus: 500, grpcStatus: UNAVAILABLE}\n",
        r#"9:32 Contradiction: spec.http[0].fault.abort has both "httpStatus" and "grpcStatus" | set only one of httpStatus, grpcStatus, http2Error"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - match:\n    - ignoreUriCase: yes\n",
        r#"9:22 WrongType: spec.http[0].match[0].ignoreUriCase must be true or false, and is the text "yes" | write true, without quotes"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - match:\n    - headers: {end-user: jason}\n",
        r#"9:27 WrongType: spec.http[0].match[0].headers.end-user must be a map, and is the text "jason" | known here: exact, prefix, regex"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  hosts: [b]\n",
        r#"7:3 DuplicateKey: the key "hosts" stands twice; the first is at line 6, column 3 | remove one of them"#,
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n\tgateways: [mesh]\n",
        "7:1 SyntaxError: a tab indents this line | YAML indents with spaces only: replace the tab",
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n  http:\n  - route:\n    - destination: {host: a\n",
        "9:20 SyntaxError: this `{` is not closed | close it with `}`, or put a comma between the entries",
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [a]\n   http: []\n",
        "7:4 SyntaxError: the line does not fit the map it stands in | indent it exactly like the other keys",
    ),
    (
        VIRTUAL_SERVICE,
        "  hosts: [*]\n",
        "6:11 SyntaxError: a value that starts with `*` or `&` is an alias or an anchor, and this is neither | put it in quotes",
    ),
    (VIRTUAL_SERVICE, "  hosts: [\"a]\n", "6:11 SyntaxError: a quote is not closed | add the closing quote"),
    (VIRTUAL_SERVICE, "  wieght:\n", r#"6:3 UnknownField: unknown field "wieght" in spec | known here: exportTo, gateways, hosts, http, tcp, tls"#),
    (
        "",
        "apiVersion: networking.istio.io/v1\nkind: VirtualServcie\nmetadata: {name: a}\n",
        r#"2:7 UnknownKind: "VirtualServcie" of networking.istio.io/v1 is not a kind that the mesh reads | did you mean "VirtualService"?"#,
    ),
    (
        "",
        "apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: a}\n",
        r#"1:13 UnknownKind: VirtualService is not known as "networking.istio.io/v2" | did you mean networking.istio.io/v1?"#,
    ),
    (
        "",
        "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XAuthorizationPolicy\nmetadata: {name: a}\n",
        "2:1 UnsupportedValue: XAuthorizationPolicy of gateway.networking.x-k8s.io is a proposal (GEP-3779) that no release of Gateway API has, and is not supported | write an AuthorizationPolicy of security.istio.io/v1: its sources as from[].source.principals or serviceAccounts, its ports as to[].operation.ports, its target as selector",
    ),
    (
        "",
        "apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n",
        r#"1:13 UnknownKind: Deployment is not known as "v1" | Deployment is known as apps/v1"#,
    ),
    ("", "kind: Service\nmetadata: {name: a}\n", "1:1 MissingField: this object has no apiVersion | a Service has apiVersion: v1"),
    (
        "",
        "apiversion: v1\nkind: Service\nmetadata: {name: a}\n",
        r#"1:1 MissingField: this object has no apiVersion | "apiversion" is there: did you mean "apiVersion"?"#,
    ),
    (
        "",
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\n",
        r#"2:7 ForeignKind: "Certificate" of cert-manager.io/v1 is not a kind that the mesh reads | it reads nothing of cert-manager.io: keep this object in another file"#,
    ),
    ("", "- a\n- b\n", "1:1 WrongType: this is no object: apiVersion, kind and metadata are expected"),
    (
        "",
        "apiVersion: v1\nkind: Service\nmetadata: {name: My_Service}\n",
        r#"3:18 InvalidValue: "My_Service" is not a name for a Service | use at most 63 of a-z, 0-9 and -, with a letter first and a letter or digit last"#,
    ),
    (
        "",
        "apiVersion: v1\nkind: Service\nmetadata: {generateName: a-}\n",
        "3:12 UnsupportedValue: a file cannot have a name generated: it would make another object each time it is read | set metadata.name",
    ),
    ("", "apiVersion: v1\nkind: Service\nmetadata:\n  labels: {app: a}\n", "3:1 MissingField: this Service has no name | set metadata.name"),
    (
        "",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {version: 1}}\n",
        r#"3:39 WrongType: metadata.labels.version must be text, and is the number 1 | put it in quotes: "1""#,
    ),
    (
        "",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {app: \"a b\"}}\n",
        r#"3:35 InvalidValue: "a b" is not a label value | use at most 63 letters, digits, -, _ and ., with a letter or digit at both ends; an annotation may hold any text"#,
    ),
    (
        "",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, label: {app: a}}\n",
        r#"3:21 UnknownField: unknown field "label" in metadata | did you mean "labels"?"#,
    ),
    (
        "",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n",
        "3:32 InvalidValue: a Namespace belongs to no namespace | remove metadata.namespace",
    ),
    (SERVICE, "  ports:\n  - port: 99999\n", "7:11 InvalidValue: spec.ports[0].port must be from 1 to 65535, and is 99999"),
    (SERVICE, "  ports:\n  - port: 80\n    targetPort: true\n", "8:17 WrongType: spec.ports[0].targetPort must be an integer or text, and is true"),
    (
        SERVICE,
        "  ports:\n  - port: 80\n    protocol: tcp\n",
        r#"8:15 UnknownValue: spec.ports[0].protocol must be one of SCTP, TCP, UDP, and is the text "tcp" | did you mean "TCP"?"#,
    ),
    (
        SERVICE,
        "  ports:\n  - {port: 80, name: a}\n  - {port: 80, name: b}\n",
        "8:5 Duplicate: spec.ports[1] has the same port and protocol as spec.ports[0] | change or remove one of them",
    ),
    (SERVICE, "  selector: [a]\n", "6:13 WrongType: spec.selector must be a map, and is a list | make it a map: `key: value`, without `- `"),
    (SERVICE, "spec2: 1\n", r#"6:1 UnknownField: unknown field "spec2" in Service | known here: apiVersion, kind, metadata, spec, status"#),
    (
        "",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n  rules:\n  - timeouts: {request: 5 seconds}\n",
        r#"6:25 InvalidValue: spec.rules[0].timeouts.request cannot be "5 seconds" | write a duration such as 500ms, 5s or 1h30m"#,
    ),
    (
        "",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n  rules:\n  - matches:\n    - path: {type: Exakt, value: /a}\n",
        r#"7:20 UnknownValue: spec.rules[0].matches[0].path.type must be one of Exact, PathPrefix, RegularExpression, and is the text "Exakt" | did you mean "Exact"?"#,
    ),
    (
        "",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n  hostnames: [\"a b\"]\n",
        r#"5:15 InvalidValue: spec.hostnames[0] cannot be "a b" | write a DNS name in lower case; *. in front covers every name below"#,
    ),
    (
        "",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec:\n  mtls: {mode: STRIKT}\n",
        r#"5:16 UnknownValue: spec.mtls.mode must be one of UNSET, DISABLE, PERMISSIVE, STRICT, and is the text "STRIKT" | did you mean "STRICT"?"#,
    ),
    (
        "",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec:\n  rules:\n  - from:\n    - principals: [a]\n",
        r#"7:7 UnknownField: unknown field "principals" in spec.rules[0].from[0] | "principals" is a field of "source": put it below that"#,
    ),
    (
        "",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {app: a}}\n  template:\n    spec:\n      container:\n      - name: a\n",
        r#"8:7 UnknownField: unknown field "container" in spec.template.spec | did you mean "containers"?"#,
    ),
];

#[test]
fn every_mistake_is_said_once_with_its_place_and_the_way_out() {
    for (head, body, want) in MISTAKES {
        assert_eq!(said(&format!("{head}{body}")), [*want], "{body}");
    }
}
