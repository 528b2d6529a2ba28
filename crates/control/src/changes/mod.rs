//! The changes of configuration as people look at them: who changed what when, how it reads before and after, where it is live,
//! and taking it back. What was changed is kept by `store/ledger`.

mod rollback;
mod routes;
mod shown;
#[cfg(test)]
mod tests;

pub use rollback::{Refused, Request, Restored, rollback};
pub use routes::{Changes, router};
pub use shown::{diff, entry_diff, row, told, yaml};
