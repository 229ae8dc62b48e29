//! Given: processes that start, fork, execute, are killed, or were running before. Gives: proof that exactly what
//! belongs to the targets is traced, for as long as they live. Refuses to know: TLS.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::call::Role;
use crate::compare::{assert_equal, assert_suffix};
use crate::identity::script;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, words};
use crate::tracer::{Tracer, trace};

/// Calls that are made after the tracer came to a client in mid-flight.
const CALLS_IN_FLIGHT: usize = 300;

#[test]
fn forks_and_executed_programs_are_followed() {
    let nginx = Nginx::start();
    let commands = r#"curl -s "$0/v1/shell/one"; (curl -s "$0/v1/shell/[2-4]" & curl -s "$0/v1/shell/[5-9]" & wait)
        /usr/bin/python3 -c 'import subprocess, sys
subprocess.run(["curl", "-s", sys.argv[1] + "/v1/shell/deep"], check=True)' "$0""#;
    let seen = trace(Running::hold("/bin/sh", ["-c", commands, &nginx.url("")]));
    let log = nginx.quit();
    assert_eq!(log.len(), 10);
    assert_equal(&seen.calls, &log);
    let mut pids: Vec<_> = seen.calls.iter().map(|call| call.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 4, "four curls");
}

#[test]
fn every_call_after_the_tracer_came_to_a_running_client() {
    let nginx = Nginx::start();
    let mut client = script("looping", nginx.port, &[]);
    client.next_step();
    client.line("ready");
    let tracer = Tracer::attach(&[client.pid()]);
    let attached = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    tracer.wait_for_calls(CALLS_IN_FLIGHT);
    client.end_input();
    client.succeeded();
    let seen = tracer.finish();
    assert_suffix(&seen.calls, &nginx.quit(), attached.as_micros() as i64);
}

/// The server's side of the same.
#[test]
fn every_call_after_the_tracer_came_to_a_running_server() {
    let nginx = Nginx::start();
    let mut client = script("looping", nginx.port, &[]);
    client.next_step();
    client.line("ready");
    let tracer = Tracer::attach(&nginx.pids());
    let attached = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    tracer.wait_for_calls(CALLS_IN_FLIGHT);
    client.end_input();
    client.succeeded();
    let log = nginx.quit();
    let seen = tracer.finish();
    assert!(seen.calls.iter().all(|call| call.role == Role::Server));
    assert_suffix(&seen.calls, &log, attached.as_micros() as i64);
}

#[test]
fn a_client_that_is_killed_in_mid_download() {
    let nginx = Nginx::start();
    nginx.serve_file("large", 1 << 30);
    // Its first line tells the test that the download is under way; the rest comes at a rate that outlasts the test.
    let mut file = std::fs::OpenOptions::new().write(true).open(nginx.path("files/large")).unwrap();
    file.write_all(b"begin\n").unwrap();
    let urls = [nginx.url("/v1/before"), nginx.url("/large")];
    let arguments = words(["-sN", "--limit-rate", "1M"]).into_iter().chain(urls);
    let mut client = Running::hold(needs::program("curl"), arguments);
    let tracer = Tracer::attach(&[client.pid()]);
    client.next_step();
    client.line("begin");
    client.signal(libc::SIGKILL);
    assert!(!client.ended().success());
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!((seen.calls.len(), log.len()), (2, 2));
    let (whole, killed) = (&seen.calls[0], &seen.calls[1]);
    assert!(whole.complete && whole.path == "/v1/before", "{whole:?}");
    assert!(!killed.complete && killed.path == "/large" && killed.status == Some(200), "{killed:?}");
    assert_ne!(killed.response_body_bytes, Some(1 << 30), "what was not seen is not known");
}

#[test]
fn others_on_the_same_port_are_never_captured() {
    let nginx = Nginx::start();
    let record = nginx.path("record.rotrace");
    let mut target = script("counted", nginx.port, &["target"]);
    let mut other = script("counted", nginx.port, &["bystander"]);
    let tracer = Tracer::attach_with(&[target.pid()], &["--unredacted", "--record", &record]);
    other.next_step();
    target.next_step();
    target.succeeded();
    other.succeeded();
    let pid = target.pid();
    let seen = tracer.finish();
    let recorded = String::from_utf8_lossy(&std::fs::read(&record).unwrap()).into_owned();
    assert!(recorded.contains("/v1/target/1"), "the capture holds the target's calls");
    assert!(!recorded.contains("bystander"), "bytes of a process that is no target");
    assert!(seen.calls.iter().all(|call| call.pid == pid));
    let mut log = nginx.quit();
    assert_eq!(log.len(), 600);
    log.retain(|served| served.path.starts_with("/v1/target/"));
    assert_equal(&seen.calls, &log);
}

#[test]
fn a_tracer_ends_after_its_time() {
    let nginx = Nginx::start();
    let client = script("counted", nginx.port, &["never"]);
    let tracer = Tracer::attach_with(&[client.pid()], &["--for", "1s"]);
    assert_eq!(tracer.finish().calls.len(), 0, "the client is still held");
    assert_eq!(nginx.quit().len(), 0);
}

#[test]
fn a_tracer_that_is_asked_to_end_gives_what_it_has() {
    let nginx = Nginx::start();
    let mut client = script("opened_before", nginx.port, &[]);
    let tracer = Tracer::attach(&[client.pid()]);
    client.next_step();
    client.line("ready");
    let seen = tracer.stop();
    drop(client);
    let log = nginx.quit();
    assert_eq!(log.len(), 1);
    assert_equal(&seen.calls, &log);
}
