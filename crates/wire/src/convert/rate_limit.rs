//! Rate limits.

use super::field::{Malformed, encoded, list, required, required_duration, to_duration};
use crate::generated::mesh as proto;
use taut_model::rate_limit as model;

impl From<&model::RateLimit> for proto::RateLimit {
    fn from(limit: &model::RateLimit) -> Self {
        Self {
            origin: Some((&limit.origin).into()),
            namespace: limit.namespace.clone(),
            selector: limit.selector.clone(),
            limits: encoded(&limit.limits),
            sizes: encoded(&limit.sizes),
        }
    }
}

impl TryFrom<proto::RateLimit> for model::RateLimit {
    type Error = Malformed;
    fn try_from(limit: proto::RateLimit) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", limit.origin)?,
            namespace: limit.namespace,
            selector: limit.selector,
            limits: list("limits", limit.limits)?,
            sizes: list("sizes", limit.sizes)?,
        })
    }
}

impl From<&model::RequestLimit> for proto::RequestLimit {
    fn from(limit: &model::RequestLimit) -> Self {
        use proto::request_limit::Per;
        let per = match &limit.per {
            model::Per::Workload => Per::Workload(()),
            model::Per::Client => Per::Client(()),
            model::Per::Header(name) => Per::Header(name.clone()),
        };
        Self {
            origin: Some((&limit.origin).into()),
            name: limit.name.clone(),
            requests: limit.requests,
            interval: Some(to_duration(limit.interval)),
            burst: limit.burst,
            per: Some(per),
            matching: Some((&limit.matching).into()),
        }
    }
}

impl TryFrom<proto::RequestLimit> for model::RequestLimit {
    type Error = Malformed;
    fn try_from(limit: proto::RequestLimit) -> Result<Self, Malformed> {
        use proto::request_limit::Per;
        let per = match limit.per {
            None => return Err(Malformed::missing("per")),
            Some(Per::Workload(())) => model::Per::Workload,
            Some(Per::Client(())) => model::Per::Client,
            Some(Per::Header(name)) => model::Per::Header(name),
        };
        let interval = required_duration("interval", limit.interval)?;
        if interval.is_zero() {
            return Err(Malformed::new("interval", "must be longer than zero"));
        }
        Ok(Self {
            origin: required("origin", limit.origin)?,
            name: limit.name,
            requests: limit.requests,
            interval,
            burst: limit.burst,
            per,
            matching: required("matching", limit.matching)?,
        })
    }
}

impl From<&model::SizeLimit> for proto::SizeLimit {
    fn from(limit: &model::SizeLimit) -> Self {
        Self {
            origin: Some((&limit.origin).into()),
            name: limit.name.clone(),
            max_request: limit.max_request,
            max_response: limit.max_response,
            matching: Some((&limit.matching).into()),
        }
    }
}

impl TryFrom<proto::SizeLimit> for model::SizeLimit {
    type Error = Malformed;
    fn try_from(limit: proto::SizeLimit) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", limit.origin)?,
            name: limit.name,
            max_request: limit.max_request,
            max_response: limit.max_response,
            matching: required("matching", limit.matching)?,
        })
    }
}
