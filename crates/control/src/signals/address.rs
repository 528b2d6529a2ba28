//! Maps by the address of an edge: the cheap way to find what is already known of one, as long as somebody holds it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use taut_model::signal::Edge;

/// By [`address`].
pub type ByAddress<T> = HashMap<usize, T, BuildHasherDefault<AddressHasher>>;

pub fn address(edge: &Arc<Edge>) -> usize {
    Arc::as_ptr(edge) as usize
}

/// Spreads addresses, which are multiples of eight, over all bits.
#[derive(Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, number: usize) {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): the upper bits are the good ones.
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
