//! Given: the daemon and its pipeline. Gives: what they cost, as ratios between rounds of one run and as rates. Refuses to
//! know: what the costs should be; `docs/performance.md` says what they were.

mod client;
mod floor;
mod instructions;
mod latency;
mod memory;
mod pipeline;
mod quartiles;
mod stage;
mod traced;
mod watch;

use anyhow::bail;
use clap::Subcommand;

use crate::repository::{cargo, run as run_command};

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// How many exchanges a second the pipeline takes on one core, and what a connection takes of memory
    Pipeline,
    /// How many instructions the pipeline takes for an exchange; fails when they are more than they were (needs valgrind)
    Instructions,
    /// Replay a capture once, for a program that counts
    #[command(hide = true)]
    Replay {
        /// How many exchanges
        exchanges: u64,
    },
    /// What the daemon takes of memory with many open connections (needs root)
    Memory {
        /// Open at one time, each with one call
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000))]
        connections: u32,
    },
    /// What tracing takes from a server at full load, and what of a processor the daemon takes (needs root)
    Traced {
        /// Rounds; each is about half a minute
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Seconds of load for each measurement
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
        /// Measure how long answers take at so many requests a second, and not how many there are
        #[arg(long, num_args = 0..=1, default_missing_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: Option<u32>,
    },
}

/// Measures with optimised programs, whatever this one is.
pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Pipeline if cfg!(debug_assertions) => run_optimised("pipeline"),
        Bench::Pipeline => pipeline::run(),
        Bench::Instructions if cfg!(debug_assertions) => run_optimised("instructions"),
        Bench::Instructions => instructions::run(),
        Bench::Replay { exchanges } => pipeline::replay(exchanges),
        _ if !rustix::process::geteuid().is_root() => {
            bail!("the probes need root: run it as root (sudo -E cargo xtask bench …)")
        }
        Bench::Memory { connections } => memory::run(connections),
        Bench::Traced { rounds, seconds, rate: Some(rate) } => latency::run(rounds, seconds, rate),
        Bench::Traced { rounds, seconds, rate: None } => traced::run(rounds, seconds),
    }
}

fn run_optimised(bench: &str) -> anyhow::Result<()> {
    let this = ["run", "--quiet", "--release", "--package", "xtask", "--", "bench"];
    run_command(cargo().args(this).arg(bench))
}
