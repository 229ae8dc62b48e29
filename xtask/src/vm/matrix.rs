//! Given: the kernels. Gives: whether every probe loads on each with about as many instructions for the verifier to walk as
//! are written down here, and whether live tests pass there. Refuses to know: how a machine is run, and which tests.
//!
//! A kernel that cannot be had, and a machine that is too slow, are no failure of this repository: what was not run for it is
//! told at the end, in capitals, and the rest decides.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::foreign;
use super::kernel::{FOREIGN, KERNELS, Kernel};
use super::machine::{Ended, Machine, Ran};
use super::selection::{Extent, check, families, tests};
use crate::repository::{cargo, command, output, run as run_command};

/// Verified instructions: kernel, program and count on each line.
const EXPECTED: &str = include_str!("verified.txt");

/// A program may take so many times what is written down before that is a failure.
const FACTOR: u64 = 2;

/// How long all machines together may take, where each test runs somewhere: what must hold before a change lands should be
/// known in three quarters of an hour on a machine of two processors, of which the other steps take about a third.
const SOME_LIMIT: Duration = Duration::from_secs(20 * 60);

/// What programs for kernels of another architecture are built for; `cargo xtask setup` adds it.
pub(crate) const FOREIGN_TARGET: &str = "aarch64-unknown-linux-musl";

/// Machines that run at one time: each keeps about one processor busy.
const AT_ONCE: usize = 2;

/// A program of the probes, and the instructions that the verifier walked; `None` where the kernel does not tell, which is
/// before 5.16.
type Loaded = (String, Option<u64>);

/// How a kernel did.
struct Row {
    kernel: &'static str,
    /// Empty where the kernel could not be had.
    release: String,
    took: Duration,
    /// What is not as it should be.
    faults: Vec<String>,
    /// What was not found out.
    gaps: Vec<String>,
}

/// Every kernel, in the order in which they are told of.
fn kernels() -> impl DoubleEndedIterator<Item = &'static Kernel> {
    KERNELS.iter().chain(&FOREIGN)
}

/// Tries every kernel, the newest of each architecture first, on which it takes the longest.
pub(crate) fn run(extent: Extent) -> anyhow::Result<()> {
    let deadline = (extent == Extent::Some).then(|| Instant::now() + SOME_LIMIT);
    let own = Built::of(None)?;
    let listed = own.listed()?;
    check(&listed)?;
    let foreign = Built::of(Some(FOREIGN_TARGET));
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(kernel) = kernels().rev().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let built = if kernel.is_foreign() { foreign.as_ref() } else { Ok(&own) };
                    let row =
                        tried(kernel, built, &|family| tests(kernel, family, extent, &listed), deadline);
                    rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    rows.sort_by_key(|row| kernels().position(|kernel| kernel.name == row.kernel));
    print!("{}", table(&rows));
    if rows.iter().any(|row| !row.faults.is_empty()) {
        bail!("the probes do not do on every kernel what they should");
    }
    if rows.iter().all(|row| row.release.is_empty()) {
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
    /// For this machine, or for another target, whose programs hold all that they need and are linked by what rustc has with it.
    fn of(target: Option<&str>) -> anyhow::Result<Built> {
        let build = |words: &[&str]| {
            let mut cargo = cargo();
            cargo.args(words);
            if let Some(target) = target {
                cargo
                    .args(["--target", target, "--config"])
                    .arg(format!("target.{target}.linker='rust-lld'"));
            }
            cargo
        };
        let tests = ["test", "--quiet", "--package=rotrace", "--test=live"];
        let told = output(build(&tests).args(["--no-run", "--message-format=json"]))?;
        let messages: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let executable = |kind: &str, name: &str| {
            let is_it = |target: &Value| target["name"] == name && target["kind"][0] == kind;
            let found = messages.iter().filter(|message| is_it(&message["target"]));
            let found = found.filter_map(|message| message["executable"].as_str()).next_back();
            found.map(str::to_owned).with_context(|| format!("cargo does not say where {name} is"))
        };
        let built = Built { daemon: executable("bin", "rotrace")?, live: executable("test", "live")? };
        // What the tests start besides; there is no compiler in the machines.
        run_command(&mut build(&["build", "--quiet", "--package=rotrace-mover"]))?;
        if target.is_none() {
            let shipped = ["build", "--quiet", "--package=rotrace-rustls", "--profile=shipped"];
            run_command(cargo().args(shipped))?;
            run_command(cargo().args(tests).args(["--", "--exact", "go::the_program_compiles"]))?;
        }
        Ok(built)
    }

    /// The live tests that there are.
    fn listed(&self) -> anyhow::Result<Vec<String>> {
        let told = output(command(&self.live).args(["--list", "--format", "terse"]))?;
        Ok(told.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

/// How a kernel does with the probes, and with the live tests of each family.
fn tried<'a>(
    kernel: &'static Kernel,
    built: Result<&Built, &anyhow::Error>,
    tests: &dyn Fn(&str) -> Vec<&'a str>,
    deadline: Option<Instant>,
) -> Row {
    println!("── vm {}", kernel.name);
    let started = Instant::now();
    let mut row = Row {
        kernel: kernel.name,
        release: String::new(),
        took: Duration::ZERO,
        faults: Vec::new(),
        gaps: Vec::new(),
    };
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        row.gaps.push("time was up before it was fetched".to_owned());
        return row;
    }
    let built = match built {
        Ok(built) => built,
        Err(error) => {
            row.faults.push(format!("what runs there could not be built: {error:#}"));
            return row;
        }
    };
    match Machine::new(kernel) {
        Err(error) => row.gaps.push(format!("it could not be had: {error:#}")),
        Ok(machine) => {
            machine.release().clone_into(&mut row.release);
            if kernel.is_foreign() {
                match foreign::check(kernel, &machine.image()) {
                    Ok(found) => println!("{}: {found}", kernel.name),
                    Err(error) => row.faults.push(format!("{error:#}")),
                }
            }
            let jobs = jobs(kernel, built, tests);
            let commands: Vec<_> = jobs.iter().map(|job| job.command.clone()).collect();
            let ran = machine.run(&commands, deadline, &mut |line| {
                if line.starts_with("test ") {
                    println!("{}: {line}", kernel.name);
                }
            });
            match ran {
                Err(error) => row.faults.push(format!("{error:#}")),
                Ok(ran) => judge(kernel, &jobs, &ran, &mut row),
            }
        }
    }
    row.took = started.elapsed();
    row
}

/// A command of a machine.
struct Job<'a> {
    family: &'static str,
    command: Vec<String>,
    /// The live tests that it runs; none where it loads the probes.
    tests: Vec<&'a str>,
}

/// What runs on a kernel; one boot does it all.
fn jobs<'a>(kernel: &Kernel, built: &Built, tests: &dyn Fn(&str) -> Vec<&'a str>) -> Vec<Job<'a>> {
    let loads = families(kernel).iter().map(|&family| {
        let command = [&built.daemon, "check", "--load", "--probes", family, "--format", "json"];
        Job { family, command: command.map(str::to_owned).to_vec(), tests: Vec::new() }
    });
    let lives = families(kernel).iter().flat_map(|&family| {
        let tests = tests(family);
        let modules = tests.chunk_by(|one, next| module(one) == module(next));
        modules.map(|tests| live(built, family, tests)).collect::<Vec<_>>()
    });
    loads.chain(lives).collect()
}

/// Live tests of one module: what fails is told with a few others, and a machine that dies has done those before.
fn live<'a>(built: &Built, family: &'static str, tests: &[&'a str]) -> Job<'a> {
    let variable = format!("ROTRACE_LIVE_PROBES={family}");
    let options = ["env", &variable, &built.live, "--test-threads=1", "--exact"];
    let command = options.into_iter().chain(tests.iter().copied()).map(str::to_owned).collect();
    Job { family, command, tests: tests.to_vec() }
}

fn module(test: &str) -> &str {
    test.split("::").next().unwrap_or(test)
}

/// What is wrong on a kernel, and what is not known of it.
fn judge(kernel: &Kernel, jobs: &[Job<'_>], ran: &Ran, row: &mut Row) {
    for (job, ended) in jobs.iter().zip(&ran.ended) {
        let family = job.family;
        if !job.tests.is_empty() {
            // libtest ends with success when there is none of a name that it was given.
            if ended.status != 0 || passed(&ended.lines) != Some(job.tests.len()) {
                row.faults.push(format!("{family}: live tests:\n{}", ended.lines.join("\n")));
            }
            continue;
        }
        match loaded(ended) {
            Ok(programs) => row.faults.extend(compare(kernel.name, &programs)),
            Err(error) => row.faults.push(format!("{family}: {error:#}")),
        }
    }
    // The next was under way when time was up, and those behind it were not begun.
    let mut cut_off = ran.cut_off.as_slice();
    for Job { family, tests, .. } in jobs.iter().skip(ran.ended.len()) {
        let results: Vec<_> = std::mem::take(&mut cut_off).iter().filter_map(|line| result(line)).collect();
        for (test, result) in &results {
            if *result != "ok" {
                row.faults.push(format!("{family}: {test} {result}"));
            }
        }
        if tests.is_empty() {
            row.gaps.push(format!("{family}: time was up before the probes were loaded"));
        }
        for test in tests.iter().filter(|test| !results.iter().any(|(done, _)| done == *test)) {
            row.gaps.push(format!("{family}: time was up before {test}"));
        }
    }
}

/// How many tests libtest says have passed, when it is through.
fn passed(lines: &[String]) -> Option<usize> {
    let result = lines.iter().rev().find_map(|line| line.strip_prefix("test result: ok. "))?;
    result.split_once(" passed")?.0.parse().ok()
}

/// The test of a line, and how it ended.
fn result(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
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
    for Row { kernel, release, took, faults, gaps } in rows {
        let word = match (faults.is_empty(), gaps.is_empty(), release.is_empty()) {
            (false, _, _) => "FAILED",
            (true, false, true) => "NOT TRIED",
            (true, false, false) => "NOT ALL TRIED",
            (true, true, _) => "ok",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{kernel:<14}{release:<20}{:>8.1} s  {word}", took.as_secs_f64());
    }
    for Row { kernel, faults, gaps, .. } in rows {
        for fault in faults {
            let _ = writeln!(text, "{kernel}: {fault}");
        }
        for gap in gaps {
            let _ = writeln!(text, "{kernel}: NOT TRIED: {gap}");
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
            assert!(kernels().any(|known| known.name == kernel), "{line}");
            assert!(expected(kernel, program).is_some(), "{line}");
        }
    }

    fn row(kernel: &'static str, release: &str) -> Row {
        let release = release.to_owned();
        Row { kernel, release, took: Duration::ZERO, faults: Vec::new(), gaps: Vec::new() }
    }

    #[test]
    fn what_was_not_tried_is_told() {
        let rows = [
            Row { gaps: vec!["404".to_owned()], ..row("5.10", "") },
            row("6.1", "6.1.0"),
            Row { faults: vec!["no".to_owned()], ..row("6.12", "6.12.0") },
            Row { gaps: vec!["late".to_owned()], ..row("newest", "7.3") },
        ];
        let expect = [
            "── kernels",
            "5.10                                   0.0 s  NOT TRIED",
            "6.1           6.1.0                    0.0 s  ok",
            "6.12          6.12.0                   0.0 s  FAILED",
            "newest        7.3                      0.0 s  NOT ALL TRIED",
            "5.10: NOT TRIED: 404",
            "6.12: no",
            "newest: NOT TRIED: late",
            "",
        ];
        assert_eq!(table(&rows), expect.join("\n"));
    }

    fn summary(passed: usize) -> String {
        format!(
            "test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 130 filtered out; finished in 9s"
        )
    }

    #[test]
    fn tests_run_by_their_modules_without_losing_one() {
        let built = Built { daemon: "rotrace".to_owned(), live: "live".to_owned() };
        let tests = |family: &str| if family == "socket" { vec!["a::b", "a::c", "d::e"] } else { Vec::new() };
        let jobs = jobs(&KERNELS[0], &built, &tests);
        let lives: Vec<_> = jobs.iter().filter(|job| !job.tests.is_empty()).collect();
        let [a, d] = lives[..] else { panic!("{} jobs", lives.len()) };
        let words =
            ["env", "ROTRACE_LIVE_PROBES=socket", "live", "--test-threads=1", "--exact", "a::b", "a::c"];
        assert_eq!(a.command, words);
        assert_eq!((&a.tests, &d.tests), (&vec!["a::b", "a::c"], &vec!["d::e"]));
        assert_eq!(jobs.len() - lives.len(), 2, "the probes of each family are loaded");
    }

    #[test]
    fn fewer_tests_than_were_named_are_a_fault() {
        let jobs = [Job { family: "socket", command: Vec::new(), tests: vec!["a", "b"] }];
        for (passed, faults) in [(2, 0), (1, 1), (0, 1)] {
            let mut row = row("6.1", "6.1.0");
            let ended = vec![Ended { status: 0, lines: vec![summary(passed), String::new()] }];
            judge(&KERNELS[0], &jobs, &Ran { ended, cut_off: Vec::new() }, &mut row);
            assert_eq!(row.faults.len(), faults, "{passed} passed");
        }
    }

    #[test]
    fn what_time_was_up_for_is_a_gap_and_what_failed_before_is_a_fault() {
        let job = |family, tests: &[&'static str]| Job { family, command: Vec::new(), tests: tests.to_vec() };
        let jobs = [job("socket", &["a", "b"]), job("syscall", &["c", "d", "e"]), job("syscall", &["f"])];
        let ended = vec![Ended { status: 0, lines: vec![summary(2)] }];
        let cut_off = ["running 3 tests", "test c ... ok", "test d ... FAILED"].map(str::to_owned).to_vec();
        let mut row = row("6.1", "6.1.0");
        judge(&KERNELS[0], &jobs, &Ran { ended, cut_off }, &mut row);
        assert_eq!(row.faults, ["syscall: d FAILED"]);
        assert_eq!(row.gaps, ["syscall: time was up before e", "syscall: time was up before f"]);
    }
}
