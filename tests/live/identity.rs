//! Given: sockets that change their descriptor, their process, or were there before the tracer. Gives: proof that a
//! connection is the socket and nothing else. Refuses to know: TLS.

use std::collections::BTreeMap;

use crate::call::{Call, Seen};
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome};
use crate::python::{PythonServer, Transport};
use crate::tracer::{Tracer, trace};

/// `scripts/identity.py` held before its first instruction.
pub(crate) fn script(case: &str, port: u16, more: &[&str]) -> Running {
    let mut arguments =
        vec![needs::script("identity.py"), case.to_owned(), "127.0.0.1".to_owned(), port.to_string()];
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    Running::hold(needs::python(), arguments)
}

fn check(case: &str, requests: usize) -> Seen {
    let nginx = Nginx::start();
    let seen = trace(script(case, nginx.port, &[]));
    let log = nginx.quit();
    assert_eq!(log.len(), requests);
    assert_equal(&seen.calls, &log);
    seen
}

/// The last part of the paths of these scripts is the PID that made the call.
fn assert_pids(calls: &[Call]) {
    for call in calls {
        let (_, pid) = call.path.rsplit_once('/').unwrap();
        assert_eq!(call.pid.to_string(), pid, "{}", call.path);
    }
}

#[test]
fn a_descriptor_that_is_used_again_is_another_connection() {
    let seen = check("reused", 39);
    let mut connections = BTreeMap::<_, usize>::new();
    for call in &seen.calls {
        *connections.entry(&call.connection).or_default() += 1;
    }
    assert_eq!(connections.len(), 20);
}

#[test]
fn descriptors_of_one_socket_are_one_connection() {
    let seen = check("duplicated", 5);
    assert!(seen.calls.iter().all(|call| call.connection == seen.calls[0].connection));
}

#[test]
fn a_child_goes_on_with_the_socket_of_its_parent() {
    let seen = check("forked", 3);
    assert_pids(&seen.calls);
    assert!(seen.calls.iter().all(|call| call.connection == seen.calls[0].connection));
}

#[test]
fn a_socket_that_is_passed_to_another_target_stays_one_connection() {
    let nginx = Nginx::start();
    let meeting = nginx.path("meeting.sock");
    let mut passing = script("passing", nginx.port, &[&meeting]);
    let mut passed = script("passed", nginx.port, &[&meeting]);
    let tracer = Tracer::attach(&[passing.pid(), passed.pid()]);
    passing.next_step();
    passing.line("ready");
    passed.next_step();
    passed.succeeded();
    passing.succeeded();
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!(log.len(), 4);
    assert_equal(&seen.calls, &log);
    assert_pids(&seen.calls);
}

#[test]
fn connections_older_than_the_tracer() {
    let nginx = Nginx::start();
    let mut client = script("opened_before", nginx.port, &[]);
    let tracer = Tracer::attach_when_ready(&mut client);
    client.succeeded();
    let seen = tracer.finish();
    let mut log = nginx.quit();
    assert_eq!(log.len(), 7);
    log.retain(|served| served.path.starts_with("/v1/after/"));
    assert_equal(&seen.calls, &log);
}

/// The response to a request that nobody saw is no call; what comes behind it is.
#[test]
fn a_read_that_was_blocked_when_the_tracer_came() {
    let server = PythonServer::start(Transport::Plain);
    let mut client = script("blocked", server.port, &[]);
    client.next_step();
    client.line("ready");
    let tracer = Tracer::attach(&[client.pid()]);
    let mut curl = std::process::Command::new(needs::program("curl"));
    curl.args(["-s", &server.url("/release/0")]);
    assert_eq!(outcome(curl).0, Some(0));
    client.succeeded();
    let seen = tracer.finish();
    let mut log = server.quit();
    assert_eq!(log.len(), 3);
    log.retain(|served| served.path == "/plain/100");
    assert_equal(&seen.calls, &log);
}
