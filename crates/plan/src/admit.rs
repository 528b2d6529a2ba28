//! Deciding what may reach the workload beside this proxy: its port, how the peer must prove itself, and what it may do.

use crate::authorization::{Visit, client};
use crate::facts::Facts;
use crate::path::normalise;
use crate::plan::Plan;
use crate::principal::Principals;
use crate::rate::Due;
use crate::token::{Claims, Token};
use crate::trace::{Mark, Trace};
use crate::verdict::{Action, Go, Permission, Question, Reason, Refusal, RulePlan, Side, Sizes, Verdict};
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::MtlsMode;
use taut_model::workload::Workload;

/// Why something is not let in, or not yet.
enum Halt {
    Refused(Box<Refusal>),
    Asks(Box<Permission>),
}

impl From<Box<Refusal>> for Halt {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

/// What the authorization policies have found.
struct Allowed {
    rule: Arc<RulePlan>,
    audit: Vec<Origin>,
    would_deny: Option<Box<Origin>>,
}

impl Plan {
    pub(crate) fn inbound<T: Trace>(&self, facts: &Facts<'_>, trace: &mut T) -> Verdict {
        match self.admit(facts, trace) {
            Ok(go) => Verdict::Go(Box::new(go)),
            Err(Halt::Asks(permission)) => {
                trace.step(Mark::Info, "custom", || format!("the authorizer {:?} is asked", permission.name), Some(&permission.rule));
                Verdict::Ask(Question::Permission(permission))
            }
            Err(Halt::Refused(refused)) => {
                trace.step(Mark::Refused, "refused", || refused.detail.clone(), refused.origin.as_ref());
                Verdict::Refuse(*refused)
            }
        }
    }

    fn admit<T: Trace>(&self, facts: &Facts<'_>, trace: &mut T) -> Result<Go, Halt> {
        let refusal = |side, reason, status, origin, detail: String| Box::new(Refusal { side, reason, status, origin, detail });
        let Some(own) = self.own.as_deref().filter(|_| self.inbound.complete) else {
            let detail = "the control plane has not sent every policy for this workload yet, so nothing is let in".to_owned();
            return Err(refusal(Side::Mesh, Reason::PoliciesNotReceived, 503, None, detail).into());
        };
        let Some(port) = own_port(own, facts) else {
            let asked = if facts.host.is_empty() { format!("port {}", facts.port) } else { format!("{}:{}", facts.host, facts.port) };
            let detail = format!("{} does not serve {asked}", own.uid);
            return Err(refusal(Side::Mesh, Reason::NotServedHere, 503, Some(own.origin.clone()), detail).into());
        };
        trace.step(Mark::Match, "workload", || format!("{} port {port}", own.uid), Some(&own.origin));
        self.authenticate(facts, port, trace)?;
        let service = self.service_served(facts);
        let claims = self.claims(facts, service, trace)?;
        let requester = claims.and_then(Claims::principal);
        let path = facts.http.map_or(Default::default(), |http| normalise(http.path));
        let visit = Visit {
            identity: facts.peer.identity,
            principals: facts.peer.identity.map(|identity| Principals::of(identity, &self.inbound.domains)),
            address: facts.peer.address,
            client: client(facts),
            port,
            own_address: self.inbound.own_address,
            sni: facts.sni.or(Some(facts.host)).filter(|name| !name.is_empty()),
            http: facts.http.as_ref(),
            path: &path,
            service,
            claims,
            requester: requester.as_deref(),
        };
        let Allowed { rule, audit, would_deny } = self.authorize(&visit, trace)?;
        let limits = self.limits_on(&visit, facts, trace)?;
        let sizes = self.sizes_of(&visit, trace);
        trace.step(Mark::Chosen, "let in", || format!("to the application on port {port}"), Some(&rule.origin));
        if facts.http.is_some() && self.settings.protection {
            let what = || "waits or is sent away if the application has more to do than it can, least urgent first".to_owned();
            trace.step(Mark::Info, "protection", what, Some(&self.settings.origin));
        }
        if let Some(compression) = self.compression().filter(|_| facts.http.is_some()) {
            let what = || format!("of {} from {} bytes on, for clients that take gzip", compression.content_types.join(", "), compression.min_length);
            trace.step(Mark::Info, "compression", what, Some(&self.settings.origin));
        }
        let path = facts.http.filter(|http| http.path != path).map(|_| path.into_owned());
        if let Some(path) = &path {
            trace.step(Mark::Info, "path", || format!("becomes {path:?}, as it was authorized"), None);
        }
        Ok(Go {
            rule,
            action: Action::Local { port, path },
            delay: None,
            cors: None,
            service_host: self.served_host(own, facts, port),
            audit,
            would_deny,
            limits,
            sizes,
        })
    }

    /// Whether plain text is good enough. Envoy would close the connection; here HTTP clients are told (403).
    /// Mutual TLS is taken in every mode, DISABLE too.
    fn authenticate<T: Trace>(&self, facts: &Facts<'_>, port: u16, trace: &mut T) -> Result<(), Box<Refusal>> {
        if let Some(identity) = facts.peer.identity {
            trace.step(Mark::Match, "mutual TLS", || format!("the peer proved to be {identity}"), None);
            return Ok(());
        }
        let (mode, origin) = self.inbound.port_modes.get(&port).unwrap_or(&self.inbound.mode);
        let refusal =
            |origin: Option<Origin>, detail| Box::new(Refusal { side: Side::Client, reason: Reason::MutualTlsRequired, status: 403, origin, detail });
        if *mode == MtlsMode::Strict {
            return Err(refusal(Some(origin.clone()), format!("port {port} takes only mutual TLS (STRICT), and the peer came in plain text")));
        }
        let known = facts.peer.address.and_then(|address| self.inbound.meshed.get(&address.to_canonical()));
        if let Some(peer) = known.filter(|_| *mode == MtlsMode::Permissive) {
            let detail = format!("plain text from the address of {peer}, which is in the mesh and could have proved itself");
            return Err(refusal(Some(Origin::built_in("PERMISSIVE takes no plain text from inside the mesh")), detail));
        }
        trace.step(Mark::Match, "plain text", || format!("allowed on port {port}"), Some(origin));
        Ok(())
    }

    /// What the request's token says. Without one it goes on as nobody's: policies decide what such a request may do.
    fn claims<'a, T: Trace>(&self, facts: &Facts<'a>, service: Option<&str>, trace: &mut T) -> Result<Option<&'a Claims>, Box<Refusal>> {
        let issuers = &self.inbound.issuers;
        let Some(http) = facts.http.filter(|_| issuers.of(service).next().is_some()) else { return Ok(None) };
        if let Some(closed) = issuers.closed(service) {
            let detail = format!("{} is not accepted, so nobody knows which tokens are good, and no request is let in", closed.origin.object);
            let (reason, origin) = (Reason::TokensUnreadable, Some(closed.origin.clone()));
            return Err(Box::new(Refusal { side: Side::Mesh, reason, status: 503, origin, detail }));
        }
        match http.token {
            None => trace.step(Mark::Info, "token", || "the request carries none, so it is nobody's".to_owned(), None),
            Some(Token::Proven(claims)) => {
                // Of an exchange that goes on: its issuer may have been taken out.
                let rule = issuers.rule(&claims.rule, service);
                let text = || if rule.is_some() { "verified" } else { "of an issuer whose tokens are not taken any more" }.to_owned();
                trace.step(if rule.is_some() { Mark::Match } else { Mark::NoMatch }, "token", text, Some(&claims.rule));
                return Ok(rule.map(|_| claims));
            }
            Some(Token::Refused(bad)) => {
                let (side, detail) = (if bad.flaw.status() == 401 { Side::Client } else { Side::Mesh }, bad.flaw.describe().to_owned());
                let origin = bad.rule.as_deref().cloned().or_else(|| issuers.of(service).next().map(|policy| policy.origin.clone()));
                return Err(Box::new(Refusal { side, reason: Reason::Token(bad.flaw), status: bad.flaw.status(), origin, detail }));
            }
        }
        Ok(None)
    }

    /// Istio's order: an authorizer that CUSTOM asks must agree; a DENY that matches denies; without ALLOW policies all else is allowed;
    /// with them, one must match.
    fn authorize<T: Trace>(&self, visit: &Visit<'_>, trace: &mut T) -> Result<Allowed, Halt> {
        let inbound = &self.inbound;
        self.permission(visit, trace)?;
        if let Some((policy, rule)) = inbound.deny.first(visit, "deny", trace) {
            return Err(denied(Some(rule.origin().clone()), format!("{} denies it", policy.origin.object)).into());
        }
        let mut audit = Vec::new();
        for rule in inbound.audit.each::<T>(visit) {
            trace.step(Mark::Match, "audit", || "to be recorded".to_owned(), Some(rule.origin()));
            audit.push(rule.origin().clone());
        }
        let would_deny = self.would_deny(visit, trace);
        if let Some((_, rule)) = inbound.allow.first(visit, "allow", trace) {
            trace.step(Mark::Match, "allow", || "a rule matches".to_owned(), Some(rule.origin()));
            return Ok(Allowed { rule: rule.plan.clone(), audit, would_deny });
        }
        if let Some(first) = inbound.allow.about(visit).next() {
            let why = format!("no ALLOW policy matched: {}", inbound.allow.mismatches(visit));
            return Err(denied(Some(first.origin.clone()), why).into());
        }
        Ok(Allowed { rule: inbound.open.clone(), audit, would_deny })
    }

    /// Whether the authorizers that CUSTOM policies name have let it pass; asks for it where they have not been asked.
    fn permission<T: Trace>(&self, visit: &Visit<'_>, trace: &mut T) -> Result<(), Halt> {
        let mut matching = self.inbound.custom.iter().filter_map(|policy| Some((policy, policy.matching(visit, true)?)));
        let Some((policy, rule)) = matching.next() else { return Ok(()) };
        let refused = |detail: String| Err(denied(Some(rule.origin().clone()), detail).into());
        if let Some((other, _)) = matching.find(|(other, _)| other.provider != policy.provider) {
            let (one, other) = (&policy.origin.object, &other.origin.object);
            return refused(format!("{one} and {other} ask different authorizers about it, and a workload can have one"));
        }
        let Some(http) = visit.http else {
            return refused(format!("{} has an authorizer asked about requests, and this is a connection", policy.origin.object));
        };
        if http.permitted_by == Some(&*policy.provider) {
            trace.step(Mark::Match, "custom", || format!("the authorizer {:?} has let it pass", policy.provider), Some(rule.origin()));
            return Ok(());
        }
        match self.authorizer(&policy.provider) {
            Some(authorizer) => {
                let (name, rule) = (policy.provider.clone(), rule.origin().clone());
                Err(Halt::Asks(Box::new(Permission { name, authorizer: authorizer.clone(), rule })))
            }
            None => refused(format!("{} asks {:?}, which is no authorizer among the mesh's providers", policy.origin.object, policy.provider)),
        }
    }

    /// What the dry runs say of what the policies in force have not denied: the one that would refuse it, were all of them in force.
    fn would_deny<T: Trace>(&self, visit: &Visit<'_>, trace: &mut T) -> Option<Box<Origin>> {
        let inbound = &self.inbound;
        if let Some((_, rule)) = inbound.would_deny.first(visit, "dry run", trace) {
            trace.step(Mark::Info, "dry run", || "would deny it".to_owned(), Some(rule.origin()));
            return Some(Box::new(rule.origin().clone()));
        }
        let first = inbound.would_allow.about(visit).next()?;
        if let Some((_, rule)) = inbound.would_allow.first(visit, "dry run", trace) {
            trace.step(Mark::Info, "dry run", || "would let it in".to_owned(), Some(rule.origin()));
            return None;
        }
        let restricted = inbound.allow.about(visit).next().is_some();
        if restricted {
            return None;
        }
        trace.step(Mark::Info, "dry run", || "would not let it in: no rule of it matches".to_owned(), Some(&first.origin));
        Some(Box::new(first.origin.clone()))
    }

    /// The limits that the exchange falls under. One of nothing needs no counting.
    fn limits_on<T: Trace>(&self, visit: &Visit<'_>, facts: &Facts<'_>, trace: &mut T) -> Result<Vec<Due>, Box<Refusal>> {
        let mut limits = Vec::new();
        let address = facts.peer.client.or(facts.peer.address);
        for counted in &self.inbound.limits.counted {
            let limit = &counted.limit;
            let Some(due) = counted.due(visit, address) else {
                trace.step(Mark::NoMatch, "limit", || format!("{limit}: not for this"), Some(&limit.origin));
                continue;
            };
            if limit.requests == 0 {
                let detail = format!("{} allows no request", limit.name);
                let (reason, origin) = (Reason::RateLimited, Some(limit.origin.clone()));
                return Err(Box::new(Refusal { side: Side::Client, reason, status: 429, origin, detail }));
            }
            trace.step(Mark::Match, "limit", || format!("{limit}: counts, if there is room"), Some(&limit.origin));
            limits.push(due);
        }
        Ok(limits)
    }

    /// The smallest of the limits on sizes. Connections have none.
    fn sizes_of<T: Trace>(&self, visit: &Visit<'_>, trace: &mut T) -> Sizes {
        let mut sizes = Sizes::default();
        for sized in self.inbound.limits.sized.iter().filter(|sized| visit.http.is_some() && sized.matches(visit)) {
            let limit = &sized.limit;
            for (what, most, known) in [("request", limit.max_request, &mut sizes.request), ("response", limit.max_response, &mut sizes.response)] {
                let Some(most) = most else { continue };
                trace.step(Mark::Match, "size", || format!("a {what} of at most {most} bytes"), Some(&limit.origin));
                if known.as_ref().is_none_or(|(smallest, _)| most < *smallest) {
                    *known = Some((most, limit.origin.clone()));
                }
            }
        }
        sizes
    }

    /// The service that an exchange is for: the one that the peer named, else one that the workload serves on this port.
    fn served_host(&self, own: &Workload, facts: &Facts<'_>, port: u16) -> Arc<str> {
        let by_port = || own.serves.iter().find(|serves| serves.target == port).map(|serves| serves.host.as_str());
        let name = Some(facts.host).filter(|host| !host.is_empty()).or_else(by_port).unwrap_or_default();
        self.inbound.served.iter().find(|host| ***host == *name).map_or_else(|| name.into(), Arc::clone)
    }
}

fn denied(origin: Option<Origin>, detail: String) -> Box<Refusal> {
    Box::new(Refusal { side: Side::Client, reason: Reason::AuthorizationDenied, status: 403, origin, detail })
}

/// The workload's own port for what was asked; `None` if it serves no such thing.
fn own_port(own: &Workload, facts: &Facts<'_>) -> Option<u16> {
    match facts.host {
        "" => own.serves.iter().find(|serves| serves.target == facts.port).map(|serves| serves.target),
        host => own.target(host, facts.port),
    }
}
