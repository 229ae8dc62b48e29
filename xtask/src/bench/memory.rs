//! Given: a daemon, and many open connections of a process that it watches. Gives: what the daemon takes of memory, and
//! whether it saw the call of each. Refuses to know: time.

use std::fs;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::Connection;
use super::stage::Server;
use super::watch::Rotrace;

/// Files of this program besides the connections.
const OTHER_FILES: u64 = 256;

/// Memory of a process, in KiB (proc(5), `/proc/PID/smaps_rollup`).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Resident {
    /// All of it, as `VmRSS`: a page is counted as often as it is mapped. The ring buffer is mapped twice, one behind the
    /// other, so that records can cross its end (kernel/bpf/ringbuf.c, `bpf_ringbuf_area_alloc`).
    mapped_kib: u64,
    /// Each page once, those of shared libraries by their share.
    counted_once_kib: u64,
    /// What it has allocated, as `RssAnon`.
    allocated_kib: u64,
}

/// Measures, and prints three lines.
pub(super) fn run(connections: u32) -> anyhow::Result<()> {
    raise_open_files(u64::from(connections) + OTHER_FILES)?;
    let server = Server::start()?;
    let mut daemon = Rotrace::build(&server)?.daemon(&server)?;
    daemon.said()?;
    let before = resident(daemon.process.pid())?;
    let mut open = Vec::new();
    for number in 0..connections {
        let mut connection = Connection::open(server.address())
            .context("open a connection; net.ipv4.ip_local_port_range says how many there can be")?;
        // As games ask for what belongs to their users: each path is another one.
        connection.ask(&server.request(&format!("/v1/users/{}/summary?limit=50", 100_000 + number)))?;
        while !connection.is_answered()? {}
        open.push(connection);
    }
    let said = daemon.said()?;
    let after = resident(daemon.process.pid())?;
    println!(
        "{} of {connections} calls seen, {} records lost, {} connections held",
        said.calls, said.lost, said.connections
    );
    println!("before: {}", line(before));
    println!("after:  {}", line(after));
    daemon.end()
}

/// As many as are open at one time, in this process.
fn raise_open_files(needed: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is without bound.
    let raised = |limit: Option<u64>| limit.map(|limit| limit.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: raised(current), maximum: raised(maximum) })
        .with_context(|| format!("ask for {needed} open files"))
}

fn resident(pid: u32) -> anyhow::Result<Resident> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    read(&rollup).with_context(|| format!("read {path}: {rollup}"))
}

fn read(rollup: &str) -> Option<Resident> {
    let kib = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Resident {
        mapped_kib: kib("Rss")?,
        counted_once_kib: kib("Pss")?,
        allocated_kib: kib("Anonymous")?,
    })
}

fn line(Resident { mapped_kib, counted_once_kib, allocated_kib }: Resident) -> String {
    let [mapped, once, allocated] =
        [mapped_kib, counted_once_kib, allocated_kib].map(|kib| kib as f64 / 1024.0);
    format!(
        "VmRSS {mapped:.1} MiB; each page counted once {once:.1} MiB, of which RssAnon {allocated:.1} MiB"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str = "55945960c000-7fffaf233000 ---p 00000000 00:00 0                          [rollup]\n\
                          Rss:               51200 kB\nPss:               40960 kB\nPss_Dirty:         20480 kB\n\
                          Anonymous:         10240 kB\n";

    #[test]
    fn memory_is_read_and_shown() {
        let resident = read(ROLLUP).expect("it has all three");
        let expect = Resident { mapped_kib: 51_200, counted_once_kib: 40_960, allocated_kib: 10_240 };
        assert_eq!(resident, expect);
        let expect = "VmRSS 50.0 MiB; each page counted once 40.0 MiB, of which RssAnon 10.0 MiB";
        assert_eq!(line(resident), expect);
    }

    #[test]
    fn a_process_that_has_ended_has_no_memory() {
        assert_eq!(read(""), None);
        assert_eq!(read("Rss: 1 kB\nPss: 1 kB\n"), None);
    }
}
