//! Given: command lines, files and ports that cannot work. Gives: proof that rotrace says why in a line, and ends with the
//! status that scripts rely on: 1 failed, 2 wrong usage, 0 when the reader of its output went away. Refuses to know:
//! whatever works.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::call::Seen;
use crate::identity::script;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome};
use crate::tracer::Tracer;

fn rotrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(needs::rotrace());
    command.args(arguments);
    command
}

/// Fails with `status` and says each of `says` on stderr, nothing on stdout.
fn refused(arguments: &[&str], status: i32, says: &[&str]) {
    let (ended, printed, complaints) = outcome(rotrace(arguments));
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

/// A capture of 300 calls.
fn capture(nginx: &Nginx) -> String {
    let path = nginx.path("calls.rotrace");
    let mut client = script("counted", nginx.port, &["captured"]);
    let tracer = Tracer::attach_with(&[client.pid()], &["--record", &path]);
    client.next_step();
    client.succeeded();
    assert_eq!(tracer.finish().calls.len(), 300);
    path
}

fn reported(path: &str) -> Seen {
    let (status, printed, complaints) = outcome(rotrace(&["report", path, "--format", "json"]));
    assert_eq!(status, Some(0), "{complaints}");
    let lines: Vec<_> = printed.lines().map(str::to_owned).collect();
    Seen::read(&lines)
}

/// A tracer that was killed leaves a capture that ends anywhere: what is in it counts, and it is said that it is cut.
#[test]
fn a_capture_that_is_cut_off_gives_what_is_in_it() {
    let nginx = Nginx::start();
    let path = capture(&nginx);
    assert_eq!(reported(&path).calls.len(), 300, "the whole capture");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2 + 1]).unwrap();
    let (_, printed, complaints) = outcome(rotrace(&["report", &path, "--format", "json"]));
    assert_eq!(complaints.lines().count(), 1, "one line says that it is cut: {complaints}");
    let calls = printed.lines().filter(|line| crate::call::kind(line) == "call").count();
    assert!((100..200).contains(&calls), "{calls} calls in half of the capture");
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

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let nginx = Nginx::start();
    let path = capture(&nginx);
    for format in ["json", "text"] {
        let mut command = rotrace(&["report", &path, "--format", format]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{format}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{format}");
    }
}
