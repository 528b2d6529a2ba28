//! Random queries of which most have an answer. Values that nearly tie are kept from what tells them apart: comparisons for equality,
//! `floor` and the like stand in the table only.

use fastrand::Rng;

pub struct Generator {
    dice: Rng,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { dice: Rng::with_seed(seed) }
    }

    pub fn below(&mut self, limit: i64) -> i64 {
        self.dice.i64(0..limit)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.dice.usize(0..of.len())]
    }

    pub fn query(&mut self) -> String {
        self.vector(3)
    }

    fn selector(&mut self) -> String {
        self.one(&[
            "requests_total",
            "requests_total{code=\"200\"}",
            "requests_total{code=~\"4..|5..\"}",
            "requests_total{job!=\"web\",instance!~\"b|x\"}",
            "{__name__=\"requests_total\",code!=\"404\"}",
            "latency_bucket",
            "latency_bucket{le!=\"+Inf\"}",
            "latency_sum",
            "latency_count{instance=~\".*\"}",
            "temperature",
            "temperature{room=~\"attic|hall\"}",
            "temperature{floor=\"1\",cellar=\"\"}",
            "place",
        ])
        .to_owned()
    }

    fn shift(&mut self) -> String {
        match self.dice.u32(0..10) {
            0 => format!(" offset {}s", self.dice.i64(1..2000)),
            1 => format!(" offset -{}s", self.dice.i64(1..600)),
            2 => format!(" @ {}", 1_700_000_000 + self.dice.i64(0..7200)),
            3 => format!(" @ {}() offset {}m", self.one(&["start", "end"]), self.dice.i64(1..9)),
            _ => String::new(),
        }
    }

    fn span(&mut self, depth: u32) -> String {
        let range = self.one(&["45s", "1m", "2m30s", "5m", "17m", "1h"]);
        if depth > 0 && self.dice.u32(0..5) == 0 {
            let inner = self.vector(depth - 1);
            let step = self.one(&["", "13s", "30s", "2m"]);
            return format!("({inner})[{range}:{step}]{}", self.shift());
        }
        format!("{}[{range}]{}", self.selector(), self.shift())
    }

    fn over(&mut self, depth: u32) -> String {
        let span = self.span(depth);
        match self.dice.u32(0..10) {
            0 => format!("quantile_over_time(0.{}, {span})", self.dice.u32(0..10)),
            // With `@`, 2.42 moves its window on: see the table.
            1 if !span.contains('@') => format!("predict_linear({span}, {})", self.dice.u32(0..4000)),
            2..=5 => format!("{}({span})", self.one(&["rate", "increase", "irate", "delta"])),
            _ => {
                let name = self.one(&[
                    "avg_over_time",
                    "min_over_time",
                    "max_over_time",
                    "sum_over_time",
                    "count_over_time",
                    "last_over_time",
                    "present_over_time",
                    "stddev_over_time",
                    "stdvar_over_time",
                    "changes",
                    "resets",
                    "idelta",
                    "deriv",
                    "absent_over_time",
                ]);
                format!("{name}({span})")
            }
        }
    }

    fn aggregate(&mut self, depth: u32) -> String {
        let clause = self.one(&["", " by (instance)", " by (job, code)", " without (code, le)", " without (instance)", " by (room, le)"]);
        let of = self.vector(depth - 1);
        let name = self.one(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "sum", "sum"]);
        match name {
            "quantile" => format!("quantile{clause} (0.{}, {of})", self.dice.u32(0..10)),
            name => format!("{name}{clause} ({of})"),
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let operator = self.one(&["+", "-", "*", "/", ">", "< bool", ">= bool", "<=", "and", "or", "unless"]);
        if self.dice.u32(0..3) == 0 && !matches!(operator, "and" | "or" | "unless") {
            return format!("{} {operator} {}", self.vector(depth - 1), self.scalar());
        }
        let labels = self.one(&["", "", "on (instance)", "on (instance, code, le)", "ignoring (code)", "ignoring (room, floor)"]);
        let group = if labels.is_empty() || matches!(operator, "and" | "or" | "unless") {
            ""
        } else {
            self.one(&["", "group_left ()", "group_left (site)", "group_right ()"])
        };
        let (left, right) = (self.vector(depth - 1), if self.dice.bool() { "place".to_owned() } else { self.vector(depth - 1) });
        format!("({left}) {operator} {labels} {group} ({right})")
    }

    fn scalar(&mut self) -> String {
        match self.dice.u32(0..6) {
            0 => "time()".to_owned(),
            1 => format!("scalar({})", self.selector()),
            2 => "-1.5e1".to_owned(),
            _ => format!("{}", self.dice.i32(-20..400)),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector() + &self.shift();
        }
        match self.dice.u32(0..10) {
            0 => self.selector() + &self.shift(),
            1..=3 => self.over(depth - 1),
            4..=6 => self.aggregate(depth),
            7 => self.binary(depth),
            8 => {
                let quantile = self.one(&["0.5", "0.9", "0.99", "1", "0", "1.1"]);
                format!(
                    "histogram_quantile({quantile}, sum by (le, {}) (rate(latency_bucket[{}])))",
                    self.one(&["job", "instance"]),
                    self.one(&["2m", "10m"])
                )
            }
            _ => {
                let of = self.vector(depth - 1);
                match self.dice.u32(0..7) {
                    0 => format!("clamp({of}, 1, 50)"),
                    1 => format!("label_replace({of}, \"where\", \"$1-x\", \"instance\", \"(.*)\")"),
                    2 => format!("label_join({of}, \"both\", \"/\", \"job\", \"instance\", \"nothing\")"),
                    3 => format!("-({of})"),
                    4 => format!("timestamp({of})"),
                    5 => format!("clamp_max({of}, {})", self.scalar()),
                    _ => format!(
                        "{}({of})",
                        self.one(&["abs", "sqrt", "ln", "exp", "sgn", "absent", "sort", "scalar", "deg", "atan"]).replace("scalar", "abs")
                    ),
                }
            }
        }
    }
}
