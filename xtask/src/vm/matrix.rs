//! Given: the kernels. Gives: whether every probe loads on each with about as many instructions for the verifier to walk as
//! are written down here, and whether the live tests pass there. Refuses to know: how a machine is run.
//!
//! A kernel that cannot be had is no failure of this repository, so it is told at the end, in capitals, and the others
//! decide.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::kernel::{KERNELS, Kernel};
use super::machine::{Ended, Machine};
use crate::repository::{cargo, output, run as run_command};

/// Verified instructions: kernel, program and count on each line.
const EXPECTED: &str = include_str!("verified.txt");

/// A program may take so many times what is written down before that is a failure.
const FACTOR: u64 = 2;

/// The families of probes, each of which is tried everywhere.
const FAMILIES: [&str; 2] = ["socket", "syscall"];

/// Machines that run at one time: each keeps about one processor busy.
const AT_ONCE: usize = 2;

/// The live tests that run: of each way to move bytes, to share a socket, to come late and to speak TLS, one or more. All of
/// them would take the better part of an hour on each emulated kernel; `cargo xtask vm` runs whatever is asked for.
const TESTS: [&str; 24] = [
    "clients::curl_with_many_urls_on_one_connection",
    "compat::int_0x80_of_a_64_bit_program_invents_nothing",
    "faults::a_storm_of_programs",
    "faults::a_tracer_that_is_killed_leaves_no_probe",
    "faults::every_record_is_there_or_counted_as_lost",
    "faults::ten_thousand_connections_at_one_time",
    "go::client_without_symbols",
    "go::server_with_symbols",
    "http2::curl_with_prior_knowledge",
    "http2::grpc_calls_made",
    "identity::a_descriptor_that_is_used_again_is_another_connection",
    "identity::a_read_that_was_blocked_when_the_tracer_came",
    "identity::connections_older_than_the_tracer",
    "lifetime::forks_and_executed_programs_are_followed",
    "matrix::every_way_joined_in_the_middle_of_a_response",
    "matrix::every_way_to_send_with_every_way_to_receive",
    "matrix::io_uring_of_old_kernels_is_seen_or_counted",
    "matrix::ktls_is_plaintext",
    "namespaces::a_tracer_in_a_pid_namespace_takes_and_shows_its_pids",
    "shapes::sendfile_and_recv_that_waits_for_all",
    "shapes::sendmmsg_and_recvmmsg",
    "shapes::splice_to_and_from_pipes",
    "shapes::writev_and_readv",
    "tls::curl_over_tls",
];

/// Those that need what 5.10 does not have: requests of io_uring that came with 6.0.
const TESTS_OF_NEW_KERNELS: [&str; 1] = ["matrix::io_uring_is_seen_or_counted"];

/// A program of the probes, and the instructions that the verifier walked; `None` where the kernel does not tell, which is
/// before 5.16.
type Loaded = (String, Option<u64>);

/// How a kernel did.
struct Row {
    kernel: &'static str,
    release: String,
    took: Duration,
    verdict: Verdict,
}

enum Verdict {
    Passed,
    Failed(Vec<String>),
    NotTried(String),
}

/// Tries every kernel.
pub(crate) fn run() -> anyhow::Result<()> {
    let built = Built::make()?;
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(kernel) = KERNELS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = tried(kernel, &built);
                    rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    rows.sort_by_key(|row| KERNELS.iter().position(|kernel| kernel.name == row.kernel));
    print!("{}", table(&rows));
    if rows.iter().any(|row| matches!(row.verdict, Verdict::Failed(_))) {
        bail!("the probes do not do on every kernel what they should");
    }
    if !rows.iter().any(|row| matches!(row.verdict, Verdict::Passed)) {
        bail!("no kernel could be had");
    }
    Ok(())
}

/// What runs in the machines: built here, and seen there at the same path.
struct Built {
    daemon: String,
    live: String,
}

impl Built {
    fn make() -> anyhow::Result<Built> {
        let tests = ["test", "--quiet", "--package=rotrace", "--test=live"];
        let told = output(cargo().args(tests).args(["--no-run", "--message-format=json"]))?;
        let messages: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let executable = |kind: &str, name: &str| {
            let is_it = |target: &Value| target["name"] == name && target["kind"][0] == kind;
            let found = messages.iter().filter(|message| is_it(&message["target"]));
            let found = found.filter_map(|message| message["executable"].as_str()).next_back();
            found.map(str::to_owned).with_context(|| format!("cargo does not say where {name} is"))
        };
        let built = Built { daemon: executable("bin", "rotrace")?, live: executable("test", "live")? };
        // What the tests start besides; there is no compiler in the machines.
        run_command(cargo().args(["build", "--quiet", "--package=rotrace-mover"]))?;
        run_command(cargo().args(tests).args(["--", "--exact", "go::the_program_compiles"]))?;
        Ok(built)
    }
}

/// How a kernel does.
fn tried(kernel: &'static Kernel, built: &Built) -> Row {
    println!("── vm {}", kernel.name);
    let started = Instant::now();
    let (release, verdict) = match Machine::new(kernel) {
        Err(error) => (String::new(), Verdict::NotTried(format!("{error:#}"))),
        Ok(machine) => {
            let faults = faults(kernel, &machine, built).unwrap_or_else(|error| vec![format!("{error:#}")]);
            let verdict = if faults.is_empty() { Verdict::Passed } else { Verdict::Failed(faults) };
            (machine.release().to_owned(), verdict)
        }
    };
    Row { kernel: kernel.name, release, took: started.elapsed(), verdict }
}

/// What is wrong on a kernel; one boot tells all.
fn faults(kernel: &Kernel, machine: &Machine, built: &Built) -> anyhow::Result<Vec<String>> {
    let loads = FAMILIES.map(|family| {
        [&built.daemon, "check", "--load", "--probes", family, "--format", "json"].map(str::to_owned).to_vec()
    });
    let lives = FAMILIES.map(|family| {
        let variable = format!("ROTRACE_LIVE_PROBES={family}");
        let options = ["env", &variable, &built.live, "--test-threads=1", "--exact"];
        options.map(str::to_owned).into_iter().chain(tests(kernel).map(str::to_owned)).collect()
    });
    let ended = machine.run(&[loads, lives].concat(), &mut |line| {
        if line.starts_with("test ") {
            println!("{}: {line}", kernel.name);
        }
    })?;
    let (loads, lives) = ended.split_at(FAMILIES.len().min(ended.len()));
    let loads = FAMILIES.iter().zip(loads).flat_map(|(family, ended)| match loaded(ended) {
        Ok(programs) => compare(kernel.name, &programs),
        Err(error) => vec![format!("{family}: {error:#}")],
    });
    let lives = FAMILIES.iter().zip(lives).filter(|(_, ended)| ended.status != 0);
    let lives = lives.map(|(family, ended)| format!("{family}: live tests:\n{}", ended.lines.join("\n")));
    Ok(loads.chain(lives).collect())
}

/// The live tests of a kernel.
fn tests(kernel: &Kernel) -> impl Iterator<Item = &'static str> {
    let of_new = if kernel.name == "5.10" { &[][..] } else { &TESTS_OF_NEW_KERNELS };
    TESTS.iter().chain(of_new).copied()
}

/// The programs that were loaded and attached.
fn loaded(ended: &Ended) -> anyhow::Result<Vec<Loaded>> {
    if ended.status != 0 {
        bail!("the probes do not load:\n{}", ended.lines.join("\n"));
    }
    let lines = ended.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs: Vec<Loaded> = lines
        .filter(|line| line["what"] == "program")
        .filter_map(|line| {
            let (name, rest) = line["found"].as_str()?.split_once(": ")?;
            let count = rest.split(' ').next()?.parse().ok();
            Some((name.to_owned(), count))
        })
        .collect();
    if programs.is_empty() {
        bail!("no program was loaded:\n{}", ended.lines.join("\n"));
    }
    Ok(programs)
}

/// Where programs take the verifier more than they should.
fn compare(kernel: &str, programs: &[Loaded]) -> Vec<String> {
    let mut faults = Vec::new();
    for (program, verified) in programs {
        let count = verified.map_or("-".to_owned(), |count| count.to_string());
        println!("{kernel} {program} {count}");
        let Some(verified) = *verified else { continue };
        match expected(kernel, program) {
            None => faults.push(format!("verified.txt lacks: {kernel} {program} {verified}")),
            Some(expected) if verified > expected * FACTOR => faults.push(format!(
                "{program}: the verifier walks {verified} instructions; verified.txt has {expected}"
            )),
            Some(_) => {}
        }
    }
    faults
}

fn expected(kernel: &str, program: &str) -> Option<u64> {
    let mut lines = EXPECTED.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find_map(|words| match words[..] {
        [on, of, count] if on == kernel && of == program => count.parse().ok(),
        _ => None,
    })
}

fn table(rows: &[Row]) -> String {
    let mut text = "── kernels\n".to_owned();
    for Row { kernel, release, took, verdict } in rows {
        let word = match verdict {
            Verdict::Passed => "ok",
            Verdict::Failed(_) => "FAILED",
            Verdict::NotTried(_) => "NOT TRIED",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{kernel:<8}{release:<24}{:>8.1} s  {word}", took.as_secs_f64());
    }
    for Row { kernel, verdict, .. } in rows {
        match verdict {
            Verdict::Passed => {}
            Verdict::Failed(faults) => {
                for fault in faults {
                    let _ = writeln!(text, "{kernel}: {fault}");
                }
            }
            Verdict::NotTried(why) => {
                let _ = writeln!(text, "{kernel}: NOT TRIED, IT COULD NOT BE HAD: {why}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_what_is_expected_is_of_a_kernel_that_is_tried() {
        for line in EXPECTED.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let [kernel, program, _] = words[..] else { panic!("{line}") };
            assert!(KERNELS.iter().any(|known| known.name == kernel), "{line}");
            assert!(expected(kernel, program).is_some(), "{line}");
        }
    }

    #[test]
    fn a_kernel_that_could_not_be_had_is_told() {
        let row = |kernel, verdict| Row { kernel, release: "r".to_owned(), took: Duration::ZERO, verdict };
        let rows = [
            row("5.10", Verdict::NotTried("404".to_owned())),
            row("6.1", Verdict::Passed),
            row("6.12", Verdict::Failed(vec!["no".to_owned()])),
        ];
        let text = table(&rows);
        assert!(text.contains("5.10: NOT TRIED, IT COULD NOT BE HAD: 404\n"), "{text}");
        assert!(text.contains("6.12: no\n"), "{text}");
    }
}
