//! Given: the pipeline, and callgrind, which counts instructions. Gives: how many it takes for an exchange, and an error
//! when they are more than they were. Refuses to know: time, which on a busy machine says less of a change than a count.

use std::env;

use anyhow::{Context, bail, ensure};

use super::pipeline::REPLAYED;
use crate::repository::{command, output, program};

/// Instructions for an exchange of `cargo xtask bench pipeline`, every path a new one: some 5 % above what was last
/// counted. What the machine's libraries and processor add or take is within that.
const MOST: u64 = 15_600;

/// Enough that the first call of each connection and of each endpoint does not show.
const EXCHANGES: u64 = 5_000;

/// Counts, and prints one line.
pub(super) fn run() -> anyhow::Result<()> {
    ensure!(program("valgrind").is_some(), "valgrind is not here: `cargo xtask setup` installs it");
    let directory = tempfile::tempdir().context("make a directory for what callgrind writes")?;
    let file = directory.path().join("counts");
    let this = env::current_exe().context("find this program")?;
    output(
        command("valgrind")
            .args(["--tool=callgrind", &format!("--toggle-collect={REPLAYED}")])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(this)
            .args(["bench", "replay", &EXCHANGES.to_string()]),
    )?;
    let counts = std::fs::read_to_string(&file).context("read what callgrind wrote")?;
    let taken = instructions(&counts).context("callgrind has counted no instructions")? / EXCHANGES;
    println!("{taken} instructions for an exchange, every path a new one; at most {MOST}");
    if taken > MOST {
        bail!(
            "the pipeline takes {taken} instructions for an exchange, and {MOST} were enough before: look what became \
             dearer (`valgrind --tool=callgrind --toggle-collect='{REPLAYED}' target/release/xtask bench replay \
             {EXCHANGES}`, then callgrind_annotate), and if it is worth it, raise MOST in xtask/src/bench/\
             instructions.rs and say in the commit what it buys"
        );
    }
    Ok(())
}

/// The total in a file of callgrind's; `None` when it has none, or counted nothing.
fn instructions(counts: &str) -> Option<u64> {
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok().filter(|&total| total > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_and_nothing_is_no_total() {
        assert_eq!(instructions("version: 1\nevents: Ir\nfn=(1)\n0 5\ntotals: 1234\n"), Some(1234));
        for counts in ["", "totals: 0\n", "totals: x\n", "summary: 5\n"] {
            assert_eq!(instructions(counts), None, "{counts:?}");
        }
    }
}
