//! Conditions on finished exchanges and connections, as Telemetry's `accessLogging.filter.expression` writes them: the subset of CEL
//! (https://github.com/google/cel-spec) that is made of comparisons of attributes with constants.
//!
//! ```text
//! or        = and { "||" and }
//! and       = not { "&&" not }
//! not       = { "!" } ( "(" or ")" | "has" "(" attribute ")" | comparison )
//! comparison= operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand | "in" "[" constants "]" ]
//!           | attribute "." ( "startsWith" | "endsWith" | "contains" ) "(" text ")"
//! operand   = attribute | number | text | "true" | "false"
//! ```

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// An expression that was understood, and its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
}

/// What an attribute is worth. One that is not known has no value, and what depends on it does not hold, whatever it says of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Number(f64),
    Truth(bool),
    Missing,
}

macro_rules! attributes {
    ($($variant:ident $name:literal,)+) => {
        /// What an expression may look at, under Envoy's names, and the reason of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Attribute { $($variant,)+ }

        const ATTRIBUTES: &[(&str, Attribute)] = &[$(($name, Attribute::$variant),)+];
    };
}

attributes! {
    ResponseCode "response.code",
    ResponseGrpcStatus "response.grpc_status",
    ResponseSize "response.size",
    RequestMethod "request.method",
    RequestHost "request.host",
    RequestUrlPath "request.url_path",
    RequestSize "request.size",
    ConnectionMtls "connection.mtls",
    UpstreamAddress "upstream.address",
    RouteName "xds.route_name",
    Reason "taut.reason",
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Has(Attribute),
    Compare(Operand, Relation, Operand),
    In(Operand, Vec<Operand>),
    Like(Attribute, Likeness, String),
    True(Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Attribute(Attribute),
    Number(f64),
    Text(String),
    Truth(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Likeness {
    Starts,
    Ends,
    Contains,
}

/// Longer ones are not written by people.
const LONGEST: usize = 4096;
const DEEPEST: usize = 32;

impl Expression {
    /// # Errors
    /// What is not understood, and where: a message for whoever wrote the expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("is longer than {LONGEST} bytes"));
        }
        let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
        let root = parser.any()?;
        match parser.peek() {
            None => Ok(Self { text: text.to_owned(), root }),
            Some(token) => Err(format!("{token} is not expected there")),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for what `look` knows.
    pub fn holds<'a>(&self, look: &dyn Fn(Attribute) -> Value<'a>) -> bool {
        self.root.holds(look).unwrap_or(false)
    }
}

impl Node {
    /// `None`: it depends on what is not known (CEL, "Logical Operators": what is known may decide nevertheless).
    fn holds<'a>(&self, look: &dyn Fn(Attribute) -> Value<'a>) -> Option<bool> {
        let decided_by = |nodes: &[Node], decisive: bool| {
            let mut all = nodes.iter().map(|node| node.holds(look));
            let undecided = all.try_fold(Some(!decisive), |so_far, one| match one {
                Some(one) if one == decisive => None,
                Some(_) => Some(so_far),
                None => Some(None),
            });
            undecided.unwrap_or(Some(decisive))
        };
        match self {
            Self::Any(nodes) => decided_by(nodes, true),
            Self::All(nodes) => decided_by(nodes, false),
            Self::Not(node) => node.holds(look).map(|holds| !holds),
            Self::Has(attribute) => Some(look(*attribute) != Value::Missing),
            Self::Compare(left, relation, right) => relation.holds(&left.value(look), &right.value(look)),
            Self::In(left, all) => match left.value(look) {
                Value::Missing => None,
                value => Some(all.iter().any(|right| value == right.value(look))),
            },
            Self::Like(attribute, likeness, part) => match look(*attribute) {
                Value::Text(text) => Some(likeness.holds(text, part)),
                Value::Number(_) | Value::Truth(_) | Value::Missing => None,
            },
            Self::True(operand) => match operand.value(look) {
                Value::Truth(truth) => Some(truth),
                Value::Number(_) | Value::Text(_) | Value::Missing => None,
            },
        }
    }
}

impl Operand {
    fn value<'a: 'c, 'b: 'c, 'c>(&'b self, look: &dyn Fn(Attribute) -> Value<'a>) -> Value<'c> {
        match self {
            Self::Attribute(attribute) => look(*attribute),
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
            Self::Truth(truth) => Value::Truth(*truth),
        }
    }
}

impl Relation {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.partial_cmp(right),
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Truth(left), Value::Truth(right)) => Some(left.cmp(right)),
            (Value::Missing, _) | (_, Value::Missing) => return None,
            // Of two kinds: not equal, and in no order.
            _ => None,
        };
        match self {
            Self::Equal => Some(order == Some(Ordering::Equal)),
            Self::Unequal => Some(order != Some(Ordering::Equal)),
            Self::Less => order.map(Ordering::is_lt),
            Self::AtMost => order.map(Ordering::is_le),
            Self::More => order.map(Ordering::is_gt),
            Self::AtLeast => order.map(Ordering::is_ge),
        }
    }
}

impl Likeness {
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::Starts => text.starts_with(part),
            Self::Ends => text.ends_with(part),
            Self::Contains => text.contains(part),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// `response.code`, `true`, `in`.
    Name(String),
    Text(String),
    Number(f64),
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Sign(sign) => write!(f, "{sign:?}"),
        }
    }
}

/// Longer signs first.
const SIGNS: [&str; 15] = ["||", "&&", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", "."];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                let (text, length) = quoted(rest, first)?;
                tokens.push(Token::Text(text));
                length
            }
            '0'..='9' => {
                let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number = rest[..length].parse().map_err(|_| format!("{:?} is not a number", &rest[..length]))?;
                tokens.push(Token::Number(number));
                length
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
                tokens.push(Token::Name(rest[..length].to_owned()));
                length
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign)).ok_or_else(|| format!("{first:?} is not understood"))?;
                tokens.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text and how many bytes it takes with its quotes. Of escapes only quotes and backslashes are known.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '"' | '\''))) => text.push(escaped),
                _ => return Err("of escapes in texts only \\\\, \\\" and \\' are supported".to_owned()),
            },
            end if end == quote => return Ok((text, at + 1)),
            other => text.push(other),
        }
    }
    Err("a text does not end".to_owned())
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Result<(), String> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(format!("{sign:?} is missing before {}", self.here())),
        }
    }

    fn here(&self) -> String {
        self.peek().map_or_else(|| "the end".to_owned(), Token::to_string)
    }

    fn any(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("is nested more than {DEEPEST} deep"));
        }
        let mut nodes = vec![self.all()?];
        while self.take("||") {
            nodes.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.not()?];
        while self.take("&&") {
            nodes.push(self.not()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn not(&mut self) -> Result<Node, String> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let node = if self.take("(") {
            let node = self.any()?;
            self.need(")")?;
            node
        } else {
            self.comparison()?
        };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn comparison(&mut self) -> Result<Node, String> {
        if let Some(Token::Name(name)) = self.peek().cloned() {
            if name == "has" {
                self.next += 1;
                self.need("(")?;
                let Operand::Attribute(attribute) = self.operand()? else { return Err("has() takes an attribute".to_owned()) };
                self.need(")")?;
                return Ok(Node::Has(attribute));
            }
            if let Some((attribute, likeness)) = likeness(&name) {
                self.next += 1;
                self.need("(")?;
                let Operand::Text(part) = self.operand()? else { return Err(format!("{name}() takes a text")) };
                self.need(")")?;
                return Ok(Node::Like(attribute?, likeness, part));
            }
        }
        let left = self.operand()?;
        let relations = [
            ("==", Relation::Equal),
            ("!=", Relation::Unequal),
            ("<=", Relation::AtMost),
            (">=", Relation::AtLeast),
            ("<", Relation::Less),
            (">", Relation::More),
        ];
        for (sign, relation) in relations {
            if self.take(sign) {
                return Ok(Node::Compare(left, relation, self.operand()?));
            }
        }
        if self.peek() == Some(&Token::Name("in".to_owned())) {
            self.next += 1;
            self.need("[")?;
            let mut all = Vec::new();
            while !self.take("]") {
                all.push(self.operand()?);
                if !self.take(",") {
                    self.need("]")?;
                    break;
                }
            }
            return Ok(Node::In(left, all));
        }
        match left {
            Operand::Truth(_) | Operand::Attribute(Attribute::ConnectionMtls) => Ok(Node::True(left)),
            _ => Err(format!("a comparison is missing before {}", self.here())),
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let token = self.peek().cloned().ok_or("a value is missing at the end")?;
        self.next += 1;
        match token {
            Token::Number(number) => Ok(Operand::Number(number)),
            Token::Text(text) => Ok(Operand::Text(text)),
            Token::Name(name) => match name.as_str() {
                "true" => Ok(Operand::Truth(true)),
                "false" => Ok(Operand::Truth(false)),
                _ => attribute(&name).map(Operand::Attribute),
            },
            Token::Sign(sign) => Err(format!("a value is expected, and not {sign:?}")),
        }
    }
}

fn attribute(name: &str) -> Result<Attribute, String> {
    let found = ATTRIBUTES.iter().find(|(known, _)| *known == name).map(|(_, attribute)| *attribute);
    found.ok_or_else(|| {
        let known: Vec<&str> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
        format!("{name:?} is not supported; there are {}", known.join(", "))
    })
}

/// `request.url_path.startsWith`
fn likeness(name: &str) -> Option<(Result<Attribute, String>, Likeness)> {
    let (of, function) = name.rsplit_once('.')?;
    let likeness = match function {
        "startsWith" => Likeness::Starts,
        "endsWith" => Likeness::Ends,
        "contains" => Likeness::Contains,
        _ => return None,
    };
    Some((attribute(of), likeness))
}

impl Serialize for Expression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(attribute: Attribute) -> Value<'static> {
        match attribute {
            Attribute::ResponseCode => Value::Number(503.0),
            Attribute::RequestMethod => Value::Text("GET"),
            Attribute::RequestUrlPath => Value::Text("/reviews/0"),
            Attribute::ConnectionMtls => Value::Truth(true),
            _ => Value::Missing,
        }
    }

    #[test]
    fn comparisons_mean_what_they_mean_in_cel() {
        for (text, holds) in [
            ("response.code >= 400", true),
            ("response.code>=400&&response.code<500", false),
            ("response.code == 200 || request.method == 'GET'", true),
            ("!(response.code == 503) || false", false),
            ("!!connection.mtls", true),
            ("request.method in [\"PUT\", 'GET']", true),
            ("response.code in [200, 404,]", false),
            ("request.url_path.startsWith('/reviews') && !request.url_path.endsWith(\"1\")", true),
            ("request.url_path.contains('views')", true),
            ("has(response.grpc_status)", false),
            ("response.grpc_status != 0", false),
            ("!(response.grpc_status == 0)", false),
            ("response.grpc_status == 0 || response.code == 503", true),
            ("!(response.grpc_status == 0 && response.code == 200)", true),
            ("response.code != '503'", true),
            ("response.grpc_status < 5", false),
            ("'GET' == request.method", true),
            ("response.code == '503'", false),
            ("false || false && true", false),
        ] {
            let parsed = Expression::parse(text).unwrap();
            assert_eq!((parsed.holds(&look), parsed.text()), (holds, text));
            let back: Expression = serde_json::from_value(serde_json::to_value(&parsed).unwrap()).unwrap();
            assert_eq!(back, parsed);
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, said) in [
            ("", "at the end"),
            ("response.code", "a comparison is missing"),
            ("response.code >= ", "missing at the end"),
            ("response.code > 1 2", "the number 2 is not expected"),
            ("request.headers['x'] == 'y'", "request.headers"),
            ("request.url_path.matches('^/a')", "request.url_path.matches"),
            ("duration('1s') < request.time", "duration"),
            ("response.code + 1 > 2", "'+' is not understood"),
            ("(response.code > 1", "\")\" is missing"),
            ("request.method == 'GET", "does not end"),
            ("request.method == '\\n'", "escapes"),
            ("has('x')", "takes an attribute"),
            ("request.url_path.contains(1)", "takes a text"),
            ("1.2.3 == 4", "not a number"),
        ] {
            let why = Expression::parse(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
        assert!(Expression::parse(&"(".repeat(1000)).unwrap_err().contains("nested"));
        assert!(Expression::parse(&"!".repeat(5000)).unwrap_err().contains("longer"));
    }
}
