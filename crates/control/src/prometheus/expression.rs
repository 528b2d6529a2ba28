//! A query as it is evaluated: types are checked, functions are found, patterns are compiled.

use super::labels::LabelSet;
use super::series::Selector;

/// A readable query of one value type.
#[derive(Debug)]
pub struct Expression {
    pub root: Node,
    /// How many [`Select`]s and [`Span`]s there are: each has a number below this.
    pub slots: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Scalar,
    Vector,
    Matrix,
    Text,
}

#[derive(Debug)]
pub enum Node {
    Number(f64),
    Text(String),
    Select(Select),
    /// A range of samples for each series: an argument of [`Node::Over`], or all of an instant query.
    Span(Span),
    Negative(Box<Node>),
    Call {
        call: Call,
        arguments: Vec<Node>,
        place: usize,
    },
    Over {
        over: Over,
        span: Span,
        arguments: Vec<Node>,
    },
    Aggregate {
        by: Aggregation,
        of: Box<Node>,
        parameter: Option<Box<Node>>,
        grouping: Grouping,
        place: usize,
    },
    Binary {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
        matching: Matching,
        place: usize,
    },
}

impl Node {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Span(_) => Kind::Matrix,
            Self::Select(_) | Self::Over { .. } | Self::Aggregate { .. } => Kind::Vector,
            Self::Negative(of) => of.kind(),
            Self::Call { call: Call::Scalar | Call::Time | Call::Pi, .. } => Kind::Scalar,
            Self::Call { .. } => Kind::Vector,
            Self::Binary { left, right, .. } => match (left.kind(), right.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
        }
    }
}

/// When a selector or subquery looks, told from the time of a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shift {
    pub at: Option<At>,
    pub offset_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Start,
    End,
    Time(i64),
}

#[derive(Debug)]
pub struct Select {
    pub selector: Selector,
    pub shift: Shift,
    pub slot: usize,
}

#[derive(Debug)]
pub struct Span {
    pub of: Spanned,
    pub range_ms: i64,
    pub shift: Shift,
    pub slot: usize,
}

#[derive(Debug)]
pub enum Spanned {
    Series(Selector),
    Subquery { of: Box<Node>, step_ms: Option<i64> },
}

/// Functions of samples at one time.
#[derive(Debug)]
pub enum Call {
    /// Of each value; the name goes.
    Map(fn(f64) -> f64),
    /// Of each value as a time, or of the step's time without an argument.
    Date(fn(&jiff::Zoned) -> f64),
    /// With the labels of what is absent.
    Absent(LabelSet),
    Clamp,
    ClampMax,
    ClampMin,
    HistogramQuantile,
    LabelJoin {
        into: String,
        separator: String,
        from: Vec<String>,
    },
    LabelReplace {
        into: String,
        replacement: String,
        from: String,
        pattern: regex::Regex,
    },
    Pi,
    Round,
    Scalar,
    Sort,
    SortDescending,
    Time,
    Timestamp,
    Vector,
}

/// Functions of a range of samples.
#[derive(Debug)]
pub enum Over {
    /// Of the samples alone; the name goes.
    Each(fn(&[super::series::Sample]) -> Option<f64>),
    /// `last_over_time`: the only one that keeps the name.
    Last,
    Extrapolated {
        counter: bool,
        per_second: bool,
    },
    Quantile,
    PredictLinear,
    /// With the labels of what is absent.
    Absent(LabelSet),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    Sum,
    Average,
    Minimum,
    Maximum,
    Count,
    Group,
    Deviation,
    Variance,
    Quantile,
    Top,
    Bottom,
    CountValues,
}

#[derive(Clone, Debug)]
pub enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Arithmetic(Arithmetic),
    Comparison { comparison: Comparison, as_bool: bool },
    And,
    Or,
    Unless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Which series of both sides belong together.
#[derive(Clone, Debug)]
pub struct Matching {
    /// `on`, else `ignoring`.
    pub on: bool,
    pub labels: Vec<String>,
    pub many: Many,
    /// Labels taken over from the side that is one.
    pub include: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    Neither,
    Left,
    Right,
}
