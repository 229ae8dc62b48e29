//! Given: the core. Gives: what it needs of the world. Refuses to know: HTTP calls.

pub mod server;
