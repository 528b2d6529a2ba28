//! Leaving without losing anything.
