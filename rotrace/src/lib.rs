//! rotrace: the HTTP calls of game-server processes, seen from the kernel, by game and endpoint.
//!
//! Modules stand in pipeline order, and a module uses only what stands before it:
//!
//! ```text
//! capture → stream → conn → http → exchange → attribute → endpoint → catalogue → call → cost
//!         → summary → detect → accounts → pipeline                                       (pure)
//!                                           → redact                                     (pure; before a capture)
//!         → metrics, report                                                              (pure renderers)
//!         → process, probe, config, shell, main                                          (the shell)
//! ```
//!
//! From `stream` to `pipeline` the code is pure: bytes and their own timestamps in, values out. No clock, file, thread,
//! log or hash order. The ring buffer and a capture file feed the same bytes to the same [`pipeline`].

pub mod capture;

pub mod stream;

pub mod conn;

pub mod http;

pub mod keyed;

pub mod cache;

pub mod exchange;

pub mod redact;

pub mod attribute;

pub mod endpoint;

pub mod catalogue;

pub mod call;

pub mod cost;

pub mod summary;

pub mod detect;

pub mod accounts;

pub mod pipeline;

pub mod metrics;

pub mod report;

#[expect(clippy::disallowed_methods, reason = "reads procfs")]
pub mod process;

#[expect(clippy::disallowed_methods, reason = "IO shell: loads the probes and reads what the host offers")]
pub mod probe;

#[expect(clippy::disallowed_methods, reason = "reads the configuration file")]
pub mod config;

#[expect(clippy::disallowed_methods, reason = "IO shell: threads, clocks, signals, files")]
pub mod shell;
