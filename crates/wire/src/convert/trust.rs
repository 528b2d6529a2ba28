//! Trust bundles.

use super::field::{Malformed, required};
use crate::generated::mesh as proto;
use taut_model::trust as model;

impl From<&model::TrustBundle> for proto::TrustBundle {
    fn from(bundle: &model::TrustBundle) -> Self {
        let revoked = |one: &model::Revoked| proto::RevokedCertificate { issuer: one.issuer.clone(), serial: one.serial.clone() };
        Self {
            origin: Some((&bundle.origin).into()),
            trust_domain: bundle.trust_domain.clone(),
            roots: bundle.roots.clone(),
            signer: bundle.signer.clone(),
            revoked: bundle.revoked.iter().map(revoked).collect(),
            token_keys: bundle.token_keys.clone(),
        }
    }
}

impl TryFrom<proto::TrustBundle> for model::TrustBundle {
    type Error = Malformed;
    fn try_from(bundle: proto::TrustBundle) -> Result<Self, Malformed> {
        if bundle.roots.is_empty() {
            return Err(Malformed::missing("roots"));
        }
        Ok(Self {
            origin: required("origin", bundle.origin)?,
            trust_domain: bundle.trust_domain,
            roots: bundle.roots,
            signer: bundle.signer,
            revoked: bundle.revoked.iter().map(|one| model::Revoked::new(&one.issuer, &one.serial)).collect(),
            token_keys: bundle.token_keys,
        })
    }
}
