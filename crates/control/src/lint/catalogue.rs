//! Every kind of finding: its stable code, Istio's code for the same thing, why it matters, and how to mend it.

/// What `taut analyze --explain` tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// `TAUT` and four digits: 00 reading, 01 references, 02 routes, 03 conflicts, 04 destinations, 05 services and workloads, 06 security,
    /// 07 gateways, 08 annotations and age.
    pub code: &'static str,
    /// As in `Problem::code` and in condition reasons.
    pub name: &'static str,
    /// `istioctl analyze` says these of it.
    pub istio: &'static [&'static str],
    pub why: &'static str,
    pub mend: &'static str,
}

const fn entry(code: &'static str, name: &'static str, istio: &'static [&'static str], why: &'static str, mend: &'static str) -> Entry {
    Entry { code, name, istio, why, mend }
}

pub mod name {
    pub const REPEATED_OBJECT: &str = "RepeatedObject";
    pub const INEFFECTIVE_MATCH: &str = "IneffectiveMatch";
    pub const ODD_WEIGHTS: &str = "OddWeights";
    pub const REPEATED_DESTINATION: &str = "RepeatedDestination";
    pub const LITERAL_PATTERN: &str = "LiteralPattern";
    pub const WHOLE_PATTERN: &str = "WholePattern";
    pub const RETRIES_CANNOT_HAPPEN: &str = "RetriesCannotHappen";
    pub const FAULT_DISARMS: &str = "FaultDisarms";
    pub const REDIRECT_LOOP: &str = "RedirectLoop";
    pub const MIRRORS_ITSELF: &str = "MirrorsItself";
    pub const REPEATED_HOST: &str = "RepeatedHost";
    pub const AMBIGUOUS_PORT: &str = "AmbiguousPort";
    pub const NO_SUCH_CLIENT: &str = "NoSuchClient";
    pub const NO_BACKEND: &str = "NoBackend";
    pub const TLS_MODES_FIGHT: &str = "TlsModesFight";
    pub const OVERLAPPING_SUBSETS: &str = "OverlappingSubsets";
    pub const SUBSET_OF_ALL: &str = "SubsetOfAll";
    pub const SEEN_FROM_ONE_NAMESPACE: &str = "SeenFromOneNamespace";
    pub const UNDECLARED_PROTOCOL: &str = "UndeclaredProtocol";
    pub const UNKNOWN_TARGET_PORT: &str = "UnknownTargetPort";
    pub const SERVICES_DISAGREE: &str = "ServicesDisagree";
    pub const ADDRESSES_REQUIRED: &str = "AddressesRequired";
    pub const SELECTED_BY_NOBODY: &str = "SelectedByNobody";
    pub const NO_ENDPOINT: &str = "NoEndpoint";
    pub const HTTP_RULE_ON_TCP: &str = "HttpRuleOnTcp";
    pub const PRINCIPAL_WITHOUT_MTLS: &str = "PrincipalWithoutMtls";
    pub const PLAINTEXT_SEEN: &str = "PlaintextSeen";
    pub const NOT_SERVED: &str = "NotServed";
    pub const HOST_NOT_IN_GATEWAY: &str = "HostNotInGateway";
    pub const REPEATED_CERTIFICATE: &str = "RepeatedCertificate";
    pub const GATEWAY_PORT: &str = "GatewayPort";
    pub const UNKNOWN_ANNOTATION: &str = "UnknownAnnotation";
    pub const MISPLACED_ANNOTATION: &str = "MisplacedAnnotation";
    pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
    pub const DEPRECATED: &str = "Deprecated";
}

/// In the order of their codes; a code is never given to another finding.
pub static CATALOGUE: &[Entry] = &[
    entry(
        "TAUT0001",
        "SyntaxError",
        &["IST0106"],
        "nothing of the document can be read, so nothing of it takes effect",
        "mend the YAML or JSON at the place shown",
    ),
    entry(
        "TAUT0002",
        "UnknownField",
        &["IST0106", "IST0133"],
        "the field would be without effect, and the policy weaker than it reads",
        "use the name that is suggested, or remove the field",
    ),
    entry("TAUT0003", "WrongType", &["IST0106"], "the object is not accepted", "write the value as the type that is expected"),
    entry(
        "TAUT0004",
        "InvalidValue",
        &["IST0106"],
        "the API does not allow this value, so the object is not accepted",
        "write a value that the message allows",
    ),
    entry(
        "TAUT0005",
        "UnknownKind",
        &["IST0106"],
        "an object of a kind that nobody reads does nothing",
        "correct apiVersion and kind, or keep the object out of these files",
    ),
    entry("TAUT0006", "MissingField", &["IST0106"], "the object is not accepted without it", "add the field"),
    entry("TAUT0007", "UnknownValue", &["IST0106"], "the object is not accepted", "use one of the values that are listed"),
    entry("TAUT0008", "DuplicateKey", &["IST0106"], "only one of the two would count, and readers of YAML differ in which", "keep one of them"),
    entry("TAUT0009", "TooLarge", &[], "an object of this size is not read, so that nobody can exhaust the control plane", "split it"),
    entry("TAUT0010", "TooDeep", &[], "an object this deep is not read, so that nobody can exhaust the control plane", "nest it less"),
    entry("TAUT0011", "UnsupportedTag", &["IST0106"], "readers of YAML differ in what the tag means", "write the value without a tag"),
    entry(
        "TAUT0012",
        "UnsupportedValue",
        &["IST0149", "IST0128", "IST0129"],
        "it is refused rather than skipped, as no policy may be weaker than it reads",
        "remove it, or do what the message says instead",
    ),
    entry(
        "TAUT0013",
        name::REPEATED_OBJECT,
        &[],
        "only the last definition counts, and which is last depends on the order of files",
        "keep one of them",
    ),
    entry("TAUT0014", "NotAccepted", &["IST0171"], "the object takes no effect, or a stricter one than it reads", "do what the message says"),
    entry(
        "TAUT0015",
        "ForeignKind",
        &[],
        "the mesh does not read such objects; whoever does will",
        "nothing needs to be done; keep it out of the files that `taut up --config` reads",
    ),
    entry(
        "TAUT0101",
        "UnknownReference",
        &["IST0101", "IST0161", "IST0174"],
        "what refers to nothing has no effect, or fails every request that it gets",
        "correct the name, or add what it refers to",
    ),
    entry("TAUT0102", "BackendNotFound", &["IST0101"], "requests of this share are answered with 500", "correct the name, or add the Service"),
    entry(
        "TAUT0103",
        "RefNotPermitted",
        &[],
        "requests of this share are answered with 500: a namespace must allow what others send it",
        "add a ReferenceGrant to the namespace of the Service",
    ),
    entry("TAUT0104", "InvalidKind", &[], "requests of this share are answered with 500", "refer to a Service"),
    entry(
        "TAUT0105",
        "SelectsNothing",
        &["IST0127", "IST0166", "IST0173"],
        "requests to it are refused, or the policy protects nobody",
        "correct the labels, or add the workloads",
    ),
    entry(
        "TAUT0201",
        "UnreachableRule",
        &["IST0130"],
        "a rule that no request reaches does nothing, however right it is",
        "move it before the rule that takes its requests, or remove it",
    ),
    entry(
        "TAUT0202",
        name::INEFFECTIVE_MATCH,
        &["IST0131"],
        "requests that it is about have been taken by an earlier match",
        "move it before the earlier match, or remove it",
    ),
    entry("TAUT0203", "NoEffect", &[], "it reads as if it did something", "remove it, or do what the message says"),
    entry(
        "TAUT0204",
        name::ODD_WEIGHTS,
        &[],
        "weights are proportions: percentages that do not add up to 100 send other shares than they read",
        "make the weights add up to 100",
    ),
    entry(
        "TAUT0205",
        name::REPEATED_DESTINATION,
        &[],
        "its weights add up, so it gets more than either of them reads",
        "keep one, with the weight of both",
    ),
    entry(
        "TAUT0206",
        name::LITERAL_PATTERN,
        &[],
        "exact and prefix are compared letter by letter, so it matches next to nothing",
        "use regex (RegularExpression), or write the text itself",
    ),
    entry(
        "TAUT0207",
        name::WHOLE_PATTERN,
        &[],
        "a pattern must match the whole value, so this one matches less than it reads",
        "add .* to its end, or use prefix",
    ),
    entry(
        "TAUT0208",
        name::RETRIES_CANNOT_HAPPEN,
        &[],
        "the first try may use up the whole time, so a slow backend is never tried again",
        "make perTryTimeout shorter than timeout / (attempts + 1)",
    ),
    entry(
        "TAUT0209",
        name::FAULT_DISARMS,
        &[],
        "on a rule with a fault, timeouts and retries are off, as the API says",
        "inject the fault at another rule or service, or remove the timeout and the retries",
    ),
    entry(
        "TAUT0210",
        name::REDIRECT_LOOP,
        &[],
        "the client is sent to where it came from, until it gives up",
        "change the scheme, host, port or path",
    ),
    entry("TAUT0211", name::MIRRORS_ITSELF, &[], "the same workloads do the same work twice", "mirror to another service or subset"),
    entry(
        "TAUT0212",
        name::REPEATED_HOST,
        &[],
        "the second does nothing, and one of the two may be meant to be another host",
        "remove it, or correct it",
    ),
    entry(
        "TAUT0213",
        name::AMBIGUOUS_PORT,
        &["IST0112"],
        "a request is sent on to the port that it came to, which the destination does not have",
        "name the destination's port",
    ),
    entry("TAUT0214", name::NO_SUCH_CLIENT, &[], "no client is ever meant, so the rule does nothing", "correct sourceLabels or sourceNamespace"),
    entry("TAUT0215", name::NO_BACKEND, &[], "requests that match are answered with 500", "add backendRefs, or a filter that answers"),
    entry(
        "TAUT0301",
        "Conflicted",
        &["IST0109", "IST0110", "IST0111", "IST0145", "IST0177"],
        "only one of the two takes effect, and it may not be the one you changed",
        "keep one, or merge them",
    ),
    entry(
        "TAUT0401",
        name::TLS_MODES_FIGHT,
        &[],
        "every request is refused: one side speaks plain text, or TLS of its own, and the other takes only mutual TLS",
        "use ISTIO_MUTUAL (or no tls at all), or PERMISSIVE on the other side",
    ),
    entry("TAUT0402", name::OVERLAPPING_SUBSETS, &[], "traffic that is split between them goes to the same workloads", "tell them apart by a label"),
    entry("TAUT0403", name::SUBSET_OF_ALL, &[], "a subset without labels is the whole service, whatever its name says", "give it labels"),
    entry(
        "TAUT0404",
        name::SEEN_FROM_ONE_NAMESPACE,
        &["IST0174"],
        "clients ask their own namespace, the service's, and the root namespace; others never see it",
        "move it to the namespace of the service",
    ),
    entry("TAUT0405", "RefusesAll", &[], "a limit of zero lets nothing through", "raise the limit, or say so with an AuthorizationPolicy"),
    entry(
        "TAUT0501",
        name::UNDECLARED_PROTOCOL,
        &["IST0118", "IST0150"],
        "the protocol is learned from the first bytes, so routes for HTTP hold only when clients speak first",
        "name the port http, grpc, tcp-…, or set appProtocol",
    ),
    entry("TAUT0502", name::UNKNOWN_TARGET_PORT, &[], "nobody listens where the Service sends its requests", "name a port of the container"),
    entry(
        "TAUT0503",
        name::SERVICES_DISAGREE,
        &["IST0116", "IST0137"],
        "what arrives at the workload's port cannot be told apart by service, and one of the two will be misread",
        "use one port number and protocol for each port of the workload",
    ),
    entry(
        "TAUT0504",
        name::ADDRESSES_REQUIRED,
        &["IST0134"],
        "plain TCP carries no name, so without an address it cannot be told from other services on the port",
        "give the ServiceEntry addresses",
    ),
    entry("TAUT0505", name::SELECTED_BY_NOBODY, &[], "it gets no traffic", "correct its labels, or add a Service that selects it"),
    entry("TAUT0506", name::NO_ENDPOINT, &[], "requests are refused, as nobody is there to take them", "add endpoints or a workloadSelector"),
    entry(
        "TAUT0601",
        name::HTTP_RULE_ON_TCP,
        &[],
        "methods, paths, hosts and headers cannot be seen on a TCP port: an ALLOW rule lets nobody in, a DENY rule refuses more than it reads",
        "restrict by ports and identities",
    ),
    entry(
        "TAUT0602",
        name::PRINCIPAL_WITHOUT_MTLS,
        &[],
        "without mutual TLS nobody has a proven identity, so the rule never matches",
        "use STRICT or PERMISSIVE for these workloads",
    ),
    entry(
        "TAUT0603",
        "KeysNotFetched",
        &[],
        "tokens and members of other trust domains are held against what was fetched last, and refused where there is nothing",
        "see that the control plane reaches the jwksUri or bundleUrl, and that it answers with a JSON Web Key Set or a SPIFFE bundle",
    ),
    entry(
        "TAUT0604",
        name::PLAINTEXT_SEEN,
        &[],
        "whoever comes in plain text proves nothing, can be read and changed on the way, and would be refused by STRICT",
        "give the caller a proxy; `taut trust strict --dry-run` says what else would break",
    ),
    entry(
        "TAUT0701",
        name::NOT_SERVED,
        &[],
        "the object is stored and does nothing in this version",
        "keep it for the gateway that serves it, or remove it",
    ),
    entry(
        "TAUT0702",
        name::HOST_NOT_IN_GATEWAY,
        &["IST0132"],
        "the gateway never hands these requests to the route",
        "add the host to the gateway's servers, or correct it",
    ),
    entry(
        "TAUT0703",
        name::REPEATED_CERTIFICATE,
        &["IST0138"],
        "a browser reuses one connection for both, and gets 404 from the other's routes",
        "put the hosts of one certificate into one Gateway",
    ),
    entry(
        "TAUT0704",
        name::GATEWAY_PORT,
        &["IST0162"],
        "nothing outside can reach a port that no Service of the gateway opens",
        "add the port to the gateway's Service",
    ),
    entry("TAUT0801", name::UNKNOWN_ANNOTATION, &["IST0108"], "an annotation that nobody reads does nothing", "correct its name, or remove it"),
    entry("TAUT0802", name::MISPLACED_ANNOTATION, &["IST0107"], "annotations count only on the kinds that they are for", "move it"),
    entry("TAUT0803", name::INVALID_ANNOTATION, &["IST0125"], "the annotation is not followed", "write a value of the form that the message names"),
    entry("TAUT0804", name::DEPRECATED, &["IST0002", "IST0135", "IST0136"], "it still works, and will not for ever", "use what has taken its place"),
];

/// By `TAUT0101`, by `UnknownReference`, or by `IST0101` (the first that stands for it), in any case.
pub fn find(code: &str) -> Option<&'static Entry> {
    let named = |entry: &&Entry| entry.code.eq_ignore_ascii_case(code) || entry.name.eq_ignore_ascii_case(code);
    let of_istio = |entry: &&Entry| entry.istio.iter().any(|istio| istio.eq_ignore_ascii_case(code));
    CATALOGUE.iter().find(named).or_else(|| CATALOGUE.iter().find(of_istio))
}

impl Entry {
    /// Whether a person means this entry by `code`; Istio's codes may mean several.
    pub fn answers_to(&self, code: &str) -> bool {
        [self.code, self.name].into_iter().chain(self.istio.iter().copied()).any(|known| known.eq_ignore_ascii_case(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn codes_are_in_order_and_each_has_one_meaning() {
        assert!(CATALOGUE.windows(2).all(|pair| pair[0].code < pair[1].code));
        let mut names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert_eq!(find("ist0130").map(|entry| entry.name), Some("UnreachableRule"));
    }

    /// A reason that the sources give to findings and that is not here would have no code.
    #[test]
    fn every_reason_has_a_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let reader = std::fs::read_to_string(root.join("src/translate/reader.rs")).unwrap();
        let constants = reader.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1).map(str::to_owned));
        let mut reasons: Vec<String> = constants.collect();
        for file in ["read/lookup.rs", "schema/check.rs", "schema/choice.rs", "schema/metadata.rs", "tree.rs", "tree/syntax.rs", "tree/scalar.rs"] {
            let text = std::fs::read_to_string(root.join("../model/src").join(file)).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            // A reason is the first text of a call, in CamelCase of two words or more.
            let quoted = text.split('"').skip(1).step_by(2);
            let is_reason = |word: &&str| {
                let capitals = word.chars().filter(char::is_ascii_uppercase).count();
                word.chars().all(|c| c.is_ascii_alphabetic())
                    && word.starts_with(|c: char| c.is_ascii_uppercase())
                    && (2..word.len()).contains(&capitals)
            };
            reasons.extend(quoted.filter(is_reason).filter(|word| !word.ends_with("Policy") && !word.ends_with("Service")).map(str::to_owned));
        }
        assert!(reasons.len() > 20, "{reasons:?}");
        let missing: Vec<&String> = reasons.iter().filter(|reason| find(reason).is_none()).collect();
        assert!(missing.is_empty(), "add these to CATALOGUE: {missing:?}");
    }
}
