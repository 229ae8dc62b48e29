//! Given: command lines, files and ports that cannot work. Gives: proof that rotrace says why in a line, and ends with the
//! status that scripts rely on: 1 failed, 2 wrong usage. Refuses to know: whatever works.

use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use crate::needs;
use crate::process::{Running, outcome};

/// `rotrace` with arguments.
pub(crate) fn rotrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(needs::rotrace());
    command.args(arguments);
    command
}

/// Fails with `status` and says each of `says` on stderr, nothing on stdout.
fn refused(arguments: &[&str], status: i32, says: &[&str]) {
    assert_refused(rotrace(arguments), arguments, status, says);
}

fn assert_refused(command: Command, arguments: &[&str], status: i32, says: &[&str]) {
    let (ended, printed, complaints) = outcome(command);
    assert_eq!(ended, Some(status), "{arguments:?}: {complaints}");
    for said in says {
        assert!(complaints.contains(said), "{arguments:?}: does not say {said:?}: {complaints}");
    }
    assert!(!complaints.contains("panicked"), "{complaints}");
    assert_eq!(printed, "", "{arguments:?}");
    if status == 1 {
        assert_eq!(complaints.lines().count(), 1, "{arguments:?}: more than a line: {complaints}");
    }
}

#[test]
fn wrong_usage_is_status_2() {
    let pid = std::process::id().to_string();
    refused(&["attach"], 2, &["PID"]);
    refused(&["attach", "game"], 2, &["game"]);
    refused(&["attach", "-1"], 2, &["-1"]);
    refused(&["attach", &pid, "--format", "xml"], 2, &["xml", "json"]);
    refused(&["attach", &pid, "--for", "soon"], 2, &["soon"]);
    refused(&["atach", &pid], 2, &["attach"]);
    refused(&[], 2, &["attach"]);
}

#[test]
fn a_pid_that_is_not_there() {
    let mut gone = Running::hold("/bin/true", [""; 0]);
    let pid = gone.pid().to_string();
    gone.next_step();
    gone.succeeded();
    refused(&["attach", &pid], 1, &[&pid]);
}

/// `attach` to a process of this test, in a mount namespace of its own in which `mounts` was run.
fn refused_where(mounts: &str, says: &[&str]) {
    let game = Running::hold("/bin/true", [""; 0]);
    let pid = game.pid().to_string();
    let script = format!("{mounts} && exec \"$@\"");
    let mut command = Command::new(needs::program("unshare"));
    command.args(["--mount", "/bin/sh", "-c", &script, "sh"]).arg(needs::rotrace()).args(["attach", &pid]);
    assert_refused(command, &["attach", &pid], 1, says);
}

#[test]
fn a_kernel_that_does_not_describe_its_types() {
    refused_where("mount -t tmpfs none /sys/kernel/btf", &["CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn a_kernel_in_lockdown() {
    let lockdown = "echo none integrity [confidentiality] > /sys/kernel/security/lockdown";
    refused_where(
        &format!("mount -t tmpfs none /sys/kernel/security && {lockdown}"),
        &["lockdown", "confidentiality", "integrity"],
    );
}

#[test]
fn captures_that_cannot_be_read() {
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    let path = directory.path().join("nothing").to_str().unwrap().to_owned();
    refused(&["report", &path], 1, &[&path]);
    std::fs::write(&path, "no capture at all, but long enough to have a beginning\n").unwrap();
    refused(&["report", &path], 1, &[&path]);
    std::fs::write(&path, "").unwrap();
    refused(&["report", &path], 1, &[&path]);
}

#[test]
fn the_port_of_the_metrics_is_taken() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    let path = directory.path().join("rotrace.toml").to_str().unwrap().to_owned();
    // The rule selects nothing: only processes that a test started are ever traced.
    std::fs::write(
        &path,
        format!("[[target]]\nexe = \"/nothing/here\"\n[metrics]\nlisten = \"{address}\"\n"),
    )
    .unwrap();
    refused(&["run", "--config", &path], 1, &[&address]);
}

#[test]
fn a_bad_configuration_names_line_key_and_the_nearest_key() {
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    let path = directory.path().join("rotrace.toml").to_str().unwrap().to_owned();
    refused(&["run", "--config", &path], 1, &[&path]);
    std::fs::write(&path, "[[target]]\nexe = \"/nothing/here\"\n[metrics]\nlisen = \"127.0.0.1:0\"\n")
        .unwrap();
    refused(&["run", "--config", &path], 1, &[&path, "4", "lisen", "listen"]);
    refused(&["check", "--config", &path], 1, &[&path, "4", "lisen", "listen"]);
}
