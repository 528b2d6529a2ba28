//! Which endpoints are preferred, and whether they are well: locality, warm-up, health checks, sessions.

use super::field::{Malformed, encoded, list, optional_duration, percent, required, required_duration, short, to_duration};
use crate::generated::mesh as proto;
use taut_model::destination as model;

impl From<&model::LocalityPolicy> for proto::LocalityPolicy {
    fn from(policy: &model::LocalityPolicy) -> Self {
        let failover = |(from, to): &(String, String)| proto::Failover { from: from.clone(), to: to.clone() };
        Self {
            disabled: policy.disabled,
            distribute: encoded(&policy.distribute),
            failover: policy.failover.iter().map(failover).collect(),
            failover_priority: encoded(&policy.failover_priority),
        }
    }
}

impl TryFrom<proto::LocalityPolicy> for model::LocalityPolicy {
    type Error = Malformed;
    fn try_from(policy: proto::LocalityPolicy) -> Result<Self, Malformed> {
        Ok(Self {
            disabled: policy.disabled,
            distribute: list("distribute", policy.distribute)?,
            failover: policy.failover.into_iter().map(|failover| (failover.from, failover.to)).collect(),
            failover_priority: list("failover_priority", policy.failover_priority)?,
        })
    }
}

impl From<&model::Distribute> for proto::Distribute {
    fn from(distribute: &model::Distribute) -> Self {
        let weight = |(locality, weight): &(String, u32)| proto::LocalityWeight { locality: locality.clone(), weight: *weight };
        Self { from: distribute.from.clone(), to: distribute.to.iter().map(weight).collect() }
    }
}

impl TryFrom<proto::Distribute> for model::Distribute {
    type Error = Malformed;
    fn try_from(distribute: proto::Distribute) -> Result<Self, Malformed> {
        Ok(Self { from: distribute.from, to: distribute.to.into_iter().map(|to| (to.locality, to.weight)).collect() })
    }
}

impl From<&model::LabelMatch> for proto::LabelMatch {
    fn from(label: &model::LabelMatch) -> Self {
        Self { name: label.name.clone(), value: label.value.clone() }
    }
}

impl TryFrom<proto::LabelMatch> for model::LabelMatch {
    type Error = Malformed;
    fn try_from(label: proto::LabelMatch) -> Result<Self, Malformed> {
        Ok(Self { name: label.name, value: label.value })
    }
}

impl From<&model::WarmUp> for proto::WarmUp {
    fn from(warm_up: &model::WarmUp) -> Self {
        Self { duration: Some(to_duration(warm_up.duration)), minimum_percent: warm_up.minimum_percent, aggression: warm_up.aggression }
    }
}

impl TryFrom<proto::WarmUp> for model::WarmUp {
    type Error = Malformed;
    fn try_from(warm_up: proto::WarmUp) -> Result<Self, Malformed> {
        let aggression = warm_up.aggression;
        if !(aggression.is_finite() && aggression > 0.0) {
            return Err(Malformed::new("aggression", format!("{aggression} is not a number above 0")));
        }
        let duration = required_duration("duration", warm_up.duration)?;
        Ok(Self { duration, minimum_percent: percent("minimum_percent", warm_up.minimum_percent)?, aggression })
    }
}

impl From<&model::HealthCheck> for proto::HealthCheck {
    fn from(check: &model::HealthCheck) -> Self {
        use proto::health_check::Probe;
        let range = |(first, last): &(u16, u16)| proto::StatusRange { first: (*first).into(), last: (*last).into() };
        let probe = match &check.probe {
            model::Probe::Tcp => Probe::Tcp(()),
            model::Probe::Http { path, statuses } => {
                Probe::Http(proto::HttpProbe { path: path.clone(), statuses: statuses.iter().map(range).collect() })
            }
            model::Probe::Grpc { service } => Probe::Grpc(proto::GrpcProbe { service: service.clone() }),
        };
        Self {
            origin: Some((&check.origin).into()),
            probe: Some(probe),
            interval: Some(to_duration(check.interval)),
            timeout: Some(to_duration(check.timeout)),
            unhealthy_after: check.unhealthy_after,
            healthy_after: check.healthy_after,
        }
    }
}

impl TryFrom<proto::HealthCheck> for model::HealthCheck {
    type Error = Malformed;
    fn try_from(check: proto::HealthCheck) -> Result<Self, Malformed> {
        use proto::health_check::Probe;
        let range = |range: proto::StatusRange| Ok((short("http.statuses", range.first)?, short("http.statuses", range.last)?));
        let probe = match check.probe {
            None => return Err(Malformed::missing("probe")),
            Some(Probe::Tcp(())) => model::Probe::Tcp,
            Some(Probe::Http(http)) => {
                model::Probe::Http { path: http.path, statuses: http.statuses.into_iter().map(range).collect::<Result<_, Malformed>>()? }
            }
            Some(Probe::Grpc(grpc)) => model::Probe::Grpc { service: grpc.service },
        };
        Ok(Self {
            origin: required("origin", check.origin)?,
            probe,
            interval: required_duration("interval", check.interval)?,
            timeout: required_duration("timeout", check.timeout)?,
            unhealthy_after: check.unhealthy_after,
            healthy_after: check.healthy_after,
        })
    }
}

impl From<&model::Persistence> for proto::Persistence {
    fn from(persistence: &model::Persistence) -> Self {
        use proto::persistence::By;
        let by = match persistence.by.clone() {
            model::SessionMark::Cookie { name, path, ttl } => By::Cookie(proto::SessionCookie { name, path, ttl: ttl.map(to_duration) }),
            model::SessionMark::Header(name) => By::Header(name),
        };
        Self { origin: Some((&persistence.origin).into()), by: Some(by) }
    }
}

impl TryFrom<proto::Persistence> for model::Persistence {
    type Error = Malformed;
    fn try_from(persistence: proto::Persistence) -> Result<Self, Malformed> {
        use proto::persistence::By;
        let by = match persistence.by {
            None => return Err(Malformed::missing("by")),
            Some(By::Cookie(cookie)) => {
                model::SessionMark::Cookie { name: cookie.name, path: cookie.path, ttl: optional_duration("cookie.ttl", cookie.ttl)? }
            }
            Some(By::Header(name)) => model::SessionMark::Header(name),
        };
        Ok(Self { origin: required("origin", persistence.origin)?, by })
    }
}
