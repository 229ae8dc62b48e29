//! Given: the mover (`tests/mover`), which moves HTTP between two ends of its own and writes down each exchange. Gives: its
//! log, and nothing when the calls that rotrace saw are those of the log, or a failure that lists what is missing or
//! invented. Refuses to know: how it moves them.

use std::collections::{BTreeMap, BTreeSet};

use crate::call::{Call, Role, Seen};
use crate::needs;
use crate::process::Running;
use crate::tracer::Tracer;

/// Connections that a failure lists.
const LISTED: usize = 10;

/// The mover, held before its first instruction.
pub(crate) fn mover(words: &[&str]) -> Running {
    Running::hold(needs::mover(), words)
}

/// One exchange as the mover wrote it down.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    connection: String,
    /// Of the client and of the server.
    pids: [u32; 2],
    method: String,
    path: String,
    status: u16,
    /// Head and body of the request, head and body of the response.
    bytes: [u64; 4],
}

/// All exchanges in what a mover printed.
pub(crate) fn log(printed: &[String]) -> Vec<Moved> {
    printed.iter().filter_map(|line| line.strip_prefix("exchange\t")).map(moved).collect()
}

fn moved(line: &str) -> Moved {
    let fields: Vec<_> = line.split('\t').collect();
    let [connection, client, server, method, path, status, bytes @ ..] = &fields[..] else {
        panic!("no exchange: {line}")
    };
    Moved {
        connection: (*connection).to_owned(),
        pids: [client, server].map(|pid| pid.parse().unwrap()),
        method: (*method).to_owned(),
        path: (*path).to_owned(),
        status: status.parse().unwrap(),
        bytes: std::array::from_fn(|at| bytes[at].parse().unwrap()),
    }
}

/// Traces a mover from its first instruction to its end.
pub(crate) fn traced(words: &[&str]) -> (Seen, Vec<Moved>) {
    let mut mover = mover(words);
    let tracer = Tracer::attach(&[mover.pid()]);
    mover.next_step();
    let log = log(&mover.succeeded());
    (tracer.finish(), log)
}

/// Traces a mover that has connections in the middle of an exchange, from then to its end.
pub(crate) fn joined(words: &[&str]) -> (Seen, Vec<Moved>) {
    let mut mover = mover(words);
    let tracer = Tracer::attach_when_ready(&mut mover);
    let log = log(&mover.succeeded());
    (tracer.finish(), log)
}

/// Fails unless both roles of the calls are the exchanges of the log: the same on each connection, in the same order, with
/// the process that made them, method, path, status and all sizes, and each complete.
pub(crate) fn assert_moved(seen: &Seen, log: &[Moved]) {
    assert!(!log.is_empty(), "nothing was moved");
    let mut wrong = String::new();
    for role in [Role::Client, Role::Server] {
        let expected = conversations(log.iter().map(|moved| (&*moved.connection, moved_line(moved, role))));
        let calls = seen.of(role);
        let found = conversations(calls.iter().map(|call| (&*call.connection, call_line(call))));
        for (what, some, others) in [("missing", &expected, &found), ("invented", &found, &expected)] {
            for conversation in some.difference(others).take(LISTED) {
                wrong += &format!("{role:?}, {what}:\n  {}\n", conversation.join("\n  "));
            }
        }
    }
    assert_eq!(seen.calls.len(), 2 * log.len(), "each exchange has two sides\n{wrong}");
    assert_eq!(wrong, "");
}

/// How many bytes of requests and of responses went over each connection, by its name in the log.
pub(crate) fn totals(log: &[Moved]) -> BTreeMap<&str, [u64; 2]> {
    let mut totals = BTreeMap::<_, [u64; 2]>::new();
    for Moved { connection, bytes: [request_head, request_body, response_head, response_body], .. } in log {
        let [requests, responses] = totals.entry(&**connection).or_default();
        *requests += request_head + request_body;
        *responses += response_head + response_body;
    }
    totals
}

/// Fails unless every call is one side of an exchange of the log, none twice, and what is said of it is so.
pub(crate) fn assert_none_invented(seen: &Seen, log: &[Moved]) {
    let by_path: BTreeMap<_, _> = log.iter().map(|moved| (&*moved.path, moved)).collect();
    assert_eq!(by_path.len(), log.len(), "paths are not unique");
    let mut sides = BTreeSet::new();
    for call in &seen.calls {
        let Some(moved) = by_path.get(&*call.path) else { panic!("invented: {call:?}") };
        assert!(sides.insert((call.role as u8, &call.path)), "seen twice: {call:?}");
        assert!(moved.is_witnessed_by(call), "not as {moved:?}: {call:?}");
    }
}

impl Moved {
    fn pid(&self, role: Role) -> u32 {
        let [client, server] = self.pids;
        match role {
            Role::Client => client,
            Role::Server => server,
        }
    }

    /// Whether a call says nothing of this exchange that is not so.
    fn is_witnessed_by(&self, call: &Call) -> bool {
        let [request_head, request_body, response_head, response_body] = self.bytes;
        let is_right = |said: Option<u64>, is: u64| said.is_none_or(|said| said == is);
        if call.complete {
            return call_line(call) == moved_line(self, call.role);
        }
        call.pid == self.pid(call.role)
            && call.method == self.method
            && call.status.is_none_or(|status| status == self.status)
            && call.request_head_bytes == request_head
            && is_right(call.request_body_bytes, request_body)
            && is_right(call.response_head_bytes, response_head)
            && is_right(call.response_body_bytes, response_body)
    }
}

/// The lines of each connection, in order.
fn conversations<'a>(lines: impl Iterator<Item = (&'a str, String)>) -> BTreeSet<Vec<String>> {
    let mut connections = BTreeMap::<_, Vec<_>>::new();
    for (connection, line) in lines {
        connections.entry(connection).or_default().push(line);
    }
    connections.into_values().collect()
}

fn moved_line(moved: &Moved, role: Role) -> String {
    let Moved { connection: _, pids: _, method, path, status, bytes } = moved;
    let pid = moved.pid(role);
    let bytes = bytes.map(Some);
    format!("{pid} http/1.1 {method} {path} {:?} {bytes:?} complete", Some(status))
}

fn call_line(call: &Call) -> String {
    let Call { pid, method, path, status, protocol, .. } = call;
    let bytes = [
        Some(call.request_head_bytes),
        call.request_body_bytes,
        call.response_head_bytes,
        call.response_body_bytes,
    ];
    let complete = if call.complete { "complete" } else { "not complete" };
    format!("{pid} {} {method} {path} {status:?} {bytes:?} {complete}", protocol.to_lowercase())
}
