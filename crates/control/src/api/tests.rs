//! The API over its router, without sockets.
