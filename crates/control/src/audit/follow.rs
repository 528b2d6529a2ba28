//! Notes every change of configuration as the ledger has it, and brings the log to disk.

use super::Audit;
use crate::store::Store;
use crate::store::ledger::Generation;
use crate::world::World;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const CHANGED: &str = "configuration.changed";
/// How often is looked. A generation that is still growing (`taut apply -f DIR`) is noted with what it has.
const LOOK: Duration = Duration::from_secs(1);

/// Runs for ever.
pub async fn follow(audit: Audit, store: Store, world: World) {
    let mut seen = last_noted(&audit);
    loop {
        for generation in store.generations() {
            let size = generation.entries.len() as u64;
            if (generation.number, size) > seen {
                audit.note(world.wall(), &generation.author.user, CHANGED, described(&generation));
                seen = (generation.number, size);
            }
        }
        audit.sync();
        tokio::time::sleep(LOOK).await;
    }
}

/// The newest generation that is in the log, and how many entries it had.
fn last_noted(audit: &Audit) -> (u64, u64) {
    let newest = audit.entries(1, |entry| entry.what == CHANGED).unwrap_or_default().pop();
    let number = |name: &str| newest.as_ref().and_then(|entry| entry.details[name].as_u64()).unwrap_or(0);
    (number("generation"), number("count"))
}

/// Objects that are named of one generation.
const NAMED: usize = 50;

fn described(generation: &Generation) -> Value {
    let objects: Vec<Value> = generation
        .entries
        .iter()
        .take(NAMED)
        .map(|entry| json!({"kind": entry.kind.kind, "namespace": entry.namespace, "name": entry.name, "verb": format!("{:?}", entry.verb).to_lowercase()}))
        .collect();
    json!({"generation": generation.number, "count": generation.entries.len(), "by": generation.author.manager, "note": generation.author.note, "objects": objects})
}
