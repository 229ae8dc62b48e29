//! rotrace: the HTTP calls of game-server processes, seen from the kernel, by game and endpoint.
//!
//! Modules stand in pipeline order, and a module uses only what stands before it:
//!
//! ```text
//! capture → stream → conn → http → exchange → attribute → endpoint → call → summary → pipeline   (pure)
//!         → metrics, report                                                              (pure renderers)
//!         → probe, process, config, shell, main                                          (the shell)
//! ```
//!
//! From `stream` to `pipeline` the code is pure: bytes and their own timestamps in, values out. No clock, file, thread,
//! log or hash order. The ring buffer and a capture file feed the same bytes to the same [`pipeline`].

pub mod attribute;
pub mod call;
#[expect(clippy::disallowed_methods, reason = "reads the configuration file")]
pub mod config;
pub mod endpoint;
pub mod exchange;
pub mod http;
pub mod metrics;
#[expect(clippy::disallowed_methods, reason = "IO shell: loads the probes and reads what the host offers")]
pub mod probe;
#[expect(clippy::disallowed_methods, reason = "reads procfs")]
pub mod process;
pub mod report;
pub mod shell;
pub mod stream;
pub mod summary;
