//! Who may do what: visitors and their roles, what a role may do, and the passes (tokens and sessions) that prove them. It
//! knows paths and methods, and no sockets.

mod guard;
mod passes;
mod role;
pub mod routes;
mod rules;
#[cfg(test)]
mod tests;

pub use guard::guarded;
pub use passes::{Pass, PassKind};
pub use role::{Role, Visitor};
pub use rules::{changes_traffic, may};

use crate::fault::Fault;
use crate::world::World;
use parking_lot::Mutex;
use passes::Passes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The user that the admin token stands for.
pub const ADMIN: &str = "admin";
/// How long somebody who signed in stays signed in.
pub const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Knows everybody who is let in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    admin: Zeroizing<String>,
    passes: Mutex<Passes>,
    file: Option<PathBuf>,
    world: World,
}

/// Who gets a pass, and for how long.
pub struct Grant {
    pub kind: PassKind,
    pub user: String,
    pub role: Role,
    pub lifetime: Duration,
    /// The pass by which this one was got: it ends with it.
    pub parent: Option<String>,
}

impl Access {
    /// Passes are kept in `STATE/access.json`, of which nobody can learn a token: it holds digests.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(state: Option<&Path>, admin: Zeroizing<String>, world: World) -> Result<Self, Fault> {
        let file = state.map(|state| state.join("access.json"));
        let passes = file.as_deref().map(Passes::read).transpose()?.unwrap_or_default();
        Ok(Self(Arc::new(Inner { admin, passes: Mutex::new(passes), file, world })))
    }

    /// Who shows this text as a bearer token.
    ///
    /// # Errors
    /// Why they are not let in, in a sentence for them.
    pub fn visitor(&self, bearer: Option<&str>) -> Result<Visitor, String> {
        let Some(bearer) = bearer else { return Err("this needs a bearer token; use the kubeconfig that the control plane wrote".to_owned()) };
        if aws_lc_rs::constant_time::verify_slices_are_equal(bearer.as_bytes(), self.0.admin.as_bytes()).is_ok() {
            return Ok(Visitor { user: ADMIN.to_owned(), role: Role::Admin, pass: None });
        }
        match self.0.passes.lock().find(bearer, self.0.world.wall()) {
            Some(pass) => Ok(Visitor { user: pass.user.clone(), role: pass.role, pass: Some(pass.clone()) }),
            None => Err("the bearer token is not valid here; use the kubeconfig that this control plane wrote".to_owned()),
        }
    }

    /// A new pass, and the secret that proves it. The secret is kept nowhere.
    ///
    /// # Errors
    /// No entropy, too many tokens, a disk that cannot be written.
    pub fn issue(&self, grant: Grant) -> Result<(Zeroizing<String>, Pass), Fault> {
        let mut passes = self.0.passes.lock();
        let before = passes.clone();
        let issued = passes.issue(grant, self.0.world.wall())?;
        self.keep(&mut passes, before)?;
        Ok(issued)
    }

    /// Ends a pass and those that were got by it. Whether there was one.
    ///
    /// # Errors
    /// A disk that cannot be written; then nothing has changed.
    pub fn revoke(&self, id: &str) -> Result<bool, Fault> {
        let mut passes = self.0.passes.lock();
        let before = passes.clone();
        let found = passes.revoke(id);
        if found {
            self.keep(&mut passes, before)?;
        }
        Ok(found)
    }

    /// The tokens that are good now, without their secrets.
    pub fn tokens(&self) -> Vec<Pass> {
        let now = self.0.world.wall();
        let passes = self.0.passes.lock();
        passes.all().filter(|pass| pass.kind == PassKind::Token && pass.is_good(now)).cloned().collect()
    }

    /// How many are signed in.
    pub fn sessions(&self) -> usize {
        let now = self.0.world.wall();
        self.0.passes.lock().all().filter(|pass| pass.kind == PassKind::Session && pass.is_good(now)).count()
    }

    fn keep(&self, passes: &mut Passes, before: Passes) -> Result<(), Fault> {
        let written = self.0.file.as_deref().map_or(Ok(()), |file| passes.write(file));
        if written.is_err() {
            *passes = before;
        }
        written
    }
}
