//! Given: the beginning and end of TCP connections and of processes. Gives: when a connection was made and that it is
//! over; children of targets as targets. Refuses to know: the bytes between.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use rotrace_ebpf::admit::{Connection, protocol};
use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::{direction, flag, kind, role};
use rotrace_ebpf::stats::Stat;

use super::piece::Traits;
use super::socket::{self, Socket};
use super::twice::{self, Copy, Hook, twice};
use super::{SOCKETS, TARGETS, count, emit, global, is_target, kernel, position, tls};

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_LAST_ACK: i32 = 9;
/// RCV_SHUTDOWN | SEND_SHUTDOWN (include/net/sock.h): set before the state changes when the process has closed.
const SHUTDOWN_MASK: u8 = 3;

twice! {
    /// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`: trace/events/sock.h.
    #[btf_tracepoint(function = "inet_sock_set_state")]
    fn on_state, again_state: BtfTracePointContext => changed
}

/// The second copy finds what the first one has done, and does no more.
#[inline(always)]
fn changed(ctx: &BtfTracePointContext, _: Copy) -> i32 {
    let sk: u64 = ctx.arg(0);
    let new: i32 = ctx.arg(2);
    if new == TCP_SYN_SENT {
        return connecting(sk);
    }
    let Some(known) = SOCKETS.get_ptr_mut(&sk) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &mut *known };
    match new {
        TCP_ESTABLISHED if connection.established_ns == 0 => {
            // SAFETY: the helper has no preconditions.
            connection.established_ns = unsafe { bpf_ktime_get_ns() };
            position::begin(sk, connection);
        }
        // The process has closed its socket: nothing more will be sent or received by it. A half-close shows one bit.
        TCP_FIN_WAIT1 | TCP_LAST_ACK => {
            let shutdown = global!(OFFSETS.sk_shutdown);
            if shutdown != ABSENT && kernel::<u8>(sk, shutdown) & SHUTDOWN_MASK == SHUTDOWN_MASK {
                over(sk, connection);
            } else {
                connection.fin_sent = 1;
            }
        }
        // Without a file it can have no reader; with one, received bytes may still be read (half-closed by the process,
        // then by the peer), and the end comes with the socket's.
        TCP_CLOSE => {
            if kernel::<u64>(sk, global!(OFFSETS.sk_socket)) == 0 {
                over(sk, connection);
            }
        }
        _ => {}
    }
    0
}

twice! {
    /// `tcp_destroy_sock(struct sock *sk)`: trace/events/tcp.h. The last that is heard of any TCP socket.
    #[btf_tracepoint(function = "tcp_destroy_sock")]
    fn on_destroy, again_destroy: BtfTracePointContext => destroyed
}

#[inline(always)]
fn destroyed(ctx: &BtfTracePointContext, _: Copy) -> i32 {
    let sk: u64 = ctx.arg(0);
    if let Some(known) = SOCKETS.get_ptr_mut(&sk) {
        // SAFETY: a value of the map, which stays valid while the program runs.
        over(sk, unsafe { &mut *known });
    }
    0
}

/// A target connects. The state changes inside `tcp_v4_connect` and `tcp_v6_connect`, in the process's own context.
#[inline(always)]
fn connecting(sk: u64) -> i32 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let pid = (pid_tid >> 32) as u32;
    // SAFETY: the value is not used.
    if unsafe { TARGETS.get(&pid) }.is_none() {
        return 0;
    }
    let socket: u64 = kernel(sk, global!(OFFSETS.sk_socket));
    let inode = if socket == 0 { 0 } else { socket::inode_of(socket) };
    let Some(fresh) = socket::track(Socket { sk, inode }) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let fresh = unsafe { &mut *fresh };
    fresh.role = role::CLIENT;
    fresh.from_start = 1;
    fresh.pid = pid;
    // SAFETY: the helper has no preconditions.
    fresh.connect_started_ns = unsafe { bpf_ktime_get_ns() };
    0
}

/// Writes what has not been reported and the close record, and forgets the socket.
#[inline(always)]
fn over(sk: u64, connection: &mut Connection) {
    if connection.announced == 1 {
        let pid_tid = (connection.pid as u64) << 32 | connection.pid as u64;
        if connection.protocol != protocol::IGNORED {
            position::place(sk, connection, Traits::new(direction::SENT, 0));
            position::place(sk, connection, Traits::new(direction::RECEIVED, 0));
        }
        for direction in [direction::SENT, direction::RECEIVED] {
            let flow = &mut connection.flows[direction as usize];
            if connection.protocol == protocol::TLS && flow.unreported > 0 {
                let mut header = emit::header(kind::DATA, connection.id, pid_tid);
                header.direction = direction;
                header.flags = flag::ENCRYPTED;
                header.position = flow.position - flow.unreported;
                header.size = flow.unreported;
                emit::bare(header);
            }
        }
        let mut header = emit::header(kind::CLOSE, connection.id, pid_tid);
        header.position = connection.flows[0].position;
        header.size = connection.flows[1].position;
        emit::bare(header);
    }
    let _ = SOCKETS.remove(&sk);
}

twice! {
    /// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: trace/events/sched.h.
    #[btf_tracepoint(function = "sched_process_fork")]
    fn on_fork, again_fork: BtfTracePointContext => forked
}

#[inline(always)]
fn forked(ctx: &BtfTracePointContext, copy: Copy) -> i32 {
    let parent: u64 = ctx.arg(0);
    let child: u64 = ctx.arg(1);
    let parent_pid: u32 = kernel(parent, global!(OFFSETS.task_tgid));
    let child_pid: u32 = kernel(child, global!(OFFSETS.task_tgid));
    if parent_pid == child_pid {
        return 0;
    }
    // SAFETY: the value is copied at once.
    let Some(&level) = (unsafe { TARGETS.get(&parent_pid) }) else { return 0 };
    if !twice::records(copy, Hook::Tracepoint) {
        return 0;
    }
    if TARGETS.insert(&child_pid, &level, 0).is_err() {
        count(Stat::TargetsFull, 1);
        return 0;
    }
    let mut header = emit::header(kind::FORK, 0, (parent_pid as u64) << 32 | parent_pid as u64);
    let namespaced = namespaced(kernel(child, global!(OFFSETS.task_thread_pid)), level);
    header.extra = child_pid as u64 | (namespaced as u64) << 32;
    emit::bare(header);
    emit::wake();
    0
}

twice! {
    /// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: trace/events/sched.h.
    #[btf_tracepoint(function = "sched_process_exec")]
    fn on_exec, again_exec: BtfTracePointContext => executed
}

#[inline(always)]
fn executed(_: &BtfTracePointContext, copy: Copy) -> i32 {
    if !is_target() || !twice::records(copy, Hook::Tracepoint) {
        return 0;
    }
    // SAFETY: the helpers have no preconditions.
    let (pid_tid, task) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_task()) };
    let memory: u64 = kernel(task, global!(OFFSETS.task_mm));
    let start: u64 = kernel(memory, global!(OFFSETS.mm_arg_start));
    let end: u64 = kernel(memory, global!(OFFSETS.mm_arg_end));
    emit::exec(pid_tid, start, if end > start { end - start } else { 0 });
    emit::wake();
    0
}

twice! {
    /// `sched_process_exit(struct task_struct *p, …)`: trace/events/sched.h; once for each thread.
    #[btf_tracepoint(function = "sched_process_exit")]
    fn on_exit, again_exit: BtfTracePointContext => exited
}

/// The second copy finds no target any more.
#[inline(always)]
fn exited(ctx: &BtfTracePointContext, _: Copy) -> i32 {
    let task: u64 = ctx.arg(0);
    let pid: u32 = kernel(task, global!(OFFSETS.task_tgid));
    // SAFETY: the value is not used.
    if unsafe { TARGETS.get(&pid) }.is_none() {
        return 0;
    }
    twice::forget((pid as u64) << 32 | kernel::<u32>(task, global!(OFFSETS.task_pid)) as u64);
    // `do_exit` has taken this thread off the count before the event (kernel/exit.c).
    let signal: u64 = kernel(task, global!(OFFSETS.task_signal));
    if kernel::<i32>(signal, global!(OFFSETS.signal_live)) > 0 {
        return 0;
    }
    let _ = TARGETS.remove(&pid);
    tls::forget(pid);
    emit::bare(emit::header(kind::EXIT, 0, (pid as u64) << 32 | pid as u64));
    emit::wake();
    0
}

/// The end of the daemon's own `pidfd_open(pid, 0, question)`: says which process of the initial namespace that PID is.
/// Attached only while the daemon, in a PID namespace of its own, asks.
#[btf_tracepoint(function = "sys_exit")]
fn on_question(ctx: BtfTracePointContext) -> i32 {
    let registers: u64 = ctx.arg(0);
    let fd: i64 = ctx.arg(1);
    let question: u64 = kernel(registers, global!(REGISTERS.arguments[2]));
    if fd < 0 || question != global!(QUESTION) || question == 0 {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = kernel(task, global!(OFFSETS.task_files));
    let table: u64 = kernel(files, global!(OFFSETS.files_fdt));
    let slots: u64 = kernel(table, global!(OFFSETS.fdt_fd));
    let file: u64 = kernel(slots + fd as u64 * 8, 0);
    // A pidfd keeps its `struct pid` in the file up to 6.8 (kernel/fork.c), in the inode from 6.9 on (fs/pidfs.c).
    let in_file: u64 = kernel(file, global!(OFFSETS.file_private));
    let inode: u64 = kernel(file, global!(OFFSETS.file_inode));
    let in_inode: u64 = kernel(inode, global!(OFFSETS.inode_private));
    let asked: u32 = kernel(registers, global!(REGISTERS.arguments[0]));
    // The one who asks is the daemon itself.
    let level: u32 = kernel(kernel(task, global!(OFFSETS.task_thread_pid)), global!(OFFSETS.pid_level));
    for pid in [in_inode, in_file] {
        if pid != 0 && namespaced(pid, level) == asked {
            let initial: u32 = kernel(pid, global!(OFFSETS.pid_numbers) + global!(OFFSETS.upid_nr));
            let mut header = emit::header(kind::RESOLVED, 0, (initial as u64) << 32 | asked as u64);
            header.extra = question;
            header.position = level as u64;
            emit::bare(header);
            emit::wake();
            return 0;
        }
    }
    0
}

/// The number of a `struct pid` in the PID namespace at `level`, 0 when it has none there.
#[inline(always)]
fn namespaced(pid: u64, level: u32) -> u32 {
    // MAX_PID_NS_LEVEL is 32 (include/linux/pid_namespace.h).
    if pid == 0 || level > 32 || kernel::<u32>(pid, global!(OFFSETS.pid_level)) < level {
        return 0;
    }
    // `struct upid { int nr; struct pid_namespace *ns; }` (include/linux/pid.h): 16 bytes.
    kernel(pid + level as u64 * 16, global!(OFFSETS.pid_numbers) + global!(OFFSETS.upid_nr))
}
