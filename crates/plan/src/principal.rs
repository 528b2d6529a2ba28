//! The principals (`Identity::principal`) of a peer to compare with, in the pieces they are made of: nothing is put together for a comparison.

use crate::domains::Domains;
use taut_model::identity::Identity;

#[derive(Clone, Copy)]
pub(crate) struct Principal<'a>([&'a str; 5]);

/// A peer's principals: its own, and for a member of the mesh the same under each of the mesh's names.
#[derive(Clone, Copy)]
pub(crate) struct Principals<'a> {
    identity: &'a Identity,
    domains: &'a Domains,
}

impl<'a> Principals<'a> {
    pub(crate) fn of(identity: &'a Identity, domains: &'a Domains) -> Self {
        Self { identity, domains }
    }

    pub(crate) fn any(self, fits: impl Fn(Principal<'a>) -> bool) -> bool {
        let own = &self.identity.trust_domain;
        fits(Principal::called(own, self.identity)) || self.domains.others(own).any(|name| fits(Principal::called(name, self.identity)))
    }
}

impl<'a> Principal<'a> {
    /// The principal of an identity, were it of this trust domain.
    fn called(trust_domain: &'a str, identity: &'a Identity) -> Self {
        Self([trust_domain, "/ns/", &identity.namespace, "/sa/", &identity.service_account])
    }

    pub(crate) fn is(self, text: &str) -> bool {
        self.0.iter().try_fold(text, |rest, piece| rest.strip_prefix(piece)) == Some("")
    }

    pub(crate) fn starts_with(self, text: &str) -> bool {
        let mut rest = text;
        for piece in self.0 {
            match rest.strip_prefix(piece) {
                Some(after) => rest = after,
                None => return piece.starts_with(rest),
            }
        }
        rest.is_empty()
    }

    pub(crate) fn ends_with(self, text: &str) -> bool {
        let mut rest = text;
        for piece in self.0.into_iter().rev() {
            match rest.strip_suffix(piece) {
                Some(before) => rest = before,
                None => return piece.ends_with(rest),
            }
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_compares_as_the_whole_text_does(parts in ["[as/é]{0,2}", "[as/é]{0,2}", "[as/é]{0,2}"], cut in 0_usize..20, other in "[as/én]{0,6}") {
            let [trust_domain, namespace, account] = parts;
            let identity = Identity::new(trust_domain, namespace, account);
            let (whole, principal) = (identity.principal(), Principal::called(&identity.trust_domain, &identity));
            let head = whole.get(..cut).unwrap_or(&whole);
            let tail = whole.get(cut..).unwrap_or(&whole);
            for text in [&whole, head, tail, &other, &format!("{head}{other}"), &format!("{other}{tail}")] {
                prop_assert_eq!(principal.is(text), whole == *text, "is {}", text);
                prop_assert_eq!(principal.starts_with(text), whole.starts_with(text), "starts with {}", text);
                prop_assert_eq!(principal.ends_with(text), whole.ends_with(text), "ends with {}", text);
            }
        }
    }
}
