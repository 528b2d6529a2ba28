//! How the application's own traffic is caught, and where it says it wants to go.

pub mod first_word;
pub mod http_proxy;
pub mod late;
pub mod sniff;
pub mod socks5;
