//! Other trust domains whose members are believed (`MeshSettings.spec.federation`), each by its own bundle alone, and the other names of the
//! mesh's own (`trustDomainAliases`).

use super::bundle::{Authorities, authorities};
use super::reader::{Reader, code};
use super::translation::Settings;
use crate::crl::{self, Lists};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::settings::TrustDomainAlias;
use taut_model::trust::TrustBundle;

const MOST: usize = 64;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Written {
    trust_domain: String,
    bundle: Option<String>,
    bundle_url: Option<String>,
    crl: Option<String>,
    crl_url: Option<String>,
}

/// The trust domains of a mesh's settings.
#[derive(Debug, Default)]
pub struct Federation {
    /// Of those whose bundle is there.
    pub bundles: Vec<TrustBundle>,
    /// Where bundles are to be fetched.
    pub urls: BTreeSet<String>,
    /// Where revocation lists are, and the roots (DER) that these must be proven by.
    pub list_urls: BTreeMap<String, Arc<Vec<Vec<u8>>>>,
    /// When they should be followed by newer ones.
    pub lists_due: BTreeMap<String, Timestamp>,
}

const NO_TRUST_DOMAIN: &str = "is no trust domain: a-z, 0-9, '.', '-' and '_' only";

fn is_trust_domain(name: &str) -> bool {
    Identity::parse(&Identity::new(name, "a", "a").to_string()).is_ok()
}

/// The mesh's own name may be among them: both names stand there before and after the mesh is renamed.
pub fn aliases(reader: &mut Reader<'_>, written: Vec<String>, federation: &[Written]) -> Vec<TrustDomainAlias> {
    let (at, mut aliases) = ("spec.trustDomainAliases", Vec::<TrustDomainAlias>::new());
    if written.len() > MOST {
        reader.invalid(at, format_args!("names {} trust domains, and at most {MOST} are taken", written.len()));
    }
    for (index, trust_domain) in written.into_iter().enumerate() {
        let at = format!("{at}[{index}]");
        if !is_trust_domain(&trust_domain) {
            reader.invalid(&at, format_args!("{trust_domain:?} {NO_TRUST_DOMAIN}"));
        } else if aliases.iter().any(|alias| alias.trust_domain == trust_domain) {
            reader.invalid(&at, format_args!("{trust_domain:?} is named twice"));
        }
        let federated = federation.iter().any(|one| one.trust_domain == trust_domain);
        aliases.push(TrustDomainAlias { trust_domain, federated });
    }
    aliases
}

pub fn federation(reader: &mut Reader<'_>, settings: &Settings, written: Vec<Written>) -> Federation {
    let (mut federation, mut named) = (Federation::default(), BTreeSet::new());
    if written.len() > MOST {
        reader.invalid("spec.federation", format_args!("names {} trust domains, and at most {MOST} are taken", written.len()));
    }
    for (index, one) in written.into_iter().enumerate() {
        let at = format!("spec.federation[{index}]");
        let name = one.trust_domain.clone();
        if !is_trust_domain(&name) {
            reader.invalid(&format!("{at}.trustDomain"), format_args!("{name:?} {NO_TRUST_DOMAIN}"));
        } else if name == settings.trust_domain {
            reader.invalid(&format!("{at}.trustDomain"), format_args!("{name:?} is this mesh's own, whose members its own authority vouches for"));
        } else if !named.insert(name.clone()) {
            reader.invalid(&format!("{at}.trustDomain"), format_args!("{name:?} is named twice"));
        }
        let found = found(reader, settings, &at, &one);
        federation.urls.extend(one.bundle_url.clone());
        let listed = found.as_ref().map(|found| listed(reader, settings, &at, &one, &found.roots));
        if let (Some(found), Some(url)) = (&found, &one.crl_url) {
            federation.list_urls.insert(url.clone(), Arc::new(found.roots.clone()));
        }
        // Without the lists that were asked for, somebody could be believed who was revoked.
        let (Some(Authorities { roots, token_keys, .. }), Some(Some(lists))) = (found, listed) else { continue };
        federation.lists_due.extend(lists.next_update.map(|due| (name.clone(), due)));
        federation.bundles.push(TrustBundle {
            origin: reader.origin(&at),
            trust_domain: name,
            roots,
            signer: Vec::new(),
            revoked: lists.revoked,
            token_keys,
        });
    }
    federation
}

/// What the revocation lists say that are given; none are needed. `None`: they are asked for, and not there.
fn listed(reader: &mut Reader<'_>, settings: &Settings, at: &str, written: &Written, roots: &[Vec<u8>]) -> Option<Lists> {
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|root| CertificateDer::from(root.as_slice())).collect();
    match (&written.crl, &written.crl_url) {
        (None, None) => Some(Lists::default()),
        (Some(text), None) => reader.taken(&format!("{at}.crl"), crl::lists(text.as_bytes(), &roots)),
        (None, Some(url)) => {
            let at = format!("{at}.crlUrl");
            let text = fetched(reader, settings, &at, url, "lists")?;
            // It was looked at before it was kept, by the roots of then.
            let lists = crl::lists(text.as_bytes(), &roots);
            if let Err(why) = &lists {
                reader.warn(code::KEYS_NOT_FETCHED, &at, format_args!("what {url} answers {why}; until that is mended, nobody of it is believed"));
            }
            lists.ok()
        }
        (Some(_), Some(_)) => {
            reader.invalid(at, "takes one of crl (PEM) and crlUrl");
            None
        }
    }
}

/// What was fetched last; what is the matter with it is said.
fn fetched(reader: &mut Reader<'_>, settings: &Settings, at: &str, url: &str, what: &str) -> Option<String> {
    if !url.starts_with("https://") && !url.starts_with("file:///") {
        reader.invalid(at, format_args!("{url:?} is neither https://… nor file:///…: whoever could change it on its way could be anybody"));
        return None;
    }
    let known = settings.keys.get(url).cloned().unwrap_or_default();
    let meanwhile = match known.text.is_some() {
        true => format!("the last good {what} {} used", if what == "lists" { "are" } else { "is" }),
        false => "until there is one, nobody of it is believed".to_owned(),
    };
    if let Some(problem) = &known.problem {
        reader.warn(code::KEYS_NOT_FETCHED, at, format_args!("{problem}; {meanwhile}"));
    }
    known.text
}

fn found(reader: &mut Reader<'_>, settings: &Settings, at: &str, written: &Written) -> Option<Authorities> {
    match (&written.bundle, &written.bundle_url) {
        (Some(text), None) => reader.taken(&format!("{at}.bundle"), authorities(text)),
        // It was looked at before it was kept.
        (None, Some(url)) => fetched(reader, settings, &format!("{at}.bundleUrl"), url, "bundle").and_then(|text| authorities(&text).ok()),
        _ => {
            reader.invalid(at, "needs exactly one of bundle (PEM or a SPIFFE bundle) and bundleUrl");
            None
        }
    }
}
