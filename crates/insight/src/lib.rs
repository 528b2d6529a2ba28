//! What the records mean: pure engines over a stream of signals and changes. They have no clock, no dice, no files and no sockets: time
//! comes in with each [`tick::Tick`], and the same ticks give the same answers, byte for byte, live or from a recording.

pub mod change;
pub mod engine;
pub mod feed;
pub mod forecast;
pub mod incident;
pub mod locate;
pub mod objective;
mod rarity;
pub mod series;
pub mod tell;
pub mod tick;
