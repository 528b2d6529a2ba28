//! Reads a query: the parser's tree becomes an [`Expression`], and what is not supported is refused by name.

use super::calls;
use super::expression::{
    Aggregation, Arithmetic, At, Comparison, Expression, Grouping, Kind, Many, Matching, Node, Operator, Over, Select, Shift, Span, Spanned,
};
use super::labels::NAME;
use super::over_time;
use super::series::{Condition, Failure, Matcher, Selector};
use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::{
    self, AggregateExpr, AtModifier, BinModifier, BinaryExpr, Call as ParsedCall, Expr, LabelModifier, Offset, SubqueryExpr, VectorMatchCardinality,
    VectorSelector,
};
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of a query. Kiali's longest are about 3,000.
const LONGEST: usize = 16 << 10;
/// Operators, brackets and words of a query: each may nest one deeper.
const MOST_PARTS: usize = 1000;

/// # Errors
/// The query is no PromQL, or uses what is not supported: [`Failure::BadData`].
pub fn read(query: &str) -> Result<Expression, Failure> {
    let parsed = parse(query)?;
    let mut reader = Reader::default();
    let root = reader.node(&parsed)?;
    Ok(Expression { root, slots: reader.slots })
}

/// Reads a series selector such as `up{job="x"}`, as `match[]` has them.
///
/// # Errors
/// As [`read`], and for every other kind of query.
pub fn selector(text: &str) -> Result<Selector, Failure> {
    match parse(text)? {
        Expr::VectorSelector(select) if select.offset.is_none() && select.at.is_none() => read_selector(&select),
        _ => Err(bad(format!("{text:?} is no series selector; write it as in up{{job=\"x\"}}"))),
    }
}

fn parse(query: &str) -> Result<Expr, Failure> {
    if query.trim().is_empty() {
        return Err(bad("unknown position: parse error: no expression found in input"));
    }
    if query.len() > LONGEST {
        return Err(bad(format!("the query is {} bytes long; at most {LONGEST} are read", query.len())));
    }
    if parts(query) > MOST_PARTS {
        return Err(bad(format!("the query has more than {MOST_PARTS} operators and brackets; split it")));
    }
    // The parser is not ours, and trusts that numbers are durations.
    let parsed = std::panic::catch_unwind(|| parser::parse(query));
    let parsed = parsed.map_err(|_| bad("parse error: a number in the query is not what stands there"))?;
    parsed.map_err(|why| bad(format!("parse error: {why}")))
}

/// What could nest, outside of quotes: the parser's tree is walked by recursion.
fn parts(query: &str) -> usize {
    let (mut quote, mut escaped, mut count, mut in_word) = (None, false, 0, false);
    for c in query.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => {
                if matches!(c, '"' | '\'' | '`') {
                    quote = Some(c);
                }
                let word = c.is_alphanumeric() || matches!(c, '_' | ':' | '.');
                count += usize::from(matches!(c, '(' | '[' | '{' | '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '!' | '=') || (word && !in_word));
                in_word = word;
            }
        }
    }
    count
}

fn bad(why: impl Into<String>) -> Failure {
    Failure::BadData(why.into())
}

fn unsupported(what: &str) -> Failure {
    bad(format!("{what} is not supported here: queries are those of Prometheus 2.42"))
}

/// Numbers the parts of an expression as it meets them.
#[derive(Default)]
struct Reader {
    slots: usize,
    places: usize,
}

impl Reader {
    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }

    fn place(&mut self) -> usize {
        self.places += 1;
        self.places
    }

    fn node(&mut self, expression: &Expr) -> Result<Node, Failure> {
        match expression {
            Expr::NumberLiteral(number) => Ok(Node::Number(number.val)),
            Expr::StringLiteral(text) => Ok(Node::Text(text.val.clone())),
            Expr::Paren(inner) => self.node(&inner.expr),
            Expr::Unary(negative) => match self.node(&negative.expr)? {
                Node::Number(number) => Ok(Node::Number(-number)),
                node if matches!(node.kind(), Kind::Scalar | Kind::Vector) => Ok(Node::Negative(Box::new(node))),
                _ => Err(bad("parse error: unary expression only allowed on expressions of type scalar or instant vector")),
            },
            Expr::VectorSelector(select) => {
                let (selector, shift) = (read_selector(select)?, shift(select.at.as_ref(), select.offset.as_ref())?);
                Ok(Node::Select(Select { selector, shift, slot: self.slot() }))
            }
            Expr::MatrixSelector(matrix) => {
                let (selector, shift) = (read_selector(&matrix.vs)?, shift(matrix.vs.at.as_ref(), matrix.vs.offset.as_ref())?);
                Ok(Node::Span(Span { of: Spanned::Series(selector), range_ms: positive(matrix.range)?, shift, slot: self.slot() }))
            }
            Expr::Subquery(subquery) => self.subquery(subquery),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::Extension(_) => Err(unsupported("an extension of PromQL")),
        }
    }

    fn subquery(&mut self, subquery: &SubqueryExpr) -> Result<Node, Failure> {
        let of = Box::new(self.expect(&subquery.expr, Kind::Vector, "a subquery")?);
        let step_ms = subquery.step.map(positive).transpose()?;
        let shift = shift(subquery.at.as_ref(), subquery.offset.as_ref())?;
        Ok(Node::Span(Span { of: Spanned::Subquery { of, step_ms }, range_ms: positive(subquery.range)?, shift, slot: self.slot() }))
    }

    fn expect(&mut self, expression: &Expr, kind: Kind, place: &str) -> Result<Node, Failure> {
        let node = self.node(expression)?;
        if node.kind() == kind {
            Ok(node)
        } else {
            Err(bad(format!("parse error: expected type {} in {place}, got {}", named(kind), named(node.kind()))))
        }
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Result<Node, Failure> {
        let name = aggregate.op.to_string();
        let by = match &*name {
            "sum" => Aggregation::Sum,
            "avg" => Aggregation::Average,
            "min" => Aggregation::Minimum,
            "max" => Aggregation::Maximum,
            "count" => Aggregation::Count,
            "group" => Aggregation::Group,
            "stddev" => Aggregation::Deviation,
            "stdvar" => Aggregation::Variance,
            "quantile" => Aggregation::Quantile,
            "topk" => Aggregation::Top,
            "bottomk" => Aggregation::Bottom,
            "count_values" => Aggregation::CountValues,
            other => return Err(unsupported(other)),
        };
        let wanted = match by {
            Aggregation::Quantile | Aggregation::Top | Aggregation::Bottom => Some(Kind::Scalar),
            Aggregation::CountValues => Some(Kind::Text),
            _ => None,
        };
        let parameter = match (wanted, &aggregate.param) {
            (Some(kind), Some(parameter)) => Some(Box::new(self.expect(parameter, kind, &name)?)),
            (None, None) => None,
            _ => return Err(bad(format!("parse error: wrong number of arguments for aggregate expression {name:?}"))),
        };
        let grouping = match &aggregate.modifier {
            None => Grouping::By(vec![]),
            Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels.clone()),
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels.clone()),
        };
        let of = Box::new(self.expect(&aggregate.expr, Kind::Vector, &name)?);
        Ok(Node::Aggregate { by, of, parameter, grouping, place: self.place() })
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Result<Node, Failure> {
        let (left, right) = (self.node(&binary.lhs)?, self.node(&binary.rhs)?);
        let operator = operator(&binary.op.to_string(), binary.return_bool())?;
        let matching = binary.modifier.as_ref().map_or_else(|| Ok(plain_matching()), matching)?;
        let kinds = (left.kind(), right.kind());
        for kind in [kinds.0, kinds.1] {
            if !matches!(kind, Kind::Scalar | Kind::Vector) {
                return Err(bad(format!("parse error: binary expression must contain only scalar and instant vector types, not {}", named(kind))));
            }
        }
        Ok(Node::Binary { operator, left: Box::new(left), right: Box::new(right), matching, place: self.place() })
    }

    fn call(&mut self, call: &ParsedCall) -> Result<Node, Failure> {
        let name = call.func.name;
        let mut arguments = Vec::with_capacity(call.args.args.len());
        for argument in &call.args.args {
            arguments.push(self.node(argument)?);
        }
        let spans = arguments.iter().position(|argument| matches!(argument, Node::Span(_)));
        let Some(at) = spans else {
            let call = calls::call(name, &arguments)?.ok_or_else(|| unsupported(&format!("the function {name}")))?;
            return Ok(Node::Call { call, arguments, place: self.place() });
        };
        let Node::Span(span) = arguments.remove(at) else { return Err(unsupported(name)) };
        let over = match name {
            "last_over_time" => Over::Last,
            "rate" => Over::Extrapolated { counter: true, per_second: true },
            "increase" => Over::Extrapolated { counter: true, per_second: false },
            "delta" => Over::Extrapolated { counter: false, per_second: false },
            "quantile_over_time" => Over::Quantile,
            "predict_linear" => Over::PredictLinear,
            "absent_over_time" => Over::Absent(calls::labels_of_absent(match &span.of {
                Spanned::Series(selector) => Some(selector),
                Spanned::Subquery { .. } => None,
            })),
            name => Over::Each(over_time::each(name).ok_or_else(|| unsupported(&format!("the function {name}")))?),
        };
        Ok(Node::Over { over, span, arguments })
    }
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Scalar => "scalar",
        Kind::Vector => "instant vector",
        Kind::Matrix => "range vector",
        Kind::Text => "string",
    }
}

fn positive(duration: Duration) -> Result<i64, Failure> {
    i64::try_from(duration.as_millis())
        .ok()
        .filter(|ms| (1..1 << 45).contains(ms))
        .ok_or_else(|| bad("a duration must be at least 1ms and at most 1,000 years"))
}

fn shift(at: Option<&AtModifier>, offset: Option<&Offset>) -> Result<Shift, Failure> {
    let offset_ms = match offset {
        None => 0,
        Some(Offset::Pos(duration) | Offset::Neg(duration)) if duration.is_zero() => 0,
        Some(Offset::Pos(duration)) => positive(*duration)?,
        Some(Offset::Neg(duration)) => -positive(*duration)?,
    };
    let at = match at {
        None => None,
        Some(AtModifier::Start) => Some(At::Start),
        Some(AtModifier::End) => Some(At::End),
        Some(AtModifier::At(time)) => Some(At::Time(match time.duration_since(UNIX_EPOCH) {
            Ok(since) if since.is_zero() => 0,
            Ok(since) => positive(since)?,
            Err(before) => -positive(before.duration())?,
        })),
    };
    Ok(Shift { at, offset_ms })
}

fn read_selector(select: &VectorSelector) -> Result<Selector, Failure> {
    let Matchers { matchers, or_matchers } = &select.matchers;
    if !or_matchers.is_empty() {
        return Err(unsupported("`or` between label matchers"));
    }
    let named = select.name.iter().map(|name| Matcher { label: NAME.to_owned(), condition: Condition::Is(name.clone()) });
    let others = matchers.iter().map(|matcher| {
        let condition = match &matcher.op {
            MatchOp::Equal => Condition::Is(matcher.value.clone()),
            MatchOp::NotEqual => Condition::IsNot(matcher.value.clone()),
            MatchOp::Re(pattern) => Condition::Like(pattern.clone()),
            MatchOp::NotRe(pattern) => Condition::NotLike(pattern.clone()),
        };
        Matcher { label: matcher.name.clone(), condition }
    });
    let selector = Selector { matchers: named.chain(others).collect() };
    if selector.matchers.iter().all(|matcher| matcher.matches("")) {
        return Err(bad("parse error: vector selector must contain at least one non-empty matcher"));
    }
    Ok(selector)
}

fn operator(text: &str, as_bool: bool) -> Result<Operator, Failure> {
    let arithmetic = |arithmetic| Ok(Operator::Arithmetic(arithmetic));
    let comparison = |comparison| Ok(Operator::Comparison { comparison, as_bool });
    match text {
        "+" => arithmetic(Arithmetic::Add),
        "-" => arithmetic(Arithmetic::Subtract),
        "*" => arithmetic(Arithmetic::Multiply),
        "/" => arithmetic(Arithmetic::Divide),
        "%" => arithmetic(Arithmetic::Modulo),
        "^" => arithmetic(Arithmetic::Power),
        "atan2" => arithmetic(Arithmetic::Atan2),
        "==" => comparison(Comparison::Equal),
        "!=" => comparison(Comparison::NotEqual),
        "<" => comparison(Comparison::Less),
        "<=" => comparison(Comparison::LessOrEqual),
        ">" => comparison(Comparison::Greater),
        ">=" => comparison(Comparison::GreaterOrEqual),
        "and" => Ok(Operator::And),
        "or" => Ok(Operator::Or),
        "unless" => Ok(Operator::Unless),
        other => Err(unsupported(&format!("the operator {other}"))),
    }
}

fn plain_matching() -> Matching {
    Matching { on: false, labels: vec![], many: Many::Neither, include: vec![] }
}

fn matching(modifier: &BinModifier) -> Result<Matching, Failure> {
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err(unsupported("fill"));
    }
    let (on, labels) = match &modifier.matching {
        None => (false, vec![]),
        Some(LabelModifier::Include(labels)) => (true, labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => (false, labels.labels.clone()),
    };
    let (many, include) = match &modifier.card {
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => (Many::Neither, vec![]),
        VectorMatchCardinality::ManyToOne(include) => (Many::Left, include.labels.clone()),
        VectorMatchCardinality::OneToMany(include) => (Many::Right, include.labels.clone()),
    };
    Ok(Matching { on, labels, many, include })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (query, named) in [
            ("holt_winters(a[5m], 0.5, 0.5)", "holt_winters"),
            ("first_over_time(a[5m])", "first_over_time"),
            ("mad_over_time(a[5m])", "mad_over_time"),
            ("histogram_count(a)", "histogram_count"),
            ("sort_by_label(a, \"b\")", "sort_by_label"),
            ("limitk(1, a)", "limitk"),
            ("{a=\"b\" or c=\"d\"}", "or"),
            ("a + fill(0) b", "fill"),
            ("label_replace(a, b, \"c\", \"d\", \"e\")", "label_replace"),
        ] {
            let refusal = read(query).unwrap_err().to_string();
            assert!(refusal.contains(named), "{query}: {refusal}");
        }
    }

    #[test]
    fn odd_queries_are_refused_and_nothing_breaks() {
        for query in [
            "a[1e30]",
            "a[NaN]",
            "a[-5]",
            "a[inf]",
            "a offset 1e30",
            "a @ 1e30",
            "a @ NaN",
            "a[5m:1e30]",
            "a[99999999y]",
            "a[0]",
            "rate(a[0s])",
            "\u{0}",
            "\"",
            "{",
            "a{b=~\"(((((\"}",
        ] {
            assert!(matches!(read(query), Err(Failure::BadData(_))), "{query}: {:?}", read(query));
        }
        for (part, closing) in [("(", ")"), ("-", ""), ("a+", ""), ("sum(", ")"), ("a or ", "")] {
            let deep = format!("{}a{}", part.repeat(5000), closing.repeat(5000));
            assert!(matches!(read(&deep), Err(Failure::BadData(_))), "{part}");
            let fits = format!("{}a{}", part.repeat(300), closing.repeat(300));
            assert!(read(&fits).is_ok(), "{part}: {:?}", read(&fits));
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[ -~]{0,60}", pieces in prop::collection::vec("(sum|rate|a|by|\\(|\\)|\\[|\\]|\\{|\\}|5m|1e9|@|offset|-|\\+|,|=~|\"x\"| |:|on|bool|==)", 0..20)) {
            let _ = read(&text);
            let _ = read(&pieces.concat());
        }
    }
}
