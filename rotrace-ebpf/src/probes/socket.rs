//! Given: a file descriptor of the current process, or a kernel socket. Gives: the connection it is, and records of the
//! bytes that a call moved over it. Refuses to know: system calls.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task};

use rotrace_ebpf::admit::{Admit, Connection, protocol};
use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::limits::{PARTS_MAX, PREFIX_BYTES, PREFIX_WORDS, SEGMENTS_MAX};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::{Open, flag, kind, role};
use rotrace_ebpf::segments::{Step, Walk};
use rotrace_ebpf::stats::Stat;
use rotrace_ebpf::syscalls::TS_COMPAT;

use super::emit::{self, Draft};
use super::{SOCKETS, User, count, global, kernel, tls};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const SOCK_STREAM: u16 = 1;
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

/// True when the socket speaks TCP over IP. A socket that is tracked has passed this before.
#[inline(always)]
pub(super) fn is_tcp(sk: u64) -> bool {
    let family: u16 = kernel(sk, global!(OFFSETS.sk_family));
    let protocol: u16 = kernel(sk, global!(OFFSETS.sk_protocol));
    (family == AF_INET || family == AF_INET6) && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
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
    let fresh = Connection::new(socket.inode, role::UNKNOWN, false);
    if SOCKETS.insert(&socket.sk, &fresh, 0).is_err() {
        count(Stat::SocketsFull, 1);
        return None;
    }
    SOCKETS.get_ptr_mut(&socket.sk)
}

/// What all pieces of a call have in common, in one word: the direction, and bits of [`flag`] above it.
#[derive(Clone, Copy)]
pub(super) struct Traits(pub(super) u64);

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
}

/// Writes the records of a call that moved `total` bytes, which are where `walk` says.
#[inline(always)]
pub(super) fn moved(socket: Socket, traits: Traits, total: u64, mut walk: Walk) {
    let mut left = total;
    let mut speaks = protocol::NEW as u64;
    for _ in 0..SEGMENTS_MAX {
        if left == 0 {
            break;
        }
        match walk.step(&User) {
            Step::Segment(segment) => {
                let size = if segment.size < left { segment.size } else { left };
                left -= size;
                speaks = socket_piece(socket.sk, socket.inode, traits.0, segment.address, size);
                if speaks == protocol::HTTP2 as u64 {
                    http2_piece(socket.sk, 0, traits.0, segment.address, size);
                }
            }
            Step::Again => {}
            Step::Done => break,
            Step::Fault => {
                count(Stat::Fault, 1);
                break;
            }
        }
    }
    if left > 0 {
        count(Stat::SegmentsBeyond, left);
        speaks = unseen(socket, traits, left);
    }
    // Only now are the bytes known to be TLS: a library's callback may write to some other socket.
    if speaks == protocol::TLS as u64 {
        tls::bind(socket.sk);
    }
}

/// Writes the record of a call that moved `total` bytes without a buffer that can be read.
#[inline(always)]
pub(super) fn moved_unseen(socket: Socket, traits: Traits, total: u64) {
    unseen(socket, traits, total);
}

#[inline(always)]
fn unseen(socket: Socket, traits: Traits, size: u64) -> u64 {
    let speaks = socket_piece(socket.sk, socket.inode, traits.0, 0, size);
    if speaks == protocol::HTTP2 as u64 {
        http2_part(socket.sk, 0, traits.0, 0, size);
    }
    speaks
}

/// Writes the record of one buffer of a socket's call, or of bytes whose buffer is not known (`address` 0). Returns what
/// the socket speaks; when that is HTTP/2, it is for [`http2_piece`] to write records.
///
/// A global function of scalars: the verifier walks it once, for any arguments, and not once for each way to reach it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn socket_piece(sk: u64, inode: u64, traits: u64, address: u64, size: u64) -> u64 {
    let Some(connection) = connection(Socket { sk, inode }) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &mut *connection };
    if connection.protocol != protocol::IGNORED {
        piece(sk, connection, Traits(traits), address, size);
    }
    connection.protocol as u64
}

/// Writes the records of one buffer of HTTP/2, of the socket `sk` or, where that is 0, of a TLS object. Global functions of
/// scalars, as above: the loop over the parts of a piece costs the verifier nothing but itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn http2_piece(sk: u64, object: u64, traits: u64, address: u64, size: u64) -> u64 {
    let mut at = 0;
    for _ in 0..PARTS_MAX {
        if at >= size {
            return 0;
        }
        at += http2_part(sk, object, traits, address + at, size - at);
    }
    if at < size {
        count(Stat::SegmentsBeyond, size - at);
        http2_part(sk, object, traits, 0, size - at);
    }
    0
}

/// Writes the record of the first part of a buffer, and returns how many bytes that has.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn http2_part(sk: u64, object: u64, traits: u64, address: u64, size: u64) -> u64 {
    let known = if sk != 0 { SOCKETS.get_ptr_mut(&sk) } else { tls::connection(object) };
    let Some(connection) = known else { return size };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &mut *connection };
    let traits = Traits(traits);
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    connection.pid = (pid_tid >> 32) as u32;
    let direction = traits.direction();
    let position = connection.flows[direction as usize].position;
    let (part, turn) = connection.part(direction, &User, address, size);
    let mut header = emit::header(kind::DATA, connection.id, pid_tid);
    header.direction = direction;
    header.flags = traits.flags()
        | if connection.from_start == 1 { flag::FROM_START } else { 0 }
        | if turn { flag::TURN } else { 0 };
    header.position = position;
    header.size = part.size;
    emit::data(&mut Draft { header, address, captured: part.captured });
    part.size
}

/// Writes the record of one buffer, unless it is HTTP/2; `sk` is 0 for a TLS object, which has no addresses of its own.
#[inline(always)]
pub(super) fn piece(sk: u64, connection: &mut Connection, traits: Traits, address: u64, size: u64) {
    if connection.protocol == protocol::HTTP2 {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    connection.pid = (pid_tid >> 32) as u32;
    let direction = traits.direction();
    let first = first_bytes(connection, direction, address, size);
    let position = connection.flows[direction as usize].position;
    let (reported, captured, flags) = match connection.admit(direction, size, &first) {
        Admit::Ignore => return,
        Admit::Frames => (0, 0, 0),
        Admit::Copy { bytes, turn } => (size, bytes, if turn { flag::TURN } else { 0 }),
        Admit::Encrypted { report, bytes } => (report, bytes, flag::ENCRYPTED),
    };
    if connection.announced == 0 && sk != 0 {
        connection.announced = 1;
        announce(sk, connection, pid_tid);
    }
    if connection.protocol == protocol::HTTP2 {
        return;
    }
    let captured = if address == 0 { 0 } else { captured as u64 };
    let mut header = emit::header(kind::DATA, connection.id, pid_tid);
    header.direction = direction;
    header.flags = traits.flags() | flags | if connection.from_start == 1 { flag::FROM_START } else { 0 };
    header.position = position + size - reported;
    header.size = reported;
    emit::data(&mut Draft { header, address, captured });
}

/// The first bytes of a piece, while the connection still needs them to be classified.
#[inline(always)]
fn first_bytes(connection: &Connection, direction: u8, address: u64, size: u64) -> Prefix {
    if address == 0 || !connection.asks(direction) {
        return Prefix::EMPTY;
    }
    let length = if size < PREFIX_BYTES as u64 { size as usize } else { PREFIX_BYTES };
    let mut first = [0; PREFIX_WORDS];
    if User.fill(address, length, &mut first) { Prefix::of(first, length) } else { Prefix::EMPTY }
}

/// Writes the open record before the first data record of a connection.
#[inline(always)]
fn announce(sk: u64, connection: &Connection, pid_tid: u64) {
    let mut open = addresses(sk);
    open.role = connection.role;
    open.connect_started_ns = connection.connect_started_ns;
    open.established_ns = connection.established_ns;
    open.socket = sk;
    let mut header = emit::header(kind::OPEN, connection.id, pid_tid);
    header.flags = if connection.from_start == 1 { flag::FROM_START } else { 0 };
    emit::open(header, &open);
}

#[inline(always)]
fn addresses(sk: u64) -> Open {
    let mut open = Open {
        local: [0; 16],
        remote: [0; 16],
        local_port: kernel(sk, global!(OFFSETS.sk_num)),
        remote_port: u16::from_be(kernel(sk, global!(OFFSETS.sk_dport))),
        role: 0,
        reserved: [0; 3],
        connect_started_ns: 0,
        established_ns: 0,
        socket: 0,
    };
    if kernel::<u16>(sk, global!(OFFSETS.sk_family)) == AF_INET6 {
        open.local = kernel(sk, global!(OFFSETS.sk_v6_rcv_saddr));
        open.remote = kernel(sk, global!(OFFSETS.sk_v6_daddr));
    } else {
        mapped(&mut open.local, kernel(sk, global!(OFFSETS.sk_rcv_saddr)));
        mapped(&mut open.remote, kernel(sk, global!(OFFSETS.sk_daddr)));
    }
    open
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
