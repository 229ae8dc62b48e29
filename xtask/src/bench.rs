//! Given: the daemon and its pipeline. Gives: what they cost, as ratios between rounds of one run and as rates. Refuses to
//! know: what the costs should be; `docs/performance.md` says what they were.

mod floor;
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
    /// What tracing takes from a server at full load, and what of a processor the daemon takes (needs root)
    Traced {
        /// Rounds; each is about half a minute
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Seconds of load for each measurement
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
    },
}

/// Measures with optimised programs, whatever this one is.
pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Pipeline if cfg!(debug_assertions) => run_command(cargo().args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "xtask",
            "--",
            "bench",
            "pipeline",
        ])),
        Bench::Pipeline => pipeline::run(),
        Bench::Traced { .. } if !rustix::process::geteuid().is_root() => {
            bail!("the probes need root: run it as root (sudo -E cargo xtask bench traced)")
        }
        Bench::Traced { rounds, seconds } => traced::run(rounds, seconds),
    }
}
