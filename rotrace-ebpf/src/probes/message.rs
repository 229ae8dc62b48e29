//! Given: the return of the functions by which sockets send and receive. Gives: records of the stream bytes that they moved,
//! when the process is a target and the socket speaks TCP. Refuses to know: system calls, so it sees all that lead there:
//! those of io_uring and of 32-bit programs too, and what kTLS encrypts below.
//!
//! `inet_sendmsg`, `inet_recvmsg` and their IPv6 forms have the same arguments from 5.10 to 7.3 (net/ipv4/af_inet.c,
//! net/ipv6/af_inet6.c). At the return the message says how far the kernel has come in its buffers; the first byte is as many
//! before that as the call moved.

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;

use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::direction;
use rotrace_ebpf::syscalls::{PROT_EXEC, flag};

use super::piece::Traits;
use super::socket::{self, IPPROTO_MPTCP, SOCK_STREAM, Socket};
use super::twice::{self, Copy, Hook, twice};
use super::{buffers, emit, global, is_target, kernel};

twice! {
    /// `int inet_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)`.
    #[fexit(function = "inet_sendmsg")]
    fn on_send, again_send: FExitContext => sent
}

twice! {
    /// `int inet6_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)`.
    #[fexit(function = "inet6_sendmsg")]
    fn on_send6, again_send6: FExitContext => sent
}

twice! {
    /// `int inet_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)`.
    #[fexit(function = "inet_recvmsg")]
    fn on_receive, again_receive: FExitContext => received
}

twice! {
    /// `int inet6_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)`.
    #[fexit(function = "inet6_recvmsg")]
    fn on_receive6, again_receive6: FExitContext => received
}

twice! {
    /// `ssize_t inet_sendpage(struct socket *sock, struct page *page, int offset, size_t size, int flags)`: how `sendfile` and
    /// `splice` send before 6.5, which has it no more.
    #[fexit(function = "inet_sendpage")]
    fn on_send_page, again_send_page: FExitContext => sent_page
}

twice! {
    /// `ssize_t tcp_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe, size_t len, unsigned int flags)`
    /// (net/ipv4/tcp.c): from a socket to a pipe.
    #[fexit(function = "tcp_splice_read")]
    fn on_splice, again_splice: FExitContext => spliced
}

twice! {
    /// `ssize_t mptcp_splice_read(…)` with the same arguments (net/mptcp/protocol.c), which newer kernels have. Elsewhere MPTCP
    /// has no way of its own, and bytes that are spliced from it are received by a message.
    #[fexit(function = "mptcp_splice_read")]
    fn on_mp_splice, again_mp_splice: FExitContext => spliced
}

twice! {
    /// `int inet_accept(struct socket *sock, struct socket *newsock, …)` (net/ipv4/af_inet.c), whose other arguments changed in
    /// 6.10. The new socket has a `struct sock` when it succeeded.
    #[fexit(function = "inet_accept")]
    fn on_accept, again_accept: FExitContext => accepted
}

twice! {
    /// `void __inet_accept(struct socket *sock, struct socket *newsock, struct sock *newsk)` (net/ipv4/af_inet.c): what listeners of
    /// MPTCP call and not `inet_accept`, where there is such a function. For one of TCP it may be called within that one: then
    /// it is the first to be told of a socket over which nothing has moved yet.
    #[fexit(function = "__inet_accept")]
    fn on_grafted, again_grafted: FExitContext => accepted
}

twice! {
    /// `unsigned long vm_mmap_pgoff(struct file *file, unsigned long addr, unsigned long len, unsigned long prot, …)`
    /// (mm/util.c): code of a file may hold a TLS library.
    #[fexit(function = "vm_mmap_pgoff")]
    fn on_map, again_map: FExitContext => mapped
}

#[inline(always)]
fn sent(ctx: &FExitContext, copy: Copy) -> i32 {
    let result: i32 = ctx.arg(3);
    if result > 0
        && let Some(socket) = of_target(ctx.arg(0), copy)
    {
        let (message, total): (u64, u64) = (ctx.arg(1), result as u64);
        let flags = global!(OFFSETS.msg_flags);
        if flags != ABSENT && kernel::<u32>(message, flags) as u64 & flag::MSG_OOB != 0 {
            buffers::moved_urgent(socket, Traits::new(direction::SENT, 0), total);
        } else {
            moved(socket, direction::SENT, message, total);
        }
    }
    0
}

#[inline(always)]
fn received(ctx: &FExitContext, copy: Copy) -> i32 {
    let (wanted, flags, result): (u64, i32, i32) = (ctx.arg(2), ctx.arg(3), ctx.arg(4));
    let flags = flags as u32 as u64;
    if result < 0 || wanted == 0 || flags & (flag::MSG_PEEK | flag::MSG_OOB | flag::MSG_ERRQUEUE) != 0 {
        return 0;
    }
    let Some(socket) = of_target(ctx.arg(0), copy) else { return 0 };
    if result == 0 {
        socket::ended(socket);
    } else if flags & flag::MSG_TRUNC != 0 {
        buffers::moved_unseen(socket, Traits::new(direction::RECEIVED, 0), result as u64);
    } else {
        moved(socket, direction::RECEIVED, ctx.arg(1), result as u64);
    }
    0
}

/// MPTCP, which has no pages, sends a message from within the function (`sock_no_sendpage`, net/core/sock.c): that is seen.
#[inline(always)]
fn sent_page(ctx: &FExitContext, copy: Copy) -> i32 {
    let sk: u64 = kernel(ctx.arg(0), global!(OFFSETS.socket_sk));
    if kernel::<u16>(sk, global!(OFFSETS.sk_protocol)) == IPPROTO_MPTCP {
        return 0;
    }
    piped(ctx, copy, direction::SENT)
}

#[inline(always)]
fn spliced(ctx: &FExitContext, copy: Copy) -> i32 {
    piped(ctx, copy, direction::RECEIVED)
}

/// Pages that no buffer of the process has: both functions that move them have the result behind five arguments.
#[inline(always)]
fn piped(ctx: &FExitContext, copy: Copy, direction: u8) -> i32 {
    let result: i64 = ctx.arg(5);
    if result > 0
        && let Some(socket) = of_target(ctx.arg(0), copy)
    {
        buffers::moved_unseen(socket, Traits::new(direction, 0), result as u64);
    }
    0
}

#[inline(always)]
fn accepted(ctx: &FExitContext, copy: Copy) -> i32 {
    if let Some(socket) = of_target(ctx.arg(1), copy) {
        socket::accepted(socket);
    }
    0
}

#[inline(always)]
fn mapped(ctx: &FExitContext, copy: Copy) -> i32 {
    let (file, protection): (u64, u64) = (ctx.arg(0), ctx.arg(3));
    if protection & PROT_EXEC != 0 && file != 0 && is_target() && twice::records(copy, Hook::Function) {
        emit::mapped();
    }
    0
}

/// Writes the records of `total` bytes before the place at which a `struct msghdr` of the kernel stands.
#[inline(always)]
fn moved(socket: Socket, direction: u8, message: u64, total: u64) {
    let traits = Traits::new(direction, 0);
    let kind = kernel::<u32>(message, global!(ITERATORS.kind)) & global!(ITERATORS.kind_mask);
    let offset: u64 = kernel(message, global!(ITERATORS.offset));
    if kind == global!(ITERATORS.one) {
        let buffer: u64 = kernel(message, global!(ITERATORS.one_at));
        buffers::moved_buffer(socket, traits, buffer + offset - total, total);
    } else if kind == global!(ITERATORS.array) {
        let entry: u64 = kernel(message, global!(ITERATORS.array_at));
        buffers::moved_before(socket, traits, entry, offset, total);
    } else {
        // Pages of a file, of a pipe, or registered with io_uring.
        buffers::moved_unseen(socket, traits, total);
    }
}

/// The stream socket behind a `struct socket`, when the current process is a target and this copy records the call. That it
/// speaks TCP is asked before it is tracked.
#[inline(always)]
fn of_target(socket: u64, copy: Copy) -> Option<Socket> {
    if !is_target() || kernel::<u16>(socket, global!(OFFSETS.socket_type)) != SOCK_STREAM {
        return None;
    }
    let sk: u64 = kernel(socket, global!(OFFSETS.socket_sk));
    if sk == 0 || !twice::records(copy, Hook::Function) {
        return None;
    }
    Some(Socket { sk, inode: socket::inode_of(socket) })
}
