//! What a URL path means.

use super::external;
use taut_model::kinds::{KINDS, Kind, by_plural};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Root,
    Health,
    Version,
    CoreVersions,
    Groups,
    Group(&'static str),
    Resources {
        group: &'static str,
        version: &'static str,
    },
    /// What clients of old ask for; only to be told that there is nothing in it.
    OpenApiV2,
    OpenApiIndex,
    /// The part after `/openapi/v3/`.
    OpenApi(String),
    AccessReview,
    ExternalGroup,
    ExternalMetrics,
    /// The values of a metric in a namespace.
    ExternalMetric {
        namespace: String,
        metric: String,
    },
    Objects(Address),
}

/// An object, or all objects of a kind (in a namespace).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub kind: &'static Kind,
    /// The version that the client speaks.
    pub version: &'static str,
    /// `None` for cluster-scoped kinds, and for all namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// The `status` subresource of an object.
    pub status: bool,
}

impl Address {
    /// Whether an object can be created here: a namespaced kind needs its namespace.
    pub fn is_complete(&self) -> bool {
        self.namespace.is_some() == self.kind.namespaced
    }

    /// The namespace as the store has it: empty for cluster-scoped kinds.
    pub fn store_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub fn api_version(&self) -> String {
        self.kind.api_version_at(self.version)
    }
}

/// `None`: there is nothing at this path.
pub(super) fn parse(path: &str) -> Option<Target> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments[..] {
        [] => Some(Target::Root),
        ["healthz" | "livez" | "readyz", ..] => Some(Target::Health),
        ["version"] => Some(Target::Version),
        ["api"] => Some(Target::CoreVersions),
        ["apis"] => Some(Target::Groups),
        ["openapi", "v2"] => Some(Target::OpenApiV2),
        ["openapi", "v3"] => Some(Target::OpenApiIndex),
        ["openapi", "v3", ref rest @ ..] => Some(Target::OpenApi(rest.join("/"))),
        ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => Some(Target::AccessReview),
        ["apis", external::GROUP] => Some(Target::ExternalGroup),
        ["apis", external::GROUP, external::VERSION] => Some(Target::ExternalMetrics),
        ["apis", external::GROUP, external::VERSION, "namespaces", namespace, metric] => {
            Some(Target::ExternalMetric { namespace: namespace.to_owned(), metric: metric.to_owned() })
        }
        ["apis", group] => group_of(group).map(Target::Group),
        ["api", version, ref rest @ ..] => in_group("", version, rest),
        ["apis", group, version, ref rest @ ..] if !group.is_empty() => in_group(group, version, rest),
        _ => None,
    }
}

fn group_of(group: &str) -> Option<&'static str> {
    KINDS.iter().map(|kind| kind.group).find(|known| *known == group && !known.is_empty())
}

fn in_group(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let served = |kind: &&Kind| kind.group == group && kind.versions.contains(&version);
    let of_group = KINDS.iter().find(served)?;
    let version = of_group.versions.iter().copied().find(|known| *known == version)?;
    match rest {
        [] => Some(Target::Resources { group: of_group.group, version }),
        ["namespaces", namespace, "status"] if group.is_empty() => object(group, version, "namespaces", None, &[namespace, "status"]),
        ["namespaces", namespace, plural, rest @ ..] => object(group, version, plural, Some((*namespace).to_owned()), rest),
        [plural, rest @ ..] => object(group, version, plural, None, rest),
    }
}

fn object(group: &str, version: &'static str, plural: &str, namespace: Option<String>, rest: &[&str]) -> Option<Target> {
    let kind = by_plural(group, plural).filter(|kind| kind.versions.contains(&version))?;
    let (name, status) = match rest {
        [] => (None, false),
        [name] => (Some((*name).to_owned()), false),
        [name, "status"] if kind.has_status => (Some((*name).to_owned()), true),
        _ => return None,
    };
    let address = Address { kind, version, namespace, name, status };
    // A cluster-scoped kind has no namespace; an object of a namespaced kind has one.
    let fits = if address.kind.namespaced { address.name.is_none() || address.namespace.is_some() } else { address.namespace.is_none() };
    fits.then_some(Target::Objects(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Place = (&'static str, &'static str, Option<String>, Option<String>, bool);

    fn place(path: &str) -> Option<Place> {
        match parse(path)? {
            Target::Objects(address) => Some((address.kind.kind, address.version, address.namespace, address.name, address.status)),
            _ => None,
        }
    }

    #[test]
    fn paths_mean_what_they_mean_to_kubernetes() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(place("/api/v1/services"), Some(("Service", "v1", None, None, false)));
        assert_eq!(place("/api/v1/namespaces"), Some(("Namespace", "v1", None, None, false)));
        assert_eq!(place("/api/v1/namespaces/a"), Some(("Namespace", "v1", None, some("a"), false)));
        assert_eq!(place("/api/v1/namespaces/a/status"), Some(("Namespace", "v1", None, some("a"), true)));
        assert_eq!(place("/api/v1/namespaces/a/services/b"), Some(("Service", "v1", some("a"), some("b"), false)));
        assert_eq!(
            place("/apis/networking.istio.io/v1beta1/namespaces/a/virtualservices/b/status"),
            Some(("VirtualService", "v1beta1", some("a"), some("b"), true))
        );
        assert_eq!(parse("/apis/networking.istio.io"), Some(Target::Group("networking.istio.io")));
        for nothing in [
            "/apis/networking.istio.io/v9",
            "/apis/example.com",
            "/api/v2/services",
            "/api/v1/virtualservices",
            "/api/v1/services/b",
            "/api/v1/namespaces/a/namespaces/b",
            "/api/v1/namespaces/a/services/b/scale",
            "/api/v1/namespaces/a/configmaps/b/status",
            "/metrics",
        ] {
            assert_eq!(parse(nothing), None, "{nothing}");
        }
    }
}
