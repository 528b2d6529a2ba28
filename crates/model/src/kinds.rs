//! The kinds that Tautline accepts: their API names, and what kubectl shows of them.

/// One kind at the version it is stored as. Other served versions have the same schema (or a subset) and convert by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// Storage version first.
    pub versions: &'static [&'static str],
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Whether `status` is a subresource.
    pub has_status: bool,
    /// Extra columns of `kubectl get` after NAME: title, JSON path (`.spec.hosts`), type. AGE is always last.
    pub columns: &'static [(&'static str, &'static str, &'static str)],
}

impl Kind {
    /// `group/version` of the storage version, as `apiVersion` has it.
    pub fn api_version(&self) -> String {
        self.api_version_at(self.versions[0])
    }

    /// `apiVersion` for one of the served versions: `v1`, `apps/v1`.
    pub fn api_version_at(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// Whether `api_version` is this group at a version that is served.
    pub fn serves(&self, api_version: &str) -> bool {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        group == self.group && self.versions.contains(&version)
    }

    /// The name that no other kind has: `gateways.networking.istio.io`, or the plural in the core group.
    pub fn full_name(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    fn answers_to(&self, lower_case_name: &str) -> bool {
        self.plural == lower_case_name || self.singular == lower_case_name || self.short_names.contains(&lower_case_name)
    }
}

/// The kind of an object, by its `apiVersion` (any served version) and `kind`, both exactly as written.
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.kind == kind && known.serves(api_version))
}

/// The kind behind a URL path segment.
pub fn by_plural(group: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.group == group && known.plural == plural)
}

/// The kind a person means on the command line: Kind, plural, singular or short name in any case, alone
/// (`vs`, `Gateway`) or with a group, or version and group, as kubectl takes it (`gateways.networking.istio.io`,
/// `gateways.v1.networking.istio.io`). A bare name that two groups share means the first in [`KINDS`]: Gateway API's `Gateway`.
pub fn named(name: &str) -> Option<&'static Kind> {
    let name = name.to_ascii_lowercase();
    let (bare, qualifier) = match name.split_once('.') {
        Some((bare, qualifier)) => (bare, Some(qualifier)),
        None => (name.as_str(), None),
    };
    KINDS.iter().find(|known| {
        let group_fits = qualifier.is_none_or(|qualifier| {
            let version_fits = |(version, group)| group == known.group && known.versions.contains(&version);
            qualifier == known.group || qualifier.split_once('.').is_some_and(version_fits)
        });
        group_fits && known.answers_to(bare)
    })
}

/// A namespaced kind with a status; the table below changes what differs.
const fn row(group: &'static str, versions: &'static [&'static str], kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    let (short_names, categories, columns): (&[_], &[_], &[_]) = (&[], &[], &[]);
    Kind { group, versions, kind, plural, singular, short_names, categories, namespaced: true, has_status: true, columns }
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const GATEWAY_API_CATEGORIES: &[&str] = &["gateway-api"];
const ISTIO_NETWORKING: &str = "networking.istio.io";
const ISTIO_NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const ISTIO_NETWORKING_CATEGORIES: &[&str] = &["istio-io", "networking-istio-io"];
const ISTIO_SECURITY: &str = "security.istio.io";
const ISTIO_SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];
const ISTIO_SECURITY_CATEGORIES: &[&str] = &["istio-io", "security-istio-io"];

/// Names, versions, short names, categories and columns are those of Kubernetes 1.33 and of the CRDs that `schemas/README.md`
/// names; only served versions are listed. Columns that kubectl computes (READY, PORT(S) with node ports) are shown by what
/// a JSON path reaches.
pub static KINDS: &[Kind] = &[
    Kind {
        short_names: &["ns"],
        namespaced: false,
        columns: &[("Status", ".status.phase", "string")],
        ..row("", &["v1"], "Namespace", "namespaces", "namespace")
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        columns: &[
            ("Type", ".spec.type", "string"),
            ("Cluster-IP", ".spec.clusterIP", "string"),
            ("External-IP", ".status.loadBalancer.ingress[*].ip", "string"),
            ("Port(s)", ".spec.ports[*].port", "string"),
        ],
        ..row("", &["v1"], "Service", "services", "service")
    },
    Kind { short_names: &["sa"], has_status: false, ..row("", &["v1"], "ServiceAccount", "serviceaccounts", "serviceaccount") },
    Kind {
        short_names: &["po"],
        categories: &["all"],
        columns: &[("Status", ".status.phase", "string"), ("IP", ".status.podIP", "string"), ("Node", ".spec.nodeName", "string")],
        ..row("", &["v1"], "Pod", "pods", "pod")
    },
    Kind {
        short_names: &["no"],
        namespaced: false,
        columns: &[
            ("Ready", r#".status.conditions[?(@.type=="Ready")].status"#, "string"),
            ("Version", ".status.nodeInfo.kubeletVersion", "string"),
            ("Internal-IP", r#".status.addresses[?(@.type=="InternalIP")].address"#, "string"),
        ],
        ..row("", &["v1"], "Node", "nodes", "node")
    },
    Kind { has_status: false, columns: &[("Type", ".type", "string")], ..row("", &["v1"], "Secret", "secrets", "secret") },
    Kind { short_names: &["cm"], has_status: false, ..row("", &["v1"], "ConfigMap", "configmaps", "configmap") },
    Kind {
        short_names: &["ep"],
        has_status: false,
        columns: &[("Endpoints", ".subsets[*].addresses[*].ip", "string"), ("Ports", ".subsets[*].ports[*].port", "string")],
        ..row("", &["v1"], "Endpoints", "endpoints", "endpoints")
    },
    Kind {
        short_names: &["ev"],
        has_status: false,
        columns: &[
            ("Last Seen", ".lastTimestamp", "date"),
            ("Type", ".type", "string"),
            ("Reason", ".reason", "string"),
            ("Object Kind", ".involvedObject.kind", "string"),
            ("Object", ".involvedObject.name", "string"),
            ("Message", ".message", "string"),
        ],
        ..row("", &["v1"], "Event", "events", "event")
    },
    Kind {
        has_status: false,
        columns: &[
            ("AddressType", ".addressType", "string"),
            ("Ports", ".ports[*].port", "string"),
            ("Endpoints", ".endpoints[*].addresses[*]", "string"),
        ],
        ..row("discovery.k8s.io", &["v1"], "EndpointSlice", "endpointslices", "endpointslice")
    },
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        columns: &[
            ("Ready", ".status.readyReplicas", "integer"),
            ("Up-to-date", ".status.updatedReplicas", "integer"),
            ("Available", ".status.availableReplicas", "integer"),
        ],
        ..row("apps", &["v1"], "Deployment", "deployments", "deployment")
    },
    // Gateway API stands before Istio: a bare `gateway` is the standard's.
    Kind {
        short_names: &["gc"],
        categories: GATEWAY_API_CATEGORIES,
        namespaced: false,
        columns: &[("Controller", ".spec.controllerName", "string"), ("Accepted", r#".status.conditions[?(@.type=="Accepted")].status"#, "string")],
        ..row(GATEWAY_API, &["v1", "v1beta1"], "GatewayClass", "gatewayclasses", "gatewayclass")
    },
    Kind {
        short_names: &["gtw"],
        categories: GATEWAY_API_CATEGORIES,
        columns: &[
            ("Class", ".spec.gatewayClassName", "string"),
            ("Address", ".status.addresses[*].value", "string"),
            ("Programmed", r#".status.conditions[?(@.type=="Programmed")].status"#, "string"),
        ],
        ..row(GATEWAY_API, &["v1", "v1beta1"], "Gateway", "gateways", "gateway")
    },
    Kind {
        categories: GATEWAY_API_CATEGORIES,
        columns: &[("Hostnames", ".spec.hostnames", "string")],
        ..row(GATEWAY_API, &["v1", "v1beta1"], "HTTPRoute", "httproutes", "httproute")
    },
    Kind {
        categories: GATEWAY_API_CATEGORIES,
        columns: &[("Hostnames", ".spec.hostnames", "string")],
        ..row(GATEWAY_API, &["v1"], "GRPCRoute", "grpcroutes", "grpcroute")
    },
    Kind { categories: GATEWAY_API_CATEGORIES, ..row(GATEWAY_API, &["v1"], "TLSRoute", "tlsroutes", "tlsroute") },
    Kind { categories: GATEWAY_API_CATEGORIES, ..row(GATEWAY_API, &["v1"], "TCPRoute", "tcproutes", "tcproute") },
    Kind {
        short_names: &["refgrant"],
        categories: GATEWAY_API_CATEGORIES,
        has_status: false,
        ..row(GATEWAY_API, &["v1beta1", "v1"], "ReferenceGrant", "referencegrants", "referencegrant")
    },
    Kind {
        short_names: &["btlspolicy"],
        categories: GATEWAY_API_CATEGORIES,
        ..row(GATEWAY_API, &["v1"], "BackendTLSPolicy", "backendtlspolicies", "backendtlspolicy")
    },
    Kind {
        short_names: &["xbtrafficpolicy"],
        categories: GATEWAY_API_CATEGORIES,
        ..row("gateway.networking.x-k8s.io", &["v1alpha1"], "XBackendTrafficPolicy", "xbackendtrafficpolicies", "xbackendtrafficpolicy")
    },
    Kind {
        short_names: &["vs"],
        categories: ISTIO_NETWORKING_CATEGORIES,
        columns: &[("Gateways", ".spec.gateways", "string"), ("Hosts", ".spec.hosts", "string")],
        ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "VirtualService", "virtualservices", "virtualservice")
    },
    Kind {
        short_names: &["dr"],
        categories: ISTIO_NETWORKING_CATEGORIES,
        columns: &[("Host", ".spec.host", "string")],
        ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "DestinationRule", "destinationrules", "destinationrule")
    },
    Kind {
        short_names: &["se"],
        categories: ISTIO_NETWORKING_CATEGORIES,
        columns: &[("Hosts", ".spec.hosts", "string"), ("Location", ".spec.location", "string"), ("Resolution", ".spec.resolution", "string")],
        ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "ServiceEntry", "serviceentries", "serviceentry")
    },
    Kind {
        short_names: &["we"],
        categories: ISTIO_NETWORKING_CATEGORIES,
        columns: &[("Address", ".spec.address", "string")],
        ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "WorkloadEntry", "workloadentries", "workloadentry")
    },
    Kind {
        short_names: &["wg"],
        categories: ISTIO_NETWORKING_CATEGORIES,
        ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "WorkloadGroup", "workloadgroups", "workloadgroup")
    },
    Kind {
        short_names: &["gw"],
        categories: ISTIO_NETWORKING_CATEGORIES,
        ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "Gateway", "gateways", "gateway")
    },
    Kind { categories: ISTIO_NETWORKING_CATEGORIES, ..row(ISTIO_NETWORKING, ISTIO_NETWORKING_VERSIONS, "Sidecar", "sidecars", "sidecar") },
    Kind {
        short_names: &["pa"],
        categories: ISTIO_SECURITY_CATEGORIES,
        columns: &[("Mode", ".spec.mtls.mode", "string")],
        ..row(ISTIO_SECURITY, ISTIO_SECURITY_VERSIONS, "PeerAuthentication", "peerauthentications", "peerauthentication")
    },
    Kind {
        short_names: &["ap"],
        categories: ISTIO_SECURITY_CATEGORIES,
        columns: &[("Action", ".spec.action", "string")],
        ..row(ISTIO_SECURITY, ISTIO_SECURITY_VERSIONS, "AuthorizationPolicy", "authorizationpolicies", "authorizationpolicy")
    },
    Kind {
        short_names: &["ra"],
        categories: ISTIO_SECURITY_CATEGORIES,
        ..row(ISTIO_SECURITY, ISTIO_SECURITY_VERSIONS, "RequestAuthentication", "requestauthentications", "requestauthentication")
    },
    Kind {
        categories: &["istio-io", "telemetry-istio-io"],
        ..row("telemetry.istio.io", &["v1", "v1alpha1"], "Telemetry", "telemetries", "telemetry")
    },
    Kind {
        categories: &["tautline"],
        namespaced: false,
        columns: &[("Trust Domain", ".spec.trustDomain", "string")],
        ..row("tautline.dev", &["v1alpha1"], "MeshSettings", "meshsettings", "meshsettings")
    },
    Kind {
        short_names: &["rl"],
        categories: &["tautline"],
        columns: &[("Requests", ".spec.limits[*].requests", "string"), ("Interval", ".spec.limits[*].interval", "string")],
        ..row("tautline.dev", &["v1alpha1"], "RateLimit", "ratelimits", "ratelimit")
    },
    Kind {
        short_names: &["hc"],
        categories: &["tautline"],
        columns: &[("Targets", ".spec.targetRefs[*].name", "string"), ("Interval", ".spec.interval", "string")],
        ..row("tautline.dev", &["v1alpha1"], "HealthCheck", "healthchecks", "healthcheck")
    },
    Kind {
        short_names: &["slo"],
        categories: &["tautline"],
        columns: &[
            ("Service", ".spec.targetRefs[*].name", "string"),
            ("Target", ".spec.target", "number"),
            ("Latency", ".spec.latency.threshold", "string"),
            ("Window", ".spec.window", "string"),
        ],
        ..row("tautline.dev", &["v1alpha1"], "ServiceLevelObjective", "servicelevelobjectives", "servicelevelobjective")
    },
    Kind {
        short_names: &["inc"],
        categories: &["tautline"],
        columns: &[
            ("State", ".status.state", "string"),
            ("Subject", ".status.subject", "string"),
            ("Cause", ".status.cause", "string"),
            ("Confidence", ".status.confidence", "string"),
            ("Hurt", ".status.hurt", "integer"),
        ],
        ..row("tautline.dev", &["v1alpha1"], "Incident", "incidents", "incident")
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn people_name_kinds_as_kubectl_lets_them() {
        for (name, group, kind) in [
            ("vs", ISTIO_NETWORKING, "VirtualService"),
            ("VirtualService", ISTIO_NETWORKING, "VirtualService"),
            ("virtualservices", ISTIO_NETWORKING, "VirtualService"),
            ("gateway", GATEWAY_API, "Gateway"),
            ("Gateways", GATEWAY_API, "Gateway"),
            ("gw", ISTIO_NETWORKING, "Gateway"),
            ("gateways.networking.istio.io", ISTIO_NETWORKING, "Gateway"),
            ("gateways.v1beta1.networking.istio.io", ISTIO_NETWORKING, "Gateway"),
            ("gateway.gateway.networking.k8s.io", GATEWAY_API, "Gateway"),
            ("svc", "", "Service"),
            ("deploy", "apps", "Deployment"),
            ("deployments.apps", "apps", "Deployment"),
            ("deployments.v1.apps", "apps", "Deployment"),
            ("ep", "", "Endpoints"),
        ] {
            let found = named(name).unwrap_or_else(|| panic!("{name} is known"));
            assert_eq!((found.group, found.kind), (group, kind), "{name}");
        }
        for unknown in ["", "vss", "gateways.example.com", "gateways.v9.networking.istio.io", "services.v1", "certificate"] {
            assert_eq!(named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn objects_are_found_by_every_served_version() {
        for known in KINDS {
            for version in known.versions {
                assert_eq!(by_kind(&known.api_version_at(version), known.kind), Some(known));
            }
            assert_eq!(by_plural(known.group, known.plural), Some(known));
        }
        assert_eq!(by_kind("v1", "Deployment"), None);
        assert_eq!(by_kind("networking.istio.io/v2", "VirtualService"), None);
        assert_eq!(named("telemetry").map(Kind::api_version).as_deref(), Some("telemetry.istio.io/v1"));
    }

    #[test]
    fn no_two_kinds_share_a_name_in_a_group_or_a_short_name() {
        let names: BTreeSet<_> = KINDS.iter().map(Kind::full_name).collect();
        let short: Vec<_> = KINDS.iter().flat_map(|known| known.short_names).collect();
        assert_eq!(names.len(), KINDS.len());
        assert_eq!(short.iter().collect::<BTreeSet<_>>().len(), short.len());
    }
}
