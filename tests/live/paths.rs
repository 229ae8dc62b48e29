//! Given: `scripts/paths.py`, which serves itself over connections that few programs make, in a network namespace of its own.
//! Gives: proof that both sides of each exchange are seen, whole and once, and each connection with its addresses, from its
//! beginning to its end, as the server saw it. Refuses to know: how the kernel makes such connections.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::net::{Ipv6Addr, SocketAddr};

use rotrace::capture::Reader;
use rotrace_ebpf::record::{Open, Record, flag, kind, role};
use tempfile::TempDir;

use crate::access_log;
use crate::call::Role;
use crate::compare::assert_equal;
use crate::go::{self, Link};
use crate::moved::{assert_moved, log, totals};
use crate::needs;
use crate::process::Running;
use crate::tracer::Tracer;

/// The script with a case, held before its first instruction.
fn held(words: &[&str]) -> Running {
    let (python, script) = (needs::python(), needs::script("paths.py"));
    let command = ["--net", python.to_str().unwrap(), &script];
    Running::hold(needs::program("unshare"), command.iter().chain(words))
}

/// One side of a connection: its role, its own address and its peer's, and how many bytes it had sent and received when it was
/// over.
type Side = (u8, SocketAddr, SocketAddr, [u64; 2]);

/// The sides of the connections of which the script told.
fn told(printed: &[String]) -> Vec<Side> {
    let log = log(printed);
    let totals = totals(&log);
    let lines = printed.iter().filter_map(|line| line.strip_prefix("connection\t"));
    let both = lines.flat_map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        let [number, client, server] = fields[..] else { panic!("no connection: {line}") };
        let [client, server] = [client, server].map(|address| address.parse().unwrap());
        let [requests, responses] = totals[number];
        [
            (role::CLIENT, client, server, [requests, responses]),
            (role::SERVER, server, client, [responses, requests]),
        ]
    });
    let mut sides: Vec<_> = both.collect();
    sides.sort();
    sides
}

/// The sides of the connections in a capture, each of which began and ended in it.
fn captured(path: &str) -> Vec<Side> {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let mut open = BTreeMap::new();
    let mut sides = Vec::new();
    while let Some(bytes) = reader.next().unwrap() {
        let record = Record::decode(bytes).unwrap();
        if let Some(found) = record.open() {
            assert_ne!(record.header.flags & flag::FROM_START, 0, "joined late: {found:?}");
            assert_ne!(found.established_ns, 0, "{found:?}");
            assert!(found.established_ns >= found.connect_started_ns, "{found:?}");
            assert_eq!(found.connect_started_ns != 0, found.role == role::CLIENT, "{found:?}");
            assert!(open.insert(record.header.conn, found).is_none(), "opened twice: {found:?}");
        }
        if record.header.kind == kind::CLOSE {
            let found = open.remove(&record.header.conn).expect("what was opened is closed, once");
            let [local, remote] = addresses(&found);
            sides.push((found.role, local, remote, [record.header.position, record.header.size]));
        }
    }
    assert!(open.is_empty(), "never over: {open:?}");
    sides.sort();
    sides
}

fn addresses(open: &Open) -> [SocketAddr; 2] {
    [(open.local, open.local_port), (open.remote, open.remote_port)]
        .map(|(address, port)| SocketAddr::new(Ipv6Addr::from(address).to_canonical(), port))
}

/// Traces a case from its first instruction to its end.
fn check(words: &[&str], exchanges: usize) {
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    let record = directory.path().join("record.rotrace").to_str().unwrap().to_owned();
    let mut script = held(words);
    let tracer = Tracer::attach_with(&[script.pid()], &["--record", &record]);
    script.next_step();
    let printed = script.succeeded();
    let seen = tracer.finish();
    let log = log(&printed);
    assert_eq!(log.len(), exchanges);
    assert_moved(&seen, &log);
    assert_eq!(captured(&record), told(&printed));
}

#[test]
fn requests_that_go_with_the_syn() {
    check(&["fastopen"], 25);
}

#[test]
fn requests_that_go_with_the_syn_over_ipv6() {
    check(&["fastopen6"], 25);
}

#[test]
fn requests_of_curl_that_go_with_the_syn() {
    let curl = needs::program("curl");
    check(&["fastopen-curl", curl.to_str().unwrap()], 3);
}

#[test]
fn multipath_tcp() {
    check(&["mptcp"], 9);
}

#[test]
fn multipath_tcp_over_ipv6() {
    check(&["mptcp6"], 9);
}

#[test]
fn a_listener_of_multipath_tcp_that_tcp_comes_to() {
    check(&["mptcp-listener"], 9);
}

#[test]
fn a_client_of_multipath_tcp_that_comes_to_tcp() {
    check(&["mptcp-client"], 9);
}

/// Nobody saw its first exchange.
#[test]
fn multipath_tcp_joined_late() {
    let mut script = held(&["mptcp-late"]);
    script.next_step();
    script.line("ready");
    let server = script.line("server ").parse().unwrap();
    let tracer = Tracer::attach(&[script.pid(), server]);
    script.next_step();
    let log = log(&script.succeeded());
    assert_eq!(log.len(), 4);
    assert_moved(&tracer.finish(), &log);
}

/// Go listens with MPTCP from 1.24 on.
#[test]
fn a_server_of_go_that_multipath_tcp_comes_to() {
    let mut server = Running::hold(go::program(Link::Stripped), ["plain"]);
    server.next_step();
    let port = server.line("listening ");
    let mut client = Running::hold(needs::python(), [&needs::script("paths.py"), "mptcp-calls", &port]);
    let tracer = Tracer::attach(&[server.pid(), client.pid()]);
    client.next_step();
    client.succeeded();
    let log = access_log::read_python(&server.succeeded());
    let seen = tracer.finish();
    assert_eq!(log.len(), 9);
    assert_equal(&seen.of(Role::Server), &log);
    assert_equal(&seen.of(Role::Client), &log);
}

#[test]
fn urgent_data_that_nobody_asks_for() {
    check(&["urgent"], 17);
}

/// Its sender cannot know that, so one side counts it and the other does not.
#[test]
fn urgent_data_that_is_received_with_the_rest() {
    let mut script = held(&["urgent-inline"]);
    let tracer = Tracer::attach(&[script.pid()]);
    script.next_step();
    let log = log(&script.succeeded());
    assert_eq!(log.len(), 5);
    assert_moved(&tracer.finish(), &log);
}

/// They are in no call that moves bytes, so no probe sees them, and they are counted by their length. That of the body is known, so
/// the calls are whole all the same.
#[test]
fn pages_that_are_received_without_a_copy() {
    let mut script = held(&["zerocopy"]);
    let tracer = Tracer::attach(&[script.pid()]);
    script.next_step();
    let printed = script.succeeded();
    let (seen, log) = (tracer.finish_with_losses(), log(&printed));
    let mapped: u64 = printed.iter().find_map(|line| line.strip_prefix("mapped\t")).unwrap().parse().unwrap();
    assert_eq!(log.len(), 6);
    assert_moved(&seen, &log);
    assert!(seen.summary.lost.is_empty(), "{:?}", seen.summary.lost);
    assert_eq!(seen.summary.unseen_bytes(), [0, mapped]);
}
