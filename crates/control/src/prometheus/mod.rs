//! Prometheus' HTTP API over the signals of the mesh: reading a query, evaluating it as Prometheus 2.42 does, and answering as it does.

mod aggregate;
mod answer;
mod api;
mod binary;
mod calls;
mod evaluate;
mod expression;
mod federate;
mod labels;
mod mesh;
mod over_time;
mod parameters;
mod quantile;
mod read;
mod series;
mod targets;
mod traffic;

pub use answer::Answer;
pub use api::{Prometheus, router};
pub use evaluate::{Times, instant, range};
pub use expression::Expression;
pub use labels::LabelSet;
pub use mesh::Mesh;
pub use read::{read, selector};
pub use series::{Budget, Condition, Failure, Family, MOST_SAMPLES, Matcher, Sample, Selector, Series, Source, Window};
pub use traffic::Traffic;
