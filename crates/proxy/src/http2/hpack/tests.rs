//! The examples of RFC 7541 appendix C, and what a decoder must refuse or outlive.
