//! Given: nothing. Gives: the record contract between the probes and the daemon, its limits, and what the probes
//! decide, as plain functions that tests and fuzzers run in user space. Refuses to know: how memory is read
//! (that is the [`memory::Memory`] trait), which kernel this is (that is [`offsets::Offsets`]), and HTTP beyond
//! the first bytes of a stream.
//!
//! This library must never name the crate that the probes are written with: linking it would replace the
//! daemon's `memcpy`. A test in `xtask` holds it to that.
#![no_std]
#![deny(missing_docs)]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod admit;
pub mod classify;
pub mod frames;
pub mod function;
pub mod limits;
pub mod memory;
pub mod offsets;
pub mod record;
pub mod rewind;
pub mod rustls;
pub mod segments;
pub mod sequence;
pub mod stats;
pub mod syscalls;
pub mod websocket;
