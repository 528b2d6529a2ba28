//! Passes: what proves a visitor's role, for a time. A pass is known by the digest of its secret, so that neither memory nor
//! disk gives the secret away, and looking one up tells nothing by its duration.

use super::Grant;
use super::role::Role;
use crate::authority::tokens::random_text;
use crate::authority::{keep_private, write_private};
use crate::fault::Fault;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use zeroize::Zeroizing;

/// Of each kind. Of sessions the oldest makes room; of tokens none does.
const MOST: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassKind {
    /// Made for a person or a program, who shows it as a bearer token or signs in with it.
    Token,
    /// Made by signing in; a browser's cookie.
    Session,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// Names it, and proves nothing.
    pub id: String,
    pub kind: PassKind,
    pub user: String,
    pub role: Role,
    pub issued: Timestamp,
    pub expires: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

impl Pass {
    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.expires
    }
}

/// All passes, by the digest of their secret in hexadecimal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Passes(BTreeMap<String, Pass>);

impl Passes {
    pub fn read(file: &Path) -> Result<Self, Fault> {
        keep_private(file);
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Fault::new(format!("cannot read {}: {error}", file.display()), "Run as the user that owns it")),
        };
        serde_json::from_str(&text).map_err(|error| {
            Fault::new(format!("{} is damaged: {error}", file.display()), "Remove it: all tokens and sessions end, and can be made again")
        })
    }

    pub fn write(&self, file: &Path) -> Result<(), Fault> {
        let text = serde_json::to_vec(self).map_err(|error| Fault::new(format!("passes cannot be written: {error}"), "Please report it"))?;
        write_private(file, &text)
    }

    pub fn all(&self) -> impl Iterator<Item = &Pass> {
        self.0.values()
    }

    pub fn find(&self, secret: &str, now: Timestamp) -> Option<&Pass> {
        self.0.get(&fingerprint(secret)).filter(|pass| pass.is_good(now))
    }

    pub fn issue(&mut self, grant: Grant, now: Timestamp) -> Result<(Zeroizing<String>, Pass), Fault> {
        self.0.retain(|_, pass| pass.is_good(now));
        let Grant { kind, user, role, lifetime, parent } = grant;
        self.make_room(kind)?;
        let wanted = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let limit = parent.as_ref().and_then(|parent| self.all().find(|pass| pass.id == *parent)).map(|parent| parent.expires);
        let expires = limit.map_or(wanted, |limit| wanted.min(limit));
        let secret = Zeroizing::new(random_text(32)?);
        let pass = Pass { id: random_text(9)?, kind, user, role, issued: now, expires, parent };
        self.0.insert(fingerprint(&secret), pass.clone());
        Ok((secret, pass))
    }

    pub fn revoke(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|_, pass| pass.id != id && pass.parent.as_deref() != Some(id));
        self.0.len() < before
    }

    fn make_room(&mut self, kind: PassKind) -> Result<(), Fault> {
        if self.all().filter(|pass| pass.kind == kind).count() < MOST {
            return Ok(());
        }
        if kind == PassKind::Token {
            let help = "Revoke those that nobody needs: taut token --list, then taut token --revoke ID";
            return Err(Fault::new(format!("there are {MOST} tokens already"), help));
        }
        let oldest = self.0.iter().filter(|(_, pass)| pass.kind == kind).min_by_key(|(_, pass)| pass.issued).map(|(key, _)| key.clone());
        oldest.and_then(|oldest| self.0.remove(&oldest));
        Ok(())
    }
}

fn fingerprint(secret: &str) -> String {
    digest(&SHA256, secret.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
