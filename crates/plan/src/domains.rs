//! The names that the mesh's own trust domain goes by: its own, and its aliases (Istio's `trustDomainAliases`). Who proves to be of one of
//! them is a member of the mesh, and known under all of them.

use crate::snapshot::Snapshot;

#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    own: String,
    /// Those that are not its own.
    aliases: Vec<String>,
}

impl Domains {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let aliases = snapshot.settings.values().flat_map(|settings| &settings.aliases).map(|alias| alias.trust_domain.clone());
        Self::new(&snapshot.trust_domain, aliases)
    }

    pub(crate) fn new(own: &str, aliases: impl IntoIterator<Item = String>) -> Self {
        let mut aliases: Vec<String> = aliases.into_iter().filter(|alias| alias != own && !own.is_empty()).collect();
        aliases.sort();
        aliases.dedup();
        Self { own: own.to_owned(), aliases }
    }

    /// Empty where it is not known yet.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        [self.own.as_str()].into_iter().chain(self.aliases.iter().map(String::as_str))
    }

    fn is_ours(&self, trust_domain: &str) -> bool {
        self.all().any(|name| name == trust_domain)
    }

    /// What else somebody of this trust domain is known under: the mesh's names for its members, none for others.
    pub(crate) fn others<'a>(&'a self, trust_domain: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let ours = !self.aliases.is_empty() && self.is_ours(trust_domain);
        self.all().filter(move |name| ours && *name != trust_domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_known_under_every_name_and_strangers_under_their_own() {
        let domains = Domains::new("new.example", ["old.example", "new.example", "older.example", "old.example"].map(str::to_owned));
        let others = |domain: &str| domains.others(domain).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(domains.all().collect::<Vec<_>>(), ["new.example", "old.example", "older.example"]);
        assert_eq!(others("old.example"), ["new.example", "older.example"]);
        assert_eq!(others("new.example"), ["old.example", "older.example"]);
        assert!(others("west.example").is_empty());
        assert_eq!(Domains::new("", ["old.example".to_owned()]).all().collect::<Vec<_>>(), [""]);
    }
}
