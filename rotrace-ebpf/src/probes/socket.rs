//! Given: a file descriptor of the current process, or a kernel socket. Gives: the connection it is, and records of its
//! beginning and of the end of what it receives. Refuses to know: system calls, and what moves over it.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns};

use rotrace_ebpf::admit::{Connection, protocol};
use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::{Open, direction, flag, kind, role};
use rotrace_ebpf::stats::Stat;
use rotrace_ebpf::syscalls::TS_COMPAT;

use super::piece::{Traits, Written};
use super::{FRESH, SOCKETS, count, emit, global, kernel, position};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
pub(super) const SOCK_STREAM: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub(super) const IPPROTO_TCP: u16 = 6;
pub(super) const IPPROTO_MPTCP: u16 = 262;

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
    position::begin(socket.sk, fresh);
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

/// A read returned 0 and had asked for more: the peer has ended its direction.
#[inline(always)]
pub(super) fn ended(socket: Socket) {
    let Some(known) = SOCKETS.get_ptr_mut(&socket.sk) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &mut *known };
    // The end of a TLS socket is that of the plaintext in it, unless close_notify has come before.
    let has_end = !matches!(connection.protocol, protocol::NEW | protocol::IGNORED);
    if connection.id != socket.inode || !has_end {
        return;
    }
    position::place(socket.sk, connection, Traits::new(direction::RECEIVED, 0));
    let mut header =
        emit::header(kind::END, connection.id, (connection.pid as u64) << 32 | connection.pid as u64);
    header.direction = direction::RECEIVED;
    header.position = connection.flows[1].position;
    emit::bare(header);
}

/// Writes the open record before the first data record of a connection, which is of the piece `first`.
#[inline(never)]
pub(super) fn announce(sk: u64, connection: &Connection, first: &Written) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let mut header = emit::header(kind::OPEN, connection.id, pid_tid);
    header.flags = if connection.from_start == 1 { flag::FROM_START } else { 0 };
    header.position = connection.flows[0].position;
    header.size = connection.flows[1].position;
    // Of its own direction, the piece itself is among them already.
    if Traits(first.traits).direction() == direction::SENT {
        header.position = first.position;
    } else {
        header.size = first.position;
    }
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
