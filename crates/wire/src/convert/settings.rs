//! The settings of the whole mesh.

use super::field::{Malformed, choice, encoded, list, optional, required};
use crate::generated::mesh as proto;
use taut_model::destination::Balancer;
use taut_model::settings as model;

impl From<&model::MeshSettings> for proto::MeshSettings {
    fn from(settings: &model::MeshSettings) -> Self {
        let balancer = match proto::Balancer::from(&settings.balancer).by {
            Some(proto::balancer::By::Simple(simple)) => simple,
            // There is no key to hash for all services.
            _ => proto::SimpleBalancer::LeastRequest.into(),
        };
        let (default_providers, tracing) = (&settings.default_providers, &settings.tracing);
        let compression = settings.compression.as_ref().map(|compression| proto::Compression {
            selector: compression.selector.clone().into_iter().collect(),
            content_types: compression.content_types.clone(),
            min_length: compression.min_length,
        });
        Self {
            origin: Some((&settings.origin).into()),
            protection: settings.protection,
            balancer,
            hedging: settings.hedging,
            providers: encoded(&settings.providers),
            // Proxies of earlier versions refuse what they do not know.
            default_providers: (*default_providers != Default::default()).then(|| default_providers.into()),
            tracing: (*tracing != Default::default()).then(|| tracing.into()),
            retry_budget: Some((&settings.retry_budget).into()),
            compression,
            outside_refused: settings.outside == model::Outside::Refused,
            aliases: settings
                .aliases
                .iter()
                .map(|alias| proto::TrustDomainAlias { trust_domain: alias.trust_domain.clone(), federated: alias.federated })
                .collect(),
        }
    }
}

impl TryFrom<proto::MeshSettings> for model::MeshSettings {
    type Error = Malformed;
    fn try_from(settings: proto::MeshSettings) -> Result<Self, Malformed> {
        if settings.hedging.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(Malformed::new("hedging", "is not a percentage"));
        }
        Ok(Self {
            origin: required("origin", settings.origin)?,
            protection: settings.protection,
            balancer: choice::<proto::SimpleBalancer, Balancer>("balancer", settings.balancer)?,
            hedging: settings.hedging,
            providers: list("providers", settings.providers)?,
            default_providers: settings.default_providers.map(Into::into).unwrap_or_default(),
            tracing: optional("tracing", settings.tracing)?.unwrap_or_default(),
            retry_budget: optional("retry_budget", settings.retry_budget)?.unwrap_or_default(),
            compression: settings.compression.map(|compression| model::Compression {
                selector: compression.selector.into_iter().collect(),
                content_types: compression.content_types,
                min_length: compression.min_length,
            }),
            outside: if settings.outside_refused { model::Outside::Refused } else { model::Outside::Reachable },
            aliases: settings.aliases.into_iter().map(alias).collect(),
        })
    }
}

fn alias(alias: proto::TrustDomainAlias) -> model::TrustDomainAlias {
    model::TrustDomainAlias { trust_domain: alias.trust_domain, federated: alias.federated }
}
