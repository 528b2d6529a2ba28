//! Evaluates an expression at one time or at many: what it reads is loaded once, then each step is computed by itself.

use super::aggregate::aggregate;
use super::answer::Answer;
use super::binary::binary;
use super::calls;
use super::expression::{At, Call, Expression, Kind, Node, Over, Select, Shift, Span, Spanned};
use super::labels::{LabelSet, SetId, Sets};
use super::over_time::{extrapolated, predict, quantile_over};
use super::series::{Budget, Failure, Sample, Selector, Series, Source, Window};
use foldhash::quality::RandomState;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// How old the newest sample of a series may be to count (Prometheus, `--query.lookback-delta`).
pub const LOOKBACK_MS: i64 = 300_000;
/// The step of a subquery that does not say one (Prometheus, `global.evaluation_interval`).
const DEFAULT_STEP_MS: i64 = 60_000;
/// A source may leave samples out, but not so many that a window of a range function holds fewer than this.
const SAMPLES_IN_RANGE: i64 = 6;

/// When to evaluate: both ends included, in Unix milliseconds. At one time only when they are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub start: i64,
    pub end: i64,
    /// Above 0.
    pub step: i64,
}

impl Times {
    fn steps(self) -> impl Iterator<Item = i64> {
        std::iter::successors(Some(self.start), move |at| at.checked_add(self.step)).take_while(move |at| *at <= self.end)
    }
}

/// What an expression comes to at one time.
#[derive(Clone, Debug)]
pub enum Value {
    Scalar(f64),
    Vector(Vec<Point>),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub set: SetId,
    pub value: f64,
}

pub fn scalar_of(value: Option<Value>) -> f64 {
    if let Some(Value::Scalar(value)) = value { value } else { f64::NAN }
}

pub fn vector_of(value: Option<Value>) -> Vec<Point> {
    if let Some(Value::Vector(points)) = value { points } else { vec![] }
}

/// An instant query.
///
/// # Errors
/// See [`Failure`].
pub fn instant(expression: &Expression, at: i64, source: &dyn Source, budget: Budget<'_>) -> Result<Answer, Failure> {
    let times = Times { start: at, end: at, step: 1 };
    let mut evaluation = Evaluation::new(expression, times, source, budget);
    evaluation.prepare(&expression.root, times)?;
    if let Node::Span(span) = &expression.root {
        let to = evaluation.reference(span.shift, at);
        let tracks = Rc::clone(&evaluation.slots[span.slot]);
        let all = tracks.iter().map(|track| (track.set, track.within(to - span.range_ms, to).to_vec()));
        let found = all.filter(|(_, samples)| !samples.is_empty());
        let mut series: Vec<Series> = found.map(|(set, samples)| Series { labels: evaluation.sets.get(set).clone(), samples }).collect();
        series.sort_by(|one, other| one.labels.cmp(&other.labels));
        return Ok(Answer::Matrix(series));
    }
    let value = evaluation.at(&expression.root, at)?;
    Ok(match value {
        Value::Scalar(value) => Answer::Scalar(Sample { at, value }),
        Value::Text(text) => Answer::Text { at, text },
        Value::Vector(points) => {
            evaluation.budget.spend(points.len())?;
            Answer::Vector { at, points: points.into_iter().map(|point| (evaluation.sets.get(point.set).clone(), point.value)).collect() }
        }
    })
}

/// A range query.
///
/// # Errors
/// See [`Failure`]; an expression whose value is a range of samples or a text has none over a range of times.
pub fn range(expression: &Expression, times: Times, source: &dyn Source, budget: Budget<'_>) -> Result<Answer, Failure> {
    let named = match expression.root.kind() {
        Kind::Scalar | Kind::Vector => None,
        Kind::Matrix => Some("range vector"),
        Kind::Text => Some("string"),
    };
    if let Some(named) = named {
        return Err(Failure::BadData(format!("invalid expression type {named:?} for range query, must be Scalar or instant Vector")));
    }
    let mut evaluation = Evaluation::new(expression, times, source, budget);
    let tracks = evaluation.tracks(&expression.root, times)?;
    let mut series: Vec<Series> =
        tracks.into_iter().map(|track| Series { labels: evaluation.sets.get(track.set).clone(), samples: track.samples }).collect();
    series.sort_by(|one, other| one.labels.cmp(&other.labels));
    Ok(Answer::Matrix(series))
}

/// A series within an evaluation.
struct Track {
    set: SetId,
    /// The set without the metric's name.
    nameless: SetId,
    samples: Vec<Sample>,
}

impl Track {
    /// The newest sample that counts at `at`.
    fn newest(&self, at: i64) -> Option<Sample> {
        let after = self.samples.partition_point(|sample| sample.at <= at);
        let newest = *self.samples.get(after.checked_sub(1)?)?;
        (newest.at >= at.saturating_sub(LOOKBACK_MS) && !newest.is_stale()).then_some(newest)
    }

    /// The samples of a range, both ends included.
    fn within(&self, from: i64, to: i64) -> &[Sample] {
        let first = self.samples.partition_point(|sample| sample.at < from);
        let after = self.samples.partition_point(|sample| sample.at <= to);
        self.samples.get(first..after).unwrap_or_default()
    }
}

struct Evaluation<'a> {
    source: &'a dyn Source,
    budget: Budget<'a>,
    sets: Sets,
    /// What each selector and subquery reads, by its number.
    slots: Vec<Rc<[Track]>>,
    /// Of the whole query: what `@ start()` and `@ end()` mean.
    times: Times,
}

impl<'a> Evaluation<'a> {
    fn new(expression: &Expression, times: Times, source: &'a dyn Source, budget: Budget<'a>) -> Self {
        let nothing: Rc<[Track]> = Rc::new([]);
        Self { source, budget, sets: Sets::default(), slots: vec![nothing; expression.slots], times }
    }

    fn reference(&self, shift: Shift, at: i64) -> i64 {
        let fixed = match shift.at {
            None => at,
            Some(At::Start) => self.times.start,
            Some(At::End) => self.times.end,
            Some(At::Time(time)) => time,
        };
        fixed.saturating_sub(shift.offset_ms)
    }

    /// Loads what the node reads when it is evaluated at these times.
    fn prepare(&mut self, node: &Node, times: Times) -> Result<(), Failure> {
        match node {
            Node::Number(_) | Node::Text(_) => Ok(()),
            Node::Select(select) => {
                let (from, to) = (self.reference(select.shift, times.start), self.reference(select.shift, times.end));
                let spacing = if times.start == times.end { LOOKBACK_MS } else { times.step };
                self.load(select.slot, &select.selector, Window { from: from.saturating_sub(LOOKBACK_MS), to, spacing }, true)
            }
            Node::Span(span) => self.prepare_span(span, times),
            Node::Negative(of) => self.prepare(of, times),
            Node::Call { arguments, .. } => arguments.iter().try_for_each(|argument| self.prepare(argument, times)),
            Node::Over { span, arguments, .. } => {
                self.prepare_span(span, times)?;
                arguments.iter().try_for_each(|argument| self.prepare(argument, times))
            }
            Node::Aggregate { of, parameter, .. } => {
                self.prepare(of, times)?;
                parameter.iter().try_for_each(|parameter| self.prepare(parameter, times))
            }
            Node::Binary { left, right, .. } => {
                self.prepare(left, times)?;
                self.prepare(right, times)
            }
        }
    }

    fn prepare_span(&mut self, span: &Span, times: Times) -> Result<(), Failure> {
        let from = self.reference(span.shift, times.start).saturating_sub(span.range_ms);
        let to = self.reference(span.shift, times.end);
        match &span.of {
            Spanned::Series(selector) => self.load(span.slot, selector, Window { from, to, spacing: span.range_ms / SAMPLES_IN_RANGE }, false),
            Spanned::Subquery { of, step_ms } => {
                let step = step_ms.unwrap_or(DEFAULT_STEP_MS);
                // Steps are multiples of their length, whatever the time of the query.
                let first = from.div_euclid(step).saturating_add(i64::from(from.rem_euclid(step) != 0)).saturating_mul(step);
                let tracks = self.tracks(of, Times { start: first, end: to, step })?;
                self.slots[span.slot] = tracks.into();
                Ok(())
            }
        }
    }

    /// Marks of an end count for a newest sample only; ranges pass over them.
    fn load(&mut self, slot: usize, selector: &Selector, window: Window, with_ends: bool) -> Result<(), Failure> {
        let found = self.source.select(selector, window, &mut self.budget)?;
        let mut tracks = Vec::with_capacity(found.len());
        for mut series in found {
            if !with_ends {
                series.samples.retain(|sample| !sample.is_stale());
            }
            let set = self.sets.id(series.labels);
            tracks.push(Track { set, nameless: self.sets.nameless(set), samples: series.samples });
        }
        tracks.sort_by(|one, other| self.sets.get(one.set).cmp(self.sets.get(other.set)));
        self.slots[slot] = tracks.into();
        Ok(())
    }

    /// The series that a node comes to over times.
    fn tracks(&mut self, node: &Node, times: Times) -> Result<Vec<Track>, Failure> {
        self.prepare(node, times)?;
        let mut tracks: Vec<Track> = Vec::new();
        let mut known: HashMap<SetId, usize, RandomState> = HashMap::default();
        let unlabelled = self.sets.id(LabelSet::default());
        for at in times.steps() {
            let points = match self.at(node, at)? {
                Value::Scalar(value) => vec![Point { set: unlabelled, value }],
                Value::Vector(points) => points,
                Value::Text(_) => vec![],
            };
            self.budget.spend(points.len())?;
            for Point { set, value } in points {
                let index = *known.entry(set).or_insert_with(|| {
                    tracks.push(Track { set, nameless: self.sets.nameless(set), samples: vec![] });
                    tracks.len() - 1
                });
                tracks[index].samples.push(Sample { at, value });
            }
        }
        Ok(tracks)
    }

    fn at(&mut self, node: &Node, at: i64) -> Result<Value, Failure> {
        self.budget.spend(0)?;
        let value = match node {
            Node::Number(number) => return Ok(Value::Scalar(*number)),
            Node::Text(text) => return Ok(Value::Text(text.clone())),
            Node::Select(select) => return Ok(Value::Vector(self.select(select, at, |sample| sample.value))),
            Node::Span(_) => return Err(Failure::Execution("a range vector stands where it has no value".to_owned())),
            Node::Negative(of) => match self.at(of, at)? {
                Value::Scalar(value) => Value::Scalar(-value),
                Value::Vector(points) => {
                    Value::Vector(points.into_iter().map(|p| Point { set: self.sets.nameless(p.set), value: -p.value }).collect())
                }
                text @ Value::Text(_) => text,
            },
            Node::Call { call: Call::Timestamp, arguments, .. } if matches!(&arguments[..], [Node::Select(_)]) => {
                let [Node::Select(select)] = &arguments[..] else { return Ok(Value::Vector(vec![])) };
                let mut points = self.select(select, at, |sample| sample.at as f64 / 1000.0);
                points.iter_mut().for_each(|point| point.set = self.sets.nameless(point.set));
                Value::Vector(points)
            }
            Node::Call { call, arguments, place } => {
                let values = self.all_at(arguments, at)?;
                calls::apply(call, values, at, *place, &mut self.sets)?
            }
            Node::Over { over, span, arguments } => Value::Vector(self.over(over, span, arguments, at)?),
            Node::Aggregate { by, of, parameter, grouping, place } => {
                let points = vector_of(Some(self.at(of, at)?));
                let parameter = parameter.as_ref().map(|parameter| self.at(parameter, at)).transpose()?;
                return Ok(Value::Vector(aggregate(*by, points, parameter, grouping, *place, &mut self.sets)?));
            }
            Node::Binary { operator, left, right, matching, place } => {
                let (left, right) = (self.at(left, at)?, self.at(right, at)?);
                binary(*operator, left, right, matching, *place, &mut self.sets)?
            }
        };
        distinct(&value)?;
        Ok(value)
    }

    fn all_at(&mut self, nodes: &[Node], at: i64) -> Result<Vec<Value>, Failure> {
        nodes.iter().map(|node| self.at(node, at)).collect()
    }

    fn select(&self, select: &Select, at: i64, value: impl Fn(Sample) -> f64) -> Vec<Point> {
        let reference = self.reference(select.shift, at);
        let newest = |track: &Track| track.newest(reference).map(|sample| Point { set: track.set, value: value(sample) });
        self.slots[select.slot].iter().filter_map(newest).collect()
    }

    fn over(&mut self, over: &Over, span: &Span, arguments: &[Node], at: i64) -> Result<Vec<Point>, Failure> {
        let to = self.reference(span.shift, at);
        let from = to.saturating_sub(span.range_ms);
        let parameter = arguments.first().map(|argument| self.at(argument, at)).transpose()?;
        let parameter = scalar_of(parameter);
        let tracks = Rc::clone(&self.slots[span.slot]);
        let mut points = Vec::with_capacity(tracks.len());
        for track in tracks.iter() {
            let samples = track.within(from, to);
            let Some(last) = samples.last() else { continue };
            let value = match over {
                Over::Each(function) => function(samples),
                Over::Last => {
                    points.push(Point { set: track.set, value: last.value });
                    continue;
                }
                Over::Extrapolated { counter, per_second } => extrapolated(samples, (from, to), *counter, *per_second),
                Over::Quantile => Some(quantile_over(samples, parameter)),
                Over::PredictLinear => predict(samples, at, parameter),
                Over::Absent(_) => Some(1.0),
            };
            points.extend(value.map(|value| Point { set: track.nameless, value }));
        }
        if let Over::Absent(labels) = over {
            let there = !points.is_empty();
            return Ok(if there { vec![] } else { vec![Point { set: self.sets.id(labels.clone()), value: 1.0 }] });
        }
        Ok(points)
    }
}

/// Two series may have become the same by losing their names.
fn distinct(value: &Value) -> Result<(), Failure> {
    let Value::Vector(points) = value else { return Ok(()) };
    let mut seen = HashSet::with_capacity_and_hasher(points.len(), RandomState::default());
    match points.iter().all(|point| seen.insert(point.set)) {
        true => Ok(()),
        false => Err(Failure::Execution("vector cannot contain metrics with the same labelset".to_owned())),
    }
}
