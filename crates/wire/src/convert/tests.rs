//! Whatever the model can hold comes back as it went, and no bytes do harm.

use super::strategy;
use crate::resource::{Resource, ResourceType, decode, encode};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_resource_comes_back_from_its_bytes(resource in strategy::resource()) {
        let bytes = encode(&resource);
        prop_assert_eq!(decode(resource.of_type(), &bytes), Ok(resource.clone()));
        prop_assert_eq!(encode(&resource), bytes);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for of_type in ResourceType::all() {
            let _ = decode(of_type, &bytes);
        }
    }

    /// Near misses get further into the conversions than noise does.
    #[test]
    fn no_altered_resource_panics(resource in strategy::resource(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&resource);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        for of_type in ResourceType::all() {
            if let Ok(read) = decode(of_type, &bytes) {
                prop_assert_eq!(Resource::of_type(&read), of_type);
            }
        }
    }
}
