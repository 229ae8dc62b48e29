//! Given: where the bytes are that a call moved: in one buffer, in a vector, in messages, or nowhere that can be read. Gives:
//! their pieces, one after the other. Refuses to know: what is written of a piece.

use rotrace_ebpf::admit::protocol;
use rotrace_ebpf::limits::{MESSAGES_MAX, ROUNDS, SEGMENTS_MAX};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::rewind::{Start, Stretch};
use rotrace_ebpf::segments::{self, IOVEC_BYTES, MMSGHDR_BYTES, Vector, total_of_messages};
use rotrace_ebpf::stats::Stat;

use super::piece::{Traits, frames_piece, socket_piece};
use super::socket::Socket;
use super::{Kernel, User, count, tls};

// What follows in many ways is a global function of scalars, which the verifier walks once and for any arguments. Loops are
// in such functions, and leave it no choice within a round: else it walks them again for every way to come to them and
// through them, and 6.1 gives up.

/// Writes the records of a call that moved `total` bytes of one buffer.
#[inline(always)]
pub(super) fn moved_buffer(socket: Socket, traits: Traits, address: u64, total: u64) {
    let speaks = socket_piece(socket.sk, socket.inode, traits.with_number(total).0, address, total);
    frames_piece(socket.sk, 0, traits.with_number(speaks).0, address, total);
    bind(socket.sk, speaks);
}

/// The same of a vector.
#[inline(always)]
pub(super) fn moved_vector(socket: Socket, traits: Traits, vector: Vector, total: u64) {
    vector_pieces(socket.sk, socket.inode, traits.with_number(vector.entries).0, vector.address, total);
}

/// The same of a message.
#[inline(always)]
pub(super) fn moved_message(socket: Socket, traits: Traits, message: u64, total: u64) {
    match segments::vector(&User, message) {
        Some(vector) => moved_vector(socket, traits, vector, total),
        None => {
            count(Stat::Fault, 1);
            moved_unseen(socket, traits, total);
        }
    }
}

/// The same of an array of messages.
#[inline(always)]
pub(super) fn moved_messages(socket: Socket, traits: Traits, messages: u64, count: u64) {
    let total = message_bytes(messages, count);
    socket_piece(socket.sk, socket.inode, traits.with_number(total).0, 0, 0);
    messages_pieces(socket.sk, socket.inode, traits.placed().0, messages, count);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn vector_pieces(sk: u64, inode: u64, traits: u64, vector: u64, total: u64) -> u64 {
    let vector = Vector { address: vector, entries: Traits(traits).number() };
    pieces(Socket { sk, inode }, Traits(traits), vector, 0, total, &User);
    0
}

/// The same of an array of the kernel's own iovecs in which the call ended at byte `offset` of the buffer of `entry`.
#[inline(always)]
pub(super) fn moved_before(socket: Socket, traits: Traits, entry: u64, offset: u64, total: u64) {
    let stretch = |entry, left| Stretch::of_word(stretch_before(entry, left));
    match Start::before(stretch, entry, offset, total) {
        Some(start) => {
            // A call moves less than 2 GiB (MAX_RW_COUNT, include/linux/fs.h), so this has its place in half a word.
            let traits = traits.with_number(start.skip);
            rewound_pieces(socket.sk, socket.inode, traits.0, start.address(entry), total);
        }
        None => {
            count(Stat::SegmentsBeyond, total);
            moved_unseen(socket, traits, total);
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stretch_before(entry: u64, left: u64) -> u64 {
    Stretch::before(&Kernel, entry, left).word()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rewound_pieces(sk: u64, inode: u64, traits: u64, vector: u64, total: u64) -> u64 {
    let vector = Vector { address: vector, entries: SEGMENTS_MAX as u64 };
    pieces(Socket { sk, inode }, Traits(traits), vector, Traits(traits).number(), total, &Kernel);
    0
}

/// Writes the records of `total` bytes in the buffers of a vector that `memory` holds, without the first `skip` bytes.
#[inline(always)]
fn pieces(socket: Socket, traits: Traits, vector: Vector, mut skip: u64, total: u64, memory: &impl Memory) {
    let Socket { sk, inode } = socket;
    let mut left = total;
    let mut to_place = traits.to_place(total);
    let mut speaks = protocol::NEW as u64;
    for at in 0..SEGMENTS_MAX as u64 {
        if left == 0 {
            break;
        }
        let entry = vector.address.wrapping_add(at * IOVEC_BYTES);
        let found = if at < vector.entries { segments::segment(memory, entry) } else { None };
        let Some(segment) = found else {
            count(Stat::Fault, 1);
            break;
        };
        let size = lesser(segment.size.wrapping_sub(skip), left);
        left = left.wrapping_sub(size);
        let address = segment.address.wrapping_add(skip);
        speaks = socket_piece(sk, inode, traits.with_number(to_place).0, address, size);
        frames_piece(sk, 0, traits.with_number(speaks).0, address, size);
        (skip, to_place) = (0, 0);
    }
    if left > 0 {
        count(Stat::SegmentsBeyond, left);
        speaks = socket_piece(sk, inode, traits.with_number(to_place).0, 0, left);
        frames_piece(sk, 0, traits.with_number(speaks).0, 0, left);
    }
    bind(sk, speaks);
}

/// The lesser of two numbers, of which the verifier knows nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn lesser(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn messages_pieces(sk: u64, inode: u64, traits: u64, messages: u64, count: u64) -> u64 {
    let (socket, traits) = (Socket { sk, inode }, Traits(traits));
    let mut message = messages;
    for at in 0..SEGMENTS_MAX as u64 {
        if at >= count {
            return 0;
        }
        message_pieces(sk, inode, traits.0, message);
        message = message.wrapping_add(MMSGHDR_BYTES);
    }
    let rest = message_bytes(message, count.wrapping_sub(SEGMENTS_MAX as u64));
    if rest > 0 {
        super::count(Stat::SegmentsBeyond, rest);
        moved_unseen(socket, traits, rest);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn message_pieces(sk: u64, inode: u64, traits: u64, message: u64) -> u64 {
    match segments::size_of_message(&User, message) {
        Some(0) => {}
        Some(size) => moved_message(Socket { sk, inode }, Traits(traits), message, size),
        None => count(Stat::Fault, 1),
    }
    0
}

/// Bytes of all messages.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn message_bytes(messages: u64, count: u64) -> u64 {
    let mut total = 0;
    for at in (0..MESSAGES_MAX as u64).step_by(ROUNDS) {
        if at >= count {
            break;
        }
        total += some_message_bytes(messages.wrapping_add(at * MMSGHDR_BYTES), count - at);
    }
    total
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn some_message_bytes(messages: u64, count: u64) -> u64 {
    total_of_messages(&User, messages, count)
}

/// Writes the record of a call that moved `total` bytes without a buffer that can be read.
#[inline(always)]
pub(super) fn moved_unseen(socket: Socket, traits: Traits, total: u64) {
    let to_place = traits.to_place(total);
    let speaks = socket_piece(socket.sk, socket.inode, traits.with_number(to_place).0, 0, total);
    frames_piece(socket.sk, 0, traits.with_number(speaks).0, 0, total);
}

/// Writes the record of a call that sent `total` bytes of which the last is urgent: TCP counts it, and its receiver passes over it.
/// Few use such calls, and those for one byte: of any others no more than the length is told.
#[inline(never)]
pub(super) fn moved_urgent(socket: Socket, traits: Traits, total: u64) {
    socket_piece(socket.sk, socket.inode, traits.with_number(total).0, 0, 0);
    if total > 1 {
        moved_unseen(socket, traits.placed(), total - 1);
    }
}

/// Ties a socket to the TLS object whose function the thread is in. Only now are the bytes known to be TLS: a library's
/// callback may write to some other socket.
#[inline(always)]
fn bind(sk: u64, speaks: u64) {
    if speaks == protocol::TLS as u64 {
        tls::tls_bind(sk);
    }
}
