//! The patches against the cases their specifications name.
