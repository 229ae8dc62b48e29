//! Given: a mover that moves a part of a connection by io_uring, and the rest by system calls. Gives: proof that what the probes of
//! system calls do not see is a gap of its length: it is counted to the byte, no call is invented or paired with another's answer,
//! and those are whole whose heads were seen and whose place is certain. The other probes see all. Refuses to know: how gaps are found.

use std::collections::BTreeSet;

use crate::call::Role::{Client, Server};
use crate::call::{Role, Seen};
use crate::moved::{Moved, assert_moved, assert_none_invented, log, mover};
use crate::tracer::Tracer;

/// A call by its role and number, and whether it is complete.
type Side = (u8, usize, bool);

/// Moves a case, and fails unless the sides that are seen are all but those named `hidden`, and complete but for those named
/// `uncertain`.
fn check(case: &str, hidden: &[(Role, usize)], uncertain: &[(Role, usize)]) {
    let mut mover = mover(&["mixed", case]);
    let tracer = Tracer::attach(&[mover.pid()]);
    mover.next_step();
    let printed = mover.succeeded();
    let sees_every_way = tracer.sees_every_way();
    let (seen, log) = (tracer.finish_with_losses(), log(&printed));
    if sees_every_way {
        assert!(seen.summary.lost.is_empty(), "{:?}", seen.summary.lost);
        assert_eq!(seen.summary.unseen_bytes(), [0; 2]);
        return assert_moved(&seen, &log);
    }
    assert_none_invented(&seen, &log);
    assert_eq!(sides(&seen), expected(&log, hidden, uncertain), "{:?}", seen.calls);
    let by_ring = printed.iter().find_map(|line| line.strip_prefix("ring\t")).expect("the mover says it");
    let by_ring: Vec<u64> = by_ring.split('\t').map(|bytes| bytes.parse().unwrap()).collect();
    assert_eq!(seen.summary.unseen_bytes().as_slice(), by_ring, "as many as went by io_uring");
}

fn sides(seen: &Seen) -> BTreeSet<Side> {
    let number = |path: &str| path.rsplit_once('/').unwrap().1.parse().unwrap();
    seen.calls.iter().map(|call| (call.role as u8, number(&call.path), call.complete)).collect()
}

fn expected(log: &[Moved], hidden: &[(Role, usize)], uncertain: &[(Role, usize)]) -> BTreeSet<Side> {
    let all = [Client, Server].into_iter().flat_map(|role| (0..log.len()).map(move |number| (role, number)));
    let seen = all.filter(|side| !hidden.contains(side));
    seen.map(|(role, number)| (role as u8, number, !uncertain.contains(&(role, number)))).collect()
}

/// The lengths of the bodies are known, and so where the next messages begin.
#[test]
fn the_middle_of_bodies() {
    check("bodies", &[], &[]);
}

/// The gap before the next response may as well hide that one.
#[test]
fn a_whole_exchange() {
    check("exchange", &[(Client, 2), (Server, 2)], &[(Client, 3), (Server, 3)]);
}

/// The server sends a response to what was not seen. Its next one begins where the traffic turns round.
#[test]
fn a_request_that_a_server_receives() {
    check("request", &[(Server, 2)], &[]);
}

/// Two requests wait when the gap is found, and one of the responses is in it.
#[test]
fn a_response_that_a_client_receives() {
    check("response", &[], &[(Client, 2), (Client, 3)]);
}

/// Nothing that is seen comes behind it but the end of the connection.
#[test]
fn the_last_response() {
    check("last", &[], &[(Client, 4)]);
}
