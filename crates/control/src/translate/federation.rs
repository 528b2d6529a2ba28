//! Other trust domains whose members are believed (`MeshSettings.spec.federation`): each by its own bundle alone.

use super::bundle::{Authorities, authorities};
use super::reader::{Reader, code};
use super::translation::Settings;
use serde::Deserialize;
use std::collections::BTreeSet;
use taut_model::identity::Identity;
use taut_model::trust::TrustBundle;

const MOST: usize = 64;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Written {
    trust_domain: String,
    bundle: Option<String>,
    bundle_url: Option<String>,
}

/// The trust domains of a mesh's settings.
#[derive(Debug, Default)]
pub struct Federation {
    /// Of those whose bundle is there.
    pub bundles: Vec<TrustBundle>,
    /// Where bundles are to be fetched.
    pub urls: BTreeSet<String>,
}

pub fn federation(reader: &mut Reader<'_>, settings: &Settings, written: Vec<Written>) -> Federation {
    let (mut federation, mut named) = (Federation::default(), BTreeSet::new());
    if written.len() > MOST {
        reader.invalid("spec.federation", format_args!("names {} trust domains, and at most {MOST} are taken", written.len()));
    }
    for (index, one) in written.into_iter().enumerate() {
        let at = format!("spec.federation[{index}]");
        let name = one.trust_domain.clone();
        if Identity::parse(&Identity::new(&name, "a", "a").to_string()).is_err() {
            reader.invalid(&format!("{at}.trustDomain"), format_args!("{name:?} is no trust domain: a-z, 0-9, '.', '-' and '_' only"));
        } else if name == settings.trust_domain {
            reader.invalid(&format!("{at}.trustDomain"), format_args!("{name:?} is this mesh's own, whose members its own authority vouches for"));
        } else if !named.insert(name.clone()) {
            reader.invalid(&format!("{at}.trustDomain"), format_args!("{name:?} is named twice"));
        }
        let found = found(reader, settings, &at, one, &mut federation.urls);
        federation.bundles.extend(found.map(|Authorities { roots, token_keys }| TrustBundle {
            origin: reader.origin(&at),
            trust_domain: name,
            roots,
            signer: Vec::new(),
            revoked: BTreeSet::new(),
            token_keys,
        }));
    }
    federation
}

fn found(reader: &mut Reader<'_>, settings: &Settings, at: &str, written: Written, urls: &mut BTreeSet<String>) -> Option<Authorities> {
    match (written.bundle, written.bundle_url) {
        (Some(text), None) => reader.taken(&format!("{at}.bundle"), authorities(&text)),
        (None, Some(url)) => {
            let at = format!("{at}.bundleUrl");
            if !url.starts_with("https://") && !url.starts_with("file:///") {
                reader.invalid(
                    &at,
                    format_args!("{url:?} is neither https://… nor file:///…: whoever could change a bundle on its way could be anybody"),
                );
                return None;
            }
            let known = settings.keys.get(&url).cloned().unwrap_or_default();
            urls.insert(url);
            let meanwhile = if known.text.is_some() { "the last good bundle is used" } else { "until there is one, nobody of it is believed" };
            if let Some(problem) = &known.problem {
                reader.warn(code::KEYS_NOT_FETCHED, &at, format_args!("{problem}; {meanwhile}"));
            }
            // It was looked at before it was kept.
            known.text.and_then(|text| authorities(&text).ok())
        }
        _ => {
            reader.invalid(at, "needs exactly one of bundle (PEM or a SPIFFE bundle) and bundleUrl");
            None
        }
    }
}
