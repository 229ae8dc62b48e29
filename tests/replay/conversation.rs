//! Given: what a process sends and receives on its connections. Gives: the capture of it, redacted or not, as the probes and
//! the recorder would have made it. Refuses to know: HTTP.

use rotrace::capture::{Description, ProcessFacts, Writer, process_record};
use rotrace::redact::{Kept, Redactor, unredacted};
use rotrace_ebpf::record::{HEADER_BYTES, Header, Open, VERSION, direction, flag, kind, role};

/// 2026-01-01 in UTC, less the time since boot.
const WALL_CLOCK_OFFSET_NS: i64 = 1_767_225_600_000_000_000;
/// Between one record and the next.
const STEP_NS: u64 = 1_000_000;
const PID: u32 = 4711;
const CONN: u64 = 815;
/// Connections of a capture at one time.
const CONNECTIONS_MAX: usize = 64;

/// A connection of one process.
pub(crate) struct Conversation {
    /// Each with its time.
    records: Vec<(u64, Vec<u8>)>,
    conn: u64,
    now_ns: u64,
    sent: u64,
    received: u64,
    last: Option<u8>,
    from_start: u8,
}

impl Conversation {
    pub(crate) fn of_client() -> Self {
        Conversation::opened(role::CLIENT, CONN, 0)
    }

    pub(crate) fn of_server() -> Self {
        Conversation::opened(role::SERVER, CONN, 0)
    }

    /// One of several, opened at this time.
    pub(crate) fn numbered(number: u64, now_ns: u64) -> Self {
        Conversation::opened(role::CLIENT, CONN + number, now_ns)
    }

    pub(crate) fn joined_late() -> Self {
        let mut conversation = Conversation {
            records: Vec::new(),
            conn: CONN,
            now_ns: 0,
            sent: 0,
            received: 0,
            last: Some(direction::RECEIVED),
            from_start: 0,
        };
        let facts = ProcessFacts {
            pid: PID,
            start_ticks: 1,
            exe: "/srv/game/server".to_owned(),
            game: Some("obby".to_owned()),
            headers_before: 0,
        };
        conversation.records.push((0, process_record(0, PID, &facts).unwrap()));
        conversation
    }

    /// What comes next comes at this time.
    pub(crate) fn wait_until(&mut self, now_ns: u64) {
        self.now_ns = now_ns - STEP_NS;
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.data(direction::SENT, text, 0);
    }

    pub(crate) fn receive(&mut self, text: &str) {
        self.data(direction::RECEIVED, text, 0);
    }

    /// Receives in one call `text` and so many bytes behind it that are not copied.
    pub(crate) fn receive_cut(&mut self, text: &str, left_out: u64) {
        self.data(direction::RECEIVED, text, left_out);
    }

    /// Receives so many bytes in a record that is lost.
    pub(crate) fn lose_received(&mut self, bytes: u64) {
        self.received += bytes;
        self.now_ns += STEP_NS;
    }

    pub(crate) fn close(&mut self) {
        self.record(
            Header { kind: kind::CLOSE, position: self.sent, size: self.received, ..Header::default() },
            &[],
        );
    }

    /// The file.
    pub(crate) fn capture(&self) -> Vec<u8> {
        capture([self], Some(Kept::default()))
    }

    fn opened(role: u8, conn: u64, now_ns: u64) -> Self {
        let late = Conversation::joined_late();
        let mut conversation =
            Conversation { conn, now_ns, last: None, from_start: flag::FROM_START, ..late };
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let open = Open {
            local: address,
            remote: address,
            local_port: 40_000,
            remote_port: 80,
            role,
            connect_started_ns: now_ns + 1,
            established_ns: now_ns + STEP_NS,
            socket: 0xffff_8880_0000_0000,
            ..Open::default()
        };
        let header = Header { kind: kind::OPEN, flags: flag::FROM_START, ..Header::default() };
        conversation.record(header, &open.to_bytes());
        conversation
    }

    fn data(&mut self, direction: u8, text: &str, left_out: u64) {
        let turn = if self.last == Some(direction) { 0 } else { flag::TURN };
        let position = if direction == direction::SENT { &mut self.sent } else { &mut self.received };
        let size = text.len() as u64 + left_out;
        let header = Header {
            kind: kind::DATA,
            direction,
            flags: self.from_start | turn,
            position: *position,
            size,
            ..Header::default()
        };
        *position += size;
        self.last = Some(direction);
        self.record(header, text.as_bytes());
    }

    fn record(&mut self, header: Header, payload: &[u8]) {
        self.now_ns += STEP_NS;
        let length = (HEADER_BYTES + payload.len()) as u32;
        let header = Header {
            length,
            version: VERSION,
            time_ns: self.now_ns,
            conn: self.conn,
            pid: PID,
            tid: PID,
            ..header
        };
        self.records.push((self.now_ns, [&header.to_bytes()[..], payload].concat()));
    }
}

/// The file of all connections of the process. With what is kept, the rest is redacted.
pub(crate) fn capture<'a>(of: impl IntoIterator<Item = &'a Conversation>, kept: Option<Kept>) -> Vec<u8> {
    let description = Description {
        rotrace: "0.1.0".to_owned(),
        kernel: "6.12.0".to_owned(),
        wall_clock_offset_ns: WALL_CLOCK_OFFSET_NS,
        redacted: kept.is_some(),
    };
    let mut records: Vec<&(u64, Vec<u8>)> = of.into_iter().flat_map(|one| &one.records).collect();
    records.sort_by_key(|(time_ns, _)| *time_ns);
    // Each connection says which process it is of.
    records.dedup();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &description).unwrap();
    let Some(kept) = kept else {
        records.iter().for_each(|(_, record)| writer.write(&unredacted(record)).unwrap());
        return bytes;
    };
    let mut redactor = Redactor::new(kept, CONNECTIONS_MAX);
    for (_, record) in records {
        redactor.feed(record, &mut |record| writer.write(record).unwrap());
    }
    redactor.finish(&mut |record| writer.write(record).unwrap());
    bytes
}
