//! The kinds that Tautline accepts: their API names, and what kubectl shows of them.

/// One kind at the version it is stored as. Other served versions have the same schema (or a subset) and convert by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// Storage version first.
    pub versions: &'static [&'static str],
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Whether `status` is a subresource.
    pub has_status: bool,
    /// Extra columns of `kubectl get` after NAME: title, JSON path (`.spec.hosts`), type. AGE is always last.
    pub columns: &'static [(&'static str, &'static str, &'static str)],
}

// `pub static KINDS: &[Kind]`, `by_kind(api_version, kind)`, `by_plural(group, plural)` follow; owner: the model's input layer.
