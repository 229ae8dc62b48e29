//! Given: this repository. Gives: whether it is in order: each step named, timed, and the first failure told. Refuses to
//! know: what the tests test.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::repository::{cargo, run as run_command};
use crate::{bench, ebpf, setup, vm};

/// Chance decides nothing here: whoever changes one thing is not to be stopped by another.
const SEED: &str = "PROPTEST_RNG_SEED";

/// One step, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Install what is missing
    Setup,
    /// The sources are formatted
    Format,
    /// No lint fires
    Clippy,
    /// Build the BPF object from its sources and check it; the live tests run on this one
    BuildEbpf,
    /// Unit, property, replay and tidy tests; need no root. Properties try the same cases each time: set
    /// PROPTEST_RNG_SEED to another number, and PROPTEST_CASES to a larger one, to look for what they have not met
    Test,
    /// The pipeline takes no more instructions for an exchange than before; needs valgrind
    Instructions,
    /// Real clients and servers on this kernel; need root and BTF
    Live,
    /// The probes load and see on other kernels, in virtual machines; needs root
    Vm,
}

impl Step {
    fn run(self, extent: vm::Extent) -> anyhow::Result<()> {
        match self {
            Step::Setup => setup::set_up(None),
            Step::Format => run_command(cargo().args(["fmt", "--all", "--check"])),
            Step::Clippy => {
                // `--all-targets` leaves out tests that a plain `cargo test` leaves out.
                let all = ["--workspace", "--all-targets"];
                let live = ["--package=rotrace", "--test=live", "--test=dashboard"];
                for targets in [&all[..], &live] {
                    let clippy = ["clippy", "--quiet"].iter().chain(targets).chain(&["--", "-D", "warnings"]);
                    run_command(cargo().args(clippy))?;
                }
                Ok(())
            }
            Step::BuildEbpf => ebpf::build(),
            Step::Test => {
                let mut test = cargo();
                if env::var_os(SEED).is_none() {
                    test.env(SEED, "1");
                }
                run_command(test.args(["test", "--workspace"]))
            }
            Step::Instructions => bench::run(bench::Bench::Instructions),
            Step::Live => {
                let live = ["test", "--package=rotrace", "--test=live", "--test=dashboard"];
                run_command(cargo().args(live).args(["--", "--test-threads=1"]))
            }
            Step::Vm => {
                setup::set_up(Some(setup::Part::Vm))?;
                vm::matrix(extent)
            }
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }
}

/// Runs the steps that `wanted` takes, up to the first that fails, and ends with a table of how long each took.
pub(crate) fn run(wanted: impl Fn(Step) -> bool, extent: vm::Extent) -> anyhow::Result<()> {
    let mut done: Vec<(Step, Duration)> = Vec::new();
    for &step in Step::value_variants().iter().filter(|&&step| wanted(step)) {
        println!("── {}", step.name());
        let started = Instant::now();
        let result = step.run(extent);
        done.push((step, started.elapsed()));
        if let Err(error) = result {
            print!("{}", table(&done, Some(step)));
            return Err(error).with_context(|| format!("step {} failed", step.name()));
        }
    }
    if done.is_empty() {
        bail!("no step is left to run");
    }
    print!("{}", table(&done, None));
    Ok(())
}

fn table(done: &[(Step, Duration)], failed: Option<Step>) -> String {
    let total = done.iter().map(|(_, took)| took).sum::<Duration>();
    let mut text = "── steps\n".to_owned();
    for &(step, took) in done {
        let verdict = if failed == Some(step) { "FAILED" } else { "ok" };
        text.push_str(&format!("{:<13}{:>8.1} s  {verdict}\n", step.name(), took.as_secs_f64()));
    }
    text.push_str(&format!("{:<13}{:>8.1} s\n", "all", total.as_secs_f64()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_named_as_they_are_asked_for() {
        let names: Vec<_> = Step::value_variants().iter().map(|step| step.name()).collect();
        assert_eq!(names, ["setup", "format", "clippy", "build-ebpf", "test", "instructions", "live", "vm"]);
    }

    #[test]
    fn the_table_names_the_step_that_failed() {
        let done = [(Step::Format, Duration::from_millis(1520)), (Step::Clippy, Duration::from_secs(61))];
        assert_eq!(
            table(&done, Some(Step::Clippy)),
            "── steps\n\
             format            1.5 s  ok\n\
             clippy           61.0 s  FAILED\n\
             all              62.5 s\n"
        );
    }
}
