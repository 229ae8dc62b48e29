//! Given: a mover that moves HTTP by each system call there is for it, blocking, by small parts, and over sockets that change
//! hands. Gives: proof that both sides of each exchange are seen, and seen right. Refuses to know: other programs.

use std::collections::BTreeMap;

use crate::moved::{assert_moved, joined, log, mover, traced};
use crate::tracer::Tracer;

/// Each way to send with each way to receive; of the rest, any two circumstances meet on some connection.
#[test]
fn every_way_to_send_with_every_way_to_receive() {
    let (seen, log) = traced(&["ways", "calls"]);
    assert_eq!(log.len(), 8 * 9 * 3);
    assert_moved(&seen, &log);
}

/// The tracer comes in the middle of a response on each connection. Nobody saw the request, so that is no call.
#[test]
fn every_way_joined_in_the_middle_of_a_response() {
    let (seen, log) = joined(&["joined", "calls"]);
    assert_eq!(log.len(), 8 * 9 * 2);
    assert_moved(&seen, &log);
}

/// io_uring: the probes of system calls see nothing of what it moves, and say how often it was called; the others see all.
#[test]
fn io_uring_is_seen_or_counted() {
    rings("rings", 4 * 4 * 3);
}

/// The same with what 5.10 has.
#[test]
fn io_uring_of_old_kernels_is_seen_or_counted() {
    rings("old-rings", 3 * 3 * 3);
}

fn rings(kind: &str, exchanges: usize) {
    let mut mover = mover(&["ways", kind]);
    let tracer = Tracer::attach(&[mover.pid()]);
    mover.next_step();
    let log = log(&mover.succeeded());
    let seen = tracer.finish_with_losses();
    assert_eq!(log.len(), exchanges);
    let Some(calls) = seen.summary.lost("io_uring") else {
        assert!(seen.summary.lost.is_empty(), "{:?}", seen.summary.lost);
        return assert_moved(&seen, &log);
    };
    assert_eq!(seen.calls.len(), 0, "what is not seen is not invented");
    assert!(calls >= 2 * exchanges as u64, "each message takes a ring and a request: {calls}");
    assert_eq!(seen.summary.lost.values().map(BTreeMap::len).sum::<usize>(), 1, "{:?}", seen.summary.lost);
}

/// TLS of the kernel: what the program passes is the plaintext. A kernel that has none must say so itself.
#[test]
fn ktls_is_plaintext() {
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap();
    if !available.split_whitespace().any(|name| name == "tls") {
        let mut mover = mover(&["ways", "ktls"]);
        mover.next_step();
        assert!(!mover.ended().success(), "there is kTLS, and the kernel does not list it");
        assert!(mover.complaints().contains("tls.ko"), "{}", mover.complaints());
        return;
    }
    let (seen, log) = traced(&["ways", "ktls"]);
    assert_eq!(log.len(), 4 * 5 * 3);
    assert_moved(&seen, &log);
}
