//! Aggregation of a vector by groups of labels, as Prometheus 2.42 defines it (promql/engine.go, `aggregation`).

use super::calls::is_label;
use super::evaluate::{Point, Value};
use super::expression::{Aggregation, Grouping};
use super::labels::{Doing, LabelSet, NAME, SetId, Sets};
use super::over_time::{mean, variance};
use super::quantile::quantile;
use super::series::Failure;
use foldhash::quality::RandomState;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Groups in the order in which they were met.
struct Groups {
    all: Vec<(SetId, Vec<Point>)>,
    known: HashMap<SetId, usize, RandomState>,
}

impl Groups {
    fn add(&mut self, group: SetId, point: Point) {
        let index = *self.known.entry(group).or_insert_with(|| {
            self.all.push((group, vec![]));
            self.all.len() - 1
        });
        self.all[index].1.push(point);
    }
}

/// `place` tells this aggregation from the others of the expression.
///
/// # Errors
/// The parameter is no count, or no name of a label.
pub fn aggregate(
    by: Aggregation,
    points: Vec<Point>,
    parameter: Option<Value>,
    grouping: &Grouping,
    place: usize,
    sets: &mut Sets,
) -> Result<Vec<Point>, Failure> {
    let mut groups = Groups { all: vec![], known: HashMap::default() };
    if by == Aggregation::CountValues {
        let Some(Value::Text(label)) = parameter else { return Ok(vec![]) };
        count_values(&mut groups, points, &label, grouping, sets)?;
        return Ok(groups.all.into_iter().map(|(set, members)| Point { set, value: members.len() as f64 }).collect());
    }
    for point in points {
        let group = sets.derive(Doing::Group(place), point.set, |set| group_of(set, grouping));
        groups.add(group, point);
    }
    let scalar = if let Some(Value::Scalar(value)) = parameter { value } else { f64::NAN };
    if matches!(by, Aggregation::Top | Aggregation::Bottom) {
        let most = count(scalar)?;
        return Ok(groups.all.into_iter().flat_map(|(_, members)| foremost(members, most, by == Aggregation::Top)).collect());
    }
    Ok(groups.all.into_iter().map(|(set, members)| Point { set, value: together(by, &members, scalar) }).collect())
}

fn group_of(set: &LabelSet, grouping: &Grouping) -> LabelSet {
    match grouping {
        Grouping::By(labels) => set.filtered(|name| labels.iter().any(|label| label == name)),
        Grouping::Without(labels) => set.filtered(|name| name != NAME && !labels.iter().any(|label| label == name)),
    }
}

fn together(by: Aggregation, members: &[Point], parameter: f64) -> f64 {
    let values = || members.iter().map(|point| point.value);
    match by {
        Aggregation::Sum => values().sum(),
        Aggregation::Average => mean(values()),
        Aggregation::Minimum => values().reduce(|least, value| if value < least || least.is_nan() { value } else { least }).unwrap_or(f64::NAN),
        Aggregation::Maximum => values().reduce(|most, value| if value > most || most.is_nan() { value } else { most }).unwrap_or(f64::NAN),
        Aggregation::Group => 1.0,
        Aggregation::Deviation => variance(values()).sqrt(),
        Aggregation::Variance => variance(values()),
        Aggregation::Quantile => quantile(parameter, &mut values().collect::<Vec<_>>()),
        Aggregation::Count | Aggregation::Top | Aggregation::Bottom | Aggregation::CountValues => members.len() as f64,
    }
}

fn count(parameter: f64) -> Result<usize, Failure> {
    // NaN is in no range.
    if !(-9.223_372_036_854_775e18..=9.223_372_036_854_775e18).contains(&parameter) {
        return Err(Failure::Execution(format!("Scalar value {parameter} overflows int64")));
    }
    Ok(parameter.max(0.0) as usize)
}

/// The highest or lowest values, in that order, NaN last.
fn foremost(mut members: Vec<Point>, most: usize, highest: bool) -> Vec<Point> {
    members.sort_by(|one, other| match (one.value.is_nan(), other.value.is_nan()) {
        (false, false) if highest => other.value.partial_cmp(&one.value).unwrap_or(Ordering::Equal),
        (false, false) => one.value.partial_cmp(&other.value).unwrap_or(Ordering::Equal),
        (one, other) => one.cmp(&other),
    });
    members.truncate(most);
    members
}

fn count_values(groups: &mut Groups, points: Vec<Point>, label: &str, grouping: &Grouping, sets: &mut Sets) -> Result<(), Failure> {
    if !is_label(label) {
        return Err(Failure::Execution(format!("invalid label name {label:?}")));
    }
    for point in points {
        let valued = |set: &LabelSet| set.with(label, &super::answer::number(point.value));
        let set = match grouping {
            Grouping::By(_) => valued(&group_of(sets.get(point.set), grouping)),
            Grouping::Without(_) => group_of(&valued(sets.get(point.set)), grouping),
        };
        let group = sets.id(set);
        groups.add(group, point);
    }
    Ok(())
}
