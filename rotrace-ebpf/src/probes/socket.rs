//! Given: a file descriptor of the current process, or a kernel socket. Gives: the connection it is, and records of the
//! bytes that a call moved over it. Refuses to know: system calls.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns};

use rotrace_ebpf::admit::{Admit, Connection, protocol};
use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::limits::{PREFIX_BYTES, PREFIX_WORDS, SEGMENTS_MAX};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::{Open, direction, flag, kind, role};
use rotrace_ebpf::rewind::Start;
use rotrace_ebpf::segments::{self, IOVEC_BYTES, MMSGHDR_BYTES, Vector, total_of_messages};
use rotrace_ebpf::stats::Stat;
use rotrace_ebpf::syscalls::TS_COMPAT;

use super::emit::{self, Draft};
use super::{FRESH, Kernel, SOCKETS, User, count, global, kernel, tls};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
pub(super) const SOCK_STREAM: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;

/// A TCP socket of the current process.
#[derive(Clone, Copy)]
pub(super) struct Socket {
    /// Address of its `struct sock`.
    pub(super) sk: u64,
    /// Inode of its file: its identity.
    pub(super) inode: u64,
}

/// The TCP socket behind a file descriptor, or `None` when it is anything else, or when the call is a 32-bit one, whose
/// arguments are not what they seem: then it is counted.
#[inline(always)]
pub(super) fn of_descriptor(fd: u64) -> Option<Socket> {
    let mut found = Socket { sk: 0, inode: 0 };
    look_up(fd, &mut found);
    (found.sk != 0).then_some(found)
}

/// Fills in the socket of a descriptor, if it is one. Not inlined: what it reads on the way leaves the stack with it.
#[inline(never)]
fn look_up(fd: u64, found: &mut Socket) -> u64 {
    if let Some(socket) = walk(fd) {
        *found = socket;
    }
    0
}

#[inline(always)]
fn walk(fd: u64) -> Option<Socket> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = kernel(task, global!(OFFSETS.task_files));
    let table: u64 = kernel(files, global!(OFFSETS.files_fdt));
    let most: u32 = kernel(table, global!(OFFSETS.fdt_max_fds));
    if fd >= most as u64 {
        return None;
    }
    let slots: u64 = kernel(table, global!(OFFSETS.fdt_fd));
    let file: u64 = kernel(slots + fd * 8, 0);
    if file == 0 {
        count(Stat::FileGone, 1);
        return None;
    }
    let inode: u64 = kernel(file, global!(OFFSETS.file_inode));
    let mode: u16 = kernel(inode, global!(OFFSETS.inode_mode));
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = kernel(file, global!(OFFSETS.file_private));
    if kernel::<u16>(socket, global!(OFFSETS.socket_type)) != SOCK_STREAM {
        return None;
    }
    let sk: u64 = kernel(socket, global!(OFFSETS.socket_sk));
    if sk == 0 {
        return None;
    }
    if is_32_bit_call(task) {
        if is_tcp(sk) {
            count(Stat::Compat, 1);
        }
        return None;
    }
    let number: u64 = kernel(inode, global!(OFFSETS.inode_number));
    Some(Socket { sk, inode: number })
}

#[inline(always)]
fn is_32_bit_call(task: u64) -> bool {
    let status = global!(OFFSETS.thread_info_status);
    if status == ABSENT {
        return false;
    }
    let thread_info = task + global!(OFFSETS.task_thread_info) as u64;
    kernel::<u32>(thread_info, status) & TS_COMPAT != 0
}

/// The inode of a `struct socket`, which is allocated together with it (`sock_alloc_inode`, net/socket.c).
#[inline(always)]
pub(super) fn inode_of(socket: u64) -> u64 {
    let inode = socket + (global!(OFFSETS.alloc_inode) as u64) - (global!(OFFSETS.alloc_socket) as u64);
    kernel(inode, global!(OFFSETS.inode_number))
}

/// True when the socket speaks TCP over IP. A socket that is tracked has passed this before.
#[inline(always)]
pub(super) fn is_tcp(sk: u64) -> bool {
    let family: u16 = kernel(sk, global!(OFFSETS.sk_family));
    let protocol: u16 = kernel(sk, global!(OFFSETS.sk_protocol));
    (family == AF_INET || family == AF_INET6) && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
}

/// A new socket that the process has accepted, seen from its start.
#[inline(always)]
pub(super) fn accepted(socket: Socket) {
    if !is_tcp(socket.sk) {
        return;
    }
    let Some(fresh) = track(socket) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let fresh = unsafe { &mut *fresh };
    fresh.role = role::SERVER;
    fresh.from_start = 1;
    // SAFETY: the helper has no preconditions.
    fresh.established_ns = unsafe { bpf_ktime_get_ns() };
}

/// What is known of a socket; it is tracked from now on when it was not.
#[inline(always)]
pub(super) fn connection(socket: Socket) -> Option<*mut Connection> {
    if let Some(known) = SOCKETS.get_ptr_mut(&socket.sk) {
        // SAFETY: a value of the map; races with other CPUs concern one counter of one socket.
        let known_id = unsafe { (*known).id };
        if known_id == socket.inode {
            return Some(known);
        }
        // A socket that was connected before it had been given a file is the same one (id 0); any other is a new
        // socket at the address of an old one whose end was not seen.
        if known_id == 0 {
            // SAFETY: as above.
            unsafe { (*known).id = socket.inode };
            return Some(known);
        }
    } else if !is_tcp(socket.sk) {
        return None;
    }
    track(socket)
}

/// Tracks a socket of which nothing is known, in place of an old one at its address; `None`, and counted, when there is no
/// room.
#[inline(always)]
pub(super) fn track(socket: Socket) -> Option<*mut Connection> {
    if SOCKETS.insert(&socket.sk, &FRESH, 0).is_err() {
        count(Stat::SocketsFull, 1);
        return None;
    }
    let fresh = SOCKETS.get_ptr_mut(&socket.sk)?;
    // SAFETY: a value of the map, which stays valid while the program runs.
    unsafe { (*fresh).id = socket.inode };
    Some(fresh)
}

/// What all pieces of a call have in common, in one word: the direction, and bits of [`flag`] above it. A call with a vector
/// has a number in the upper half: of entries, or of bytes.
#[derive(Clone, Copy)]
pub(super) struct Traits(u64);

impl Traits {
    pub(super) const fn new(direction: u8, flags: u8) -> Self {
        Traits(direction as u64 | (flags as u64) << 8)
    }

    fn direction(self) -> u8 {
        self.0 as u8 & 1
    }

    fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    fn with_number(self, number: u64) -> Self {
        Traits(self.0 | number << 32)
    }

    fn number(self) -> u64 {
        self.0 >> 32
    }
}

// What follows in many ways is a global function of scalars, which the verifier walks once and for any arguments. Loops are
// in such functions, and leave it no choice within a round: else it walks them again for every way to come to them and
// through them, and 6.1 gives up.

/// Writes the records of a call that moved `total` bytes of one buffer.
#[inline(always)]
pub(super) fn moved_buffer(socket: Socket, traits: Traits, address: u64, total: u64) {
    let speaks = socket_piece(socket.sk, socket.inode, traits.0, address, total);
    bind(socket, speaks);
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
    messages_pieces(socket.sk, socket.inode, traits.0, messages, count);
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
    match Start::of_word(start_before(entry, offset, total)) {
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
extern "C" fn start_before(entry: u64, offset: u64, total: u64) -> u64 {
    Start::word(Start::before(&Kernel, entry, offset, total))
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
        speaks = socket_piece(sk, inode, traits.0, segment.address.wrapping_add(skip), size);
        skip = 0;
    }
    if left > 0 {
        count(Stat::SegmentsBeyond, left);
        speaks = socket_piece(sk, inode, traits.0, 0, left);
    }
    bind(socket, speaks);
}

/// The lesser of two numbers, of which the verifier knows nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lesser(a: u64, b: u64) -> u64 {
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
    total_of_messages(&User, messages, count)
}

/// Ties a socket to the TLS object whose function the thread is in. Only now are the bytes known to be TLS: a library's
/// callback may write to some other socket.
#[inline(always)]
fn bind(socket: Socket, speaks: u64) {
    if speaks == protocol::TLS as u64 {
        tls::bind(socket.sk);
    }
}

/// Writes the record of a call that moved `total` bytes without a buffer that can be read.
#[inline(always)]
pub(super) fn moved_unseen(socket: Socket, traits: Traits, total: u64) {
    socket_piece(socket.sk, socket.inode, traits.0, 0, total);
}

/// A read returned 0 and had asked for more: the peer has ended its direction.
#[inline(always)]
pub(super) fn ended(socket: Socket) {
    let Some(known) = SOCKETS.get_ptr_mut(&socket.sk) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &*known };
    // The end of a TLS socket is that of the plaintext in it, unless close_notify has come before.
    if connection.id != socket.inode || !matches!(connection.protocol, protocol::HTTP1 | protocol::TLS) {
        return;
    }
    let mut header =
        emit::header(kind::END, connection.id, (connection.pid as u64) << 32 | connection.pid as u64);
    header.direction = direction::RECEIVED;
    header.position = connection.flows[1].position;
    emit::bare(header);
}

/// Writes the record of one buffer of a socket's call, or of bytes whose buffer is not known (`address` 0). Returns what
/// the socket speaks.
///
/// A global function of scalars: the verifier walks it once, for any arguments, and not once for each way to reach it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn socket_piece(sk: u64, inode: u64, traits: u64, address: u64, size: u64) -> u64 {
    let Some(connection) = connection(Socket { sk, inode }) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &mut *connection };
    if connection.protocol != protocol::IGNORED && size > 0 {
        piece(sk, connection, Traits(traits), address, size);
    }
    connection.protocol as u64
}

/// What is written of a piece.
#[derive(Clone, Copy)]
#[repr(C)]
struct Written {
    position: u64,
    size: u64,
    address: u64,
    captured: u64,
    /// The direction, and above it bits of [`flag`], as in [`Traits`].
    traits: u64,
}

/// Writes the record of one buffer; `sk` is 0 for a TLS object, which has no addresses of its own.
#[inline(always)]
pub(super) fn piece(sk: u64, connection: &mut Connection, traits: Traits, address: u64, size: u64) {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    connection.pid = (pid_tid >> 32) as u32;
    let mut written = Written { position: 0, size: 0, address, captured: 0, traits: traits.0 };
    if decide(connection, size, &mut written) == 0 {
        return;
    }
    if connection.announced == 0 && sk != 0 {
        connection.announced = 1;
        announce(sk, connection, pid_tid);
    }
    write(connection, &written);
}

// These are not inlined, and return numbers so that the verifier sees scalars: what one of them keeps on the stack is free
// again for the next.

/// Finds out what to write of a piece; 0 when it is nothing.
#[inline(never)]
fn decide(connection: &mut Connection, size: u64, written: &mut Written) -> u64 {
    let traits = Traits(written.traits);
    let direction = traits.direction();
    let position = connection.flows[direction as usize].position;
    let first = first_bytes(connection, written.address, size);
    let (reported, captured, flags) = match connection.admit(direction, size, &first) {
        Admit::Ignore => return 0,
        Admit::Copy { bytes, turn } => (size, bytes, if turn { flag::TURN } else { 0 }),
        Admit::Encrypted { report, bytes } => (report, bytes, flag::ENCRYPTED),
    };
    let flags = traits.flags() | flags | if connection.from_start == 1 { flag::FROM_START } else { 0 };
    written.traits = Traits::new(direction, flags).0;
    written.position = position + size - reported;
    written.size = reported;
    written.captured = if written.address == 0 { 0 } else { captured as u64 };
    1
}

/// Writes a data record.
#[inline(never)]
fn write(connection: &Connection, written: &Written) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let header = emit::header(kind::DATA, connection.id, pid_tid);
    let mut draft = Draft { header, address: written.address, captured: written.captured };
    draft.header.direction = Traits(written.traits).direction();
    draft.header.flags = Traits(written.traits).flags();
    draft.header.position = written.position;
    draft.header.size = written.size;
    emit::data(&mut draft)
}

/// The first bytes of a piece, while the connection still needs them to be classified.
#[inline(always)]
fn first_bytes(connection: &Connection, address: u64, size: u64) -> Prefix {
    if connection.protocol != protocol::NEW || address == 0 {
        return Prefix::EMPTY;
    }
    let length = if size < PREFIX_BYTES as u64 { size as usize } else { PREFIX_BYTES };
    let mut first = [0; PREFIX_WORDS];
    if User.fill(address, length, &mut first) { Prefix::of(first, length) } else { Prefix::EMPTY }
}

/// Writes the open record before the first data record of a connection.
#[inline(never)]
fn announce(sk: u64, connection: &Connection, pid_tid: u64) -> u64 {
    let mut header = emit::header(kind::OPEN, connection.id, pid_tid);
    header.flags = if connection.from_start == 1 { flag::FROM_START } else { 0 };
    emit::open(header, |open| {
        addresses(sk, open);
        open.role = connection.role;
        open.connect_started_ns = connection.connect_started_ns;
        open.established_ns = connection.established_ns;
        open.socket = sk;
    });
    0
}

#[inline(always)]
fn addresses(sk: u64, open: &mut Open) {
    open.local_port = kernel(sk, global!(OFFSETS.sk_num));
    open.remote_port = u16::from_be(kernel(sk, global!(OFFSETS.sk_dport)));
    if kernel::<u16>(sk, global!(OFFSETS.sk_family)) == AF_INET6 {
        open.local = kernel(sk, global!(OFFSETS.sk_v6_rcv_saddr));
        open.remote = kernel(sk, global!(OFFSETS.sk_v6_daddr));
    } else {
        mapped(&mut open.local, kernel(sk, global!(OFFSETS.sk_rcv_saddr)));
        mapped(&mut open.remote, kernel(sk, global!(OFFSETS.sk_daddr)));
    }
}

/// An IPv4 address as v4-mapped IPv6 (RFC 4291 §2.5.5.2).
#[inline(always)]
fn mapped(into: &mut [u8; 16], address: [u8; 4]) {
    let [a, b, c, d] = address;
    into[10] = 0xff;
    into[11] = 0xff;
    into[12] = a;
    into[13] = b;
    into[14] = c;
    into[15] = d;
}
