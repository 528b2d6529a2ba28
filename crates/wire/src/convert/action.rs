//! What a rule does to an exchange: rewrites, redirects, direct responses, retries, faults.

use super::field::{Malformed, choice, encoded, list, optional, optional_duration, percent, required, required_duration, short, to_duration};
use crate::generated::mesh as proto;
use taut_model::route as model;

impl From<&model::Rewrite> for proto::Rewrite {
    fn from(rewrite: &model::Rewrite) -> Self {
        Self { path: rewrite.path.as_ref().map(Into::into), authority: rewrite.authority.clone() }
    }
}

impl TryFrom<proto::Rewrite> for model::Rewrite {
    type Error = Malformed;
    fn try_from(rewrite: proto::Rewrite) -> Result<Self, Malformed> {
        Ok(Self { path: optional("path", rewrite.path)?, authority: rewrite.authority })
    }
}

impl From<&model::PathRewrite> for proto::PathRewrite {
    fn from(rewrite: &model::PathRewrite) -> Self {
        use proto::path_rewrite::To;
        let to = match rewrite.clone() {
            model::PathRewrite::Full(path) => To::Full(path),
            model::PathRewrite::Prefix(path) => To::Prefix(path),
            model::PathRewrite::Regex { pattern, substitution } => To::Regex(proto::RegexRewrite { pattern, substitution }),
        };
        Self { to: Some(to) }
    }
}

impl TryFrom<proto::PathRewrite> for model::PathRewrite {
    type Error = Malformed;
    fn try_from(rewrite: proto::PathRewrite) -> Result<Self, Malformed> {
        use proto::path_rewrite::To;
        match rewrite.to {
            None => Err(Malformed::unspecified("")),
            Some(To::Full(path)) => Ok(Self::Full(path)),
            Some(To::Prefix(path)) => Ok(Self::Prefix(path)),
            Some(To::Regex(regex)) => Ok(Self::Regex { pattern: regex.pattern, substitution: regex.substitution }),
        }
    }
}

impl From<&model::Redirect> for proto::Redirect {
    fn from(redirect: &model::Redirect) -> Self {
        use proto::redirect::Port;
        let port = match redirect.port {
            model::RedirectPort::Keep => Port::Keep(()),
            model::RedirectPort::Number(number) => Port::Number(number.into()),
            model::RedirectPort::FromScheme => Port::FromScheme(()),
        };
        Self {
            status: redirect.status.into(),
            scheme: redirect.scheme.clone(),
            authority: redirect.authority.clone(),
            path: redirect.path.as_ref().map(Into::into),
            port: Some(port),
        }
    }
}

impl TryFrom<proto::Redirect> for model::Redirect {
    type Error = Malformed;
    fn try_from(redirect: proto::Redirect) -> Result<Self, Malformed> {
        use proto::redirect::Port;
        let port = match redirect.port {
            None => return Err(Malformed::missing("port")),
            Some(Port::Keep(())) => model::RedirectPort::Keep,
            Some(Port::Number(number)) => model::RedirectPort::Number(short("number", number)?),
            Some(Port::FromScheme(())) => model::RedirectPort::FromScheme,
        };
        Ok(Self {
            status: short("status", redirect.status)?,
            scheme: redirect.scheme,
            authority: redirect.authority,
            port,
            path: optional("path", redirect.path)?,
        })
    }
}

impl From<&model::DirectResponse> for proto::DirectResponse {
    fn from(response: &model::DirectResponse) -> Self {
        let (body, binary) = match String::from_utf8(response.body.clone()) {
            Ok(text) => (text, Vec::new()),
            Err(binary) => (String::new(), binary.into_bytes()),
        };
        Self { status: response.status.into(), body, binary }
    }
}

impl TryFrom<proto::DirectResponse> for model::DirectResponse {
    type Error = Malformed;
    fn try_from(response: proto::DirectResponse) -> Result<Self, Malformed> {
        let body = if response.binary.is_empty() { response.body.into_bytes() } else { response.binary };
        Ok(Self { status: short("status", response.status)?, body })
    }
}

impl From<&model::Retry> for proto::Retry {
    fn from(retry: &model::Retry) -> Self {
        Self {
            attempts: retry.attempts,
            per_try_timeout: retry.per_try_timeout.map(to_duration),
            on: encoded(&retry.on),
            backoff: Some(to_duration(retry.backoff)),
            any_endpoint: retry.endpoints == model::RetryEndpoints::Any,
        }
    }
}

impl TryFrom<proto::Retry> for model::Retry {
    type Error = Malformed;
    fn try_from(retry: proto::Retry) -> Result<Self, Malformed> {
        Ok(Self {
            attempts: retry.attempts,
            per_try_timeout: optional_duration("per_try_timeout", retry.per_try_timeout)?,
            on: list("on", retry.on)?,
            backoff: required_duration("backoff", retry.backoff)?,
            endpoints: if retry.any_endpoint { model::RetryEndpoints::Any } else { model::RetryEndpoints::Others },
        })
    }
}

impl From<&model::RetryOn> for proto::RetryOn {
    fn from(on: &model::RetryOn) -> Self {
        use proto::RetryCause as Cause;
        use proto::retry_on::What;
        let cause = |cause: Cause| What::Cause(cause.into());
        let what = match on {
            model::RetryOn::ConnectFailure => cause(Cause::ConnectFailure),
            model::RetryOn::RefusedStream => cause(Cause::RefusedStream),
            model::RetryOn::Reset => cause(Cause::Reset),
            model::RetryOn::ResetBeforeRequest => cause(Cause::ResetBeforeRequest),
            model::RetryOn::ServerError => cause(Cause::ServerError),
            model::RetryOn::GatewayError => cause(Cause::GatewayError),
            model::RetryOn::Conflict => cause(Cause::Conflict),
            model::RetryOn::RateLimited => cause(Cause::RateLimited),
            model::RetryOn::NamedHeader => cause(Cause::NamedHeader),
            model::RetryOn::Status(status) => What::Status((*status).into()),
            model::RetryOn::Grpc(status) => What::Grpc((*status).into()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<proto::RetryOn> for model::RetryOn {
    type Error = Malformed;
    fn try_from(on: proto::RetryOn) -> Result<Self, Malformed> {
        use proto::retry_on::What;
        match on.what {
            None => Err(Malformed::unspecified("")),
            Some(What::Cause(cause)) => choice::<proto::RetryCause, _>("cause", cause),
            Some(What::Status(status)) => Ok(Self::Status(short("status", status)?)),
            Some(What::Grpc(status)) => Ok(Self::Grpc(short("grpc", status)?)),
        }
    }
}

impl TryFrom<proto::RetryCause> for model::RetryOn {
    type Error = Malformed;
    fn try_from(cause: proto::RetryCause) -> Result<Self, Malformed> {
        match cause {
            proto::RetryCause::Unspecified => Err(Malformed::unspecified("")),
            proto::RetryCause::ConnectFailure => Ok(Self::ConnectFailure),
            proto::RetryCause::RefusedStream => Ok(Self::RefusedStream),
            proto::RetryCause::Reset => Ok(Self::Reset),
            proto::RetryCause::ResetBeforeRequest => Ok(Self::ResetBeforeRequest),
            proto::RetryCause::ServerError => Ok(Self::ServerError),
            proto::RetryCause::GatewayError => Ok(Self::GatewayError),
            proto::RetryCause::Conflict => Ok(Self::Conflict),
            proto::RetryCause::RateLimited => Ok(Self::RateLimited),
            proto::RetryCause::NamedHeader => Ok(Self::NamedHeader),
        }
    }
}

impl From<&model::Fault> for proto::Fault {
    fn from(fault: &model::Fault) -> Self {
        Self {
            origin: Some((&fault.origin).into()),
            delay: fault.delay.as_ref().map(|delay| proto::FaultDelay { percent: delay.percent, duration: Some(to_duration(delay.duration)) }),
            abort: fault.abort.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::Fault> for model::Fault {
    type Error = Malformed;
    fn try_from(fault: proto::Fault) -> Result<Self, Malformed> {
        Ok(Self { origin: required("origin", fault.origin)?, delay: optional("delay", fault.delay)?, abort: optional("abort", fault.abort)? })
    }
}

impl TryFrom<proto::FaultDelay> for model::FaultDelay {
    type Error = Malformed;
    fn try_from(delay: proto::FaultDelay) -> Result<Self, Malformed> {
        Ok(Self { percent: percent("percent", delay.percent)?, duration: required_duration("duration", delay.duration)? })
    }
}

impl From<&model::FaultAbort> for proto::FaultAbort {
    fn from(abort: &model::FaultAbort) -> Self {
        use proto::fault_abort::With;
        let with = match abort.with {
            model::AbortWith::Http(status) => With::Http(status.into()),
            model::AbortWith::Grpc(status) => With::Grpc(status.into()),
        };
        Self { percent: abort.percent, with: Some(with) }
    }
}

impl TryFrom<proto::FaultAbort> for model::FaultAbort {
    type Error = Malformed;
    fn try_from(abort: proto::FaultAbort) -> Result<Self, Malformed> {
        use proto::fault_abort::With;
        let with = match abort.with {
            None => return Err(Malformed::missing("with")),
            Some(With::Http(status)) => model::AbortWith::Http(short("http", status)?),
            Some(With::Grpc(status)) => model::AbortWith::Grpc(short("grpc", status)?),
        };
        Ok(Self { percent: percent("percent", abort.percent)?, with })
    }
}
