//! Given: the calls that rotrace printed, and the server's access log. Gives: nothing when they are equal, or a failure
//! that lists what is missing, invented or different. Refuses to know: which client made them.
//!
//! Equal means: the same calls in the same order on as many connections, and of each call the same method, path,
//! protocol, status, sizes and TLS. Names of connections differ by nature (a socket here, a counter there), so it is the
//! sequences that must match. Where several calls look alike their times are paired in order: if any pairing keeps
//! within the bound, that one does.
//!
//! Times: rotrace takes the start when the system call that moved the first byte ended, the server when it looked at its
//! clock after it read them (nginx: once a turn of its event loop, to the millisecond). Both are the same moment but for
//! scheduling: half of the calls or more must agree within [`APART_US`]. The end of a call served is when the last byte was
//! handed to the socket, for both, so the same holds; a client may take its time to read it, so its end may be any time
//! later. On a busy host a process waits for its turn now and then between two of these moments, even before the system
//! call that woke its peer has ended; but no longer than [`STALL_US`].

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::access_log::Served;
use crate::call::{Call, Role};

/// How far times may be apart.
const APART_US: i64 = 5_000;

/// How long a process that could run may have to wait.
const STALL_US: i64 = 250_000;

/// Differences that a failure lists.
const LISTED: usize = 20;

/// Fails unless the calls are those of the log, each complete.
pub(crate) fn assert_equal(calls: &[Call], log: &[Served]) {
    let incomplete = calls.iter().filter(|call| !call.complete).map(|call| format!("not complete: {call:?}"));
    report(incomplete.collect(), calls, log);
    let differences = differences(calls, log);
    report(differences, calls, log);
}

/// The same for a client that stopped while requests were under way: their paths are unique, and the last call of each
/// connection may be incomplete. An incomplete one is in the log or not, as the request arrived or did not.
pub(crate) fn assert_equal_but_cut_off(calls: &[Call], log: &[Served]) {
    let (complete, cut_off): (Vec<_>, Vec<_>) = calls.iter().cloned().partition(|call| call.complete);
    let mut wrong = Vec::new();
    let mut rest = log.to_vec();
    for call in &cut_off {
        if calls
            .iter()
            .rfind(|other| other.connection == call.connection)
            .is_none_or(|last| last.path != call.path)
        {
            wrong.push(format!("incomplete, but not the last of its connection: {call:?}"));
        }
        rest.retain(|served| served.path != call.path || served.method != call.method);
    }
    wrong.extend(differences(&complete, &rest));
    report(wrong, calls, log);
}

/// Fails unless the calls are, on each connection, the last ones of the log, and all of those whose requests began
/// after `since_us`.
pub(crate) fn assert_suffix(calls: &[Call], log: &[Served], since_us: i64) {
    let seen: BTreeMap<_, _> = calls.iter().map(|call| (&call.path, call)).collect();
    assert_eq!(seen.len(), calls.len(), "paths are not unique: calls were invented");
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    for sequence in served_by_connection(log) {
        let first =
            sequence.iter().position(|served| seen.contains_key(&served.path)).unwrap_or(sequence.len());
        let (before, after) = sequence.split_at(first);
        let late = before.iter().filter(|served| served.started_us > since_us);
        wrong.extend(
            late.map(|served| format!("began after the tracer was there, but is missing: {served:?}")),
        );
        // What the tracer did not see is not the beginning of a connection for it.
        expected.extend(after.iter().map(|&served| served.clone()));
    }
    wrong.extend(differences(calls, &expected));
    report(wrong, calls, log);
}

/// The same, but for times: a server that is late reads all calls that were begun together late.
pub(crate) fn assert_equal_but_times(calls: &[Call], log: &[Served]) {
    report(calls_differ(calls, log), calls, log);
}

fn report(differences: Vec<String>, calls: &[Call], log: &[Served]) {
    if differences.is_empty() {
        return;
    }
    let mut text = format!("{} calls traced, {} in the log\n", calls.len(), log.len());
    for difference in differences.iter().take(LISTED) {
        let _ = writeln!(text, "  {difference}");
    }
    if differences.len() > LISTED {
        let _ = writeln!(text, "  and {} more", differences.len() - LISTED);
    }
    panic!("{text}");
}

/// What a call is, as far as one line can say.
type Line = (String, String, Option<u16>, Option<u64>);

fn call_line(call: &Call) -> Line {
    (call.method.clone(), call.path.clone(), call.status, call.response_body_bytes)
}

fn served_line(served: &Served, like: &Call) -> Line {
    // What the log cannot say is not compared.
    let body = served.response_body_bytes.or(like.response_body_bytes);
    (served.method.clone(), served.path.clone(), Some(served.status), body)
}

fn differences(calls: &[Call], log: &[Served]) -> Vec<String> {
    let wrong = calls_differ(calls, log);
    if wrong.is_empty() { times_differ(calls, log) } else { wrong }
}

fn calls_differ(calls: &[Call], log: &[Served]) -> Vec<String> {
    let mut traced = calls_by_connection(calls);
    let mut logged = served_by_connection(log);
    traced.sort_by_cached_key(|sequence| {
        sequence.iter().map(|call| (&*call.method, &*call.path)).collect::<Vec<_>>()
    });
    logged.sort_by_cached_key(|sequence| {
        sequence.iter().map(|served| (&*served.method, &*served.path)).collect::<Vec<_>>()
    });
    let same = |(traced, logged): (&Vec<&Call>, &Vec<&Served>)| {
        traced.len() == logged.len()
            && traced.iter().zip(logged).all(|(call, served)| call_line(call) == served_line(served, call))
    };
    if traced.len() != logged.len() || !traced.iter().zip(&logged).all(same) {
        return sequences_differ(&traced, &logged);
    }
    let pairs = traced.iter().flatten().copied().zip(logged.iter().flatten().copied());
    pairs.flat_map(|(call, served)| fields_differ(call, served)).collect()
}

fn calls_by_connection(calls: &[Call]) -> Vec<Vec<&Call>> {
    let mut connections = BTreeMap::<_, Vec<_>>::new();
    for call in calls {
        connections.entry(&call.connection).or_default().push(call);
    }
    connections.into_values().collect()
}

fn served_by_connection(log: &[Served]) -> Vec<Vec<&Served>> {
    let mut connections = BTreeMap::<_, Vec<_>>::new();
    for served in log {
        connections.entry(served.connection).or_default().push(served);
    }
    let mut connections: Vec<_> = connections.into_values().collect();
    for sequence in &mut connections {
        sequence.sort_by_key(|served| served.ordinal);
    }
    connections
}

/// Says which calls are missing or invented, or that they are the same in another order.
fn sequences_differ(traced: &[Vec<&Call>], logged: &[Vec<&Served>]) -> Vec<String> {
    let mut balance = BTreeMap::<_, i64>::new();
    for served in logged.iter().flatten() {
        *balance
            .entry((&*served.method, &*served.path, Some(served.status), served.response_body_bytes))
            .or_default() += 1;
    }
    for call in traced.iter().flatten() {
        let known = (&*call.method, &*call.path, call.status, call.response_body_bytes);
        let unsized_ = (&*call.method, &*call.path, call.status, None);
        let key =
            if balance.contains_key(&known) || !balance.contains_key(&unsized_) { known } else { unsized_ };
        *balance.entry(key).or_default() -= 1;
    }
    let mut wrong: Vec<_> = balance
        .into_iter()
        .filter(|&(_, count)| count != 0)
        .map(|((method, path, status, body), count)| {
            let what = if count > 0 { "missing" } else { "invented" };
            format!("{what} {} times: {method} {path} → {status:?}, body {body:?}", count.abs())
        })
        .collect();
    if wrong.is_empty() {
        let lengths = |lengths: &mut dyn Iterator<Item = usize>| {
            let mut counts = BTreeMap::<_, usize>::new();
            lengths.for_each(|length| *counts.entry(length).or_default() += 1);
            counts
        };
        wrong.push(format!(
            "the same calls, but in another order or on other connections; calls on a connection → connections: \
             traced {:?}, logged {:?}",
            lengths(&mut traced.iter().map(Vec::len)),
            lengths(&mut logged.iter().map(Vec::len)),
        ));
    }
    wrong
}

/// The fields of a call that are not as the log has them.
fn fields_differ(call: &Call, served: &Served) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, traced: String, logged: String| {
        if traced != logged {
            wrong.push(format!("{} {}: {what} is {traced}, in the log {logged}", call.method, call.path));
        }
    };
    check("protocol", call.protocol.to_uppercase(), served.protocol.clone());
    if let Some(tls) = served.tls {
        check("tls", call.tls.to_string(), tls.to_string());
    }
    if let Some(bytes) = served.request_body_bytes {
        check("request body", format!("{:?}", call.request_body_bytes), format!("{:?}", Some(bytes)));
    }
    if let Some(bytes) = served.request_bytes {
        let whole = call.request_body_bytes.map(|body| body + call.request_head_bytes);
        check("request", format!("{whole:?}"), format!("{:?}", Some(bytes)));
    }
    if let Some(bytes) = served.response_bytes {
        let whole = call.response_head_bytes.zip(call.response_body_bytes).map(|(head, body)| head + body);
        check("response", format!("{whole:?}"), format!("{:?}", Some(bytes)));
    }
    let in_order = call.ttfb_ns.is_some() && call.ttfb_ns <= call.duration_ns;
    check("0 ≤ time to first byte ≤ duration", in_order.to_string(), "true".to_owned());
    wrong
}

fn times_differ(calls: &[Call], log: &[Served]) -> Vec<String> {
    let mut alike = BTreeMap::<_, (Vec<&Call>, Vec<&Served>)>::new();
    for call in calls {
        alike.entry((&call.method, &call.path)).or_default().0.push(call);
    }
    for served in log {
        alike.entry((&served.method, &served.path)).or_default().1.push(served);
    }
    let is_client = calls.iter().any(|call| call.role == Role::Client);
    let slower = slower();
    let (apart_us, stall_us) = (APART_US * slower, STALL_US * slower);
    let latest_end_us = if is_client { i64::MAX } else { stall_us };
    let mut wrong = Vec::new();
    let (mut starts_apart, mut ends_apart) = (Vec::new(), Vec::new());
    for ((method, path), (calls, log)) in alike {
        let mut check = |what: &str, later_us: i64, latest_us: i64| {
            if later_us < -stall_us || later_us > latest_us {
                wrong.push(format!("{method} {path}: {what} is {later_us} µs later than in the log"));
            }
        };
        let starts = calls.iter().map(|call| call.started_us());
        for later_us in later(starts, log.iter().map(|served| served.started_us)) {
            check("start", later_us, stall_us);
            starts_apart.push(later_us.abs());
        }
        let ends = calls.iter().map(|call| call.ended_us().unwrap_or(i64::MIN));
        for later_us in later(ends, log.iter().map(|served| served.ended_us)) {
            check("end", later_us, latest_end_us);
            ends_apart.push(if is_client { (-later_us).max(0) } else { later_us.abs() });
        }
    }
    for (what, mut apart) in [("starts", starts_apart), ("ends", ends_apart)] {
        apart.sort_unstable();
        // The lower one of an even number: of two calls, one that had to wait is no median.
        if let Some(&median) = apart.get(apart.len().saturating_sub(1) / 2)
            && median > apart_us
        {
            wrong.push(format!("{what} are {median} µs from those in the log, in the median"));
        }
    }
    wrong
}

/// How many times slower than a processor of this day the machine is: what runs on an emulated one waits for it.
pub(crate) fn slower() -> i64 {
    match std::env::var("ROTRACE_LIVE_SLOWER") {
        Ok(times) => times.parse().expect("ROTRACE_LIVE_SLOWER is a number"),
        Err(_) => 1,
    }
}

/// How much later the traced times are, paired in order.
fn later(traced: impl Iterator<Item = i64>, logged: impl Iterator<Item = i64>) -> Vec<i64> {
    let [traced, logged] = [traced.collect::<Vec<_>>(), logged.collect()].map(|mut times| {
        times.sort_unstable();
        times
    });
    traced.iter().zip(logged).map(|(traced, logged)| traced.saturating_sub(logged)).collect()
}
