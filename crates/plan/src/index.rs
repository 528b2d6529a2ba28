//! Which of many rules could match, found without looking at all of them. It only leaves out rules that cannot match: whether
//! one does is for the rule itself to say.

use crate::facts::HttpFacts;
use crate::starts::Starts;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use taut_model::identity::Identity;

/// A request is asked for each header by whose value rules are found, so there are not many of them.
const MOST_HEADERS: usize = 8;

/// What a rule demands, in a form that can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Demand<'a> {
    Path(&'a str),
    PathStart(&'a str),
    /// The host of the authority: lower case, no port, no final dot.
    Host(&'a str),
    /// Name in lower case, and value.
    Header(&'a str, &'a str),
    Namespace(&'a str),
    /// Namespace and service account.
    Account(&'a str, &'a str),
}

/// Without one of these, the rule does not match. Empty: it never does.
pub(crate) type AnyOf<'a> = Vec<Demand<'a>>;

/// What rules are looked up by. What is `None` has no answer, and finds no rule that demands one.
pub(crate) struct Sought<'a> {
    pub(crate) path: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) http: Option<&'a HttpFacts<'a>>,
    pub(crate) identity: Option<&'a Identity>,
}

/// Positions of rules, ascending.
type Positions = Vec<usize>;
type ByText = HashMap<Box<str>, Positions, FixedState>;

/// Every rule is filed under whatever it demands that fewest others do.
#[derive(Debug, Default)]
pub(crate) struct Index {
    paths: ByText,
    starts: Starts,
    hosts: ByText,
    headers: Vec<(Box<str>, ByText)>,
    namespaces: ByText,
    /// By namespace, then by service account.
    accounts: HashMap<Box<str>, ByText, FixedState>,
    /// Rules without a demand, which have to be looked at always.
    others: Positions,
}

impl Index {
    /// Of rules by position, each with all that it demands. `None`: they are so `few` that looking at each costs less.
    pub(crate) fn build(rules: &[Vec<AnyOf<'_>>], few: usize) -> Option<Self> {
        if rules.len() <= few {
            return None;
        }
        let mut frequency: HashMap<Demand<'_>, usize, FixedState> = HashMap::default();
        for demand in rules.iter().flatten().flatten() {
            *frequency.entry(*demand).or_default() += 1;
        }
        let headers = headers(&frequency);
        let can_be_asked = |any: &&AnyOf<'_>| any.iter().all(|demand| !matches!(demand, Demand::Header(name, _) if !headers.contains(name)));
        let commonest = |any: &&AnyOf<'_>| any.iter().filter_map(|demand| frequency.get(demand).copied()).max();
        let mut index = Self { headers: headers.iter().map(|name| ((*name).into(), ByText::default())).collect(), ..Self::default() };
        let mut starts: HashMap<&str, Positions, FixedState> = HashMap::default();
        for (position, demands) in rules.iter().enumerate() {
            match demands.iter().filter(can_be_asked).min_by_key(commonest) {
                None => index.others.push(position),
                Some(any) => any.iter().for_each(|demand| index.file(*demand, position, &mut starts)),
            }
        }
        index.starts = Starts::new(starts);
        Some(index)
    }

    fn file<'a>(&mut self, demand: Demand<'a>, position: usize, starts: &mut HashMap<&'a str, Positions, FixedState>) {
        let positions = match demand {
            Demand::Path(text) => self.paths.entry(text.into()).or_default(),
            Demand::PathStart(text) => starts.entry(text).or_default(),
            Demand::Host(host) => self.hosts.entry(host.into()).or_default(),
            Demand::Header(name, value) => match self.headers.iter_mut().find(|(known, _)| **known == *name) {
                Some((_, values)) => values.entry(value.into()).or_default(),
                None => &mut self.others,
            },
            Demand::Namespace(namespace) => self.namespaces.entry(namespace.into()).or_default(),
            Demand::Account(namespace, account) => self.accounts.entry(namespace.into()).or_default().entry(account.into()).or_default(),
        };
        // A rule may demand the same twice.
        if positions.last() != Some(&position) {
            positions.push(position);
        }
    }

    /// The first rule that fits, of those that could.
    pub(crate) fn first(&self, sought: &Sought<'_>, mut fits: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut first = None;
        self.each(sought, |positions| {
            let earlier = positions.iter().copied().take_while(|position| first.is_none_or(|first| *position < first));
            if let Some(found) = earlier.into_iter().find(|position| fits(*position)) {
                first = Some(found);
            }
        });
        first
    }

    /// All rules that fit, of those that could, in order.
    pub(crate) fn all(&self, sought: &Sought<'_>, mut fits: impl FnMut(usize) -> bool) -> Vec<usize> {
        let mut all = Vec::new();
        self.each(sought, |positions| all.extend(positions.iter().copied().filter(|position| fits(*position))));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Those that match less come first, so that a match among them ends the look at the others early.
    fn each(&self, sought: &Sought<'_>, mut look: impl FnMut(&[usize])) {
        let mut found = |positions: Option<&Positions>| positions.map_or((), |positions| look(positions));
        found(self.paths.get(sought.path));
        if let Some(identity) = sought.identity {
            found(self.accounts.get(&*identity.namespace).and_then(|accounts| accounts.get(&*identity.service_account)));
            found(self.namespaces.get(&*identity.namespace));
        }
        if let Some(http) = sought.http {
            for (name, values) in &self.headers {
                found(http.header(name).and_then(|value| values.get(&*value)));
            }
        }
        found(sought.host.and_then(|host| self.hosts.get(host)));
        for positions in self.starts.of(sought.path) {
            found(Some(positions));
        }
        found(Some(&self.others));
    }
}

/// The names of the headers that most rules demand.
fn headers<'a>(frequency: &HashMap<Demand<'a>, usize, FixedState>) -> Vec<&'a str> {
    let mut by_name: HashMap<&str, usize, FixedState> = HashMap::default();
    for (demand, count) in frequency {
        if let Demand::Header(name, _) = demand {
            *by_name.entry(name).or_default() += count;
        }
    }
    let mut names: Vec<(usize, &str)> = by_name.into_iter().map(|(name, count)| (count, name)).collect();
    names.sort_unstable_by(|one, other| other.cmp(one));
    names.into_iter().take(MOST_HEADERS).map(|(_, name)| name).collect()
}
