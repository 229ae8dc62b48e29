//! Given: a piece of what a call moved over a socket or a TLS object: bytes in one place. Gives: the records of it that are
//! worth writing. Refuses to know: calls, and who speaks first.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;

use rotrace_ebpf::admit::{Admit, Connection, Upgraded, protocol};
use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::frames::Part;
use rotrace_ebpf::limits::{PARTS_MAX, PREFIX_BYTES, PREFIX_WORDS};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::record::{flag, kind};
use rotrace_ebpf::stats::Stat;

use super::emit::{self, Draft};
use super::socket::{self, Socket};
use super::{SOCKETS, User, count, position, tls};

/// What all pieces of a call have in common, in one word: the direction and whether their position is known, bits of [`flag`]
/// above it, and then how long ago the bytes were moved, when that is not now. The upper half has a number: for a vector, of
/// entries or of bytes; for a piece of frames, what its stream speaks; for the first piece of a socket's call, how many bytes
/// the call moved, and 0 for the others.
#[derive(Clone, Copy)]
pub(super) struct Traits(pub(super) u64);

const PLACED: u64 = 2;
const STEP_NS: u64 = 4096;
const AGO_BITS: u64 = 0xffff_0000;

impl Traits {
    pub(super) const fn new(direction: u8, flags: u8) -> Self {
        Traits(direction as u64 | (flags as u64) << 8)
    }

    /// The same, so many nanoseconds ago; at most a quarter of a second, in steps of four microseconds.
    pub(super) fn ago(self, ns: u64) -> Self {
        let steps = ns / STEP_NS;
        Traits(self.0 | (if steps > u16::MAX as u64 { u16::MAX as u64 } else { steps }) << 16)
    }

    fn ago_ns(self) -> u64 {
        (self.0 >> 16) as u16 as u64 * STEP_NS
    }

    /// The same of a part of a call whose position is known.
    pub(super) fn placed(self) -> Self {
        Traits(self.0 | PLACED)
    }

    /// How many bytes to look back over for the position of the first piece: all of the call, unless it is known.
    pub(super) fn to_place(self, total: u64) -> u64 {
        total * (1 - (self.0 >> 1 & 1))
    }

    pub(super) fn direction(self) -> u8 {
        self.0 as u8 & 1
    }

    fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    pub(super) fn with_number(self, number: u64) -> Self {
        Traits(self.0 & u32::MAX as u64 | number << 32)
    }

    pub(super) fn number(self) -> u64 {
        self.0 >> 32
    }
}

/// Writes the record of one buffer of a socket's call, or of bytes whose buffer is not known (`address` 0), behind the bytes that
/// no call has shown when it is the first. Returns what the socket speaks; when that is frames, [`frames_piece`] writes the
/// records.
///
/// A global function of scalars: the verifier walks it once, for any arguments, and not once for each way to reach it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn socket_piece(sk: u64, inode: u64, traits: u64, address: u64, size: u64) -> u64 {
    let Some(connection) = socket::connection(Socket { sk, inode }) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &mut *connection };
    if connection.protocol != protocol::IGNORED {
        // Read back from memory, so that the verifier does not walk the rest once for each answer.
        if core::hint::black_box(Traits(traits).number()) > 0 {
            position::place(sk, connection, Traits(traits));
        }
        if size > 0 {
            piece(sk, connection, Traits(traits), address, size);
        }
    }
    connection.protocol as u64
}

/// Writes the records of one buffer, of the socket `sk` or, where that is 0, of a TLS object, if the traits say that it is
/// frames: asking here leaves no choice to loops over buffers. Global functions of scalars, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn frames_piece(sk: u64, object: u64, traits: u64, address: u64, size: u64) -> u64 {
    if !protocol::has_frames(Traits(traits).number() as u8) || size == 0 {
        return 0;
    }
    let (mut address, mut left) = (address, size);
    for _ in 0..PARTS_MAX {
        let taken = frames_part(sk, object, traits, address, left);
        address = address.wrapping_add(taken);
        left = left.wrapping_sub(taken);
        if left == 0 {
            return 0;
        }
    }
    count(Stat::SegmentsBeyond, left);
    frames_part(sk, object, traits, 0, left);
    0
}

/// Writes the record of the first part of a buffer, and returns how many bytes that has.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn frames_part(sk: u64, object: u64, traits: u64, address: u64, size: u64) -> u64 {
    let known = match sk {
        0 => tls::connection(object),
        _ => SOCKETS.get_ptr_mut(&sk).unwrap_or(core::ptr::null_mut()),
    };
    // SAFETY: null, or a value of a map, which stays valid while the program runs.
    let Some(connection) = (unsafe { known.as_mut() }) else { return size };
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    connection.pid = (pid_tid >> 32) as u32;
    // The connection comes last: kept over the call for the time, it would be too much for the stack.
    let mut draft = Draft { header: emit::header(kind::DATA, 0, pid_tid), address, captured: 0 };
    draft.header.conn = connection.id;
    draft.header.direction = Traits(traits).direction();
    draft.header.flags = Traits(traits).flags();
    draft.header.time_ns -= Traits(traits).ago_ns();
    draft.header.size = size;
    if connection.protocol != protocol::UPGRADED {
        divide(connection, &mut draft);
    } else {
        match connection.upgraded(draft.header.direction & 1) {
            Upgraded::Answer => divide_answer(connection, &mut draft),
            Upgraded::Header => divide_header(connection, &mut draft),
            Upgraded::Frames => divide_frames(connection, &mut draft),
        };
        settle(connection, &mut draft);
    }
    let size = draft.header.size;
    emit::data(&mut draft);
    size
}

/// What is written of a piece.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Written {
    pub(super) position: u64,
    size: u64,
    address: u64,
    captured: u64,
    /// As in [`Traits`].
    pub(super) traits: u64,
}

/// Writes the record of one buffer, unless it is frames; `sk` is 0 for a TLS object, which has no addresses of its own.
#[inline(always)]
pub(super) fn piece(sk: u64, connection: &mut Connection, traits: Traits, address: u64, size: u64) {
    if protocol::has_frames(connection.protocol) {
        return;
    }
    // SAFETY: the helper has no preconditions.
    connection.pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let mut written = Written { position: 0, size, address, captured: 0, traits: traits.0 };
    if decide(connection, &mut written) == 0 {
        return;
    }
    if connection.announced == 0 && sk != 0 {
        connection.announced = 1;
        socket::announce(sk, connection, &written);
    }
    if connection.protocol != protocol::HTTP2 && write(connection, &written) == emit::SWITCHES {
        switch(connection, &written);
    }
}

// These are not inlined, and return numbers so that the verifier sees scalars: what one of them keeps on the stack is free
// again for the next.

/// Finds out what to write of a piece of `written.size` bytes; 0 when it is nothing.
#[inline(never)]
fn decide(connection: &mut Connection, written: &mut Written) -> u64 {
    let (traits, size) = (Traits(written.traits), written.size);
    let direction = traits.direction();
    let first = first_bytes(connection, written.address, size);
    let (reported, captured, flags) = match connection.admit(direction, size, &first) {
        Admit::Ignore => return 0,
        // Its parts are written after the connection has been announced.
        Admit::Frames => {
            written.position = connection.flows[direction as usize].position;
            return 1;
        }
        Admit::Copy { bytes, turn } => (size, bytes, if turn { flag::TURN } else { 0 }),
        Admit::Encrypted { report, bytes } => (report, bytes, flag::ENCRYPTED),
    };
    let flags = flags | if connection.from_start == 1 { flag::FROM_START } else { 0 };
    let flags = traits.flags() | flags;
    written.traits = Traits::new(direction, flags).0 | traits.0 & AGO_BITS;
    // Behind them by now: kept over the decision, where they began would be too much for the stack.
    written.position = connection.flows[direction as usize].position - reported;
    written.size = reported;
    written.captured = if written.address == 0 { 0 } else { captured as u64 };
    1
}

/// Takes note of an answer behind which another protocol follows: it is taken part by part.
#[inline(never)]
fn switch(connection: &mut Connection, written: &Written) -> u64 {
    connection.switch(Traits(written.traits).direction(), written.position);
    0
}

/// Cuts the draft of a piece of HTTP/2 down to its first part.
#[inline(never)]
fn divide(connection: &mut Connection, draft: &mut Draft) -> u64 {
    let direction = draft.header.direction & 1;
    draft.header.position = connection.flows[direction as usize].position;
    let (part, turn) = connection.part(direction, &User, draft.address, draft.header.size);
    draft.header.flags |= if connection.from_start == 1 { flag::FROM_START } else { 0 };
    draft.header.flags |= if turn { flag::TURN } else { 0 };
    draft.header.size = part.size;
    draft.captured = part.captured;
    0
}

/// The same of an answer that switches protocols.
#[inline(never)]
fn divide_answer(connection: &mut Connection, draft: &mut Draft) -> u64 {
    let direction = draft.header.direction & 1;
    let part = connection.part_of_answer(direction, &User, draft.address, draft.header.size);
    draft.header.size = part.size;
    draft.captured = part.captured;
    0
}

/// The same of the header of a frame that has begun.
#[inline(never)]
fn divide_header(connection: &mut Connection, draft: &mut Draft) -> u64 {
    let direction = draft.header.direction & 1;
    let part = connection.part_of_header(direction, &User, draft.address, draft.header.size);
    draft.header.size = part.size;
    draft.captured = part.captured;
    0
}

/// The same of frames.
#[inline(never)]
fn divide_frames(connection: &mut Connection, draft: &mut Draft) -> u64 {
    let direction = draft.header.direction & 1;
    let (part, begins) = connection.part_of_frames(direction, &User, draft.address, draft.header.size);
    draft.header.flags |= if begins { flag::FRAME } else { 0 };
    draft.header.size = part.size;
    draft.captured = part.captured;
    0
}

/// Says where a part of these is, and what it is.
#[inline(never)]
fn settle(connection: &mut Connection, draft: &mut Draft) -> u64 {
    let direction = draft.header.direction & 1;
    draft.header.position = connection.flows[direction as usize].position;
    let mut part = Part { size: draft.header.size, captured: draft.captured };
    let turn = connection.settle(direction, &mut part);
    draft.header.flags |= if connection.from_start == 1 { flag::FROM_START } else { 0 };
    draft.header.flags |= if turn { flag::TURN } else { 0 };
    draft.header.size = part.size;
    draft.captured = if draft.address == 0 { 0 } else { part.captured };
    0
}

/// Writes a data record, unless it is an answer that switches protocols: then it returns [`emit::SWITCHES`].
#[inline(never)]
fn write(connection: &Connection, written: &Written) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let header = emit::header(kind::DATA, connection.id, pid_tid);
    let mut draft = Draft { header, address: written.address, captured: written.captured };
    draft.header.direction = Traits(written.traits).direction();
    draft.header.flags = Traits(written.traits).flags();
    draft.header.time_ns -= Traits(written.traits).ago_ns();
    draft.header.position = written.position;
    draft.header.size = written.size;
    draft.header.extra =
        (connection.protocol == protocol::HTTP1 && draft.header.flags & flag::TURN != 0) as u64;
    emit::data(&mut draft)
}

/// The first bytes of a piece, while the connection still needs them to be classified.
#[inline(always)]
fn first_bytes(connection: &Connection, address: u64, size: u64) -> Prefix {
    if address == 0 || !connection.asks() {
        return Prefix::EMPTY;
    }
    prefix(address, size)
}

/// The first of `size` bytes; none where it is not known where they are.
#[inline(always)]
fn prefix(address: u64, size: u64) -> Prefix {
    if address == 0 {
        return Prefix::EMPTY;
    }
    let length = if size < PREFIX_BYTES as u64 { size as usize } else { PREFIX_BYTES };
    let mut first = [0; PREFIX_WORDS];
    if User.fill(address, length, &mut first) { Prefix::of(first, length) } else { Prefix::EMPTY }
}
