//! Given: traffic that is allowed and unusual: split, joined, wide, large, moved by rare system calls. Gives: proof that
//! the calls in it are those of the server's log. Refuses to know: which library would make it.

use crate::call::Seen;
use crate::clients::check;
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{DEADLINE, Running};
use crate::tracer::trace;

fn raw(shape: &str, requests: usize) -> Seen {
    let nginx = Nginx::start();
    let arguments =
        [needs::script("raw.py"), shape.to_owned(), "127.0.0.1".to_owned(), nginx.port.to_string()];
    check(nginx, needs::python(), arguments, requests)
}

#[test]
fn requests_written_byte_by_byte() {
    raw("bytes", 6);
}

/// RFC 9112 §2.2: a server ignores empty lines before a request line, so does whoever listens.
#[test]
fn requests_behind_empty_lines() {
    raw("empty_lines", 9);
}

#[test]
fn sixty_four_requests_in_one_write() {
    let seen = raw("pipeline", 65);
    let numbers: Vec<_> =
        seen.calls.iter().map(|call| call.path.rsplit_once('/').unwrap().1.to_owned()).collect();
    let expected: Vec<_> = (0..64).map(|number| number.to_string()).chain(["behind".to_owned()]).collect();
    assert_eq!(numbers, expected, "in the order of the requests");
}

#[test]
fn two_hundred_connections_at_once() {
    raw("many", 1000);
}

/// Bodies are counted, not copied.
#[test]
fn a_gigabyte_is_counted_and_not_captured() {
    let nginx = Nginx::start();
    nginx.serve_file("large", 1 << 30);
    let url = nginx.url("/large");
    let most = DEADLINE.as_secs().to_string();
    let seen = check(nginx, needs::program("curl"), ["-s", "-m", &most, "-o", "/dev/null", &url], 1);
    assert_eq!(seen.calls[0].response_body_bytes, Some(1 << 30));
    let captured = seen.summary.captured_bytes.expect("the summary says how much was captured");
    assert!(captured < 1 << 20, "{captured} bytes captured of a gigabyte");
}

fn ways(send: &str, receive: &str, host: &str) {
    let nginx = Nginx::start();
    nginx.serve_file("large", 150_000);
    // nginx listens on 127.0.0.1, which the v4-mapped address reaches through an IPv6 socket.
    let port = nginx.port.to_string();
    let arguments = [needs::script("ways.py"), send.into(), receive.into(), host.into(), port];
    check(nginx, needs::python(), arguments, 6);
}

#[test]
fn write_and_read() {
    ways("write", "read", "127.0.0.1");
}

#[test]
fn send_and_recv() {
    ways("send", "recv", "127.0.0.1");
}

#[test]
fn sendto_and_recvfrom() {
    ways("sendto", "recvfrom", "127.0.0.1");
}

#[test]
fn writev_and_readv() {
    ways("writev", "readv", "127.0.0.1");
}

#[test]
fn sendmsg_and_recvmsg() {
    ways("sendmsg", "recvmsg", "127.0.0.1");
}

#[test]
fn sendmmsg_and_recvmmsg() {
    ways("sendmmsg", "recvmmsg", "127.0.0.1");
}

#[test]
fn sendfile_and_recv_that_waits_for_all() {
    ways("sendfile", "recv_waitall", "127.0.0.1");
}

#[test]
fn splice_to_and_from_pipes() {
    ways("splice", "splice", "127.0.0.1");
}

/// What is looked at and not taken is not counted twice.
#[test]
fn peeked_bytes_count_once() {
    ways("send", "peek", "127.0.0.1");
}

#[test]
fn ipv6() {
    ways("writev", "recvmsg", "::1");
}

#[test]
fn v4_mapped_ipv6() {
    ways("sendmsg", "recv", "::ffff:127.0.0.1");
}

/// The same client and server twice: what one run leaves in the tracer's host does not change the next.
#[test]
fn a_second_tracer_sees_the_same() {
    let nginx = Nginx::start();
    let url = nginx.url("/v1/twice/[1-5]");
    let run = || trace(Running::hold(needs::program("curl"), ["-s", &url]));
    let (first, second) = (run(), run());
    let log = nginx.quit();
    let (early, late) = log.split_at(5);
    assert_equal(&first.calls, early);
    assert_equal(&second.calls, late);
}
