//! The manifests that the demo applies first.

/// Services and service accounts of the bookstore.
pub const BOOKSTORE: &str = include_str!("../manifests/bookstore.yaml");

/// Services per version, for Gateway API's routes (Istio's `bookinfo-versions.yaml`, unchanged).
pub const VERSIONS: &str = include_str!("../manifests/bookinfo-versions.yaml");
