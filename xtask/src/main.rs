//! Given: a command. Gives: set-up, the BPF object, dashboards, tests, benches and the demo. Refuses to know:
//! anything a user needs at run time.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these commands talk to the person who runs them"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tools read files and clocks; the rule is for the daemon's core"
)]

mod bench;
mod dashboards;
mod demo;
mod ebpf;
mod evaluate;
mod lab;
mod process;
mod repository;
mod setup;
mod steps;
mod stop;
#[cfg(test)]
mod tidy;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Set-up, the BPF object, tests and the demo of rotrace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building the BPF object and running the tests need (Debian; elsewhere: say what to install)
    Setup {
        /// Only this part
        #[arg(long = "for", value_name = "PART")]
        part: Option<setup::Part>,
    },
    /// Build the BPF object, check it, and write it to rotrace/bpf
    BuildEbpf {
        /// Compare with rotrace/bpf and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Write the Grafana dashboard and the Prometheus rules from the metric table
    Dashboards,
    /// Compare endpoint templates with those that labelled paths, or the paths of a document, should have; count what
    /// documents say of operations
    Evaluate {
        /// Lines of id, host, path, template and kind, separated by tabs
        #[arg(long, value_name = "FILE")]
        cases: Option<PathBuf>,
        /// OpenAPI documents
        #[arg(long, value_name = "FILE", num_args = 1..)]
        openapi: Vec<PathBuf>,
        /// OpenAPI documents whose limits, alternatives and page sizes are counted
        #[arg(long, value_name = "FILE", num_args = 1..)]
        catalogue: Vec<PathBuf>,
        /// The corpus hpack-test-case: its directory, or a compressed archive of it
        #[arg(long, value_name = "PATH")]
        hpack: Option<PathBuf>,
    },
    /// All checks and tests, in order
    Test {
        /// Leave out the tests on this kernel, which need root
        #[arg(long)]
        no_live: bool,
        /// Then tests on other kernels too, in virtual machines: `some`, in twenty minutes at most, or `all`
        #[arg(long, value_name = "EXTENT", num_args = 0..=1, require_equals = true, default_missing_value = "some")]
        vm: Option<vm::Extent>,
        /// Only this step
        #[arg(long, value_name = "STEP")]
        only: Option<steps::Step>,
    },
    /// Measure what tracing costs
    Bench {
        /// What is measured
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Make worlds of games whose waste is known, and see what the product finds in them
    Lab {
        /// What is done with a world
        #[command(subcommand)]
        lab: lab::Lab,
    },
    /// Run a command as root on another kernel, in a virtual machine that sees the files of this one read-only
    Vm {
        /// Only this kernel: 5.10, 6.1, 6.12, newest, arm64-6.1 or arm64-newest
        #[arg(long, value_name = "NAME")]
        kernel: Option<String>,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run three games against an API server, with the daemon watching (needs root)
    Demo {
        /// Go on until Ctrl-C
        #[arg(long)]
        keep: bool,
        /// How long the games run
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
        seconds: u32,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup { part } => setup::set_up(part),
        Command::BuildEbpf { check: true } => ebpf::compare(),
        Command::BuildEbpf { check: false } => ebpf::build(),
        Command::Dashboards => dashboards::run(),
        Command::Evaluate { cases, openapi, catalogue, hpack } => {
            evaluate::run(cases, &openapi, &catalogue, hpack)
        }
        Command::Test { no_live, vm, only } => {
            let wanted = |step| match (only, step) {
                (Some(only), step) => step == only,
                (None, steps::Step::Live) => !no_live,
                (None, steps::Step::Vm) => vm.is_some(),
                (None, _) => true,
            };
            steps::run(wanted, vm.unwrap_or(vm::Extent::Some))
        }
        Command::Vm { kernel, command, .. } => vm::run(kernel.as_deref(), &command),
        Command::Bench { bench } => bench::run(bench),
        Command::Lab { lab } => lab::run(lab),
        Command::Demo { keep, seconds } => {
            demo::run((!keep).then(|| Duration::from_secs(u64::from(seconds))))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
