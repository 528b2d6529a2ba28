//! Sets of labels, and their numbers within one evaluation, so that each change of a set is computed once and not at every step.

use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The label that holds a metric's name.
pub const NAME: &str = "__name__";

/// Labels in the order of their names. A label with an empty value is no label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet(Arc<[(Arc<str>, Arc<str>)]>);

impl LabelSet {
    /// The last value of a name counts.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.reverse();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        pairs.dedup_by(|one, other| one.0 == other.0);
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs.into())
    }

    /// The value of a label, empty without one.
    pub fn value(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| **known == *name).map_or("", |(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Those that `keep` wants, by name.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// With one label set, or removed by an empty value.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|(known, _)| **known != *name).cloned();
        Self::new(others.chain([(name.into(), value.into())]))
    }
}

impl fmt::Display for LabelSet {
    /// As PromQL writes them: `up{job="x"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.value(NAME);
        f.write_str(name)?;
        let others: Vec<String> = self.iter().filter(|(name, _)| *name != NAME).map(|(name, value)| format!("{name}={value:?}")).collect();
        if others.is_empty() && !name.is_empty() { Ok(()) } else { write!(f, "{{{}}}", others.join(", ")) }
    }
}

/// The number of a set within one evaluation.
pub type SetId = u32;

/// What is done to a set; two doings with one number give the same result for the same set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    DropName,
    /// By the place in the expression.
    Group(usize),
    Match(usize),
    Call(usize),
}

/// Every set of one evaluation.
#[derive(Default)]
pub struct Sets {
    all: Vec<LabelSet>,
    ids: HashMap<LabelSet, SetId, RandomState>,
    derived: HashMap<(Doing, SetId), SetId, RandomState>,
    joined: HashMap<(usize, SetId, SetId), SetId, RandomState>,
}

impl Sets {
    pub fn id(&mut self, set: LabelSet) -> SetId {
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        // An evaluation holds far fewer sets than samples, and the budget of samples is below 2^32.
        let id = self.all.len() as SetId;
        self.all.push(set.clone());
        self.ids.insert(set, id);
        id
    }

    pub fn get(&self, id: SetId) -> &LabelSet {
        &self.all[id as usize]
    }

    pub fn derive(&mut self, doing: Doing, from: SetId, make: impl FnOnce(&LabelSet) -> LabelSet) -> SetId {
        if let Some(id) = self.derived.get(&(doing, from)) {
            return *id;
        }
        let made = make(self.get(from));
        let id = self.id(made);
        self.derived.insert((doing, from), id);
        id
    }

    pub fn nameless(&mut self, from: SetId) -> SetId {
        self.derive(Doing::DropName, from, |set| set.filtered(|name| name != NAME))
    }

    /// What two matched sets become at a place in the expression.
    pub fn join(&mut self, place: usize, left: SetId, right: SetId, make: impl FnOnce(&LabelSet, &LabelSet) -> LabelSet) -> SetId {
        if let Some(id) = self.joined.get(&(place, left, right)) {
            return *id;
        }
        let made = make(self.get(left), self.get(right));
        let id = self.id(made);
        self.joined.insert((place, left, right), id);
        id
    }
}
