//! Given: the end of every system call. Gives: records of the stream bytes it moved, when its process is a target and
//! its file a TCP socket. Refuses to know: what the bytes mean.
//!
//! 32-bit calls have numbers of their own: those of 32-bit programs are told apart by the code segment before the number is
//! looked at, those that 64-bit code makes with `int 0x80` by the state of the thread once their socket is known.
//!
//! At the end of a call `pt_regs` still holds the arguments of its beginning, so one program suffices: no entry program,
//! no map from thread to arguments, and a read that was blocked before the tracer came is seen.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use rotrace_ebpf::admit::{Connection, protocol};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::{direction, kind, role};
use rotrace_ebpf::segments::{Walk, total_of_messages};
use rotrace_ebpf::stats::Stat;
use rotrace_ebpf::syscalls::{PROT_EXEC, SOCKETCALL_ACCEPT, SYSCALLS, flag, receives, shape};

use super::socket::{self, Socket, Traits};
use super::{SHAPES, SOCKETS, TARGETS, User, count, emit, global};

/// Reads a word of `pt_regs`. The pointer is typed and the offset a constant to the verifier, so this is one load.
#[inline(always)]
fn register(registers: *const u8, offset: u32) -> u64 {
    // SAFETY: the verifier holds the offset to the size of `struct pt_regs`.
    unsafe { core::ptr::read_volatile(registers.add(offset as usize).cast::<u64>()) }
}

/// `sys_exit(struct pt_regs *regs, long ret)`: trace/events/syscalls.h, the same from 5.10 to 7.3.
#[btf_tracepoint(function = "sys_exit")]
fn on_sys_exit(ctx: BtfTracePointContext) -> i32 {
    let registers: *const u8 = ctx.arg(0);
    let result: i64 = ctx.arg(1);
    if result < 0 {
        return 0;
    }
    let number = register(registers, global!(REGISTERS.number)) as u32 as usize;
    if number >= SYSCALLS {
        return 0;
    }
    let index = if is_32_bit_code(registers) { number + SYSCALLS } else { number };
    // SAFETY: the index is below the length of the table.
    let shape = unsafe { core::ptr::read_volatile((&raw const SHAPES).cast::<u8>().add(index)) };
    if shape == shape::NONE || result == 0 && !receives(shape) {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: the value is not used.
    if unsafe { TARGETS.get(&((pid_tid >> 32) as u32)) }.is_none() {
        return 0;
    }
    match shape {
        shape::COMPAT | shape::COMPAT_SOCKETCALL => compat_call(registers, shape),
        _ => target_call(&ctx, registers, shape),
    }
    0
}

#[inline(always)]
fn is_32_bit_code(registers: *const u8) -> bool {
    let code_segment = global!(REGISTERS.code_segment);
    code_segment != ABSENT && register(registers, code_segment) as u32 != global!(REGISTERS.code_segment_64)
}

/// A 32-bit call of a target: looking for its socket counts it if it has one.
#[inline(always)]
fn compat_call(registers: *const u8, shape: u8) {
    let mut fd = register(registers, global!(REGISTERS.arguments_32[0])) as u32;
    if shape == shape::COMPAT_SOCKETCALL {
        if fd < SOCKETCALL_ACCEPT {
            return;
        }
        let arguments = register(registers, global!(REGISTERS.arguments_32[1])) as u32;
        let Some(first) = User.half(arguments as u64) else { return };
        fd = first;
    }
    socket::of_descriptor(fd as u64);
}

/// A call of a target that moved something, or found the end of a stream.
#[inline(always)]
fn target_call(ctx: &BtfTracePointContext, registers: *const u8, shape: u8) {
    let result: u64 = ctx.arg(1);
    let fd = register(registers, global!(REGISTERS.arguments[0]));
    let buffer = register(registers, global!(REGISTERS.arguments[1]));
    match shape {
        shape::ACCEPT => return accepted(result),
        shape::MMAP => return mapped(registers),
        shape::SENDFILE => return length_only(fd, direction::SENT, result),
        shape::SPLICE => {
            length_only(fd, direction::RECEIVED, result);
            let out = register(registers, global!(REGISTERS.arguments[2]));
            return length_only(out, direction::SENT, result);
        }
        _ => {}
    }
    let flags = match shape {
        shape::RECVMSG => register(registers, global!(REGISTERS.arguments[2])),
        shape::RECVFROM | shape::RECVMMSG => register(registers, global!(REGISTERS.arguments[3])),
        _ => 0,
    };
    if flags & (flag::MSG_PEEK | flag::MSG_OOB | flag::MSG_ERRQUEUE) != 0 {
        return;
    }
    let Some(socket) = socket::of_descriptor(fd as u32 as u64) else { return };
    if result == 0 {
        return ended(socket, buffer, register(registers, global!(REGISTERS.arguments[2])), shape);
    }
    let (walk, total) = match shape {
        shape::READV | shape::WRITEV => {
            (Some(Walk::vector(buffer, register(registers, global!(REGISTERS.arguments[2])), result)), result)
        }
        shape::RECVMSG | shape::SENDMSG => (Walk::message(&User, buffer, result), result),
        shape::RECVMMSG | shape::SENDMMSG => {
            (Some(Walk::messages(buffer, result)), message_bytes(buffer, ctx.arg(1)))
        }
        _ => (Some(Walk::buffer(buffer, result)), result),
    };
    let traits = Traits::new(if receives(shape) { direction::RECEIVED } else { direction::SENT }, 0);
    match walk {
        Some(walk) if flags & flag::MSG_TRUNC == 0 => socket::moved(socket, traits, total, walk),
        _ => socket::moved_unseen(socket, traits, total),
    }
}

/// Bytes of all messages. A global function, which the verifier walks once: the loop over them would otherwise leave it
/// with a thousand ways to go on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn message_bytes(address: u64, messages: u64) -> u64 {
    total_of_messages(&User, address, messages)
}

/// Code of a file: user space looks at once for a TLS library in it, for it may be used as soon as it is there.
#[inline(always)]
fn mapped(registers: *const u8) {
    let protection = register(registers, global!(REGISTERS.arguments[2]));
    let fd = register(registers, global!(REGISTERS.arguments[4])) as i32;
    if protection & PROT_EXEC == 0 || fd < 0 {
        return;
    }
    // SAFETY: the helper has no preconditions.
    emit::bare(emit::header(kind::MAPPED, 0, unsafe { bpf_get_current_pid_tgid() }));
    emit::wake();
}

/// A call that moves bytes without a buffer in user space.
#[inline(never)]
fn length_only(fd: u64, direction: u8, total: u64) {
    let Some(socket) = socket::of_descriptor(fd as u32 as u64) else { return };
    socket::moved_unseen(socket, Traits::new(direction, 0), total);
}

/// A read returned 0: the peer has ended its direction, unless the caller asked for nothing.
#[inline(always)]
fn ended(socket: Socket, buffer: u64, wanted: u64, shape: u8) {
    if (shape == shape::READ || shape == shape::RECVFROM) && (wanted == 0 || buffer == 0) {
        return;
    }
    let Some(known) = SOCKETS.get_ptr_mut(&socket.sk) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &*known };
    // The end of a TLS socket is that of the plaintext in it, unless close_notify has come before.
    let has_end = matches!(connection.protocol, protocol::HTTP1 | protocol::HTTP2 | protocol::TLS);
    if connection.id != socket.inode || !has_end {
        return;
    }
    let mut header =
        emit::header(kind::END, connection.id, (connection.pid as u64) << 32 | connection.pid as u64);
    header.direction = direction::RECEIVED;
    header.position = connection.flows[1].position;
    emit::bare(header);
}

/// A new socket, seen from its start.
#[inline(always)]
fn accepted(fd: u64) {
    let Some(socket) = socket::of_descriptor(fd) else { return };
    if !socket::is_tcp(socket.sk) {
        return;
    }
    let mut fresh = Connection::new(socket.inode, role::SERVER, true);
    // SAFETY: the helper has no preconditions.
    fresh.established_ns = unsafe { bpf_ktime_get_ns() };
    if SOCKETS.insert(&socket.sk, &fresh, 0).is_err() {
        count(Stat::SocketsFull, 1);
    }
}
