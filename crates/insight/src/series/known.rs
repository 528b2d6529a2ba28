//! Which values something has had before: how far a value is from the nearest of them.

use serde::{Deserialize, Serialize};

/// How many values are told apart.
const MOST: usize = 2048;

/// Values in order. When there are too many, those that are closest together become one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    values: Vec<f32>,
    /// Values that are not further apart are the same.
    resolution: f32,
}

impl Known {
    /// How far the value is from the nearest that is known; `None` while none is. It is known from now on.
    pub fn meet(&mut self, value: f64) -> Option<f64> {
        let value = value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        let at = self.values.partition_point(|known| *known < value);
        let below = at.checked_sub(1).map(|below| f64::from(value) - f64::from(self.values[below]));
        let above = self.values.get(at).map(|above| f64::from(*above) - f64::from(value));
        let distance = match (below, above) {
            (Some(below), Some(above)) => Some(below.min(above)),
            (one, other) => one.or(other),
        };
        if distance.is_none_or(|distance| distance > f64::from(self.resolution)) {
            self.values.insert(at, value);
            if self.values.len() > MOST {
                self.thin();
            }
        }
        distance
    }

    /// Takes the closer half for the same.
    fn thin(&mut self) {
        let mut gaps: Vec<f32> = self.values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let middle = gaps.len() / 2;
        let (_, median, _) = gaps.select_nth_unstable_by(middle, f32::total_cmp);
        self.resolution = self.resolution.max(*median);
        let (resolution, greatest) = (self.resolution, self.values.last().copied());
        let mut last = f32::NEG_INFINITY;
        self.values.retain(|value| {
            let apart = *value - last > resolution || Some(*value) == greatest;
            if apart {
                last = *value;
            }
            apart
        });
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        self.values.capacity() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, MOST};

    #[test]
    fn a_value_is_as_new_as_it_is_far_from_what_is_known() {
        let mut known = Known::default();
        assert_eq!(
            [10.0, 20.0, 19.0, 14.0, 40.0, 10.0].map(|value| known.meet(value)),
            [None, Some(10.0), Some(1.0), Some(4.0), Some(20.0), Some(0.0)]
        );
    }

    #[test]
    fn it_stays_small_and_keeps_the_extremes() {
        let mut known = Known::default();
        for step in 0..50_000_u32 {
            known.meet(f64::from(step.wrapping_mul(2_654_435_761) >> 8));
            assert!(known.values.len() <= MOST);
        }
        let range = f64::from(1 << 24);
        assert!(known.values.len() > MOST / 4 && known.resolution < range as f32 / 500.0, "{} values", known.values.len());
        assert!(known.meet(range * 1.5).is_some_and(|distance| (distance / range - 0.5).abs() < 0.01));
    }
}
