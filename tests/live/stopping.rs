//! Given: a daemon that probes the TLS library of several processes, and is told to stop. Gives: proof that it ends in time,
//! and leaves no probe in the kernel. Refuses to know: what it saw.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::programs::loaded_links;
use tempfile::TempDir;

use crate::compare::slower;
use crate::needs;
use crate::process::{Running, until, words};
use crate::refusals::rotrace;

/// Processes that are watched.
const TARGETS: usize = 8;

/// Probes of a library's functions, where the kernel has links for many and where it has events for one.
pub(crate) struct UserProbes {
    pub(crate) links: usize,
    pub(crate) events: usize,
}

/// Of OpenSSL entries, returns, and those of `SSL_get_error`: six functions, of which four have returns.
pub(crate) const OPENSSL: UserProbes = UserProbes { links: 3, events: 6 + 4 };

/// Of GnuTLS, which wget brings, entries and returns: three functions, of which two have returns.
pub(crate) const GNUTLS: UserProbes = UserProbes { links: 2, events: 3 + 2 };

/// From SIGTERM to the end of the process, on a processor of this day.
const PROMISED: Duration = Duration::from_secs(2);

/// What a process holds of the kernel's that has a number by this name.
pub(crate) fn held_by(pid: u32, name: &str) -> BTreeSet<u32> {
    described(pid).iter().filter_map(|text| field(text, name)?.parse().ok()).collect()
}

/// The links that a process holds, by number; `of_type` is the end of what the kernel calls them.
pub(crate) fn links(pid: u32, of_type: &str) -> BTreeSet<u32> {
    let links = described(pid)
        .into_iter()
        .filter(|text| field(text, "link_type:\t").is_some_and(|kind| kind.ends_with(of_type)));
    links.filter_map(|text| field(&text, "link_id:\t")?.parse().ok()).collect()
}

/// Whether a process holds the probes of so many of these libraries, and no others. Links of many probes are `uprobe_multi` to some
/// kernels and `uretprobe_multi` to others; an event is a link from 5.15 on.
pub(crate) fn holds(pid: u32, libraries: &[(usize, UserProbes)]) -> bool {
    let all = |count: fn(&UserProbes) -> usize| {
        libraries.iter().map(|(times, each)| times * count(each)).sum::<usize>()
    };
    let events = links(pid, "perf").len() + perf_events(pid);
    let held = (links(pid, "probe_multi").len(), events);
    held == (all(|each| each.links), 0) || held == (0, all(|each| each.events))
}

/// The perf events that a process holds.
fn perf_events(pid: u32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.as_os_str() == "anon_inode:[perf_event]").count()
}

/// What the kernel says of the descriptors of a process.
fn described(pid: u32) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    // A descriptor may be closed between the list and the look at it.
    descriptors.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok()).collect()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// The links of all processes.
pub(crate) fn all_links() -> BTreeSet<u32> {
    loaded_links().filter_map(|link| Some(link.ok()?.id())).collect()
}

#[test]
fn with_eight_targets_of_tls_it_ends_within_two_seconds_and_leaves_no_probe() {
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    let mark = directory.path().to_str().unwrap();
    let config = directory.path().join("rotrace.toml").to_str().unwrap().to_owned();
    // The directory's name, which is in no other command line but the daemon's own, is all that selects a target.
    let rule = format!("[[target]]\nexe = \"{}\"\ncmdline = \"*{mark}/held\"\n", shell().display());
    std::fs::write(&config, rule + "[metrics]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let held =
        || Running::hold(needs::program("curl"), words(["-o"]).into_iter().chain([format!("{mark}/held")]));
    let _targets: Vec<Running> = std::iter::repeat_with(held).take(TARGETS).collect();
    let mut daemon = rotrace(&["run", "--config", &config]);
    daemon.args(needs::probes());
    let mut daemon = Running::start(daemon);
    let pid = daemon.pid();
    until("the probes of all targets", || holds(pid, &[(TARGETS, OPENSSL), (TARGETS, GNUTLS)]).then_some(()));
    let held_links = links(pid, "");
    let of_system_calls = held_links.len() - links(pid, "probe_multi").len() - links(pid, "perf").len();
    assert!(of_system_calls > 0, "the probes of system calls are links too");
    let stopped = Instant::now();
    daemon.signal(libc::SIGTERM);
    let status = daemon.ended();
    let took = stopped.elapsed();
    assert_eq!(status.code(), Some(0), "{}", daemon.complaints());
    assert!(took < PROMISED * slower() as u32, "it took {took:?}");
    assert_eq!(all_links().intersection(&held_links).collect::<Vec<_>>(), Vec::<&u32>::new());
}

/// The program that a held process is, as the kernel names it.
fn shell() -> PathBuf {
    std::fs::canonicalize("/bin/sh").unwrap()
}
