//! AuthorizationPolicy rules: whether one matches an inbound exchange or connection.
//!
//! Attributes of HTTP do not exist on other connections, and a value in a policy that cannot be read says nothing. Both are
//! *unknown*: an ALLOW rule that needs one never matches, a DENY rule takes it as matched, so a policy is never weaker than
//! it reads.

mod mismatch;

use crate::domains::Domains;
use crate::facts::{Facts, HttpFacts};
use crate::index::{AnyOf, Demand};
use crate::path::{fits_template, lower, split_authority, undotted};
use crate::principal::{Principal, Principals};
use crate::rules::bare_plan;
use crate::token::Claims;
use crate::verdict::RulePlan;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, ConditionKey, OperationMatch, SourceMatch};

/// Istio reads this trust domain in a policy as the mesh's own, whatever that is called, and all its aliases.
const LOCAL_TRUST_DOMAIN: &str = "cluster.local";

/// Where proxies of HTTP write the addresses that they have requests from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client of an exchange or connection. A load balancer of TCP names it in the PROXY protocol, and that holds. Else, a proxy of
/// HTTP may have stood in between and have named it in a header, where anybody could have: then nobody knows.
pub(crate) fn client(facts: &Facts<'_>) -> Option<IpAddr> {
    let forwarded = facts.http.is_some_and(|http| http.headers.contains_key(FORWARDED_FOR));
    facts.peer.client.filter(|client| !forwarded || facts.peer.address != Some(*client))
}

/// What rules are held against.
pub(crate) struct Visit<'a> {
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) principals: Option<Principals<'a>>,
    pub(crate) address: Option<IpAddr>,
    /// The client behind what stands before the workload; `None` if that cannot be told.
    pub(crate) client: Option<IpAddr>,
    /// The workload's own port.
    pub(crate) port: u16,
    /// The workload's own address.
    pub(crate) own_address: Option<IpAddr>,
    pub(crate) sni: Option<&'a str>,
    pub(crate) http: Option<&'a HttpFacts<'a>>,
    /// Normalised.
    pub(crate) path: &'a str,
    /// The host of the service that it is for; `None` if that cannot be told.
    pub(crate) service: Option<&'a str>,
    /// Of the request's token; `None` without one.
    pub(crate) claims: Option<&'a Claims>,
    /// `issuer/subject` of that.
    pub(crate) requester: Option<&'a str>,
}

#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) origin: Origin,
    pub(crate) action: AuthorizationAction,
    /// The authorizer that CUSTOM asks.
    pub(crate) provider: Arc<str>,
    pub(crate) dry_run: bool,
    /// Empty: about everything.
    services: Vec<String>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    /// Carries the rule's origin; what an exchange allowed by it is recorded under.
    pub(crate) plan: Arc<RulePlan>,
    from: Vec<Source>,
    to: Vec<Operation>,
    when: Vec<When>,
}

/// `(values, not_values)`.
type Lists<T> = (Vec<T>, Vec<T>);
/// `None`: cannot be read.
type Blocks = Lists<Option<IpNet>>;

#[derive(Debug)]
struct Source {
    principals: Lists<Glob>,
    namespaces: Lists<Glob>,
    accounts: Lists<String>,
    requesters: Lists<Glob>,
    trust_domains: Lists<Glob>,
    blocks: Blocks,
    client_blocks: Blocks,
}

#[derive(Debug)]
struct Operation {
    hosts: Lists<Glob>,
    ports: Lists<u16>,
    methods: Lists<Glob>,
    paths: Lists<PathGlob>,
}

#[derive(Debug)]
enum When {
    Header(String, Lists<Glob>),
    SourceIp(Blocks),
    RemoteIp(Blocks),
    DestinationIp(Blocks),
    Namespace(Lists<Glob>),
    Principal(Lists<Glob>),
    Account(Lists<String>),
    TrustDomain(Lists<Glob>),
    Port(Lists<Option<u16>>),
    Sni(Lists<Glob>),
    Requester(Lists<Glob>),
    Claim(Vec<String>, Lists<Glob>),
}

/// Exact, `prefix*`, `*suffix`, or `*` (present).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Glob {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Present,
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Self {
        match (text, text.strip_suffix('*'), text.strip_prefix('*')) {
            ("*", ..) => Self::Present,
            (_, Some(prefix), _) => Self::Prefix(prefix.to_owned()),
            (_, None, Some(suffix)) => Self::Suffix(suffix.to_owned()),
            _ => Self::Exact(text.to_owned()),
        }
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Prefix(text) => value.starts_with(text.as_str()),
            Self::Suffix(text) => value.ends_with(text.as_str()),
            // Istio: present means not empty.
            Self::Present => !value.is_empty(),
        }
    }

    /// As [`Glob::matches`], for a text that is never empty.
    fn matches_principal(&self, principal: Principal<'_>) -> bool {
        match self {
            Self::Exact(text) => principal.is(text),
            Self::Prefix(text) => principal.starts_with(text),
            Self::Suffix(text) => principal.ends_with(text),
            Self::Present => true,
        }
    }
}

#[derive(Debug)]
enum PathGlob {
    Glob(Glob),
    Template(String),
}

impl Policy {
    /// Values that cannot be read are told in `problems`, and unknown in the sense of the module.
    pub(crate) fn compile(said: &AuthorizationPolicy, domains: &Domains, problems: &mut Vec<(Origin, String)>) -> Self {
        let mut reader = Reader { domains, problems, origin: &said.origin };
        let rules = said.rules.iter().map(|rule| reader.rule(rule)).collect();
        Self {
            origin: said.origin.clone(),
            action: said.action,
            provider: said.provider.as_str().into(),
            dry_run: said.dry_run,
            services: said.services.clone(),
            rules,
        }
    }

    /// The first rule that matches, if the policy is about such visits. `unknown`: see the module.
    pub(crate) fn matching(&self, visit: &Visit<'_>, unknown: bool) -> Option<&Rule> {
        self.rules.iter().find(|rule| self.matches(rule, visit, unknown))
    }

    pub(crate) fn matches(&self, rule: &Rule, visit: &Visit<'_>, unknown: bool) -> bool {
        self.is_about(visit, unknown) && rule.matches(visit, unknown)
    }

    /// Whether it is attached to the service that the visit is for. `unknown` where that cannot be told.
    pub(crate) fn is_about(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        self.services.is_empty() || visit.service.map_or(unknown, |service| self.services.iter().any(|one| one == service))
    }

    pub(crate) fn header_names(&self, into: &mut BTreeSet<String>) {
        for rule in &self.rules {
            for when in &rule.when {
                match when {
                    When::Header(name, _) => drop(into.insert(name.clone())),
                    When::RemoteIp(_) => drop(into.insert(FORWARDED_FOR.to_owned())),
                    _ => {}
                }
            }
            if rule.from.iter().any(|source| !source.client_blocks.0.is_empty() || !source.client_blocks.1.is_empty()) {
                into.insert(FORWARDED_FOR.to_owned());
            }
        }
    }
}

struct Reader<'a> {
    domains: &'a Domains,
    problems: &'a mut Vec<(Origin, String)>,
    origin: &'a Origin,
}

impl Reader<'_> {
    fn rule(&mut self, said: &AuthorizationRule) -> Rule {
        Rule {
            plan: Arc::new(bare_plan(said.origin.clone())),
            from: said.from.iter().map(|source| self.source(source)).collect(),
            to: said.to.iter().map(operation).collect(),
            when: said.when.iter().map(|condition| self.condition(condition)).collect(),
        }
    }

    fn source(&mut self, said: &SourceMatch) -> Source {
        Source {
            principals: (self.principals(&said.principals), self.principals(&said.not_principals)),
            namespaces: globs(&said.namespaces, &said.not_namespaces),
            accounts: (said.service_accounts.clone(), said.not_service_accounts.clone()),
            requesters: globs(&said.request_principals, &said.not_request_principals),
            trust_domains: (self.trust_domains(&said.trust_domains), self.trust_domains(&said.not_trust_domains)),
            blocks: (self.blocks(&said.ip_blocks), self.blocks(&said.not_ip_blocks)),
            client_blocks: (self.blocks(&said.remote_ip_blocks), self.blocks(&said.not_remote_ip_blocks)),
        }
    }

    fn condition(&mut self, said: &Condition) -> When {
        let lists = || globs(&said.values, &said.not_values);
        match &said.key {
            ConditionKey::RequestHeader(name) => When::Header(name.to_ascii_lowercase(), lists()),
            ConditionKey::SourceIp => When::SourceIp((self.blocks(&said.values), self.blocks(&said.not_values))),
            ConditionKey::RemoteIp => When::RemoteIp((self.blocks(&said.values), self.blocks(&said.not_values))),
            ConditionKey::DestinationIp => When::DestinationIp((self.blocks(&said.values), self.blocks(&said.not_values))),
            ConditionKey::SourceNamespace => When::Namespace(lists()),
            ConditionKey::SourcePrincipal => When::Principal((self.principals(&said.values), self.principals(&said.not_values))),
            ConditionKey::SourceServiceAccount => When::Account((said.values.clone(), said.not_values.clone())),
            ConditionKey::SourceTrustDomain => When::TrustDomain((self.trust_domains(&said.values), self.trust_domains(&said.not_values))),
            ConditionKey::DestinationPort => When::Port((self.ports(&said.values), self.ports(&said.not_values))),
            ConditionKey::ConnectionSni => When::Sni(lists()),
            ConditionKey::RequestPrincipal => When::Requester(lists()),
            ConditionKey::RequestAudiences => When::Claim(vec!["aud".to_owned()], lists()),
            ConditionKey::RequestPresenter => When::Claim(vec!["azp".to_owned()], lists()),
            ConditionKey::RequestClaim(path) => When::Claim(path.clone(), lists()),
        }
    }

    /// Those under the mesh's other names need not be written out: members of the mesh come with a principal under each.
    fn principals(&self, said: &[String]) -> Vec<Glob> {
        let own = self.domains.own();
        let local = |text: &String| {
            let text = text.strip_prefix("spiffe://").unwrap_or(text);
            match text.strip_prefix(LOCAL_TRUST_DOMAIN).filter(|rest| rest.starts_with('/') && !own.is_empty()) {
                Some(rest) => Glob::parse(&format!("{own}{rest}")),
                None => Glob::parse(text),
            }
        };
        said.iter().map(local).collect()
    }

    /// As certificates have them: who names one means that one. Only the word for the mesh's own stands for all of its names.
    fn trust_domains(&self, said: &[String]) -> Vec<Glob> {
        let mut globs = Vec::new();
        for text in said {
            match text == LOCAL_TRUST_DOMAIN && !self.domains.own().is_empty() {
                true => globs.extend(self.domains.all().map(Glob::parse)),
                false => globs.push(Glob::parse(text)),
            }
        }
        globs
    }

    fn blocks(&mut self, said: &[String]) -> Vec<Option<IpNet>> {
        said.iter()
            .map(|text| self.read(text, "an address or a CIDR block", |text| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from))))
            .collect()
    }

    fn ports(&mut self, said: &[String]) -> Vec<Option<u16>> {
        said.iter().map(|text| self.read(text, "a port number", str::parse)).collect()
    }

    fn read<T, E>(&mut self, text: &str, expected: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let value = parse(text).ok();
        if value.is_none() {
            self.problems.push((self.origin.clone(), format!("{text:?} is not {expected}; the rule is read so that it never allows more")));
        }
        value
    }
}

fn operation(said: &OperationMatch) -> Operation {
    let lower = |hosts: &[String]| hosts.iter().map(|host| Glob::parse(&undotted(host).to_ascii_lowercase())).collect();
    let paths = |paths: &[String]| paths.iter().map(|path| PathGlob::parse(path)).collect();
    Operation {
        hosts: (lower(&said.hosts), lower(&said.not_hosts)),
        ports: (said.ports.clone(), said.not_ports.clone()),
        methods: globs(&said.methods, &said.not_methods),
        paths: (paths(&said.paths), paths(&said.not_paths)),
    }
}

fn globs(values: &[String], not_values: &[String]) -> Lists<Glob> {
    let parse = |texts: &[String]| texts.iter().map(|text| Glob::parse(text)).collect();
    (parse(values), parse(not_values))
}

impl PathGlob {
    fn parse(text: &str) -> Self {
        if text.contains("{*}") || text.contains("{**}") { Self::Template(text.to_owned()) } else { Self::Glob(Glob::parse(text)) }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(path),
            Self::Template(template) => fits_template(template, path),
        }
    }

    /// What every path has that this matches.
    fn demand(&self) -> Option<Demand<'_>> {
        match self {
            Self::Glob(Glob::Exact(text)) => Some(Demand::Path(text)),
            Self::Glob(Glob::Prefix(text)) => Some(Demand::PathStart(text)),
            Self::Template(template) => template.split('{').next().map(Demand::PathStart),
            Self::Glob(Glob::Suffix(_) | Glob::Present) => None,
        }
    }
}

/// Whether a pair of lists holds: some value matches (or none is given), and no negated value does. `matches` answers
/// `None` when it cannot tell; then `unknown` stands for the answer of that list.
fn holds<T>((values, not_values): &Lists<T>, unknown: bool, matches: impl Fn(&T) -> Option<bool>) -> bool {
    // Yes if any says yes; else unknown if any is; else no.
    let any = |list: &[T]| {
        let mut answer = Some(false);
        for one in list.iter().map(&matches) {
            match one {
                Some(true) => return one,
                Some(false) => {}
                None => answer = None,
            }
        }
        answer
    };
    let wanted = values.is_empty() || any(values).unwrap_or(unknown);
    let unwanted = !not_values.is_empty() && any(not_values).unwrap_or(!unknown);
    wanted && !unwanted
}

/// As [`holds`], for an attribute that some exchanges do not have: absent is a known answer, and matches nothing.
fn holds_text<T>(lists: &Lists<T>, value: Option<&str>, matches: impl Fn(&T, &str) -> bool) -> bool {
    holds(lists, false, |want| Some(value.is_some_and(|value| matches(want, value))))
}

fn holds_principal(lists: &Lists<Glob>, principals: Option<Principals<'_>>) -> bool {
    holds(lists, false, |want| Some(principals.is_some_and(|principals| principals.any(|principal| want.matches_principal(principal)))))
}

fn holds_account(lists: &Lists<String>, identity: Option<&Identity>) -> bool {
    let is = |want: &String, identity: &Identity| want.split_once('/') == Some((&identity.namespace, &identity.service_account));
    holds(lists, false, |want| Some(identity.is_some_and(|identity| is(want, identity))))
}

/// Without HTTP nobody knows whether there is a token. A request without one is nobody's.
fn holds_requester(lists: &Lists<Glob>, unknown: bool, visit: &Visit<'_>) -> bool {
    holds(lists, unknown, |want| visit.http.map(|_| visit.requester.is_some_and(|requester| want.matches(requester))))
}

/// As for requesters; a claim that is neither a text nor a list of texts cannot be read.
fn holds_claim(path: &[String], lists: &Lists<Glob>, unknown: bool, visit: &Visit<'_>) -> bool {
    let claim = visit.claims.and_then(|claims| claims.all.at(path.iter().map(String::as_str)));
    let is = |want: &Glob| match claim {
        None => Some(false),
        Some(claim) => claim.any_text(|text| want.matches(text)),
    };
    holds(lists, unknown, |want| visit.http.and_then(|_| is(want)))
}

fn holds_address(blocks: &Blocks, unknown: bool, address: Option<IpAddr>) -> bool {
    // An IPv4 client on an IPv6 socket is still an IPv4 client.
    let address = address.map(|address| address.to_canonical());
    holds(blocks, unknown, |block| Some(block.as_ref()?.contains(&address?)))
}

impl Rule {
    pub(crate) fn origin(&self) -> &Origin {
        &self.plan.origin
    }

    pub(crate) fn matches(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        (self.from.is_empty() || self.from.iter().any(|source| source.matches(visit, unknown)))
            && (self.to.is_empty() || self.to.iter().any(|operation| operation.matches(visit, unknown)))
            && self.when.iter().all(|when| when.matches(visit, unknown))
    }

    /// What a visit must have for this rule to match it: one of each. Holds for visits by HTTP, whose attributes are known, and
    /// for identities without slashes in their parts.
    pub(crate) fn demands(&self) -> Vec<AnyOf<'_>> {
        let from: Option<Vec<AnyOf<'_>>> = self.from.iter().map(Source::demand).collect();
        let to: Option<Vec<AnyOf<'_>>> = self.to.iter().map(Operation::demand).collect();
        [from, to].into_iter().flatten().filter(|each| !each.is_empty()).map(|each| each.concat()).collect()
    }
}

impl Source {
    fn matches(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        let namespace = visit.identity.map(|identity| identity.namespace.as_str());
        let trust_domain = visit.identity.map(|identity| identity.trust_domain.as_str());
        holds_principal(&self.principals, visit.principals)
            && holds_text(&self.namespaces, namespace, Glob::matches)
            && holds_account(&self.accounts, visit.identity)
            && holds_requester(&self.requesters, unknown, visit)
            && holds_text(&self.trust_domains, trust_domain, Glob::matches)
            && holds_address(&self.blocks, unknown, visit.address)
            && holds_address(&self.client_blocks, unknown, visit.client)
    }

    /// `None`: nothing that can be looked up.
    fn demand(&self) -> Option<AnyOf<'_>> {
        match (&self.principals.0[..], &self.accounts.0[..], &self.namespaces.0[..]) {
            ([], [], []) => None,
            ([], [], namespaces) => namespaces.iter().map(Glob::of_namespace).collect(),
            // An account that is not written as one is nobody's.
            ([], accounts, _) => Some(
                accounts.iter().filter_map(|text| text.split_once('/')).map(|(namespace, account)| Demand::Account(namespace, account)).collect(),
            ),
            (principals, ..) => principals.iter().map(Glob::of_principal).collect(),
        }
    }
}

impl Glob {
    fn of_namespace(&self) -> Option<Demand<'_>> {
        match self {
            Self::Exact(namespace) => Some(Demand::Namespace(namespace)),
            Self::Prefix(_) | Self::Suffix(_) | Self::Present => None,
        }
    }

    /// What the principals have in common that this matches.
    fn of_principal(&self) -> Option<Demand<'_>> {
        let (Self::Exact(text) | Self::Prefix(text)) = self else { return None };
        let mut parts = text.split('/');
        match (self, [(); 6].map(|()| parts.next())) {
            (Self::Exact(_), [Some(_), Some("ns"), Some(namespace), Some("sa"), Some(account), None]) => Some(Demand::Account(namespace, account)),
            // `mesh.local/ns/default/*`: the namespace is whole when a slash follows it.
            (Self::Prefix(_), [Some(_), Some("ns"), Some(namespace), Some(_), ..]) => Some(Demand::Namespace(namespace)),
            _ => None,
        }
    }
}

impl Operation {
    fn matches(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        self.takes_port(visit, unknown) && self.takes_host(visit, unknown) && self.takes_method(visit, unknown) && self.takes_path(visit, unknown)
    }

    fn takes_port(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        holds(&self.ports, unknown, |port| Some(*port == visit.port))
    }

    fn takes_host(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        // With and without its port, and never with the root's dot: a client could else slip past a DENY by writing them out. A
        // request without a host could be for any.
        holds(&self.hosts, unknown, |glob| {
            let authority = undotted(visit.http?.authority);
            let authority = Some(lower(&authority)).filter(|authority| !authority.is_empty())?;
            Some(glob.matches(&authority) || glob.matches(split_authority(&authority).0))
        })
    }

    fn takes_method(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        holds(&self.methods, unknown, |glob| Some(glob.matches(visit.http?.method)))
    }

    fn takes_path(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        holds(&self.paths, unknown, |glob| visit.http.map(|_| glob.matches(visit.path)))
    }

    /// As [`Source::demand`].
    fn demand(&self) -> Option<AnyOf<'_>> {
        Some(&self.paths.0).filter(|paths| !paths.is_empty())?.iter().map(PathGlob::demand).collect()
    }
}

impl When {
    fn matches(&self, visit: &Visit<'_>, unknown: bool) -> bool {
        match self {
            Self::Header(name, lists) => holds(lists, unknown, |glob| {
                let http = visit.http?;
                let each = http.headers.get_all(name.as_str()).iter().any(|value| glob.matches(&String::from_utf8_lossy(value.as_bytes())));
                Some(each || http.header(name).is_some_and(|joined| glob.matches(&joined)))
            }),
            Self::SourceIp(blocks) => holds_address(blocks, unknown, visit.address),
            Self::RemoteIp(blocks) => holds_address(blocks, unknown, visit.client),
            Self::DestinationIp(blocks) => holds_address(blocks, unknown, visit.own_address),
            Self::Namespace(lists) => holds_text(lists, visit.identity.map(|identity| identity.namespace.as_str()), Glob::matches),
            Self::Principal(lists) => holds_principal(lists, visit.principals),
            Self::Account(lists) => holds_account(lists, visit.identity),
            Self::TrustDomain(lists) => holds_text(lists, visit.identity.map(|identity| identity.trust_domain.as_str()), Glob::matches),
            Self::Port(lists) => holds(lists, unknown, |port| port.map(|port| port == visit.port)),
            Self::Sni(lists) => holds_text(lists, visit.sni, Glob::matches),
            Self::Requester(lists) => holds_requester(lists, unknown, visit),
            Self::Claim(path, lists) => holds_claim(path, lists, unknown, visit),
        }
    }
}
