//! What to do when the plan asks: learn from the mesh and ask the plan again, or go without an answer when none can come.

use crate::engine::Engine;
use crate::fault::{Fault, Kind};
use taut_plan::verdict::Go;
use taut_plan::{Facts, Plan};

/// Waits for the mesh to say what `hosts` are. `None`: it has said so, and a new plan knows.
///
/// Without a control plane there is nothing to wait for: names of the world outside are passed through at once.
///
/// # Errors
/// Nobody has said in time.
pub async fn learn(engine: &Engine, plan: &Plan, facts: &Facts<'_>, hosts: &[String]) -> Result<Option<Box<Go>>, Fault> {
    if engine.current.cut_off() {
        // Known when the control plane is back.
        engine.current.want(hosts);
    } else if engine.current.learn(hosts, engine.options.learn).await {
        return Ok(None);
    }
    let unanswered = if engine.current.cut_off() { plan.unanswered(facts) } else { None };
    unanswered.map(|go| Some(Box::new(go))).ok_or_else(|| not_learned(facts.host))
}

pub fn not_learned(host: &str) -> Fault {
    Fault::new(Kind::NotLearned, format!("the control plane did not say in time whether {host} exists: is it reachable?"))
}
