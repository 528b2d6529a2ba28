//! Deciding one outbound exchange or connection: the service, the rule, the dice, the backend. The one path of code that
//! answers and that explains: what it looks at, it tells its trace.

use crate::cluster::{Cluster, ClusterKey, Transport};
use crate::cors::Sharing;
use crate::dice::{chance, mix, weighted};
use crate::facts::{Direction, Facts, HttpFacts};
use crate::locality::Places;
use crate::matching::{Asked, Matcher};
use crate::path::{has_dot_segments, host_name, lower, normalise};
use crate::plan::{Found, Plan, address};
use crate::rules::cluster_name;
use crate::table::{Entry, HostPlan, Rule, RuleAction, Share, Table, Target};
use crate::trace::{Mark, Silent, Toss, Trace};
use crate::transform::{affinity, location, new_path, with_query};
use crate::verdict::{Action, Forward, Go, Question, Reason, Refusal, Rolls, RulePlan, Side, Sizes, Verdict};
use crate::words;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use taut_model::host;
use taut_model::origin::Origin;
use taut_model::route::HeaderChange;
use taut_model::settings::Outside;

/// The dice: cast, or left open so that every outcome is told.
#[derive(Clone, Copy)]
pub(crate) enum Dice<'a> {
    Cast(&'a Rolls),
    Open,
}

impl Plan {
    /// What to do with one exchange or connection. The same facts and rolls give the same answer, always.
    pub fn decide(&self, facts: &Facts<'_>, rolls: &Rolls) -> Verdict {
        self.decide_with(facts, Dice::Cast(rolls), &mut Silent)
    }

    pub(crate) fn decide_with<T: Trace>(&self, facts: &Facts<'_>, dice: Dice<'_>, trace: &mut T) -> Verdict {
        match facts.direction {
            Direction::Inbound => self.inbound(facts, trace),
            Direction::Outbound => self.outbound(facts, dice, trace),
        }
    }

    /// A path with dot segments is routed, and sent on, as what it stands for (what is passed through stays as it is); any other
    /// path is routed as it was sent.
    fn outbound<T: Trace>(&self, facts: &Facts<'_>, dice: Dice<'_>, trace: &mut T) -> Verdict {
        let Some(http) = facts.http.filter(|http| has_dot_segments(http.path)) else { return self.route(facts, dice, trace) };
        let path = normalise(http.path);
        trace.step(Mark::Info, "path", || format!("becomes {path:?}: its dot segments are removed"), None);
        let mut verdict = self.route(&Facts { http: Some(HttpFacts { path: &path, ..http }), ..*facts }, dice, trace);
        if let Verdict::Go(go) = &mut verdict
            && let Action::Forward(forward) = &mut go.action
        {
            forward.path_and_query.get_or_insert_with(|| with_query(path.into_owned(), http.query));
        }
        verdict
    }

    fn route<T: Trace>(&self, facts: &Facts<'_>, dice: Dice<'_>, trace: &mut T) -> Verdict {
        match self.sought(facts) {
            Found::Service(found, table) => {
                let origin = found.service.as_ref().map(|service| &service.origin);
                trace.step(Mark::Match, "service", || format!("{}:{} ({})", found.host, facts.port, protocol_name(table)), origin);
                for (loser, because) in &table.shadowed {
                    trace.step(Mark::Info, "shadowed", || because.clone(), Some(loser));
                }
                let chosen = match facts.http {
                    Some(_) => self.http_rule(facts, table, trace),
                    None => Ok((self.tcp_rule(facts, found, table, trace), None)),
                };
                match chosen {
                    Ok((rule, entry)) => self.apply(facts, dice, rule, entry, &found.host, trace),
                    Err(refusal) => refuse(*refusal, trace),
                }
            }
            Found::Endpoint(direct) => {
                trace.step(Mark::Match, "endpoint", || format!("the address of an endpoint of {}", cluster_name(&direct.key)), None);
                self.apply(facts, dice, &direct.rule, None, &direct.key.host, trace)
            }
            Found::NoPort(found) => refuse(no_port(found, facts.port), trace),
            Found::Outside(because) if self.settings.outside == Outside::Refused => refuse(self.not_of_the_mesh(facts, because), trace),
            Found::Outside(because) => self.pass_through(facts, because, trace),
            Found::Ask(candidates) => ask(candidates, trace),
            Found::Nowhere(candidates) => {
                let detail = format!("there is no service {:?} in the mesh; looked for {}", facts.host, candidates.join(", "));
                refuse(Refusal { side: Side::Client, reason: Reason::UnknownService, status: 503, origin: None, detail }, trace)
            }
        }
    }

    /// What a client wants to reach. TLS to an address of the world outside is about the server that it asks for, if the mesh knows that
    /// one on this port: the address is what the client's resolver made of the name (Istio matches `sniHosts` alone, too).
    fn sought(&self, facts: &Facts<'_>) -> Found<'_> {
        let found = self.find(facts.host, facts.port);
        let (Found::Outside(_), Some(name), true) = (&found, facts.sni, address(facts.host).is_some()) else { return found };
        match self.find(name, facts.port) {
            Found::Service(host, table) if !table.protocol.is_http() => Found::Service(host, table),
            Found::Ask(candidates) => Found::Ask(candidates),
            _ => found,
        }
    }

    /// The first entry that matches. When routes are attached and none matches, the answer is 404: Gateway API says so, and
    /// Envoy does so for a VirtualService.
    fn http_rule<'a, T: Trace>(
        &self,
        facts: &Facts<'_>,
        table: &'a Table,
        trace: &mut T,
    ) -> Result<(&'a Arc<Rule>, Option<&'a Entry>), Box<Refusal>> {
        let (Some(http), Some(entries)) = (facts.http, &table.http) else {
            trace.step(Mark::Match, "route", || "no route is attached: to the service itself".to_owned(), Some(&table.fallback.plan.origin));
            return Ok((&table.fallback, None));
        };
        let asked = Asked { http, port: facts.port, own: self.own.as_deref() };
        let name = host_name(http.authority);
        if let Some(entry) = entries.first::<T>(&http, &name, |entry| entry.fits(&asked, &name, trace)) {
            return Ok((&entry.rule, Some(entry)));
        }
        let detail = format!("no rule matches the request; looked at {}", words::names(table.routes.iter()));
        Err(Box::new(Refusal { side: Side::Client, reason: Reason::NoRouteMatched, status: 404, origin: table.routes.first().cloned(), detail }))
    }

    /// Rules for connections fall back to the service itself when none matches, as Istio's filter chains do.
    fn tcp_rule<'a, T: Trace>(&self, facts: &Facts<'_>, found: &HostPlan, table: &'a Table, trace: &mut T) -> &'a Arc<Rule> {
        let sni = facts.sni.map(lower);
        // Who names a service would have dialled one of its addresses.
        let of_service = || found.service.iter().flat_map(|service| service.addresses.iter().copied());
        let dialled = || address(facts.host).into_iter().chain(of_service().filter(|_| address(facts.host).is_none()));
        for entry in &table.tcp {
            let origin = Some(&*entry.rule.plan.origin);
            if let Err(miss) = entry.source.check(facts.port, self.own.as_deref()) {
                trace.step(Mark::NoMatch, "no match", || miss.describe_source(facts.port, self.own.as_deref()), origin);
                continue;
            }
            if !entry.subnets.is_empty() && !dialled().any(|address| entry.subnets.iter().any(|subnet| subnet.contains(&address))) {
                let wanted = || entry.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                trace.step(Mark::NoMatch, "no match", || format!("the address dialled is in {}: it is {}", wanted(), facts.host), origin);
                continue;
            }
            if !entry.sni.is_empty() && !sni.as_deref().is_some_and(|sni| entry.sni.iter().any(|want| host::matches(want, sni))) {
                trace.step(Mark::NoMatch, "no match", || format!("server name is one of {}: {sni:?}", entry.sni.join(", ")), origin);
                continue;
            }
            trace.step(Mark::Match, "match", || "a rule for connections".to_owned(), origin);
            return &entry.rule;
        }
        let origin = &table.fallback.plan.origin;
        trace.step(Mark::Match, "route", || "no rule for connections matches: to the service itself".to_owned(), Some(origin));
        &table.fallback
    }

    fn apply<T: Trace>(&self, facts: &Facts<'_>, dice: Dice<'_>, rule: &Rule, entry: Option<&Entry>, host: &Arc<str>, trace: &mut T) -> Verdict {
        let sharing = share(rule, facts.http.as_ref(), trace);
        let go = |action, delay, cors: Option<HeaderChange>| {
            Verdict::Go(Box::new(Go {
                rule: rule.plan.clone(),
                action,
                delay,
                cors: cors.map(Box::new),
                service_host: host.clone(),
                audit: Vec::new(),
                would_deny: None,
                limits: Vec::new(),
                sizes: Sizes::default(),
            }))
        };
        // Before the fault: a preflight is the browser's question to the mesh, and no request of the page's.
        let cors = match sharing {
            Sharing::Preflight(answer) => return go(Action::Respond { status: 200, body: Vec::new() }, None, Some(answer)),
            Sharing::StrangersPreflight => {
                let detail = "pages of this origin may not send this request".to_owned();
                let origin = rule.cors.as_ref().map(|policy| policy.origin.clone());
                return refuse(Refusal { side: Side::Client, reason: Reason::OriginNotAllowed, status: 403, origin, detail }, trace);
            }
            Sharing::Shared(change) | Sharing::Stranger(change) => Some(change),
            Sharing::NotAsked => None,
        };
        let (delay, abort) = fault(rule, dice, trace);
        let matcher = entry.and_then(|entry| entry.matcher.as_deref());
        match abort.map_or_else(|| self.act(facts, dice, rule, matcher, trace), Ok) {
            Ok(action) => {
                if T::LISTENS {
                    tell_headers(&rule.plan.request_headers, &rule.plan.response_headers, &rule.plan.origin, trace);
                }
                go(action, delay, cors)
            }
            Err(verdict) => *verdict,
        }
    }

    fn act<T: Trace>(
        &self,
        facts: &Facts<'_>,
        dice: Dice<'_>,
        rule: &Rule,
        matcher: Option<&Matcher>,
        trace: &mut T,
    ) -> Result<Action, Box<Verdict>> {
        match (&rule.action, facts.http) {
            (RuleAction::Redirect(redirect, change), Some(http)) => {
                let location = location(redirect, change.as_ref(), matcher, rule.dialect, &http);
                trace.step(Mark::Chosen, "redirect", || format!("{} to {location}", redirect.status), Some(&rule.plan.origin));
                Ok(Action::Redirect { status: redirect.status, location })
            }
            (RuleAction::Respond(response), Some(_)) => {
                trace.step(Mark::Chosen, "respond", || format!("{} without calling anybody", response.status), Some(&rule.plan.origin));
                Ok(Action::Respond { status: response.status, body: response.body.clone() })
            }
            (RuleAction::Forward(shares), _) => self.forward(facts, dice, rule, matcher, shares, trace),
            // Rules for connections only forward, so this is not reached; if it were, it is refused.
            _ => Err(refuse(unusable(rule), trace).into()),
        }
    }

    /// What lets a page of another origin read the answer to a request that is refused; nothing where no rule is about it.
    pub fn cors_of_refusal(&self, facts: &Facts<'_>) -> Option<Box<HeaderChange>> {
        let (Direction::Outbound, Some(http), Found::Service(_, table)) = (facts.direction, facts.http, self.sought(facts)) else { return None };
        // As it was routed.
        let path = if has_dot_segments(http.path) { normalise(http.path) } else { Cow::Borrowed(http.path) };
        let http = HttpFacts { path: &path, ..http };
        let (rule, _) = self.http_rule(&Facts { http: Some(http), ..*facts }, table, &mut Silent).ok()?;
        match share(rule, Some(&http), &mut Silent) {
            Sharing::Shared(change) | Sharing::Stranger(change) => Some(Box::new(change)),
            Sharing::NotAsked | Sharing::Preflight(_) | Sharing::StrangersPreflight => None,
        }
    }

    fn forward<T: Trace>(
        &self,
        facts: &Facts<'_>,
        dice: Dice<'_>,
        rule: &Rule,
        matcher: Option<&Matcher>,
        shares: &[Share],
        trace: &mut T,
    ) -> Result<Action, Box<Verdict>> {
        let back = facts.http.and_then(|http| came_back(shares, &http));
        let chosen = match back {
            Some((share, _)) => Some(share),
            None => choose(rule, shares, dice, trace),
        };
        let Some(share) = chosen else { return Err(refuse(unusable(rule), trace).into()) };
        let cluster = match &share.target {
            Target::Cluster(cluster) => cluster.clone(),
            Target::Passthrough => {
                trace.step(Mark::Chosen, "passthrough", || "to the address the client named".to_owned(), Some(&share.backend.origin));
                return Ok(Action::Passthrough { host: facts.host.to_owned(), port: facts.port });
            }
            Target::Unknown(host) => return Err(ask(vec![host.clone()], trace).into()),
            Target::Refused(refusal) => return Err(refuse((**refusal).clone(), trace).into()),
        };
        if let (Some((share, position)), Some(sessions)) = (back, share.sessions()) {
            let uid = cluster.endpoints.get(position).map_or("", |endpoint| &endpoint.workload.uid);
            trace.step(
                Mark::Chosen,
                "session",
                || format!("{} of {} says {uid}, which it goes to while that is well", sessions.describe(), share.label),
                Some(&sessions.origin),
            );
        }
        if T::LISTENS {
            tell_cluster(&cluster, trace);
            tell_sessions(share, trace);
            self.tell_hedging(facts, &cluster, rule, trace);
            tell_rule(rule, trace);
            tell_headers(&share.backend.request_headers, &share.backend.response_headers, &share.backend.origin, trace);
        }
        let rolls = match dice {
            Dice::Cast(rolls) => *rolls,
            Dice::Open => Rolls::default(),
        };
        let affinity = affinity(&cluster, facts, self.own.as_deref(), rolls.cookie);
        let path_and_query = rule.rewrite.as_ref().zip(facts.http).map(|(change, http)| {
            let new = with_query(new_path(change, matcher, rule.dialect, http.path), http.query);
            trace.step(Mark::Info, "rewrite", || format!("path becomes {:?}", new.split('?').next().unwrap_or_default()), Some(&rule.plan.origin));
            new
        });
        let authority = share.authority.clone().or_else(|| rule.authority.clone());
        if let Some(authority) = &authority {
            trace.step(Mark::Info, "rewrite", || format!("authority becomes {authority}"), Some(&rule.plan.origin));
        }
        let mirrors = mirrors(rule, dice, trace).map_err(|unknown| Box::new(ask(vec![unknown], trace)))?;
        let backend = share.backend.clone();
        Ok(Action::Forward(Forward {
            cluster,
            backend,
            path_and_query,
            authority,
            hash: affinity.hash,
            set_cookie: affinity.set_cookie,
            sessions: share.sessions().cloned(),
            resumed: back.map(|(_, position)| position),
            mirrors,
        }))
    }

    /// ALLOW_ANY, Istio's default: what is not of the mesh is dialled as the client named it.
    fn pass_through<T: Trace>(&self, facts: &Facts<'_>, because: &str, trace: &mut T) -> Verdict {
        trace.step(Mark::Chosen, "passthrough", || format!("{}:{} is {because}", facts.host, facts.port), Some(&self.passthrough.origin));
        Verdict::Go(Box::new(self.passed_through(facts)))
    }

    /// Istio's REGISTRY_ONLY, with its status.
    fn not_of_the_mesh(&self, facts: &Facts<'_>, because: &str) -> Refusal {
        let detail = format!("{}:{} is {because}, and programs may reach nothing else", facts.host, facts.port);
        let origin = Some(self.settings.origin.clone());
        Refusal { side: Side::Client, reason: Reason::NotOfTheMesh, status: 502, origin, detail }
    }

    fn passed_through(&self, facts: &Facts<'_>) -> Go {
        let action = Action::Passthrough { host: facts.host.to_owned(), port: facts.port };
        Go {
            rule: self.passthrough.clone(),
            action,
            delay: None,
            cors: None,
            service_host: facts.host.to_ascii_lowercase().into(),
            audit: Vec::new(),
            would_deny: None,
            limits: Vec::new(),
            sizes: Sizes::default(),
        }
    }

    /// What to do about a question of [`Plan::decide`] when nobody is there to answer it: a name that looks like one of the
    /// world outside, and that no known wildcard covers, is passed through (ALLOW_ANY). `None`: it could be the mesh's.
    pub fn unanswered(&self, facts: &Facts<'_>) -> Option<Go> {
        let Found::Ask(candidates) = self.sought(facts) else { return None };
        (self.settings.outside == Outside::Reachable && self.looks_outside(facts.host) && self.wildcard(&candidates).is_none())
            .then(|| self.passed_through(facts))
    }
}

impl Entry {
    /// `name`: the host of the request's authority.
    fn fits<T: Trace>(&self, asked: &Asked<'_>, name: &str, trace: &mut T) -> bool {
        let matcher = self.matcher.as_ref();
        let origin = matcher.map_or(&*self.rule.plan.origin, |matcher| &matcher.origin);
        if let Some(want) = self.hostname.as_ref().filter(|want| !host::matches(want, name)) {
            trace.step(Mark::NoMatch, "no match", || format!("hostname is {want}: it is {name:?}"), Some(origin));
            return false;
        }
        match matcher.map_or(Ok(()), |matcher| matcher.check(asked)) {
            Err(miss) => {
                trace.step(Mark::NoMatch, "no match", || miss.describe(asked), Some(origin));
                false
            }
            Ok(()) => {
                let words = || matcher.map_or_else(|| "no conditions".to_owned(), |matcher| matcher.describe());
                trace.step(Mark::Match, "match", words, Some(origin));
                true
            }
        }
    }
}

fn refuse<T: Trace>(refusal: Refusal, trace: &mut T) -> Verdict {
    trace.step(Mark::Refused, "refused", || refusal.detail.clone(), refusal.origin.as_ref());
    Verdict::Refuse(refusal)
}

fn ask<T: Trace>(hosts: Vec<String>, trace: &mut T) -> Verdict {
    trace.step(Mark::Info, "not known", || format!("ask the control plane for {}", hosts.join(", ")), None);
    Verdict::Ask(Question::Services(hosts))
}

fn no_port(found: &HostPlan, port: u16) -> Refusal {
    let known = found.ports.keys().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let origin = found.service.as_ref().map(|service| service.origin.clone());
    let detail = format!("{} has no port {port}; it has {known}", found.host);
    Refusal { side: Side::Client, reason: Reason::UnknownPort, status: 503, origin, detail }
}

fn unusable(rule: &Rule) -> Refusal {
    let detail = "the rule names no backend with a weight above zero".to_owned();
    Refusal { side: Side::Mesh, reason: Reason::BackendUnresolved, status: 500, origin: Some((*rule.plan.origin).clone()), detail }
}

/// The delay and the abort that fall on this exchange. They are independent, and the delay comes first.
fn fault<T: Trace>(rule: &Rule, dice: Dice<'_>, trace: &mut T) -> (Option<Duration>, Option<Action>) {
    let Some(fault) = &rule.fault else { return (None, None) };
    let origin = Some(&fault.origin);
    for toss in [fault.delay.as_ref().map(|delay| Toss::Delay(delay.percent)), fault.abort.as_ref().map(|abort| Toss::Abort(abort.percent))] {
        toss.into_iter().for_each(|toss| trace.toss(|| toss));
    }
    let mut falls = |what: &dyn Fn() -> String, percent: f64, roll: fn(&Rolls) -> u64| match dice {
        Dice::Open => {
            trace.step(Mark::Info, "fault", || format!("{} for {percent} % of requests", what()), origin);
            trace.possible(|| format!("{} ({percent} %)", what()));
            false
        }
        Dice::Cast(rolls) => {
            let hit = chance(percent, roll(rolls));
            let (mark, result) = if hit { (Mark::Chosen, "injected here") } else { (Mark::NoMatch, "not here") };
            trace.step(mark, "fault", || format!("{} for {percent} % of requests: {result}", what()), origin);
            hit
        }
    };
    let delay = fault.delay.as_ref().filter(|delay| falls(&|| format!("delay of {:?}", delay.duration), delay.percent, |rolls| rolls.delay));
    let abort =
        fault.abort.as_ref().filter(|abort| falls(&|| format!("abort with {}", words::abort(abort.with)), abort.percent, |rolls| rolls.abort));
    (delay.map(|delay| delay.duration), abort.map(|abort| Action::Abort { with: abort.with, origin: fault.origin.clone() }))
}

/// The share that a client has been at before, and the position of its endpoint there. It stays there however traffic is split (GEP-1619),
/// as long as the share gets any.
fn came_back<'a>(shares: &'a [Share], http: &HttpFacts<'_>) -> Option<(&'a Share, usize)> {
    shares.iter().filter(|share| share.weight > 0).find_map(|share| Some((share, share.sessions()?.resumed(http)?)))
}

/// `None` when all weights are zero. With open dice, tells all and returns the heaviest.
fn choose<'a, T: Trace>(rule: &Rule, shares: &'a [Share], dice: Dice<'_>, trace: &mut T) -> Option<&'a Share> {
    let weights = shares.iter().map(|share| u64::from(share.weight));
    trace.toss(|| Toss::Backend(weights.clone().collect()));
    let total: u64 = weights.clone().sum();
    let weight = |share: &Share| format!("{} (weight {} of {total})", share.label, share.weight);
    let one = shares.iter().filter(|share| share.weight > 0).count() == 1;
    let chosen = match dice {
        Dice::Cast(rolls) => shares.get(weighted(weights, rolls.backend)?)?,
        // The first of the heaviest.
        Dice::Open => shares.iter().rev().max_by_key(|share| share.weight).filter(|share| share.weight > 0)?,
    };
    if matches!(dice, Dice::Open) && !one {
        for share in shares {
            trace.step(Mark::Info, "possible", || format!("{}{}", weight(share), trouble(&share.target)), Some(&share.backend.origin));
            trace.possible(|| format!("{} {}", percentage(share.weight, total), share.label));
        }
        trace.step(Mark::Info, "of these", || format!("{} is followed below", chosen.label), Some(&rule.plan.origin));
    } else {
        trace.step(Mark::Chosen, "chosen", || weight(chosen), Some(&chosen.backend.origin));
    }
    Some(chosen)
}

fn percentage(weight: u32, total: u64) -> String {
    let percent = f64::from(weight) * 100.0 / total.max(1) as f64;
    format!("{} %", (percent * 100.0).round() / 100.0)
}

fn cluster_key(target: &Target) -> Option<ClusterKey> {
    match target {
        Target::Cluster(cluster) => Some(cluster.key.clone()),
        Target::Passthrough | Target::Unknown(_) | Target::Refused(_) => None,
    }
}

fn trouble(target: &Target) -> String {
    match target {
        Target::Refused(refusal) => format!(": {}", refusal.detail),
        Target::Unknown(_) => ": not known yet".to_owned(),
        Target::Cluster(_) | Target::Passthrough => String::new(),
    }
}

/// The clusters that get a copy. A mirror that cannot be reached is left out: copies never harm the original.
///
/// # Errors
/// The host of a mirror that is due and not known yet.
fn mirrors<T: Trace>(rule: &Rule, dice: Dice<'_>, trace: &mut T) -> Result<Vec<Arc<Cluster>>, String> {
    let mut due = Vec::new();
    for (position, (share, percent)) in rule.mirrors.iter().enumerate() {
        // Each mirror has a roll of its own, drawn from the one.
        let hit = match dice {
            Dice::Cast(rolls) => chance(*percent, if position == 0 { rolls.mirror } else { mix(rolls.mirror ^ mix(position as u64)) }),
            Dice::Open => false,
        };
        let mark = if hit { Mark::Chosen } else { Mark::Info };
        let origin = Some(&share.backend.origin);
        trace.step(mark, "mirror", || format!("a copy of {percent} % of requests to {}{}", share.label, trouble(&share.target)), origin);
        trace.toss(|| Toss::Mirror { to: cluster_key(&share.target), percent: *percent, origin: share.backend.origin.clone() });
        match &share.target {
            Target::Cluster(cluster) if hit => due.push(cluster.clone()),
            Target::Unknown(host) if hit => return Err(host.clone()),
            _ => {}
        }
    }
    Ok(due)
}

impl Plan {
    /// At most how many percent of copies a rule's requests may have, and what says so.
    pub(crate) fn hedging<'a>(&'a self, rule: &'a RulePlan) -> Option<(f64, &'a Origin)> {
        let of_mesh = self.settings.hedging.map(|percent| (percent, &self.settings.origin));
        let (percent, origin) = rule.hedging.as_ref().map(|hedging| (hedging.percent, &hedging.origin)).or(of_mesh)?;
        (percent > 0.0).then_some((percent, origin))
    }

    fn tell_hedging<T: Trace>(&self, facts: &Facts<'_>, cluster: &Cluster, rule: &Rule, trace: &mut T) {
        let safe = facts.http.is_some_and(|http| matches!(http.method, "GET" | "HEAD"));
        if let Some((percent, origin)) = self.hedging(&rule.plan).filter(|_| safe && cluster.endpoints.len() > 1) {
            let what = || format!("a second copy to another endpoint when the first takes long, at most {percent} % more requests");
            trace.step(Mark::Info, "hedging", what, Some(origin));
        }
    }
}

fn tell_cluster<T: Trace>(cluster: &Cluster, trace: &mut T) {
    let origin = cluster.origin.as_ref();
    let balanced = || format!("{} ready, balanced by {}", cluster.endpoints.len(), words::balancer(&cluster.balancer));
    trace.step(Mark::Info, "endpoints", balanced, cluster.balancer_origin.as_ref());
    if origin.is_some() && origin != cluster.balancer_origin.as_ref() {
        trace.step(Mark::Info, "destination", || "TLS, limits and ejection as they are said here".to_owned(), origin);
    }
    for endpoint in &cluster.endpoints {
        let how = || match &endpoint.transport {
            Transport::Mesh { expect, .. } => format!("{}, mutual TLS, must prove {expect}", endpoint.workload.uid),
            Transport::Tls { server_name, .. } => format!("{}, TLS to {server_name}", endpoint.workload.uid),
            Transport::Plain => format!("{}, plain text", endpoint.workload.uid),
        };
        trace.step(Mark::Info, "endpoint", how, Some(&endpoint.workload.origin));
    }
    if let Some(origin) = &cluster.budget_origin {
        trace.step(Mark::Info, "budget", || words::retry_budget(&cluster.retry_budget), Some(origin));
    }
    if let Some(version) = cluster.proxy_protocol {
        trace.step(Mark::Info, "client address", || format!("told first, in a PROXY protocol header ({version:?})"), origin);
    }
    if let Some(outlier) = &cluster.outlier {
        trace.step(Mark::Info, "ejection", || format!("after {} consecutive 5xx for {:?}", outlier.consecutive_5xx, outlier.base_ejection), origin);
    }
    if !matches!(cluster.places, Places::Alike) {
        trace.step(Mark::Info, "locality", || words::places(&cluster.places), origin);
    }
    if let Some(warm_up) = &cluster.warm_up {
        let how = || format!("new endpoints start at {} % of their share and have all of it after {:?}", warm_up.minimum_percent, warm_up.duration);
        trace.step(Mark::Info, "warm-up", how, origin);
    }
    if let Some(check) = &cluster.health_check {
        trace.step(Mark::Info, "checked", || words::health_check(check), Some(&check.origin));
    }
}

fn tell_sessions<T: Trace>(share: &Share, trace: &mut T) {
    if let Some(sessions) = share.sessions() {
        trace.step(Mark::Info, "sessions", || format!("kept by {}", sessions.describe()), Some(&sessions.origin));
    }
}

fn tell_rule<T: Trace>(rule: &Rule, trace: &mut T) {
    let plan = &rule.plan;
    let timeout = || match (plan.timeout, rule.fault_disarms) {
        (Some(timeout), _) => format!("{timeout:?} for the whole exchange"),
        (None, true) => "none: a rule with a fault has none".to_owned(),
        (None, false) => "none".to_owned(),
    };
    trace.step(Mark::Info, "timeout", timeout, Some(&plan.origin));
    let retries = || match (plan.retry.attempts, rule.fault_disarms) {
        (0, true) => "none: a rule with a fault has none".to_owned(),
        (0, false) => "none".to_owned(),
        (attempts, _) => format!("up to {attempts} on {}{}", words::retry_on(&plan.retry.on), words::retry_limits(&plan.retry)),
    };
    match plan.default_retry {
        true => trace.step(Mark::Info, "retries", retries, Some(&Origin::built_in("retries"))),
        false => trace.step(Mark::Info, "retries", retries, Some(&plan.origin)),
    }
}

/// Names only: a value may be a secret.
fn tell_headers<T: Trace>(request: &HeaderChange, response: &HeaderChange, origin: &Origin, trace: &mut T) {
    for (whose, change) in [("request", request), ("response", response)].into_iter().filter(|(_, change)| !change.is_empty()) {
        trace.step(Mark::Info, "headers", || format!("of the {whose}: {}", words::header_change(change)), Some(origin));
    }
}

fn share<T: Trace>(rule: &Rule, http: Option<&HttpFacts<'_>>, trace: &mut T) -> Sharing {
    let (Some(policy), Some(http)) = (&rule.cors, http) else { return Sharing::NotAsked };
    let sharing = policy.judge(http);
    if T::LISTENS
        && let Some(told) = sharing.describe(http)
    {
        trace.step(Mark::Info, "cors", || told, Some(&policy.origin));
    }
    sharing
}

fn protocol_name(table: &Table) -> String {
    format!("{:?}", table.protocol).to_ascii_lowercase()
}
