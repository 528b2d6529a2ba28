//! Functions of samples at one time: which there are, and what they give, as Prometheus 2.42 defines them.

use super::evaluate::{Point, Value, scalar_of, vector_of};
use super::expression::{Call, Node};
use super::labels::{Doing, LabelSet, NAME, SetId, Sets};
use super::quantile::{Bucket, histogram_quantile};
use super::series::{Condition, Failure, Selector};
use jiff::{Timestamp, tz::TimeZone};
use std::cmp::Ordering;
use std::collections::HashMap;

/// The label of a histogram's bucket: its upper bound.
const BOUND: &str = "le";

/// The function of this name; `None` when there is none.
///
/// # Errors
/// An argument that must be written out is not, or is no pattern.
pub fn call(name: &str, arguments: &[Node]) -> Result<Option<Call>, Failure> {
    if let Some(map) = map(name) {
        return Ok(Some(Call::Map(map)));
    }
    if let Some(date) = date(name) {
        return Ok(Some(Call::Date(date)));
    }
    Ok(Some(match name {
        "absent" => Call::Absent(labels_of_absent(match arguments.first() {
            Some(Node::Select(select)) => Some(&select.selector),
            _ => None,
        })),
        "clamp" => Call::Clamp,
        "clamp_max" => Call::ClampMax,
        "clamp_min" => Call::ClampMin,
        "histogram_quantile" => Call::HistogramQuantile,
        "label_join" => {
            let from = (3..arguments.len()).map(|index| label(name, arguments, index)).collect::<Result<_, _>>()?;
            Call::LabelJoin { into: label(name, arguments, 1)?, separator: text(name, arguments, 2)?, from }
        }
        "label_replace" => {
            let written = text(name, arguments, 4)?;
            let pattern = regex::Regex::new(&format!("^(?s:{written})$"))
                .map_err(|_| Failure::Execution(format!("invalid regular expression in label_replace(): {written}")))?;
            Call::LabelReplace { into: label(name, arguments, 1)?, replacement: text(name, arguments, 2)?, from: text(name, arguments, 3)?, pattern }
        }
        "pi" => Call::Pi,
        "round" => Call::Round,
        "scalar" => Call::Scalar,
        "sort" => Call::Sort,
        "sort_desc" => Call::SortDescending,
        "time" => Call::Time,
        "timestamp" => Call::Timestamp,
        "vector" => Call::Vector,
        _ => return Ok(None),
    }))
}

fn text(name: &str, arguments: &[Node], index: usize) -> Result<String, Failure> {
    match arguments.get(index) {
        Some(Node::Text(text)) => Ok(text.clone()),
        _ => Err(Failure::BadData(format!("parse error: argument {} of {name} must be a string", index + 1))),
    }
}

fn label(name: &str, arguments: &[Node], index: usize) -> Result<String, Failure> {
    let text = text(name, arguments, index)?;
    if is_label(&text) { Ok(text) } else { Err(Failure::Execution(format!("invalid label name in {name}(): {text}"))) }
}

/// Whether this can be the name of a label (Prometheus' data model).
pub fn is_label(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What a selector says that the series it does not find would have.
pub fn labels_of_absent(selector: Option<&Selector>) -> LabelSet {
    let matchers = || selector.iter().flat_map(|selector| &selector.matchers).filter(|matcher| matcher.label != NAME);
    let once = |name: &str| matchers().filter(|matcher| matcher.label == name).count() == 1;
    LabelSet::new(matchers().filter_map(|matcher| match &matcher.condition {
        Condition::Is(value) if once(&matcher.label) => Some((matcher.label.as_str(), value.as_str())),
        _ => None,
    }))
}

fn map(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => f64::acosh,
        "asin" => f64::asin,
        "asinh" => f64::asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => f64::to_degrees,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => f64::to_radians,
        "sgn" => |value| if value == 0.0 || value.is_nan() { value } else { value.signum() },
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

fn date(name: &str) -> Option<fn(&jiff::Zoned) -> f64> {
    Some(match name {
        "day_of_month" => |time| f64::from(time.day()),
        "day_of_week" => |time| f64::from(time.weekday().to_sunday_zero_offset()),
        "day_of_year" => |time| f64::from(time.day_of_year()),
        "days_in_month" => |time| f64::from(time.days_in_month()),
        "hour" => |time| f64::from(time.hour()),
        "minute" => |time| f64::from(time.minute()),
        "month" => |time| f64::from(time.month()),
        "year" => |time| f64::from(time.year()),
        _ => return None,
    })
}

/// Applies a function to what its arguments have come to at `now`.
pub fn apply(call: &Call, mut arguments: Vec<Value>, now: i64, place: usize, sets: &mut Sets) -> Result<Value, Failure> {
    let seconds = now as f64 / 1000.0;
    match call {
        Call::Pi => return Ok(Value::Scalar(std::f64::consts::PI)),
        Call::Time => return Ok(Value::Scalar(seconds)),
        Call::Vector => return Ok(Value::Vector(vec![Point { set: sets.id(LabelSet::default()), value: scalar_of(arguments.pop()) }])),
        Call::HistogramQuantile => return Ok(histogram(arguments, place, sets)),
        _ => {}
    }
    let scalars: Vec<f64> = arguments.iter().skip(1).map(|argument| if let Value::Scalar(value) = argument { *value } else { f64::NAN }).collect();
    let without_argument = arguments.is_empty();
    let first = if without_argument { None } else { Some(arguments.swap_remove(0)) };
    let points = vector_of(first);
    let scalar = |index: usize, default: f64| scalars.get(index).copied().unwrap_or(default);
    Ok(Value::Vector(match call {
        Call::Scalar => return Ok(Value::Scalar(if let [point] = &points[..] { point.value } else { f64::NAN })),
        Call::Map(map) => mapped(points, sets, map),
        Call::Date(date) if without_argument => vec![Point { set: sets.id(LabelSet::default()), value: dated(seconds, *date) }],
        Call::Date(date) => mapped(points, sets, |value| dated(value, *date)),
        Call::Absent(labels) if points.is_empty() => vec![Point { set: sets.id(labels.clone()), value: 1.0 }],
        Call::Absent(_) => vec![],
        Call::Clamp if scalar(0, f64::NAN) > scalar(1, f64::NAN) => vec![],
        Call::Clamp => mapped(points, sets, |value| lesser(greater(value, scalar(0, f64::NAN)), scalar(1, f64::NAN))),
        Call::ClampMax => mapped(points, sets, |value| lesser(value, scalar(0, f64::NAN))),
        Call::ClampMin => mapped(points, sets, |value| greater(value, scalar(0, f64::NAN))),
        Call::Round => {
            let inverse = 1.0 / scalar(0, 1.0);
            mapped(points, sets, |value| (value * inverse + 0.5).floor() / inverse)
        }
        Call::Timestamp => mapped(points, sets, |_| seconds),
        Call::Sort => sorted(points, |one, other| one.total_cmp(&other)),
        Call::SortDescending => sorted(points, |one, other| other.total_cmp(&one)),
        Call::LabelJoin { into, separator, from } => relabelled(points, place, sets, |set| {
            let values: Vec<&str> = from.iter().map(|name| set.value(name)).collect();
            set.with(into, &values.join(separator))
        }),
        Call::LabelReplace { into, replacement, from, pattern } => relabelled(points, place, sets, |set| match pattern.captures(set.value(from)) {
            None => set.clone(),
            Some(captures) => {
                let mut value = String::new();
                captures.expand(replacement, &mut value);
                set.with(into, &value)
            }
        }),
        Call::Pi | Call::Time | Call::Vector | Call::HistogramQuantile => points,
    }))
}

fn mapped(points: Vec<Point>, sets: &mut Sets, map: impl Fn(f64) -> f64) -> Vec<Point> {
    points.into_iter().map(|point| Point { set: sets.nameless(point.set), value: map(point.value) }).collect()
}

fn relabelled(points: Vec<Point>, place: usize, sets: &mut Sets, make: impl Fn(&LabelSet) -> LabelSet) -> Vec<Point> {
    points.into_iter().map(|point| Point { set: sets.derive(Doing::Call(place), point.set, &make), value: point.value }).collect()
}

/// NaN is last in both orders.
fn sorted(mut points: Vec<Point>, order: impl Fn(f64, f64) -> Ordering) -> Vec<Point> {
    points.sort_by(|one, other| match (one.value.is_nan(), other.value.is_nan()) {
        (false, false) => order(one.value, other.value),
        (one, other) => one.cmp(&other),
    });
    points
}

/// NaN wins, unlike in [`f64::max`].
fn greater(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.max(other) }
}

fn lesser(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.min(other) }
}

/// A time that no calendar holds has no date.
fn dated(seconds: f64, date: fn(&jiff::Zoned) -> f64) -> f64 {
    if seconds.is_nan() {
        return f64::NAN;
    }
    Timestamp::from_second(seconds as i64).map_or(f64::NAN, |time| date(&time.to_zoned(TimeZone::UTC)))
}

/// A quantile for each set of buckets that differ in nothing but their bound.
fn histogram(mut arguments: Vec<Value>, place: usize, sets: &mut Sets) -> Value {
    let points = vector_of(arguments.pop());
    let q = scalar_of(arguments.pop());
    let mut groups: Vec<(SetId, Vec<Bucket>)> = Vec::new();
    let mut known: HashMap<SetId, usize> = HashMap::new();
    for point in points {
        let Ok(bound) = sets.get(point.set).value(BOUND).parse::<f64>() else { continue };
        let group = sets.derive(Doing::Call(place), point.set, |set| set.filtered(|name| name != BOUND && name != NAME));
        let index = *known.entry(group).or_insert_with(|| {
            groups.push((group, vec![]));
            groups.len() - 1
        });
        groups[index].1.push(Bucket { bound, count: point.value });
    }
    Value::Vector(groups.into_iter().map(|(set, buckets)| Point { set, value: histogram_quantile(q, buckets) }).collect())
}
