//! Operators between two sides: which series match, and what they come to, as Prometheus 2.42 defines it (promql/engine.go).

use super::evaluate::{Point, Value};
use super::expression::{Arithmetic, Comparison, Many, Matching, Operator};
use super::labels::{Doing, LabelSet, NAME, SetId, Sets};
use super::series::Failure;
use std::collections::{HashMap, HashSet};

/// `place` tells this operator from the others of the expression.
///
/// # Errors
/// Series match more than one of the other side, where that is not asked for.
pub fn binary(operator: Operator, left: Value, right: Value, matching: &Matching, place: usize, sets: &mut Sets) -> Result<Value, Failure> {
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => Value::Scalar(scalars(operator, left, right)),
        (Value::Vector(points), Value::Scalar(scalar)) => Value::Vector(with_scalar(operator, points, scalar, false, sets)),
        (Value::Scalar(scalar), Value::Vector(points)) => Value::Vector(with_scalar(operator, points, scalar, true, sets)),
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(match operator {
            Operator::And | Operator::Or | Operator::Unless => set_operation(operator, left, right, matching, place, sets),
            _ => matched(operator, left, right, matching, place, sets)?,
        }),
        _ => return Err(Failure::Execution("an operator stands between values that are neither numbers nor vectors".to_owned())),
    })
}

fn arithmetic(operator: Arithmetic, left: f64, right: f64) -> f64 {
    match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
        Arithmetic::Power => left.powf(right),
        Arithmetic::Atan2 => left.atan2(right),
    }
}

fn holds(comparison: Comparison, left: f64, right: f64) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}

fn scalars(operator: Operator, left: f64, right: f64) -> f64 {
    match operator {
        Operator::Arithmetic(operator) => arithmetic(operator, left, right),
        Operator::Comparison { comparison, .. } => f64::from(u8::from(holds(comparison, left, right))),
        Operator::And | Operator::Or | Operator::Unless => f64::NAN,
    }
}

/// What a pair comes to; `None` when a comparison leaves it out. `kept`: what a comparison leaves.
fn pair(operator: Operator, left: f64, right: f64, kept: f64) -> Option<f64> {
    match operator {
        Operator::Comparison { comparison, as_bool: false } => holds(comparison, left, right).then_some(kept),
        _ => Some(scalars(operator, left, right)),
    }
}

fn drops_name(operator: Operator) -> bool {
    match operator {
        // Prometheus 2.42 forgot this one.
        Operator::Arithmetic(operator) => operator != Arithmetic::Atan2,
        Operator::Comparison { as_bool, .. } => as_bool,
        Operator::And | Operator::Or | Operator::Unless => false,
    }
}

fn with_scalar(operator: Operator, points: Vec<Point>, scalar: f64, scalar_is_left: bool, sets: &mut Sets) -> Vec<Point> {
    let mut made = Vec::with_capacity(points.len());
    for Point { set, value } in points {
        let (left, right) = if scalar_is_left { (scalar, value) } else { (value, scalar) };
        if let Some(value) = pair(operator, left, right, value) {
            made.push(Point { set: if drops_name(operator) { sets.nameless(set) } else { set }, value });
        }
    }
    made
}

/// The labels by which a series finds its partner.
fn signature(set: SetId, matching: &Matching, place: usize, sets: &mut Sets) -> SetId {
    sets.derive(Doing::Match(place), set, |set| {
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        if matching.on { set.filtered(listed) } else { set.filtered(|name| name != NAME && !listed(name)) }
    })
}

fn set_operation(operator: Operator, left: Vec<Point>, right: Vec<Point>, matching: &Matching, place: usize, sets: &mut Sets) -> Vec<Point> {
    let mut sign = |point: &Point| signature(point.set, matching, place, sets);
    if operator == Operator::Or {
        let there: HashSet<SetId> = left.iter().map(&mut sign).collect();
        let others = right.into_iter().filter(|point| !there.contains(&sign(point)));
        return left.into_iter().chain(others).collect();
    }
    let there: HashSet<SetId> = right.iter().map(&mut sign).collect();
    left.into_iter().filter(|point| there.contains(&sign(point)) == (operator == Operator::And)).collect()
}

fn matched(
    operator: Operator,
    left: Vec<Point>,
    right: Vec<Point>,
    matching: &Matching,
    place: usize,
    sets: &mut Sets,
) -> Result<Vec<Point>, Failure> {
    if left.is_empty() || right.is_empty() {
        return Ok(vec![]);
    }
    let swapped = matching.many == Many::Right;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut partners: HashMap<SetId, Point> = HashMap::with_capacity(one.len());
    for point in one {
        let signature = signature(point.set, matching, place, sets);
        if let Some(other) = partners.insert(signature, point) {
            let side = if swapped { "left" } else { "right" };
            return Err(Failure::Execution(format!(
                "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                sets.get(signature),
                sets.get(point.set),
                sets.get(other.set),
            )));
        }
    }
    let mut made = Vec::with_capacity(many.len());
    // By signature and, where many are allowed, by what they come to.
    let mut taken: HashSet<(SetId, Option<SetId>)> = HashSet::new();
    for point in many {
        let signature = signature(point.set, matching, place, sets);
        let Some(partner) = partners.get(&signature) else { continue };
        let (left, right) = if swapped { (partner.value, point.value) } else { (point.value, partner.value) };
        let Some(value) = pair(operator, left, right, left) else { continue };
        let set = sets.join(place, point.set, partner.set, |many, one| joined(operator, matching, many, one));
        let grouped = matching.many != Many::Neither;
        if !taken.insert((signature, grouped.then_some(set))) {
            let why = match grouped {
                false => "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                true => "multiple matches for labels: grouping labels must ensure unique matches",
            };
            return Err(Failure::Execution(why.to_owned()));
        }
        made.push(Point { set, value });
    }
    Ok(made)
}

/// The labels of what a pair comes to.
fn joined(operator: Operator, matching: &Matching, many: &LabelSet, one: &LabelSet) -> LabelSet {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    let mut set = match matching.many {
        Many::Neither if matching.on => many.filtered(listed),
        Many::Neither => many.filtered(|name| !listed(name)),
        Many::Left | Many::Right => many.clone(),
    };
    if drops_name(operator) {
        set = set.filtered(|name| name != NAME);
    }
    matching.include.iter().fold(set, |set, name| set.with(name, one.value(name)))
}
