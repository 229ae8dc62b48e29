//! Given: any bytes, read as a process's memory and the calls it makes on one connection. Gives: whether the probes'
//! decisions hold what they promise: no more is copied than was moved, or than the credit allows; positions count every
//! byte; segments lie in the buffers; a gap has the length of what is not there; and how a start line is cut decides
//! nothing. Refuses to know: what a call carries.
//!
//! The first byte of the input says whether the connection was joined late, and how much of the rest is memory. Then four
//! bytes make a call: its direction, shape, and how many bytes went by before it that no call showed; an address, how many entries,
//! and how many bytes were moved.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace::stream::{Chunk, Stream};
use rotrace_ebpf::admit::{Admit, Connection, Upgraded, protocol};
use rotrace_ebpf::classify::{Beginning, Prefix};
use rotrace_ebpf::frames::Part;
use rotrace_ebpf::limits::{
    ALWAYS_COPIED_BYTES, CREDIT_BYTES, MESSAGES_MAX, PREFIX_BYTES, PREFIX_WORDS, SEGMENTS_MAX,
};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::record::role;
use rotrace_ebpf::segments::{
    IOVEC_BYTES, MMSGHDR_BYTES, Vector, segment, size_of_message, total_of_messages, vector,
};

/// Lengths and counts that four bytes cannot say: from these of a byte on, very large ones.
const LARGE: u8 = 0xf0;

/// Every byte stands for a word, so that addresses are small and the fuzzer finds them; as text, a byte is itself.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let &byte = self.0.get(usize::try_from(address / 8).ok()?)?;
        (address % 8 == 0).then_some(number(byte))
    }
}

impl Memory for Bytes<'_> {
    fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (word, at) in words.iter_mut().zip(0..) {
            *word = self.word(address.checked_add(at * 8)?)?;
        }
        Some(words)
    }

    fn half(&self, address: u64) -> Option<u32> {
        self.word(address).map(|word| word as u32)
    }

    fn fill(&self, address: u64, size: usize, into: &mut [u64; PREFIX_WORDS]) -> bool {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let end = start.saturating_add(size);
        let Some(bytes) = self.0.get(start..end) else { return false };
        assert!(size <= PREFIX_BYTES);
        for (word, part) in into.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..part.len()].copy_from_slice(part);
            *word = u64::from_ne_bytes(whole);
        }
        true
    }
}

fn number(byte: u8) -> u64 {
    if byte < LARGE { u64::from(byte) } else { u64::MAX >> (byte - LARGE) }
}

/// Bytes that a call moved: no call moves more than 2^31 (MAX_RW_COUNT).
fn moved(byte: u8) -> u64 {
    if byte < LARGE { u64::from(byte) } else { 1 << (2 * (byte - LARGE)) }
}

fuzz_target!(|input: &[u8]| {
    cuts_decide_nothing(input);
    let Some((&first, rest)) = input.split_first() else { return };
    let (memory, calls) = rest.split_at(rest.len() * usize::from(first / 2) / 128);
    let memory = Bytes(memory);
    let mut tracked = Tracked::new(first % 2 == 0);
    for call in calls.chunks_exact(4) {
        let [control, address, entries, size] = [call[0], call[1], call[2], call[3]];
        let (address, entries, size) = (number(address), number(entries), moved(size));
        let direction = control % 2;
        let messages = messages_total(&memory, address, entries);
        tracked.hide(direction, u64::from(control / 8));
        tracked.place(direction, if control / 2 % 4 == 3 { messages } else { size });
        match control / 2 % 4 {
            0 => tracked.piece(&memory, direction, address, size),
            1 => tracked.vector(&memory, direction, Vector { address, entries }, size),
            2 => tracked.message(&memory, direction, address, size),
            _ => tracked.messages(&memory, direction, address, entries),
        }
    }
});

/// A beginning that is known stays what it is when more bytes come.
fn cuts_decide_nothing(input: &[u8]) {
    let whole = Prefix::from_bytes(input).beginning();
    let mut known = Beginning::Unfinished;
    for length in 0..=input.len().min(PREFIX_BYTES) {
        let (left, right) = input.split_at(length);
        let cut = Prefix::from_bytes(left);
        assert_eq!(cut.join(&Prefix::from_bytes(right)), Prefix::from_bytes(input));
        assert!(known == Beginning::Unfinished || known == cut.beginning());
        known = cut.beginning();
        for from_start in [true, false] {
            let connection = |pieces: &[&[u8]]| {
                let mut connection = Connection::new(1, role::UNKNOWN, from_start);
                for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                    connection.admit(0, piece.len() as u64, &Prefix::from_bytes(piece));
                }
                (connection.protocol, connection.flows[0].position)
            };
            let (cut, whole) = (connection(&[left, right]), connection(&[input]));
            // Frames in the middle of a connection are known by that they fill a piece.
            let is_http2 = [cut, whole].iter().any(|&(speaks, _)| speaks == protocol::HTTP2);
            assert!(is_http2 || cut == whole);
        }
    }
    assert!(known == whole);
}

/// What all messages moved, as far as it can be read.
fn messages_total(memory: &Bytes<'_>, address: u64, messages: u64) -> u64 {
    const MMSGHDR_BYTES: u64 = 64;
    const MMSGHDR_LEN: u64 = 56;
    let length = |index| memory.half(address.wrapping_add(index * MMSGHDR_BYTES + MMSGHDR_LEN));
    let lengths = (0..messages.min(MESSAGES_MAX as u64)).filter_map(length);
    let total = lengths.map(u64::from).sum();
    assert_eq!(total_of_messages(memory, address, messages), total);
    total
}

/// A connection, and what was seen of it.
struct Tracked {
    connection: Connection,
    /// Number of the byte that TCP sends and receives next.
    next: [u32; 2],
    /// Bytes that no call has shown yet.
    hidden: [u64; 2],
    streams: [Stream; 2],
    /// Bytes and gaps that the streams gave.
    given: [u64; 2],
    /// Bytes of large pieces that were copied since the traffic turned round.
    large: [u64; 2],
    last: Option<u8>,
}

impl Tracked {
    fn new(from_start: bool) -> Self {
        Tracked {
            connection: Connection::new(1, role::UNKNOWN, from_start),
            next: [u32::MAX; 2],
            hidden: [0; 2],
            streams: [Stream::default(), Stream::default()],
            given: [0; 2],
            large: [0; 2],
            last: None,
        }
    }

    /// Bytes that TCP counts and no call shows.
    fn hide(&mut self, direction: u8, size: u64) {
        let at = usize::from(direction);
        self.next[at] = self.next[at].wrapping_add(size as u32);
        self.hidden[at] += size;
    }

    /// A call that moved bytes: what no call has shown before is a gap of its length, unless the connection is met only now.
    fn place(&mut self, direction: u8, moved: u64) {
        let at = usize::from(direction);
        self.next[at] = self.next[at].wrapping_add(moved as u32);
        if moved == 0 || self.connection.protocol == protocol::IGNORED {
            return;
        }
        let gap = self.connection.flows[at].sequence.distance(moved as u32, self.next[at]);
        let hidden = std::mem::take(&mut self.hidden[at]);
        if gap > 0 {
            assert_eq!(gap as u64, hidden);
            self.connection.pass_over(direction, hidden);
            self.large[at] = 0;
        }
    }

    /// The records of a vector, as the probes write them.
    fn vector(&mut self, memory: &Bytes<'_>, direction: u8, Vector { address, entries }: Vector, total: u64) {
        let mut left = total;
        for at in 0..entries.min(SEGMENTS_MAX as u64) {
            let Some(found) = segment(memory, address.wrapping_add(at * IOVEC_BYTES)) else { break };
            let size = found.size.min(left);
            left -= size;
            self.piece(memory, direction, found.address, size);
        }
        self.piece(memory, direction, 0, left);
    }

    fn message(&mut self, memory: &Bytes<'_>, direction: u8, address: u64, total: u64) {
        match vector(memory, address) {
            Some(vector) => self.vector(memory, direction, vector, total),
            None => self.piece(memory, direction, 0, total),
        }
    }

    fn messages(&mut self, memory: &Bytes<'_>, direction: u8, address: u64, count: u64) {
        let mut told = 0;
        for at in 0..count.min(SEGMENTS_MAX as u64) {
            let message = address.wrapping_add(at * MMSGHDR_BYTES);
            let size = size_of_message(memory, message).unwrap_or(0);
            told += size;
            self.message(memory, direction, message, size);
        }
        let total = messages_total(memory, address, count);
        assert!(told <= total);
        self.piece(memory, direction, 0, total - told);
    }

    fn piece(&mut self, memory: &Bytes<'_>, direction: u8, address: u64, size: u64) {
        if size == 0 || self.connection.protocol == protocol::IGNORED {
            return;
        }
        let at = usize::from(direction);
        let turned = self.last != Some(direction);
        self.last = Some(direction);
        let mut words = [0; PREFIX_WORDS];
        let length = size.min(PREFIX_BYTES as u64) as usize;
        let is_read = address != 0 && memory.fill(address, length, &mut words);
        let first = if is_read { Prefix::of(words, length) } else { Prefix::EMPTY };
        let position = self.connection.flows[at].position;
        let mut admitted = self.connection.admit(direction, size, &first);
        let is_answer = self.connection.protocol == protocol::HTTP1 && first.is_switching_protocols();
        if is_answer && matches!(admitted, Admit::Copy { turn: true, .. }) {
            self.connection.switch(direction, position);
            admitted = Admit::Frames;
        }
        if admitted == Admit::Frames {
            return self.parts(memory, direction, address, size);
        }
        assert_eq!(self.connection.flows[at].position, position + size);
        let (reported, copied) = match admitted {
            Admit::Ignore | Admit::Frames => return,
            Admit::Copy { bytes, turn } => {
                assert_eq!(turn, turned);
                (size, u64::from(bytes))
            }
            Admit::Encrypted { report, bytes } => (report, u64::from(bytes)),
        };
        let copied = if address == 0 { 0 } else { copied };
        assert!(copied <= size && size <= reported && reported <= position + size);
        self.large[at] = if turned { 0 } else { self.large[at] };
        self.large[at] += if size > ALWAYS_COPIED_BYTES { copied } else { 0 };
        assert!(self.large[at] <= CREDIT_BYTES);
        self.record(at, position + size - reported, copied, reported);
    }

    /// The records of a piece of frames.
    fn parts(&mut self, memory: &Bytes<'_>, direction: u8, address: u64, size: u64) {
        let at = usize::from(direction);
        let mut done = 0;
        while done < size {
            let position = self.connection.flows[at].position;
            let place = if address == 0 { 0 } else { address.wrapping_add(done) };
            let part = self.part(memory, direction, place, size - done);
            assert!(part.size > 0 && part.size <= size - done && part.captured <= part.size);
            self.record(at, position, part.captured, part.size);
            done += part.size;
        }
        assert_eq!(done, size);
    }

    fn part(&mut self, memory: &Bytes<'_>, direction: u8, address: u64, size: u64) -> Part {
        let connection = &mut self.connection;
        if connection.protocol == protocol::HTTP2 {
            return connection.part(direction, memory, address, size).0;
        }
        let mut part = match connection.upgraded(direction) {
            Upgraded::Answer => connection.part_of_answer(direction, memory, address, size),
            Upgraded::Header => connection.part_of_header(direction, memory, address, size),
            Upgraded::Frames => connection.part_of_frames(direction, memory, address, size).0,
        };
        connection.settle(direction, &mut part);
        if address == 0 {
            part.captured = 0;
        }
        part
    }

    /// The stream of a direction gives each byte once, or a gap in its place.
    fn record(&mut self, at: usize, position: u64, copied: u64, size: u64) {
        let captured = vec![0; copied as usize];
        let missing = self.streams[at].missing_before(position);
        assert_eq!(missing, position - self.given[at]);
        for chunk in self.streams[at].feed(position, &captured, size) {
            self.given[at] += match chunk {
                Chunk::Bytes(bytes) => bytes.len() as u64,
                Chunk::Gap(length) => length,
                Chunk::End => panic!("no call ends a stream by itself"),
            };
        }
        assert_eq!(self.given[at], position + size);
        assert_eq!(self.streams[at].overlap_bytes(), 0);
    }
}
