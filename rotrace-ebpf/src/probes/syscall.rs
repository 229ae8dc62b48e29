//! Given: the end of every system call. Gives: records of the stream bytes it moved, when its process is a target and
//! its file a TCP socket. Refuses to know: what the bytes mean.
//!
//! 32-bit calls have numbers of their own: those of 32-bit programs are told apart by the mode of the processor before the number is
//! looked at, those that 64-bit code makes with `int 0x80` by the state of the thread once their socket is known.
//!
//! At the end of a call `pt_regs` still holds the arguments of its beginning, so one program suffices: no entry program,
//! no map from thread to arguments, and a read that was blocked before the tracer came is seen.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::record::direction;
use rotrace_ebpf::segments::Vector;
use rotrace_ebpf::stats::Stat;
use rotrace_ebpf::syscalls::{PROT_EXEC, SOCKETCALL_ACCEPT, SYSCALLS, flag, receives, shape};

use super::piece::Traits;
use super::socket;
use super::twice::{self, Copy, Hook, twice};
use super::{SHAPES, User, buffers, count, emit, global, is_target};

/// Reads the first four bytes of a member of `pt_regs`, which may have no more (`syscallno` of arm64).
#[inline(always)]
fn half_register(registers: *const u8, offset: u32) -> u32 {
    // SAFETY: the verifier holds the offset to the size of `struct pt_regs`.
    unsafe { core::ptr::read_volatile(registers.add(offset as usize).cast::<u32>()) }
}

/// Reads a word of `pt_regs`. The pointer is typed and the offset a constant to the verifier, so this is one load.
#[inline(always)]
fn register(registers: *const u8, offset: u32) -> u64 {
    // SAFETY: the verifier holds the offset to the size of `struct pt_regs`.
    unsafe { core::ptr::read_volatile(registers.add(offset as usize).cast::<u64>()) }
}

twice! {
    /// `sys_exit(struct pt_regs *regs, long ret)`: trace/events/syscalls.h, the same from 5.10 to 7.3.
    #[btf_tracepoint(function = "sys_exit")]
    fn on_sys_exit, again_sys_exit: BtfTracePointContext => ended
}

#[inline(always)]
fn ended(ctx: &BtfTracePointContext, copy: Copy) -> i32 {
    let registers: *const u8 = ctx.arg(0);
    let result: i64 = ctx.arg(1);
    if result < 0 {
        return 0;
    }
    let number = half_register(registers, global!(REGISTERS.number)) as usize;
    if number >= SYSCALLS {
        return 0;
    }
    let index = if is_32_bit_code(registers) { number + SYSCALLS } else { number };
    // SAFETY: the index is below the length of the table.
    let shape = unsafe { core::ptr::read_volatile((&raw const SHAPES).cast::<u8>().add(index)) };
    if shape == shape::NONE || result == 0 && !receives(shape) {
        return 0;
    }
    if !is_target() || !twice::records(copy, Hook::Tracepoint) {
        return 0;
    }
    match shape {
        shape::COMPAT | shape::COMPAT_SOCKETCALL => compat_call(registers, shape),
        shape::IO_URING => {
            ring_call();
        }
        _ => target_call(ctx, registers, shape),
    }
    0
}

#[inline(always)]
fn is_32_bit_code(registers: *const u8) -> bool {
    let mode = half_register(registers, global!(REGISTERS.mode)) & global!(REGISTERS.mode_mask);
    mode != global!(REGISTERS.mode_64)
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

/// A call to io_uring. Not inlined: the counter's key would be on the stack of all other calls too.
#[inline(never)]
fn ring_call() -> u64 {
    count(Stat::IoUring, 1);
    0
}

/// A call of a target that moved something, or found the end of a stream.
#[inline(always)]
fn target_call(ctx: &BtfTracePointContext, registers: *const u8, shape: u8) {
    let result: u64 = ctx.arg(1);
    let fd = register(registers, global!(REGISTERS.arguments[0]));
    let buffer = register(registers, global!(REGISTERS.arguments[1]));
    match shape {
        shape::ACCEPT => {
            if let Some(socket) = socket::of_descriptor(result) {
                socket::accepted(socket);
            }
            return;
        }
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
        shape::SENDMSG => register(registers, global!(REGISTERS.arguments[2])) & flag::MSG_OOB,
        shape::SENDTO | shape::SENDMMSG => {
            register(registers, global!(REGISTERS.arguments[3])) & flag::MSG_OOB
        }
        _ => 0,
    };
    if receives(shape) && flags & (flag::MSG_PEEK | flag::MSG_OOB | flag::MSG_ERRQUEUE) != 0 {
        return;
    }
    let Some(socket) = socket::of_descriptor(fd as u32 as u64) else { return };
    if result == 0 {
        let wanted = register(registers, global!(REGISTERS.arguments[2]));
        // Who asks for nothing gets nothing.
        if (shape == shape::READ || shape == shape::RECVFROM) && (wanted == 0 || buffer == 0) {
            return;
        }
        return socket::ended(socket);
    }
    let traits = Traits::new(if receives(shape) { direction::RECEIVED } else { direction::SENT }, 0);
    let is_many = shape == shape::RECVMMSG || shape == shape::SENDMMSG;
    if flags & (flag::MSG_TRUNC | flag::MSG_OOB) != 0 {
        let total = if is_many { buffers::message_bytes(buffer, result) } else { result };
        if flags & flag::MSG_OOB != 0 {
            return buffers::moved_urgent(socket, traits, total);
        }
        // The bytes were thrown away, and no buffer has them.
        return buffers::moved_unseen(socket, traits, total);
    }
    match shape {
        shape::READV | shape::WRITEV => {
            let entries = register(registers, global!(REGISTERS.arguments[2]));
            buffers::moved_vector(socket, traits, Vector { address: buffer, entries }, result);
        }
        shape::RECVMSG | shape::SENDMSG => buffers::moved_message(socket, traits, buffer, result),
        _ if is_many => buffers::moved_messages(socket, traits, buffer, result),
        _ => buffers::moved_buffer(socket, traits, buffer, result),
    }
}

/// Code of a file: user space looks at once for a TLS library in it, for it may be used as soon as it is there.
#[inline(always)]
fn mapped(registers: *const u8) {
    let protection = register(registers, global!(REGISTERS.arguments[2]));
    let fd = register(registers, global!(REGISTERS.arguments[4])) as i32;
    if protection & PROT_EXEC != 0 && fd >= 0 {
        emit::mapped();
    }
}

/// A call that moves bytes without a buffer in user space.
#[inline(never)]
fn length_only(fd: u64, direction: u8, total: u64) {
    let Some(socket) = socket::of_descriptor(fd as u32 as u64) else { return };
    buffers::moved_unseen(socket, Traits::new(direction, 0), total);
}
