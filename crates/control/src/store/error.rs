//! Why the store did not do what it was asked.

use std::path::PathBuf;
use taut_model::origin::ObjectRef;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{object} does not exist")]
    NotFound { object: ObjectRef },
    #[error("{object} already exists")]
    AlreadyExists { object: ObjectRef },
    #[error("{object} has changed: it is at resourceVersion {stored}, the change was made to {given}; read it again and repeat the change")]
    Conflict { object: ObjectRef, stored: String, given: String },
    /// The closure given to `update` decided against the change, and has told its caller why.
    #[error("the change was declined")]
    Declined,
    #[error("{path} is in use by another control plane; stop that one, or give this one a store of its own")]
    InUse { path: PathBuf },
    #[error("cannot use {path} as a store: {because}; check its owner and the disk, or name another file")]
    Unusable { path: PathBuf, because: String },
    /// Nothing has changed.
    #[error("the store could not write to disk: {because}")]
    Disk { because: String },
}
