//! Staying up under overload, as state machines: how much an application can work on at a time, who waits, who is sent away,
//! how long an answer is of use, and when a second copy of a request pays. Decides; sends and answers nothing.

pub mod concurrency;
pub mod deadline;
pub mod entrance;
pub mod hedge;
pub mod priority;
#[cfg(test)]
mod tests;

pub use concurrency::Concurrency;
pub use deadline::Deadline;
pub use entrance::{Arrival, Caller, Entrance, Shed};
pub use hedge::Hedge;
