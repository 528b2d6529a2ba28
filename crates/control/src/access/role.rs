//! The three roles, each of which may do all that the one before it may, and who has one.

use super::passes::Pass;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything but Secrets.
    Viewer,
    /// Changes where traffic goes, rolls such changes back, and sees live requests.
    Operator,
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// Somebody who was let in. Requests that passed the guard carry it as an extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Visitor {
    pub user: String,
    pub role: Role,
    /// `None` for who shows the admin token.
    pub pass: Option<Pass>,
}
