//! The bookstore that the demo, the end-to-end tests and the fault lab run.
