//! Given: records in their order. Gives: the same records, in the same order, as they may be written to a file: what they
//! say of calls stays, what a call carries is overwritten. Refuses to know: files, and which calls the records make.
//!
//! ```text
//! head     method, path, query keys, status, field names     stay
//!          query values, user information, reason phrase     overwritten
//!          field values                                      overwritten, but for those that [`head`] lists
//! body     sizes of chunks, line ends                        stay
//!          payload, chunk extensions, trailers               overwritten
//! frames   headers of those of WebSockets                    stay
//!          masking keys, payload                             overwritten
//! the rest bytes that are not read, or are no head           overwritten
//!          encrypted bytes, what follows on other upgrades,
//!          command lines                                     left out
//! open     the kernel address of the socket                  0
//! ```
//!
//! What is overwritten keeps its length and its line ends, so that a pipeline makes the same calls of the redacted
//! records. Values and payload become [`letters`], the same for the same value and others for another, so that it finds the
//! same waste as well: what detectors compare can still be compared, and nothing seems to come twice that did not. Only whether an answer held an
//! id that is asked for later is not seen any more: no letter is a digit, and so there is no id in letters. Which bytes are which, a
//! [`Decoder`] says: the one that the pipeline will read them with. It knows a head when
//! it is whole, so records wait until that is so, and those of all other connections wait behind them.

mod head;
mod letters;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;

use rotrace_ebpf::record::{HEADER_BYTES, Header, Open, Record, direction, flag, kind};

use crate::conn::{Connection, Connections};
use crate::exchange::{Decoder, Direction, FINGERPRINT_BYTES, Span, Spans, Wanted, pieces};
use crate::http::h1::body::{self, Body, Taken};
use crate::http::websocket::{FrameReader, Part};
use crate::keyed::Key;
use crate::stream::Chunk;
use letters::{Before, Letters};

/// Memory of records that wait. A head comes in one record, or in a few within milliseconds: time for ten thousand.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long records wait for the rest of a head: far longer than a sender needs for it, short for one who watches the
/// file grow.
pub const WAITING_NS_MAX: u64 = 1_000_000_000;

/// What overwritten bytes become that nobody compares.
const OVERWRITTEN: u8 = b'x';

/// What stays, besides what always does.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Keys of queries whose values stay.
    pub query_keys: Vec<Box<str>>,
    /// Fields whose values stay: those that say which game a call belongs to.
    pub fields: Wanted,
    /// Of values, whether they are the same: nobody may know it who reads the capture. [`Key::default`] is for tests.
    pub key: Key,
}

/// What is overwritten, and by what.
#[derive(Debug)]
struct Redaction {
    kept: Kept,
    letters: Letters,
}

/// Redacts records. After the last, [`Redactor::finish`] gives those that wait.
#[derive(Debug)]
pub struct Redactor {
    redaction: Redaction,
    connections: Connections<State>,
    queue: Queue,
}

/// What is known of a connection beside its bytes; the same as the pipeline knows.
#[derive(Debug, Default)]
struct State {
    /// It was made while it was watched.
    from_start: bool,
    speaks: Speaks,
}

#[derive(Debug, Default)]
enum Speaks {
    /// Nothing yet.
    #[default]
    Nothing,
    /// HTTP/1, or what may be.
    Http(Box<Decoder<Noted>>),
    /// TLS on a socket, and the object whose plaintext it carries.
    Tls(Option<u64>),
    /// Something else; nothing of it is kept.
    Opaque,
}

/// What a decoder has said of a connection, and records whose last bytes it has said nothing of, by direction.
#[derive(Debug, Default)]
struct Noted {
    spans: Vec<(Direction, Span, usize)>,
    sent: Side,
    received: Side,
}

#[derive(Debug, Default)]
struct Side {
    waiting: VecDeque<u64>,
    /// What came of the body that is under way.
    body: Before,
}

impl Spans for Noted {
    fn note(&mut self, direction: Direction, span: Span, length: usize) {
        self.spans.push((direction, span, length));
    }
}

impl Redactor {
    /// Follows so many connections at one time.
    pub fn new(kept: Kept, connections: usize) -> Self {
        let letters = Letters::new(kept.key);
        Redactor {
            redaction: Redaction { kept, letters },
            connections: Connections::new(connections),
            queue: Queue::default(),
        }
    }

    /// Takes the next record, and gives those that need not wait any more. Bytes that are no record are dropped: nobody
    /// could say what stands in them.
    pub fn feed(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8])) {
        let Ok(record) = Record::decode(bytes) else { return };
        let header = &record.header;
        match header.kind {
            kind::DATA => self.data(&record),
            kind::OPEN => self.open(&record),
            kind::END => self.end_of_stream(header),
            kind::CLOSE => self.close(header),
            kind::BIND => self.bind(header),
            kind::PROCESS | kind::LOSS => _ = self.queue.push(header, record.payload),
            _ => _ = self.queue.push(header, &[]),
        }
        self.release(header.time_ns, out);
    }

    /// Gives the records that wait. What is not known to be a whole head now is none.
    pub fn finish(&mut self, out: &mut dyn FnMut(&[u8])) {
        let open: Vec<u64> = self.connections.iter_mut().map(|(conn, _)| conn).collect();
        for conn in open {
            self.end(conn);
        }
        self.queue.release(out);
    }

    fn data(&mut self, record: &Record<'_>) {
        let Record { header, payload } = record;
        let state = self.state(header.conn, header.time_ns);
        let is_new = matches!(state.speaks, Speaks::Nothing);
        if header.flags & flag::ENCRYPTED != 0 {
            self.encrypted(header.conn);
        } else if is_new {
            let from_start = header.flags & flag::FROM_START != 0 || state.from_start;
            state.speaks = Speaks::Http(Box::new(if from_start {
                Decoder::from_start_with(Noted::default())
            } else {
                Decoder::joined_late_with(Noted::default())
            }));
        }
        let Redactor { connections, queue, .. } = self;
        let Some(Connection { state: State { speaks: Speaks::Http(decoder), .. }, .. }) =
            connections.find(header.conn)
        else {
            queue.push(header, &[]);
            return;
        };
        let number = queue.push(header, payload);
        if !payload.is_empty() {
            decoder.witness_mut().side(Direction::of(header)).waiting.push_back(number);
        }
        self.pieces(header, payload, header.size);
    }

    fn encrypted(&mut self, conn: u64) {
        let Some(Connection { state, .. }) = self.connections.find(conn) else { return };
        if !matches!(state.speaks, Speaks::Tls(_)) {
            decide_all(state, &self.redaction, &mut self.queue);
            state.speaks = Speaks::Tls(None);
        }
    }

    /// Lets the decoder of a connection say what the bytes of a record are.
    fn pieces(&mut self, header: &Header, captured: &[u8], size: u64) {
        let Some(connection) = self.connections.find(header.conn) else { return };
        let Connection { sent, received, state, .. } = connection;
        let Speaks::Http(decoder) = &mut state.speaks else { return };
        let direction = Direction::of(header);
        let stream = if direction == Direction::Sent { sent } else { received };
        let mut overlap = captured.len();
        for piece in pieces(header, captured, size, stream) {
            overlap -= if let Chunk::Bytes(bytes) = piece.chunk { bytes.len() } else { 0 };
            decoder.feed(&Wanted::default(), piece, &mut |_| {});
        }
        // What overlaps earlier records stands first in its own, and no decoder is given it.
        if let Some(&number) = decoder.witness_mut().side(direction).waiting.back() {
            self.queue.decide(number, &mut vec![OVERWRITTEN; overlap].as_slice());
        }
        decoder.witness_mut().apply(&self.redaction, &mut self.queue);
        // Of HTTP/2 nothing is kept: what its header blocks say cannot be overwritten in place.
        if decoder.is_opaque() || decoder.is_http2() {
            state.speaks = Speaks::Opaque;
        }
    }

    fn end_of_stream(&mut self, header: &Header) {
        match self.connections.find(header.conn).map(|connection| &connection.state.speaks) {
            // As in the pipeline: the end of a TLS socket is that of its plaintext.
            Some(&Speaks::Tls(Some(object))) => {
                self.pieces(&Header { conn: object, position: 0, ..*header }, &[], 0);
            }
            _ => self.pieces(header, &[], 0),
        }
        self.queue.push(header, &[]);
    }

    fn open(&mut self, record: &Record<'_>) {
        let Some(open) = record.open() else { return };
        let header = &record.header;
        self.state(header.conn, header.time_ns).from_start |= header.flags & flag::FROM_START != 0;
        if let Some(Connection { sent, received, .. }) = self.connections.find(header.conn) {
            sent.begin_at(header.position);
            received.begin_at(header.size);
        }
        self.queue.push(header, &without_kernel_address(open));
    }

    fn bind(&mut self, header: &Header) {
        let Header { conn: object, extra: socket, time_ns, .. } = *header;
        if let Some(Connection { state, .. }) = self.connections.find(socket).filter(|_| socket != 0)
            && let Speaks::Tls(known) = &mut state.speaks
        {
            *known = Some(object);
        }
        self.state(object, time_ns).from_start |= header.flags & flag::FROM_START != 0;
        self.queue.push(header, &[]);
    }

    fn close(&mut self, header: &Header) {
        let Header { position: sent, size: received, .. } = *header;
        for (direction, position) in [(direction::SENT, sent), (direction::RECEIVED, received)] {
            self.pieces(
                &Header { direction, position, flags: header.flags & !flag::TURN, ..*header },
                &[],
                0,
            );
        }
        if let Some(object) = self.end(header.conn) {
            self.end(object);
        }
        self.queue.push(header, &[]);
    }

    /// Forgets a connection; returns the TLS object that used it.
    fn end(&mut self, conn: u64) -> Option<u64> {
        let Connection { mut state, .. } = self.connections.remove(conn)?;
        let object = if let Speaks::Tls(object) = state.speaks { object } else { None };
        decide_all(&mut state, &self.redaction, &mut self.queue);
        object
    }

    /// What is known of a connection, which may be new.
    fn state(&mut self, conn: u64, time_ns: u64) -> &mut State {
        if self.connections.is_full() && self.connections.find(conn).is_none() {
            for (_, mut connection) in self.connections.take_idle(0) {
                decide_all(&mut connection.state, &self.redaction, &mut self.queue);
            }
        }
        &mut self.connections.of(conn, time_ns, State::default).state
    }

    /// Gives what need not wait. What has waited too long, or is too much, is given without the bytes that are not known.
    fn release(&mut self, now_ns: u64, out: &mut dyn FnMut(&[u8])) {
        self.queue.release(out);
        while let Some(first) = self.queue.records.front()
            && (self.queue.bytes > WAITING_BYTES_MAX || now_ns.saturating_sub(first.time_ns) > WAITING_NS_MAX)
        {
            let (conn, number) = (first.conn, self.queue.first);
            self.give_up(conn);
            self.queue.leave_out_unknown(number);
            self.queue.release(out);
        }
    }

    /// Leaves out what is not known of a connection. Whoever reads the capture sees a gap and looks for the next message,
    /// as this decoder does from now on.
    fn give_up(&mut self, conn: u64) {
        let Some(Connection { state, .. }) = self.connections.find(conn) else { return };
        let Speaks::Http(decoder) = &mut state.speaks else { return };
        let Noted { sent, received, .. } = std::mem::take(decoder.witness_mut());
        for number in sent.waiting.into_iter().chain(received.waiting) {
            self.queue.leave_out_unknown(number);
        }
        **decoder = Decoder::joined_late_with(Noted::default());
    }
}

/// The record as it may be written where nothing is redacted.
pub fn unredacted(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Ok(record) = Record::decode(bytes) else { return Cow::Borrowed(bytes) };
    match record.open() {
        Some(open) => {
            Cow::Owned([&record.header.to_bytes()[..], without_kernel_address(open).as_slice()].concat())
        }
        None => Cow::Borrowed(bytes),
    }
}

fn without_kernel_address(open: Open) -> [u8; rotrace_ebpf::record::OPEN_BYTES] {
    Open { socket: 0, ..open }.to_bytes()
}

/// Ends what is in flight on a connection: then all its bytes are known. Nothing is read of it any more.
fn decide_all(state: &mut State, redaction: &Redaction, queue: &mut Queue) {
    if let Speaks::Http(mut decoder) = std::mem::replace(&mut state.speaks, Speaks::Opaque) {
        decoder.close(0, &mut |_| {});
        decoder.witness_mut().apply(redaction, queue);
    }
}

impl Noted {
    fn side(&mut self, direction: Direction) -> &mut Side {
        if direction == Direction::Sent { &mut self.sent } else { &mut self.received }
    }

    /// Overwrites, in the records that wait, what has become known.
    fn apply(&mut self, redaction: &Redaction, queue: &mut Queue) {
        let mut bytes = Vec::new();
        for (direction, span, length) in std::mem::take(&mut self.spans) {
            let Side { waiting, body } = self.side(direction);
            bytes.clear();
            for &number in &*waiting {
                bytes.extend(queue.unknown(number).iter().take(length - bytes.len()));
            }
            redaction.overwrite(&mut bytes, span, body);
            let mut rest = bytes.as_slice();
            while let Some(&number) = waiting.front() {
                queue.decide(number, &mut rest);
                if !queue.unknown(number).is_empty() {
                    break;
                }
                waiting.pop_front();
            }
        }
        for Side { waiting, .. } in [&mut self.sent, &mut self.received] {
            while waiting.pop_front_if(|number| queue.unknown(*number).is_empty()).is_some() {}
        }
    }
}

impl Redaction {
    fn overwrite(&self, bytes: &mut [u8], span: Span, before: &mut Before) {
        match span {
            Span::LineEnds => {}
            Span::Head => {
                head::overwrite(bytes, self);
                *before = Before::default();
            }
            Span::NoHead => head::overwrite_no_head(bytes),
            Span::Body(body) => self.overwrite_body(body, bytes, before),
            Span::Unread => bytes.fill(OVERWRITTEN),
            Span::Frames(reader) => overwrite_frames(&reader, bytes),
        }
    }

    /// `body` is as it was before `bytes`. What breaks its framing goes on breaking it: an `x` is no digit and no line end.
    fn overwrite_body(&self, mut body: Body, mut bytes: &mut [u8], before: &mut Before) {
        while !bytes.is_empty() {
            let (part, length) = body.next_part(bytes.len());
            let compared = u64::from(FINGERPRINT_BYTES).saturating_sub(body.payload_bytes());
            let Some((now, behind)) = bytes.split_at_mut_checked(length) else { return };
            let taken = body.take(now);
            match part {
                body::Part::Payload(_) => {
                    let (now, rest) = now.split_at_mut(compared.min(length as u64) as usize);
                    self.letters.overwrite_next(before, now);
                    rest.fill(OVERWRITTEN);
                }
                body::Part::Size => {
                    overwrite_but(now, |byte| byte.is_ascii_hexdigit() || b"; \t\r\n".contains(&byte))
                }
                body::Part::Text => overwrite_but(now, |byte| b"\r\n".contains(&byte)),
            }
            if taken == Taken::Broken {
                return behind.fill(OVERWRITTEN);
            }
            bytes = behind;
        }
    }
}

/// Nobody compares payloads. No header begins with an `x`, so what is unknown stays so.
fn overwrite_frames(reader: &FrameReader, bytes: &mut [u8]) {
    let before = bytes.to_vec();
    let mut rest = bytes.iter_mut();
    reader.parts(&before, &mut |part, length| {
        rest.by_ref().take(length).for_each(|byte| match part {
            Part::Header => {}
            Part::Broken(other) => *byte = other,
            Part::Payload | Part::Unknown => *byte = OVERWRITTEN,
        });
    });
}

fn overwrite_but(bytes: &mut [u8], stays: impl Fn(u8) -> bool) {
    bytes.iter_mut().filter(|byte| !stays(**byte)).for_each(|byte| *byte = OVERWRITTEN);
}

/// Records that wait, oldest first.
#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Waiting>,
    bytes: usize,
    /// Number of the first.
    first: u64,
}

#[derive(Debug)]
struct Waiting {
    conn: u64,
    time_ns: u64,
    record: Vec<u8>,
    /// Bytes at its end of which it is not known what they are.
    unknown: usize,
}

impl Waiting {
    /// Memory that it takes; twice its size, because the queue grows by doubling.
    fn bytes(&self) -> usize {
        2 * size_of::<Waiting>() + self.record.capacity()
    }

    fn unknown_mut(&mut self) -> &mut [u8] {
        let known = self.record.len().saturating_sub(self.unknown);
        self.record.get_mut(known..).unwrap_or_default()
    }
}

impl Queue {
    /// Of a data record nothing is known yet. Returns its number.
    fn push(&mut self, header: &Header, payload: &[u8]) -> u64 {
        let length = (HEADER_BYTES + payload.len()) as u32;
        let record = [&Header { length, ..*header }.to_bytes()[..], payload].concat();
        let unknown = if header.kind == kind::DATA { payload.len() } else { 0 };
        let waiting = Waiting { conn: header.conn, time_ns: header.time_ns, record, unknown };
        self.bytes += waiting.bytes();
        self.records.push_back(waiting);
        self.first + self.records.len() as u64 - 1
    }

    fn find(&mut self, number: u64) -> Option<&mut Waiting> {
        self.records.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn unknown(&mut self, number: u64) -> &[u8] {
        self.find(number).map(Waiting::unknown_mut).unwrap_or_default()
    }

    /// Puts `bytes` in place of what is unknown of a record, as far as they reach.
    fn decide(&mut self, number: u64, bytes: &mut &[u8]) {
        let Some(waiting) = self.find(number) else { return };
        let length = waiting.unknown.min(bytes.len());
        let Some((now, rest)) = bytes.split_at_checked(length) else { return };
        waiting.unknown_mut().iter_mut().zip(now).for_each(|(to, from)| *to = *from);
        waiting.unknown -= length;
        *bytes = rest;
    }

    fn leave_out_unknown(&mut self, number: u64) {
        let Some(waiting) = self.find(number) else { return };
        waiting.record.truncate(waiting.record.len().saturating_sub(waiting.unknown));
        waiting.unknown = 0;
        let length = waiting.record.len() as u32;
        // The length stands first in a header.
        if let Some(first) = waiting.record.first_chunk_mut() {
            *first = length.to_ne_bytes();
        }
    }

    /// Gives the records of which everything is known, up to the first other.
    fn release(&mut self, out: &mut dyn FnMut(&[u8])) {
        while let Some(waiting) = self.records.pop_front_if(|waiting| waiting.unknown == 0) {
            self.bytes -= waiting.bytes();
            self.first += 1;
            out(&waiting.record);
        }
    }
}
