//! Given: nothing. Gives: the shapes of system calls that move stream bytes, or map code. Refuses to know: their numbers, which
//! differ between architectures and are filled in by the daemon.

/// System call numbers that have a place in the table of shapes: those of 64-bit calls, and behind them as many of 32-bit
/// calls, which mean something else.
pub const SYSCALLS: usize = 512;

/// How the arguments of a system call say where the bytes are. Values travel in a byte table, so they are constants.
pub mod shape {
    /// Not a call that moves stream bytes.
    pub const NONE: u8 = 0;
    /// `read(fd, buffer, …)`.
    pub const READ: u8 = 1;
    /// `readv(fd, iovec, count, …)`, `preadv2`.
    pub const READV: u8 = 2;
    /// `recvfrom(fd, buffer, size, flags, …)`.
    pub const RECVFROM: u8 = 3;
    /// `recvmsg(fd, msghdr, flags)`.
    pub const RECVMSG: u8 = 4;
    /// `recvmmsg(fd, mmsghdr, count, flags, …)`.
    pub const RECVMMSG: u8 = 5;
    /// `write(fd, buffer, …)`.
    pub const WRITE: u8 = 6;
    /// `writev(fd, iovec, count, …)`, `pwritev2`.
    pub const WRITEV: u8 = 7;
    /// `sendto(fd, buffer, size, flags, …)`.
    pub const SENDTO: u8 = 8;
    /// `sendmsg(fd, msghdr, flags)`.
    pub const SENDMSG: u8 = 9;
    /// `sendmmsg(fd, mmsghdr, count, flags)`.
    pub const SENDMMSG: u8 = 10;
    /// `sendfile(out, in, …)`: length only.
    pub const SENDFILE: u8 = 11;
    /// `splice(in, offset, out, …)`: length only.
    pub const SPLICE: u8 = 12;
    /// `accept(fd, …)`, `accept4`: the result is a new socket, seen from its start.
    pub const ACCEPT: u8 = 13;
    /// A 32-bit call whose first argument is the socket: not read, only counted.
    pub const COMPAT: u8 = 14;
    /// 32-bit `socketcall(call, arguments)`, likewise.
    pub const COMPAT_SOCKETCALL: u8 = 15;
    /// `mmap(address, size, protection, flags, fd, …)`: moves nothing; code of a file may hold a TLS library.
    pub const MMAP: u8 = 16;
    /// `io_uring_setup`, `io_uring_enter`: what a ring moves is not read, only the calls are counted.
    pub const IO_URING: u8 = 17;
}

/// True for the shapes that receive.
pub const fn receives(shape: u8) -> bool {
    matches!(shape, shape::READ | shape::READV | shape::RECVFROM | shape::RECVMSG | shape::RECVMMSG)
}

/// First of the calls that 32-bit `socketcall` stands for which move bytes or accept (include/uapi/linux/net.h: those
/// before it are `SYS_SOCKET`, `SYS_BIND`, `SYS_CONNECT` and `SYS_LISTEN`).
pub const SOCKETCALL_ACCEPT: u32 = 5;

/// `PROT_EXEC` (include/uapi/asm-generic/mman-common.h).
pub const PROT_EXEC: u64 = 0x4;

/// `TS_COMPAT`: the thread is in a 32-bit system call (arch/x86/include/asm/thread_info.h, 5.10 to 7.3). It is set for
/// `int 0x80` from 64-bit code too, and taken back behind `sys_exit`.
pub const TS_COMPAT: u32 = 2;

/// Flags of the `recv` family that change what the bytes mean (include/linux/socket.h), of which the first has a meaning for
/// the `send` family, too.
pub mod flag {
    /// Urgent data. Who asks for it receives nothing else; of what is sent it is the last byte. That is not part of the stream.
    pub const MSG_OOB: u64 = 0x1;
    /// The bytes stay in the queue and will be read again.
    pub const MSG_PEEK: u64 = 0x2;
    /// On TCP the bytes are discarded without being written to the buffer (net/ipv4/tcp.c, `tcp_recvmsg_locked`).
    pub const MSG_TRUNC: u64 = 0x20;
    /// The error queue: not part of the stream.
    pub const MSG_ERRQUEUE: u64 = 0x2000;
}
