//! Given: rotrace with fewer rights than root. Gives: proof that the four capabilities it asks for are enough, or that
//! it says which is missing. Refuses to know: what each is for.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::access_log::Served;
use crate::call::Seen;
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, held, outcome, words};
use crate::tracer::Tracer;

/// All that `attach` needs, as setpriv names them.
const NEEDED: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search";

/// The user that owns nothing.
const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// A copy of rotrace that anyone may execute.
fn executable() -> (TempDir, PathBuf) {
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = directory.path().join("rotrace");
    std::fs::copy(needs::rotrace(), &copy).unwrap();
    (directory, copy)
}

/// setpriv with exactly these capabilities, as nobody, and with the locked memory that the unit of systemd gives where that counts.
fn unprivileged(capabilities: &str) -> Command {
    match needs::counts_maps_as_locked_memory() {
        true => with_memlock("unlimited", capabilities),
        false => with_capabilities(Command::new(needs::program("setpriv")), capabilities),
    }
}

/// The same, with so much locked memory.
fn with_memlock(limit: &str, capabilities: &str) -> Command {
    let mut command = Command::new(needs::program("prlimit"));
    command.arg(format!("--memlock={limit}:{limit}")).arg(needs::program("setpriv"));
    with_capabilities(command, capabilities)
}

fn with_capabilities(mut command: Command, capabilities: &str) -> Command {
    command.args(NOBODY);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.arg(format!("{set}=-all{}{capabilities}", if capabilities.is_empty() { "" } else { "," }));
    }
    command
}

/// A client of nobody, held.
fn client(arguments: Vec<String>) -> Running {
    let held = held(needs::program("curl"), arguments);
    let mut command = Command::new(needs::program("setpriv"));
    command.args(NOBODY).arg(held.get_program()).args(held.get_args());
    Running::start(command)
}

/// Traces ten calls of a client with the four capabilities; the last is what rotrace complained about.
fn ten_calls(scheme: Scheme) -> (Seen, Vec<Served>, String) {
    let nginx = Nginx::start();
    let (_directory, rotrace) = executable();
    // The certificate lies in a directory of root, and what is proved here is not trust.
    let mut arguments = words(["-s", "-k", "--http1.1"]);
    arguments.push(match scheme {
        Scheme::Plain => nginx.url("/v1/least/[1-10]"),
        Scheme::Tls => nginx.tls_url("/v1/least/[1-10]"),
    });
    let client = client(arguments);
    let mut command = unprivileged(NEEDED);
    command
        .arg(rotrace)
        .args(["attach", &client.pid().to_string(), "--format", "json"])
        .args(needs::probes());
    let tracer = Tracer::started(command);
    client.run();
    let (seen, complaints) = tracer.finish_with_complaints();
    (seen, nginx.quit(), complaints)
}

enum Scheme {
    Plain,
    Tls,
}

#[test]
fn four_capabilities_are_enough() {
    let (seen, log, _) = ten_calls(Scheme::Plain);
    assert_eq!(log.len(), 10);
    assert_equal(&seen.calls, &log);
}

#[test]
fn four_capabilities_are_enough_for_tls() {
    let (seen, log, complaints) = ten_calls(Scheme::Tls);
    assert_eq!(log.len(), 10);
    if !needs::has_uprobe_links() && complaints.contains("CAP_SYS_ADMIN") {
        // Without such links a kernel may ask for more, and this one does: that is said, and the connection is counted.
        assert_eq!((seen.calls.len(), seen.opaque()), (0, [("localhost".to_owned(), 1)].into()));
        return;
    }
    assert_equal(&seen.calls, &log);
}

#[test]
fn without_a_capability_it_says_which() {
    let (_directory, rotrace) = executable();
    let client = client(words(["-V"]));
    let pid = client.pid().to_string();
    for (capabilities, missing) in [
        ("", "CAP_BPF"),
        ("+perfmon,+sys_ptrace,+dac_read_search", "CAP_BPF"),
        ("+bpf,+sys_ptrace,+dac_read_search", "CAP_PERFMON"),
    ] {
        let mut command = unprivileged(capabilities);
        command.arg(&rotrace).args(["attach", &pid, "--format", "json"]).args(needs::probes());
        let (status, printed, complaints) = outcome(command);
        assert_eq!(status, Some(1), "{capabilities}: {complaints}");
        assert!(complaints.contains(missing), "{capabilities}: does not name {missing}: {complaints}");
        assert!(!complaints.contains("panicked"), "{complaints}");
        assert_eq!(printed, "");
    }
}

/// Where maps count as locked memory, what is missing is said; elsewhere nothing is.
#[test]
fn without_locked_memory_it_says_so_where_that_counts() {
    let (_directory, rotrace) = executable();
    let client = client(words(["-V"]));
    let mut command = with_memlock("65536", NEEDED);
    let pid = client.pid().to_string();
    command.arg(rotrace).args(["attach", &pid, "--format", "json", "--for", "1s"]).args(needs::probes());
    let (status, _, complaints) = outcome(command);
    if needs::counts_maps_as_locked_memory() {
        assert_eq!((status, complaints.lines().count()), (Some(1), 1), "{complaints}");
        assert!(complaints.contains("LimitMEMLOCK=infinity"), "{complaints}");
    } else {
        assert_eq!(status, Some(0), "{complaints}");
    }
}
