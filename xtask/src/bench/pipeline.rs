//! Given: the pipeline. Gives: how many exchanges a second it takes from a capture in memory, on one core, what an open
//! connection takes of memory, and one replay for others to count. Refuses to know: probes and files.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, ensure};
use rotrace::attribute::{GameRule, Rules};
use rotrace::capture::{ProcessFacts, process_record};
use rotrace::endpoint::{self, Endpoints};
use rotrace::exchange::Role;
use rotrace::pipeline::{Output, Pipeline, Settings};
use rotrace_ebpf::record::{HEADER_BYTES, Header, Open, VERSION, direction, flag, kind, role};

use super::quartiles::Quartiles;
use super::stage::thread_cpu;

const RUNS: usize = 9;
const EXCHANGES: u64 = 100_000;

/// Paths of the row in which they repeat: a game asks for the same players and items again and again.
const REPEATED_PATHS: u64 = 1_000;

/// Connections whose records are mixed: games of a host, some keep-alive connections each.
const CONNECTIONS: u64 = 64;

/// Connections of the memory measurement.
const OPEN_CONNECTIONS: u64 = 10_000;

const HEAD_OF_REQUEST_BYTES: usize = 300;
const HEAD_OF_RESPONSE_BYTES: usize = 250;
const BODY_BYTES: usize = 615;

const PID: u32 = 4711;
const MICROSECOND_NS: u64 = 1_000;

/// Measures, and prints three lines.
pub(super) fn run() -> anyhow::Result<()> {
    // Before the others, whose freed memory would be used again and not be seen.
    let memory_bytes = bytes_per_connection()?;
    let rows =
        [("every path a new one".to_owned(), EXCHANGES), (format!("{REPEATED_PATHS} paths"), REPEATED_PATHS)];
    println!("million exchanges/s on one core, {RUNS} runs of {EXCHANGES} on {CONNECTIONS} connections:");
    for (name, paths) in rows {
        println!("  {name}: {:.2}", rates(&Capture::of(EXCHANGES, paths))?);
    }
    println!(
        "{memory_bytes} bytes of memory for each of {OPEN_CONNECTIONS} open connections with a request in flight"
    );
    Ok(())
}

/// Replays a capture of so many exchanges, every path a new one. Whoever counts what that takes looks for
/// [`REPLAYED`].
pub(super) fn replay(exchanges: u64) -> anyhow::Result<()> {
    let mut calls = 0;
    Capture::of(exchanges, exchanges).feed(&mut pipeline()?, &mut calls);
    ensure!(calls == exchanges, "the pipeline made {calls} calls of {exchanges} exchanges");
    Ok(())
}

/// The function in which all of the pipeline's work is done, as symbols name it.
pub(super) const REPLAYED: &str = "*pipeline::Capture*::feed";

/// Million exchanges a second.
fn rates(capture: &Capture) -> anyhow::Result<Quartiles> {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let mut pipeline = pipeline()?;
        let mut calls = 0;
        let before = thread_cpu();
        capture.feed(&mut pipeline, &mut calls);
        rates.push(calls as f64 / (thread_cpu() - before).as_secs_f64() / 1e6);
        ensure!(calls == EXCHANGES, "the pipeline made {calls} calls of {EXCHANGES} exchanges");
    }
    Quartiles::of(rates).context("no runs")
}

/// What the process grows by for a connection that has had an exchange and waits for a response.
fn bytes_per_connection() -> anyhow::Result<u64> {
    let mut pipeline = pipeline()?;
    // What the first connection brings once is not of each connection.
    let mut calls = 0;
    let mut feed = |conns: std::ops::Range<u64>, pipeline: &mut Pipeline| {
        for conn in conns {
            let mut capture = Capture::new();
            capture.exchange(conn, conn);
            capture.request(conn, conn);
            capture.feed(pipeline, &mut calls);
        }
    };
    feed(1..2, &mut pipeline);
    let before = resident_bytes()?;
    feed(2..OPEN_CONNECTIONS + 2, &mut pipeline);
    let grown = resident_bytes()?.saturating_sub(before);
    let tracked = pipeline.summary().tracked_connections;
    ensure!(tracked == OPEN_CONNECTIONS + 1, "the pipeline holds {tracked} connections");
    Ok(grown / OPEN_CONNECTIONS)
}

fn pipeline() -> anyhow::Result<Pipeline> {
    let mut pipeline = Pipeline::new(Settings {
        // As on most hosts: the game is that of the process.
        rules: Rules::new(Vec::new(), Vec::<GameRule>::new()),
        endpoints: Endpoints::new(&endpoint::Settings::default(), &[]).context("endpoints without rules")?,
        roles: [Role::Client].into(),
        connections: 2 * OPEN_CONNECTIONS as usize,
        prices: rotrace::cost::Prices::default(),
        detect: rotrace::detect::Settings::default(),
    });
    let facts = ProcessFacts { pid: PID, game: Some("chess".to_owned()), ..ProcessFacts::default() };
    pipeline.feed(&process_record(0, PID, &facts)?, &mut |_| {});
    Ok(pipeline)
}

/// Records in memory, one behind the other, as the probes would write them for calls that are made.
struct Capture {
    records: Vec<u8>,
    now_ns: u64,
    /// Bytes sent and received so far, by connection.
    positions: BTreeMap<u64, [u64; 2]>,
}

impl Capture {
    fn new() -> Self {
        Capture { records: Vec::new(), now_ns: 1_000_000_000, positions: BTreeMap::new() }
    }

    /// Exchanges on all connections in turn, with so many paths in turn.
    fn of(exchanges: u64, paths: u64) -> Self {
        let mut capture = Capture::new();
        for number in 0..exchanges {
            capture.exchange(1 + number % CONNECTIONS, number % paths);
        }
        capture
    }

    fn exchange(&mut self, conn: u64, number: u64) {
        self.request(conn, number);
        let head = padded(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 615\r\n",
            HEAD_OF_RESPONSE_BYTES,
        );
        self.data(conn, direction::RECEIVED, &[&*head.into_bytes(), &[b'x'; BODY_BYTES]].concat());
    }

    fn request(&mut self, conn: u64, number: u64) {
        if !self.positions.contains_key(&conn) {
            self.open(conn);
        }
        // Paths of a few endpoints, each for another user.
        let kind = ["users", "inventories", "badges", "friends", "settings"][(number % 5) as usize];
        let start = format!(
            "GET /v1/{kind}/{}/summary?limit=50 HTTP/1.1\r\nHost: api.example.com\r\n",
            100_000 + number
        );
        self.data(conn, direction::SENT, padded(&start, HEAD_OF_REQUEST_BYTES).as_bytes());
    }

    fn open(&mut self, conn: u64) {
        self.positions.insert(conn, [0, 0]);
        let open = Open {
            remote: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1],
            remote_port: 80,
            role: role::CLIENT,
            connect_started_ns: self.now_ns,
            established_ns: self.now_ns + MICROSECOND_NS,
            socket: conn,
            ..Open::default()
        };
        let header = Header { kind: kind::OPEN, flags: flag::FROM_START, conn, ..Header::default() };
        self.record(header, &open.to_bytes());
    }

    fn data(&mut self, conn: u64, direction: u8, payload: &[u8]) {
        let positions = self.positions.entry(conn).or_default();
        let position = &mut positions[usize::from(direction == direction::RECEIVED)];
        let (at, size) = (*position, payload.len() as u64);
        *position += size;
        let flags = flag::TURN | flag::FROM_START;
        self.record(
            Header { kind: kind::DATA, flags, direction, position: at, size, conn, ..Header::default() },
            payload,
        );
    }

    fn record(&mut self, header: Header, payload: &[u8]) {
        self.now_ns += MICROSECOND_NS;
        let length = (HEADER_BYTES + payload.len()) as u32;
        let header = Header { length, version: VERSION, time_ns: self.now_ns, pid: PID, tid: PID, ..header };
        self.records.extend_from_slice(&header.to_bytes());
        self.records.extend_from_slice(payload);
    }

    /// Gives all records to a pipeline, and counts the calls that it makes of them. A function of its own in the
    /// program, too: see [`REPLAYED`].
    #[inline(never)]
    fn feed(&self, pipeline: &mut Pipeline, calls: &mut u64) {
        let mut rest = &*self.records;
        while let Some(length) = rest.first_chunk::<4>() {
            let (record, behind) = rest.split_at(u32::from_ne_bytes(*length) as usize);
            pipeline.feed(record, &mut |output| *calls += u64::from(matches!(output, Output::Call(_))));
            rest = behind;
        }
    }
}

/// A head of so many bytes: lines of fields behind the first, and the empty line.
fn padded(start: &str, bytes: usize) -> String {
    const FIELDS: &str = "User-Agent: game-server/1.0\r\nAccept: application/json\r\nX-Request-Id: ";
    let mut head = format!("{start}{FIELDS}");
    let end = "\r\n\r\n";
    head.extend(std::iter::repeat_n('0', bytes.saturating_sub(head.len() + end.len())));
    head + end
}

fn resident_bytes() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.context("read the pages of /proc/self/statm")? * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_the_length_that_is_said() {
        let start = "GET /v1/users/199999/summary?limit=50 HTTP/1.1\r\nHost: api.example.com\r\n";
        assert_eq!(padded(start, HEAD_OF_REQUEST_BYTES).len(), HEAD_OF_REQUEST_BYTES);
        assert!(padded(start, HEAD_OF_REQUEST_BYTES).ends_with("0\r\n\r\n"));
    }

    #[test]
    fn every_exchange_is_a_call_and_loses_nothing() {
        let mut capture = Capture::new();
        (0..10).for_each(|number| capture.exchange(1 + number % 2, number));
        let mut pipeline = pipeline().expect("a pipeline");
        let mut calls = 0;
        capture.feed(&mut pipeline, &mut calls);
        assert_eq!(calls, 10);
        let summary = pipeline.summary();
        let (name, game) = summary.games().next().expect("a game");
        assert_eq!(name, "chess");
        assert!(game.coverage.unpaired.is_empty(), "{:?}", game.coverage);
        let series = game.series(Role::Client).next().expect("a series").1;
        let bytes = (HEAD_OF_RESPONSE_BYTES + BODY_BYTES) as u64 * series.total();
        assert_eq!(series.response_bytes, bytes);
    }
}
