//! The steps that every conversion is made of: required and optional fields, lists, numbers with limits, enums.

use std::fmt;
use std::time::Duration;

/// Why bytes are not a resource. Whoever encoded them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// `http[0].timeout`; empty for the whole resource.
    pub path: String,
    pub because: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.because),
            false => write!(f, "field {}: {}", self.path, self.because),
        }
    }
}
impl std::error::Error for Malformed {}

impl Malformed {
    pub fn new(path: impl Into<String>, because: impl Into<String>) -> Self {
        Self { path: path.into(), because: because.into() }
    }

    pub fn missing(field: &str) -> Self {
        Self::new(field, "is missing")
    }

    pub fn unspecified(field: &str) -> Self {
        Self::new(field, "has no value")
    }

    /// The same fault, seen from one level further out.
    pub fn inside(self, outer: &str) -> Self {
        let path = match self.path.as_str() {
            "" => outer.to_owned(),
            inner => format!("{outer}.{inner}"),
        };
        Self { path, ..self }
    }
}

/// A message that must be there.
pub fn required<P, M: TryFrom<P, Error = Malformed>>(field: &str, value: Option<P>) -> Result<M, Malformed> {
    optional(field, value)?.ok_or_else(|| Malformed::missing(field))
}

pub fn optional<P, M: TryFrom<P, Error = Malformed>>(field: &str, value: Option<P>) -> Result<Option<M>, Malformed> {
    value.map(|value| M::try_from(value).map_err(|fault| fault.inside(field))).transpose()
}

pub fn list<P, M: TryFrom<P, Error = Malformed>>(field: &str, values: Vec<P>) -> Result<Vec<M>, Malformed> {
    let one = |(index, value)| M::try_from(value).map_err(|fault: Malformed| fault.inside(&format!("{field}[{index}]")));
    values.into_iter().enumerate().map(one).collect()
}

pub fn encoded<'a, M, P: From<&'a M>>(values: &'a [M]) -> Vec<P> {
    values.iter().map(P::from).collect()
}

/// A port or a status: 0 to 65535.
pub fn short(field: &str, number: u32) -> Result<u16, Malformed> {
    u16::try_from(number).map_err(|_| Malformed::new(field, format!("{number} is more than 65535")))
}

pub fn optional_short(field: &str, number: Option<u32>) -> Result<Option<u16>, Malformed> {
    number.map(|number| short(field, number)).transpose()
}

pub fn percent(field: &str, number: f64) -> Result<f64, Malformed> {
    match (0.0..=100.0).contains(&number) {
        true => Ok(number),
        false => Err(Malformed::new(field, format!("{number} is not a percentage between 0 and 100"))),
    }
}

/// A required enum: `P` is the generated one, whose zero value its conversion to `M` refuses.
pub fn choice<P: TryFrom<i32>, M: TryFrom<P, Error = Malformed>>(field: &str, number: i32) -> Result<M, Malformed> {
    let known = P::try_from(number).map_err(|_| Malformed::new(field, format!("unknown value {number}")))?;
    M::try_from(known).map_err(|fault| fault.inside(field))
}

/// The most seconds that google.protobuf.Duration may hold: about 10,000 years.
const MOST_SECONDS: i64 = 315_576_000_000;

/// Longer durations become the longest that the message may hold.
pub fn to_duration(duration: Duration) -> prost_types::Duration {
    match i64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds < MOST_SECONDS => prost_types::Duration { seconds, nanos: duration.subsec_nanos().cast_signed() },
        _ => prost_types::Duration { seconds: MOST_SECONDS, nanos: 0 },
    }
}

pub fn duration(field: &str, value: prost_types::Duration) -> Result<Duration, Malformed> {
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if value.seconds <= MOST_SECONDS && nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(Malformed::new(field, format!("{} s and {} ns is not a duration of 0 s to {MOST_SECONDS} s", value.seconds, value.nanos))),
    }
}

pub fn optional_duration(field: &str, value: Option<prost_types::Duration>) -> Result<Option<Duration>, Malformed> {
    value.map(|value| duration(field, value)).transpose()
}

pub fn required_duration(field: &str, value: Option<prost_types::Duration>) -> Result<Duration, Malformed> {
    duration(field, value.ok_or_else(|| Malformed::missing(field))?)
}
