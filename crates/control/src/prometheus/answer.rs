//! Answers in Prometheus' JSON: numbers are text, times are seconds, metrics are objects of their labels.

use super::labels::LabelSet;
use super::series::{Failure, Sample, Series};
use http::StatusCode;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

/// The value of a query.
#[derive(Debug)]
pub enum Answer {
    Scalar(Sample),
    Text { at: i64, text: String },
    Vector { at: i64, points: Vec<(LabelSet, f64)> },
    Matrix(Vec<Series>),
}

/// A number as Prometheus writes it.
pub fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) => format!("{value:e}"),
        value => value.to_string(),
    }
}

impl Serialize for LabelSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Unix seconds, with a fraction only where there is one.
struct Seconds(i64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1000 {
            0 => serializer.serialize_i64(self.0 / 1000),
            _ => serializer.serialize_f64(self.0 as f64 / 1000.0),
        }
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Seconds(self.at), number(self.value)).serialize(serializer)
    }
}

#[derive(Serialize)]
struct Metric<'a, V> {
    metric: &'a LabelSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a [Sample]>,
}

struct Vector<'a>(i64, &'a [(LabelSet, f64)]);

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.1.len()))?;
        for (metric, value) in self.1 {
            rows.serialize_element(&Metric { metric, value: Some(Sample { at: self.0, value: *value }), values: None })?;
        }
        rows.end()
    }
}

struct Matrix<'a>(&'a [Series]);

impl Serialize for Matrix<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.len()))?;
        for series in self.0 {
            rows.serialize_element(&Metric::<Sample> { metric: &series.labels, value: None, values: Some(&series.samples) })?;
        }
        rows.end()
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_struct("data", 2)?;
        match self {
            Self::Scalar(sample) => {
                data.serialize_field("resultType", "scalar")?;
                data.serialize_field("result", sample)?;
            }
            Self::Text { at, text } => {
                data.serialize_field("resultType", "string")?;
                data.serialize_field("result", &(Seconds(*at), text))?;
            }
            Self::Vector { at, points } => {
                data.serialize_field("resultType", "vector")?;
                data.serialize_field("result", &Vector(*at, points))?;
            }
            Self::Matrix(series) => {
                data.serialize_field("resultType", "matrix")?;
                data.serialize_field("result", &Matrix(series))?;
            }
        }
        data.end()
    }
}

/// What surrounds every answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<T> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Status and body of an answer.
pub fn envelope<T>(outcome: Result<T, Failure>) -> (StatusCode, Envelope<T>) {
    let failure = match outcome {
        Ok(data) => return (StatusCode::OK, Envelope { status: "success", data: Some(data), error_type: None, error: None }),
        Err(failure) => failure,
    };
    let (status, kind) = match &failure {
        Failure::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
        Failure::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        Failure::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        Failure::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    (status, Envelope { status: "error", data: None, error_type: Some(kind), error: Some(failure.to_string()) })
}
