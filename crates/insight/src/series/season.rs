//! What a series is usually like at this time of the day (or of another period): one mean per slot, over the days.

use serde::{Deserialize, Serialize};
use taut_model::signal::Second;

/// How much of a slot's mean the latest day is.
const LATEST: f32 = 0.3;
/// Days that a slot must have been seen on before it explains anything: what happened once may have been a fault.
const DAYS: u8 = 2;

/// After what time a series repeats itself, and into how many slots that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub length: Second,
    pub slots: u16,
}

impl Period {
    /// A day in slots of half an hour.
    pub const DAY: Self = Self { length: 86_400, slots: 48 };
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Season {
    slots: Vec<Slot>,
    length: Second,
    slot: usize,
    /// Of the slot that is under way.
    sum: f64,
    seen: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    mean: f32,
    days: u8,
}

impl Season {
    pub fn new(period: Period) -> Self {
        Self { slots: vec![Slot::default(); usize::from(period.slots.max(1))], length: period.length.max(1), slot: 0, sum: 0.0, seen: 0 }
    }

    fn slot_at(&self, at: Second) -> usize {
        let share = (at % self.length) as f64 / self.length as f64;
        ((share * self.slots.len() as f64) as usize).min(self.slots.len().saturating_sub(1))
    }

    /// What days before had at this time.
    pub fn expected(&self, at: Second) -> Option<f64> {
        let slot = self.slots.get(self.slot_at(at)).filter(|slot| slot.days >= DAYS)?;
        Some(f64::from(slot.mean))
    }

    /// Learns whatever comes: what comes every day at this time is usual.
    pub fn learn(&mut self, at: Second, value: f64) {
        let slot = self.slot_at(at);
        if slot != self.slot {
            self.fold();
            self.slot = slot;
        }
        self.sum += value;
        self.seen = self.seen.saturating_add(1);
    }

    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.slots.capacity() * size_of::<Slot>()
    }

    fn fold(&mut self) {
        if let Some(slot) = self.slots.get_mut(self.slot).filter(|_| self.seen > 0) {
            let mean = (self.sum / f64::from(self.seen)).clamp(-1e30, 1e30) as f32;
            slot.mean = if slot.days == 0 { mean } else { slot.mean + LATEST * (mean - slot.mean) };
            slot.days = slot.days.saturating_add(1);
        }
        self.sum = 0.0;
        self.seen = 0;
    }
}
