//! Holding what is expected of a case against all that can become of it. Shares are compared as whole numbers, so 90:10 is 90:10 exactly.

use super::judgement::{Judgement, Mismatch};
use super::seen::{End, Seen, label, seen};
use super::share;
use super::written::{Aborted, Answered, Delayed, Expect, Headers, Redirected, Refused, Retries};
use crate::translate;
use crate::why::{Inquiry, Question};
use std::collections::BTreeMap;
use std::time::Duration;
use taut_model::host;
use taut_model::object::Object;
use taut_model::origin::Origin;
use taut_model::path;
use taut_model::route::{AbortWith, HeaderChange};
use taut_plan::cluster::Transport;
use taut_plan::verdict::Forward;
use taut_plan::{ClusterKey, Mirrored, retry_conditions};

pub struct Judge<'a> {
    question: &'a Question,
    suite: &'a Object,
    /// Path of the case's `expect`.
    at: String,
    /// Of the caller: how short names are read.
    namespace: String,
    seen: Vec<Seen>,
    mirrors: Vec<Mirrored>,
    whole: u128,
}

impl<'a> Judge<'a> {
    pub fn new(inquiry: &Inquiry<'_>, question: &'a Question, suite: &'a Object, at: String) -> Self {
        let found = inquiry.plan.possibilities(&inquiry.facts());
        let seen = found.all.into_iter().map(|possibility| seen(inquiry, possibility)).collect();
        Self { question, suite, at, namespace: inquiry.from.namespace.clone(), seen, mirrors: found.mirrors, whole: found.whole }
    }

    pub fn judge(&self, expect: &Expect, judgement: &mut Judgement) {
        judgement.explanation = self.seen.iter().map(|seen| seen.explanation.as_str()).collect::<Vec<_>>().join("\n\n");
        for origin in self.seen.iter().filter_map(|seen| seen.origin.as_ref()) {
            if !judgement.decided_by.contains(origin) {
                judgement.decided_by.push(origin.clone());
            }
        }
        self.ends(expect, judgement);
        self.rules(expect, judgement);
        if let Some(expected) = &expect.mirrors {
            self.copies(expected, judgement);
        }
    }

    /// What becomes of it: where it goes, and what happens instead.
    fn ends(&self, expect: &Expect, judgement: &mut Judgement) {
        if let Some(expected) = &expect.goes_to {
            self.goes_to(expected, judgement);
        }
        if let Some(Answered { status, body, share }) = &expect.answered {
            let fits = |end: &End| matches!(end, End::Answered { status: s, body: b } if status.is_none_or(|want| want == *s) && body.as_ref().is_none_or(|want| want == b));
            self.share_of("answered", "answered", status.map(|s| s.to_string()), *share, fits, judgement);
        }
        if let Some(Redirected { status, location }) = &expect.redirected {
            let fits = |end: &End| matches!(end, End::Redirected { status: s, location: l } if status.is_none_or(|want| want == *s) && location.as_ref().is_none_or(|want| want == l));
            let how = status.map(|s| s.to_string()).into_iter().chain(location.as_ref().map(|to| format!("to {to}")));
            self.share_of("redirected", "redirected", Some(how.collect::<Vec<_>>().join(" ")), None, fits, judgement);
        }
        if let Some(Aborted { status, grpc_status, share }) = &expect.aborted {
            let fits = |end: &End| match end {
                End::Aborted(AbortWith::Http(is)) => grpc_status.is_none() && status.is_none_or(|want| want == *is),
                End::Aborted(AbortWith::Grpc(is)) => status.is_none() && grpc_status.is_none_or(|want| want == *is),
                _ => false,
            };
            let how = status.map(|s| s.to_string()).or(grpc_status.map(|s| format!("gRPC status {s}")));
            self.share_of("aborted", "aborted", how, *share, fits, judgement);
        }
        if let Some(Refused { status, reason, by, share }) = &expect.refused {
            let fits = |end: &End| matches!(end, End::Refused { status: s, reason: r, .. } if status.is_none_or(|want| want == *s) && reason.as_ref().is_none_or(|want| want == r));
            let how = status.map(|s| s.to_string()).into_iter().chain(reason.clone()).collect::<Vec<_>>().join(" ");
            self.share_of("refused", "refused", Some(how), *share, fits, judgement);
            if let Some(by) = by {
                let refused = self.seen.iter().filter(|seen| matches!(seen.end, End::Refused { .. }));
                self.decided("refused.by", by, refused, judgement);
            }
        }
        self.unforeseen(expect, judgement);
    }

    /// A case that says where requests go, or what happens instead, speaks of all of them.
    fn unforeseen(&self, expect: &Expect, judgement: &mut Judgement) {
        let foreseen = |end: &End| match end {
            End::GoesTo(_) | End::Passes { .. } => expect.goes_to.is_some(),
            End::Answered { .. } => expect.answered.is_some(),
            End::Redirected { .. } => expect.redirected.is_some(),
            End::Aborted(_) => expect.aborted.is_some(),
            End::Refused { .. } => expect.refused.is_some(),
            End::Unknown(_) => false,
        };
        let partial = |share: Option<f64>| share.is_some_and(|share| share < 100.0);
        let rest_is_free = expect.goes_to.is_none()
            && (partial(expect.answered.as_ref().and_then(|said| said.share))
                || partial(expect.aborted.as_ref().and_then(|said| said.share))
                || partial(expect.refused.as_ref().and_then(|said| said.share)));
        let named = expect.goes_to.is_some();
        // A share of 100 % that failed has been told already; nothing that is asked of rules holds for a request that reaches none.
        let silent = expect.answered.is_some() || expect.redirected.is_some() || expect.aborted.is_some() || expect.refused.is_some();
        let surprise = self.seen.iter().find(|seen| !foreseen(&seen.end) && !seen.end.arrives());
        if let Some(seen) = surprise.filter(|_| (named || !silent) && !rest_is_free) {
            let expected = if named { "every request to go somewhere" } else { "a request that is carried" };
            let field = if named { "goesTo" } else { "" };
            self.fail(field, expected.to_owned(), self.summary(), seen.origin.clone(), judgement);
        }
    }

    fn goes_to(&self, expected: &BTreeMap<String, f64>, judgement: &mut Judgement) {
        let going: Vec<&Seen> = self.seen.iter().filter(|seen| seen.end.arrives()).collect();
        let total: u128 = going.iter().map(|seen| seen.odds).sum();
        let sum: u128 = expected.values().map(|part| share::parts(*part)).sum();
        let fits = |seen: &Seen, label: &str| match &seen.end {
            End::GoesTo(key) => self.is(key, label),
            End::Passes { host, port } => label == host || label == format!("{host}:{port}"),
            _ => false,
        };
        let said = || format!("{}: {}", if expected.len() == 1 { "all" } else { "shares" }, words(expected));
        for (label, part) in expected {
            let odds: u128 = going.iter().filter(|seen| fits(seen, label)).map(|seen| seen.odds).sum();
            if !share::same((odds, total), (share::parts(*part), sum)) {
                let intruder = going.iter().find(|seen| !expected.keys().any(|label| fits(seen, label)));
                let because = intruder.or(going.iter().find(|seen| fits(seen, label))).or(going.first()).copied().or(self.seen.first());
                let field = path::field("goesTo", label);
                return self.fail(&field, said(), self.summary(), because.and_then(chosen_by), judgement);
            }
        }
        if let Some(other) = going.iter().find(|seen| !expected.keys().any(|label| fits(seen, label))) {
            self.fail("goesTo", said(), self.summary(), chosen_by(other), judgement);
        }
    }

    /// Whether `label` (`reviews`, `reviews:9080`, `reviews v1`) names this destination.
    fn is(&self, key: &ClusterKey, label: &str) -> bool {
        let mut words = label.split_whitespace();
        let (name, subset) = (words.next().unwrap_or_default(), words.next());
        let (name, port) = match name.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
            Some((name, Ok(port))) => (name, Some(port)),
            _ => (name, None),
        };
        let named = || host::candidates(name, &self.namespace).iter().any(|candidate| *candidate == *key.host);
        subset == key.subset.as_deref() && port.is_none_or(|port| port == key.port) && words.next().is_none() && named()
    }

    fn share_of(&self, field: &str, verb: &str, how: Option<String>, expected: Option<f64>, fits: impl Fn(&End) -> bool, judgement: &mut Judgement) {
        let percent = expected.unwrap_or(100.0);
        let odds: u128 = self.seen.iter().filter(|seen| fits(&seen.end)).map(|seen| seen.odds).sum();
        if !share::same((odds, self.whole), (share::parts(percent), share::parts(100.0))) {
            let how = how.filter(|how| !how.is_empty()).map_or_else(String::new, |how| format!(" with {how}"));
            let because = self.seen.iter().find(|seen| !fits(&seen.end)).and_then(chosen_by);
            self.fail(field, format!("{percent} % {verb}{how}"), self.summary(), because, judgement);
        }
    }

    /// What the rules do on the way.
    fn rules(&self, expect: &Expect, judgement: &mut Judgement) {
        if let Some(Delayed { time, share }) = &expect.delayed {
            self.delayed(time, *share, judgement);
        }
        if let Some(expected) = &expect.timeout {
            self.timeout("timeout", expected, |seen| seen.rule.as_ref().and_then(|rule| rule.timeout), judgement);
        }
        if let Some(expected) = &expect.retries {
            self.retries(expected, judgement);
        }
        self.text("path", expect.path.as_deref(), |forward| forward.path_and_query.clone(), self.question.path.as_deref().unwrap_or("/"), judgement);
        self.text("authority", expect.authority.as_deref(), |forward| forward.authority.clone(), &self.question.to, judgement);
        type Change = for<'x> fn(&'x Seen) -> Vec<&'x HeaderChange>;
        let request: Change = |seen| {
            let of_rule = seen.rule.iter().map(|rule| &rule.request_headers);
            of_rule.chain(seen.forward.iter().map(|forward| &forward.backend.request_headers)).collect()
        };
        let response: Change = |seen| {
            let of_rule = seen.rule.iter().map(|rule| &rule.response_headers);
            of_rule.chain(seen.forward.iter().map(|forward| &forward.backend.response_headers)).collect()
        };
        for (field, expected, changes) in
            [("requestHeaders", &expect.request_headers, request), ("responseHeaders", &expect.response_headers, response)]
        {
            if let Some(expected) = expected {
                self.headers(field, expected, changes, judgement);
            }
        }
        if let Some(expected) = expect.mutual_tls {
            self.mutual_tls(expected, judgement);
        }
        if let Some(expected) = &expect.decided_by {
            self.decided("decidedBy", expected, self.seen.iter(), judgement);
        }
    }

    fn delayed(&self, time: &str, expected: Option<f64>, judgement: &mut Judgement) {
        let percent = expected.unwrap_or(100.0);
        let wanted = match translate::duration(time) {
            Ok(wanted) => wanted,
            Err(why) => return self.fail("delayed.time", "a duration".to_owned(), why, None, judgement),
        };
        let odds: u128 = self.seen.iter().filter(|seen| seen.delay == Some(wanted)).map(|seen| seen.odds).sum();
        if !share::same((odds, self.whole), (share::parts(percent), share::parts(100.0))) {
            let delays = self.seen.iter().filter_map(|seen| Some((seen.delay?, seen)));
            let got = delays.clone().map(|(delay, seen)| format!("{} {delay:?}", self.share(seen.odds))).collect::<Vec<_>>();
            let got = if got.is_empty() { "no delay".to_owned() } else { got.join(", ") };
            let because = delays.map(|(_, seen)| seen).next().or(self.seen.first()).and_then(|seen| seen.origin.clone());
            self.fail("delayed", format!("{percent} % delayed by {wanted:?}"), got, because, judgement);
        }
    }

    fn timeout(&self, field: &str, expected: &str, of: impl Fn(&Seen) -> Option<Duration>, judgement: &mut Judgement) {
        let wanted = match expected {
            "none" => None,
            text => match translate::duration(text) {
                Ok(wanted) => Some(wanted),
                Err(why) => return self.fail(field, "a duration, or none".to_owned(), why, None, judgement),
            },
        };
        if let Some(seen) = self.seen.iter().find(|seen| of(seen) != wanted) {
            self.fail(field, expected.to_owned(), time(of(seen)), rule_of(seen), judgement);
        }
    }

    fn retries(&self, expected: &Retries, judgement: &mut Judgement) {
        if let Some(wanted) = expected.attempts {
            let of = |seen: &Seen| seen.rule.as_ref().map_or(0, |rule| rule.retry.attempts);
            if let Some(seen) = self.seen.iter().find(|seen| of(seen) != wanted) {
                self.fail("retries.attempts", wanted.to_string(), of(seen).to_string(), rule_of(seen), judgement);
            }
        }
        if let Some(wanted) = &expected.per_try_timeout {
            self.timeout("retries.perTryTimeout", wanted, |seen| seen.rule.as_ref().and_then(|rule| rule.retry.per_try_timeout), judgement);
        }
        if let Some(wanted) = &expected.on {
            let set = |text: &str| {
                text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect::<std::collections::BTreeSet<_>>()
            };
            let of = |seen: &Seen| seen.rule.as_ref().map_or_else(String::new, |rule| retry_conditions(&rule.retry.on));
            if let Some(seen) = self.seen.iter().find(|seen| set(&of(seen)) != set(wanted)) {
                self.fail("retries.on", wanted.clone(), of(seen), rule_of(seen), judgement);
            }
        }
    }

    fn text(&self, field: &str, expected: Option<&str>, of: impl Fn(&Forward) -> Option<String>, unchanged: &str, judgement: &mut Judgement) {
        let Some(expected) = expected else { return };
        for seen in &self.seen {
            let got = match &seen.forward {
                Some(forward) => of(forward).unwrap_or_else(|| unchanged.to_owned()),
                None => seen.end.describe(),
            };
            if got != expected {
                return self.fail(field, expected.to_owned(), got, rule_of(seen), judgement);
            }
        }
    }

    fn headers(&self, field: &str, expected: &Headers, changes: fn(&Seen) -> Vec<&HeaderChange>, judgement: &mut Judgement) {
        for seen in &self.seen {
            let changes = changes(seen);
            let has = |part: fn(&HeaderChange) -> &Vec<(String, String)>, name: &str, value: &str| {
                changes.iter().any(|change| part(change).iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value))
            };
            let set =
                expected.set.iter().find(|(name, value)| !has(|change| &change.set, name, value)).map(|(name, value)| ("set", name, value.as_str()));
            let add =
                expected.add.iter().find(|(name, value)| !has(|change| &change.add, name, value)).map(|(name, value)| ("add", name, value.as_str()));
            let gone = |name: &String| changes.iter().any(|change| change.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name)));
            let removed = expected.remove.iter().find(|name| !gone(name)).map(|name| ("remove", name, ""));
            if let Some((verb, name, value)) = set.or(add).or(removed) {
                let got: Vec<String> = changes.iter().flat_map(|change| told(change)).collect();
                let got = if got.is_empty() { "no change".to_owned() } else { got.join(", ") };
                return self.fail(&format!("{field}.{verb}"), format!("{verb} {name} {value}").trim_end().to_owned(), got, rule_of(seen), judgement);
            }
        }
    }

    /// Of every endpoint that a request may go to.
    fn mutual_tls(&self, expected: bool, judgement: &mut Judgement) {
        for seen in self.seen.iter().filter(|seen| seen.forward.is_some() || seen.end.arrives()) {
            let endpoints = seen.forward.as_ref().map(|forward| forward.cluster.endpoints.as_slice()).unwrap_or_default();
            let secured = endpoints.iter().filter(|endpoint| matches!(endpoint.transport, Transport::Mesh { .. })).count();
            let got = match (endpoints.len(), secured) {
                (0, _) if matches!(seen.end, End::Passes { .. }) && !expected => continue,
                (0, _) if matches!(seen.end, End::Passes { .. }) => "no mutual TLS: it is passed through".to_owned(),
                (0, _) => "nobody who serves it: name a workload in spec.workloads".to_owned(),
                (all, secured) if (secured == all) == expected && (expected || secured == 0) => continue,
                (all, secured) => format!("mutual TLS to {secured} of {all} endpoints"),
            };
            let expected = if expected { "mutual TLS" } else { "no mutual TLS" };
            return self.fail("mutualTls", expected.to_owned(), got, chosen_by(seen), judgement);
        }
    }

    fn decided<'s>(&self, field: &str, expected: &str, mut of: impl Iterator<Item = &'s Seen>, judgement: &mut Judgement) {
        let fits = |origin: &Origin| {
            let object = origin.object.to_string();
            expected == object || expected.strip_prefix(&object).is_some_and(|path| path.trim_start() == origin.path)
        };
        if let Some(seen) = of.find(|seen| !seen.origin.as_ref().is_some_and(fits)) {
            let got = seen
                .origin
                .as_ref()
                .map_or_else(|| "no object".to_owned(), |origin| format!("{} {}", origin.object, origin.path).trim_end().to_owned());
            self.fail(field, expected.to_owned(), got, seen.origin.clone(), judgement);
        }
    }

    fn copies(&self, expected: &BTreeMap<String, f64>, judgement: &mut Judgement) {
        let is = |mirror: &Mirrored, label: &str| mirror.to.as_ref().is_some_and(|key| self.is(key, label));
        let got = || match self.mirrors.is_empty() {
            true => "no mirror".to_owned(),
            false => self.mirrors.iter().map(mirror_words).collect::<Vec<_>>().join(", "),
        };
        let because = || self.mirrors.first().map(|mirror| mirror.origin.clone()).or_else(|| self.seen.first().and_then(rule_of));
        for (label, percent) in expected {
            let found: u128 = self.mirrors.iter().filter(|mirror| is(mirror, label)).map(|mirror| share::parts(mirror.percent)).sum();
            if found != share::parts(*percent) {
                return self.fail(&path::field("mirrors", label), format!("copies: {}", words(expected)), got(), because(), judgement);
            }
        }
        if let Some(other) = self.mirrors.iter().find(|mirror| !expected.keys().any(|label| is(mirror, label))) {
            self.fail("mirrors", format!("copies: {}", words(expected)), got(), Some(other.origin.clone()), judgement);
        }
    }

    fn fail(&self, field: &str, expected: String, got: String, because: Option<Origin>, judgement: &mut Judgement) {
        let path = if field.is_empty() { self.at.clone() } else { format!("{}.{field}", self.at) };
        let location = self.suite.location(&path);
        judgement.fail(Mismatch { path, location, expected, got, because });
    }

    /// All outcomes, those that end alike taken together.
    fn summary(&self) -> String {
        let mut ends: Vec<(String, u128)> = Vec::new();
        for seen in &self.seen {
            let end = seen.end.describe();
            match ends.iter_mut().find(|(known, _)| *known == end) {
                Some((_, odds)) => *odds += seen.odds,
                None => ends.push((end, seen.odds)),
            }
        }
        ends.into_iter().map(|(end, odds)| format!("{} {end}", self.share(odds))).collect::<Vec<_>>().join(", ")
    }

    fn share(&self, odds: u128) -> String {
        share::percent(odds, self.whole)
    }
}

/// What chose the destination, and else what decided.
fn chosen_by(seen: &Seen) -> Option<Origin> {
    let backend = seen.forward.as_ref().filter(|_| seen.end.arrives()).map(|forward| forward.backend.origin.clone());
    backend.or_else(|| seen.origin.clone())
}

fn rule_of(seen: &Seen) -> Option<Origin> {
    seen.rule.as_ref().map(|rule| (*rule.origin).clone()).or_else(|| seen.origin.clone())
}

fn words(expected: &BTreeMap<String, f64>) -> String {
    expected.iter().map(|(label, part)| format!("{label} {part}")).collect::<Vec<_>>().join(", ")
}

fn mirror_words(mirror: &Mirrored) -> String {
    let to = mirror.to.as_ref().map_or_else(|| "nowhere".to_owned(), label);
    format!("{} % to {to}", mirror.percent)
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| format!("{time:?}"))
}

fn told(change: &HeaderChange) -> Vec<String> {
    let set = change.set.iter().map(|(name, value)| format!("set {name} {value}"));
    let add = change.add.iter().map(|(name, value)| format!("add {name} {value}"));
    set.chain(add).chain(change.remove.iter().map(|name| format!("remove {name}"))).collect()
}
