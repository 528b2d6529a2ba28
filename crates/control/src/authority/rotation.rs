//! Replacing the root: both are believed, then the new one signs, then the old one goes. Each step is on disk before it is in force, so a
//! restart goes on where it was. When the next step may be taken is `trust`'s decision, which knows the proxies.

use super::chest::{Chest, Shelf};
use super::signer::Signer;
use super::{Authority, Standing, cannot, plugged};
use crate::fault::Fault;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

const NOTE: &str = "rotation.json";

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Proxies are told to believe the new root beside the old one, which signs.
    Spreading,
    /// The new one signs; proxies get new leaves. Both roots are believed.
    Renewing,
    /// It was aborted after the new one had signed: the old one signs again, and proxies get leaves of it. Both roots are believed.
    Returning,
    /// The files of the new one are put in the place of the old one's.
    Retiring,
}

#[derive(Clone)]
pub struct Rotation {
    pub stage: Stage,
    /// When this stage began.
    pub since: Timestamp,
    pub from: Arc<Signer>,
    pub to: Arc<Signer>,
}

impl Rotation {
    pub fn signs(&self) -> &Arc<Signer> {
        match self.stage {
            Stage::Spreading | Stage::Returning => &self.from,
            Stage::Renewing | Stage::Retiring => &self.to,
        }
    }

    /// The one that does not sign.
    pub fn other(&self) -> &Arc<Signer> {
        match self.stage {
            Stage::Spreading | Stage::Returning => &self.to,
            Stage::Renewing | Stage::Retiring => &self.from,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Note {
    stage: Stage,
    since: Timestamp,
}

impl Authority {
    /// Begins to replace the root: by a new one of its own, or by the authority of a directory in Istio's `cacerts` layout.
    ///
    /// # Errors
    /// One is under way; the directory cannot be used, or holds the root that is there already; a disk that cannot be written.
    pub fn rotate(&self, to: Option<&Path>, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let standing = self.standing();
        if standing.foreign.is_some() {
            return Err(Fault::new(
                "another authority signs for this mesh, so its root cannot be replaced here",
                "Replace it there: proxies are told of what --upstream-ca-roots holds, or of what the SPIFFE Workload API says, by themselves",
            ));
        }
        if let Some(rotation) = &standing.rotation {
            return Err(Fault::new(
                format!("a rotation of the root is under way since {} ({})", rotation.since, rotation.stage.words()),
                "Wait for it, or take it back with `taut trust rotate --abort`",
            ));
        }
        let from = standing.signing.clone();
        let (to, root_key) = match to {
            Some(directory) => (plugged::read(directory, self.trust_domain(), now)?, None),
            None => {
                let (made, root_key) = Signer::make_with_root(self.trust_domain(), now)?;
                let made = match self.root_key(&from.root)? {
                    Some(old) => made.cross_signed(self.trust_domain(), &from.root, &old, now)?,
                    None => made,
                };
                (made, Some(root_key))
            }
        };
        if to.root == from.root {
            return Err(Fault::new(
                "the mesh believes that root already, so there is nothing to rotate",
                "Give a directory with another root; a new intermediate of this root is taken up from --ca-dir by itself",
            ));
        }
        if let Some(chest) = &self.chest {
            chest.clear_next()?;
            chest.store(Shelf::Next, &to, root_key.as_ref())?;
        }
        if let Some(key) = root_key {
            self.remember_root_key(&to.root, key);
        }
        self.renew_next_token_key()?;
        let rotation = Rotation { stage: Stage::Spreading, since: now, from: from.clone(), to: Arc::new(to) };
        self.step(Some(rotation), from)
    }

    /// The new root signs from now on.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn cut_over(&self, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let Some(rotation) = self.standing().rotation.clone().filter(|rotation| rotation.stage == Stage::Spreading) else { return Ok(()) };
        let signs = rotation.to.clone();
        self.turn_token_keys(now)?;
        self.step(Some(Rotation { stage: Stage::Renewing, since: now, ..rotation }), signs)
    }

    /// The root that does not sign is not believed any more: the rotation is over.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn retire(&self, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let Some(rotation) = self.standing().rotation.clone() else { return Ok(()) };
        match rotation.stage {
            Stage::Spreading => Ok(()),
            Stage::Returning => {
                self.forget_root_key(&rotation.to.root);
                self.step(None, rotation.from)?;
                self.chest.as_ref().map_or(Ok(()), Chest::clear_next)
            }
            Stage::Renewing | Stage::Retiring => {
                let signs = rotation.to.clone();
                let gone = rotation.from.root.clone();
                self.step(Some(Rotation { stage: Stage::Retiring, since: now, ..rotation }), signs.clone())?;
                if let Some(chest) = &self.chest {
                    chest.promote()?;
                }
                self.forget_root_key(&gone);
                self.step(None, signs)?;
                self.chest.as_ref().map_or(Ok(()), Chest::clear_next)
            }
        }
    }

    /// Takes a rotation back: at once if the new root has signed nothing yet, else when everybody holds a leaf of the old one again.
    ///
    /// # Errors
    /// None is under way, or it is too late; a disk that cannot be written.
    pub fn abort(&self, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let Some(rotation) = self.standing().rotation.clone() else {
            return Err(Fault::new("no rotation of the root is under way", "`taut trust` shows what is"));
        };
        match rotation.stage {
            Stage::Spreading => {
                self.forget_root_key(&rotation.to.root);
                self.step(None, rotation.from)?;
                self.chest.as_ref().map_or(Ok(()), Chest::clear_next)
            }
            Stage::Renewing => {
                let signs = rotation.from.clone();
                self.step(Some(Rotation { stage: Stage::Returning, since: now, ..rotation }), signs)
            }
            Stage::Returning => Err(Fault::new("the rotation is being taken back already", "`taut trust` shows how far it is")),
            Stage::Retiring => Err(Fault::new("the old root is being taken away, which cannot be taken back", "Rotate again when it is done")),
        }
    }

    /// On disk first, then in force.
    fn step(&self, rotation: Option<Rotation>, signing: Arc<Signer>) -> Result<(), Fault> {
        if let Some(chest) = &self.chest {
            let note = rotation.as_ref().map(|rotation| serde_json::to_vec(&Note { stage: rotation.stage, since: rotation.since }));
            let note = note.transpose().map_err(|error| cannot("write down the rotation", &error))?;
            chest.store_note(NOTE, note.as_deref())?;
        }
        self.put(|standing| Standing { signing, rotation, ..standing });
        Ok(())
    }

    /// Goes on with what a restart has interrupted.
    pub(super) fn resume(&self, now: Timestamp) -> Result<(), Fault> {
        let Some(chest) = &self.chest else { return Ok(()) };
        let Some(note) = chest.note(NOTE)? else { return chest.clear_next() };
        let note = read(&note)?;
        let to = Arc::new(super::loaded(chest, Shelf::Next)?.ok_or_else(|| damaged(&"there is no signer in ca/next"))?);
        let from = self.standing().signing.clone();
        let rotation = Rotation { stage: note.stage, since: note.since.min(now), from, to };
        let signing = rotation.signs().clone();
        self.put(|standing| Standing { signing, rotation: Some(rotation), ..standing });
        Ok(())
    }
}

fn damaged(why: &dyn std::fmt::Display) -> Fault {
    Fault::new(format!("ca/{NOTE} is damaged: {why}"), "Remove it and ca/next to give the rotation up")
}

fn read(note: &[u8]) -> Result<Note, Fault> {
    serde_json::from_slice(note).map_err(|error| damaged(&error))
}

/// Before anything is loaded: a crash may have left half of the new signer's files in the old one's place.
pub(super) fn finish_retiring(chest: &Chest) -> Result<(), Fault> {
    let Some(note) = chest.note(NOTE)? else { return Ok(()) };
    if read(&note)?.stage == Stage::Retiring {
        chest.promote()?;
        chest.store_note(NOTE, None)?;
        chest.clear_next()?;
    }
    Ok(())
}

impl Stage {
    /// What happens, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Spreading => "proxies are told to believe the new root beside the old one",
            Self::Renewing => "the new root signs; proxies get new certificates",
            Self::Returning => "taken back: the old root signs again; proxies get certificates of it",
            Self::Retiring => "the old root is taken away",
        }
    }
}
