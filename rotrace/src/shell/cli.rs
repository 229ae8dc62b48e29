//! Given: the command line. Gives: the command that it names, and an exit status. Refuses to know: how commands work.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use super::output::Format;
use super::{check, cost, offline, watch};
use crate::config::{self, Config, LogFormat};
use crate::probe::host::Family;

/// Watches the HTTP calls of game-server processes from the kernel, and says what each game costs the platform.
#[derive(Debug, Parser)]
#[command(name = "rotrace", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: watches every process that a rule of the config selects, and serves /metrics
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/rotrace/rotrace.toml")]
        config: PathBuf,
        /// Only these probes: socket or syscall; the best that the kernel allows when not given
        #[arg(long, value_name = "FAMILY", value_parser = family)]
        probes: Option<Family>,
    },
    /// Watches given processes, and what they fork and execute, and shows every call
    Attach(Attach),
    /// Says what a capture holds
    Report(Report),
    /// Says what this host and a process allow, and what will be missed
    Check(Check),
    /// Reads `authority<TAB>method<TAB>path` lines, and writes each with its endpoint template
    Endpoints(Endpoints),
    /// Weights of the cost model
    #[command(subcommand)]
    Cost(cost::Cost),
}

/// What `attach` is asked for.
#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Processes, by the PIDs of this PID namespace
    #[arg(value_name = "PID", required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pids: Vec<u32>,
    /// How calls are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Stop after this time, such as 30s
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Also write a capture
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
    /// Only these probes: socket or syscall; the best that the kernel allows when not given
    #[arg(long, value_name = "FAMILY", value_parser = family)]
    pub(super) probes: Option<Family>,
    /// Write secrets and bodies to the capture as they are
    #[arg(long, requires = "record")]
    pub(super) unredacted: bool,
    /// Rules for games and endpoints
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What `report` is asked for.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// A capture that `attach --record` wrote
    pub(super) capture: PathBuf,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Where it is written; standard output when not given
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Rules for games and endpoints
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What `check` is asked for.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// A process, by its PID in this PID namespace
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pid: Option<u32>,
    /// Check this configuration too
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Only these probes: socket or syscall; the best that the kernel allows when not given
    #[arg(long, value_name = "FAMILY", value_parser = family)]
    pub(super) probes: Option<Family>,
    /// Also load and attach the probes for a moment, and say what each takes
    #[arg(long)]
    pub(super) load: bool,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

/// What `endpoints` is asked for.
#[derive(Debug, Args)]
pub(super) struct Endpoints {
    /// Rules and limits
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// OpenAPI documents, besides those of the config
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) openapi: Vec<PathBuf>,
    /// Read all lines before the first is answered, and learn from them which words are names
    #[arg(long)]
    pub(super) learn: bool,
}

/// The whole program.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Cli { command } = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // clap has a message for people, and knows whether it is help or wrong usage.
        Err(message) => message.exit(),
    };
    match execute(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if is_broken_pipe(&why) => ExitCode::SUCCESS,
        Err(why) => {
            // One line, whatever stands in it; the verifier's log is the exception.
            let _ = writeln!(io::stderr(), "rotrace: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config: path, probes } => {
            let config = config::load(&path)?;
            config.require_targets(&path)?;
            start_log(&config);
            watch::run(&path, config, probes)
        }
        Command::Attach(attach) => {
            let config = optional(attach.config.as_deref())?;
            start_log(&config);
            watch::attach(attach, &config)
        }
        Command::Report(report) => offline::report(&report, &optional(report.config.as_deref())?),
        Command::Check(asked) => check::check(&asked),
        Command::Cost(asked) => cost::run(&asked),
        Command::Endpoints(asked) => offline::endpoints(&asked, optional(asked.config.as_deref())?),
    }
}

fn optional(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(path.map(config::load).transpose()?.unwrap_or_default())
}

fn start_log(config: &Config) {
    let filter =
        EnvFilter::try_from_env("ROTRACE_LOG").unwrap_or_else(|_| EnvFilter::new(config.log.level.as_str()));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // Only this function sets a subscriber, and it is called once.
    let _ = match config.log.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

fn is_broken_pipe(why: &anyhow::Error) -> bool {
    why.chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    config::duration(text).ok_or("expected a whole number and one of ms, s, m, h or d, such as 30s")
}

fn family(text: &str) -> Result<Family, &'static str> {
    Family::named(text).ok_or("expected socket or syscall")
}

/// Reads a file whole, or says which could not be read.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}
