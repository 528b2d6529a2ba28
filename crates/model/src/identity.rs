//! SPIFFE names: who a workload is. Issuing them is `control/authority`, holding them is `proxy/identity`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` (SPIFFE ID; the layout is Istio's).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    pub trust_domain: String,
    pub namespace: String,
    pub service_account: String,
}

/// Why a string is not one of our identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnIdentity {
    pub text: String,
    pub because: &'static str,
}

impl fmt::Display for NotAnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an identity: {}", self.text, self.because)
    }
}
impl std::error::Error for NotAnIdentity {}

impl Identity {
    pub fn new(trust_domain: impl Into<String>, namespace: impl Into<String>, service_account: impl Into<String>) -> Self {
        Self { trust_domain: trust_domain.into(), namespace: namespace.into(), service_account: service_account.into() }
    }

    /// Parses the URI form. Refuses anything that is not exactly the layout above (SPIFFE-ID sections 2.1 to 2.3:
    /// lower-case trust domain, no query, no fragment, no empty or dot segment).
    pub fn parse(uri: &str) -> Result<Self, NotAnIdentity> {
        let no = |because| NotAnIdentity { text: uri.chars().take(300).collect(), because };
        if uri.len() > 2048 {
            return Err(no("longer than 2048 bytes"));
        }
        let rest = uri.strip_prefix("spiffe://").ok_or_else(|| no("does not start with spiffe://"))?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().unwrap_or_default();
        let domain_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if trust_domain.is_empty() || trust_domain.len() > 255 || !trust_domain.chars().all(domain_ok) {
            return Err(no("the trust domain may hold only a-z, 0-9, '.', '-', '_'"));
        }
        let segment_ok =
            |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) if segment_ok(namespace) && segment_ok(account) => {
                Ok(Self::new(trust_domain, namespace, account))
            }
            _ => Err(no("the path must be /ns/<namespace>/sa/<service account>")),
        }
    }

    /// The form that Istio's policies use as a principal: the URI without its scheme.
    pub fn principal(&self) -> String {
        format!("{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_it_was_written() {
        let id = Identity::new("mesh.local", "default", "bookinfo-reviews");
        assert_eq!(Identity::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "spiffe://",
            "http://mesh.local/ns/a/sa/b",
            "spiffe://Mesh/ns/a/sa/b",
            "spiffe://m/ns/a/sa/",
            "spiffe://m/ns//sa/b",
            "spiffe://m/ns/a/sa/b/c",
            "spiffe://m/ns/a/sa/b?x",
            "spiffe://m/ns/../sa/b",
            "spiffe://m:1/ns/a/sa/b",
            "spiffe://m/ns/a%2f/sa/b",
        ] {
            assert!(Identity::parse(bad).is_err(), "{bad}");
        }
    }
}
