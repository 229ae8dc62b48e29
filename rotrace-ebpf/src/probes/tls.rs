//! Given: the entries and returns of TLS libraries' reads and writes. Gives: records of the plaintext and of its end, each TLS
//! object a connection of its own, and which socket an object was seen to use. Refuses to know: where in which library
//! the functions are; the daemon attaches these programs.
//!
//! Plaintext is recorded at the return, with what the call says it moved: a write that is retried after WANT_WRITE
//! carries the same buffer again and is recorded once, when it succeeds. Handshakes are not probed: the first read or
//! write shows the socket, and every probe fewer is attached and removed sooner.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns,
};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{HashMap, LruHashMap};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use rotrace_ebpf::admit::{Connection, protocol};
use rotrace_ebpf::record::{TLS_OBJECT, direction, flag, kind, role};
use rotrace_ebpf::stats::Stat;
use rotrace_ebpf::{function, limits};

use super::piece::{self, Traits};
use super::{SOCKETS, count, emit, go, rustls, target};

/// `SSL_ERROR_ZERO_RETURN` (include/openssl/ssl.h, 1.1.1 to 3.5): the peer has ended its direction with close_notify.
const SSL_ERROR_ZERO_RETURN: i32 = 6;

/// `PR_MSG_PEEK` (prio.h, NSPR 4.0 to 4.37): what is read stays there to be read again.
const PR_MSG_PEEK: u64 = 2;

/// The direction of a call that moves no plaintext itself, and within which rustls gives out what it received. Its buffer is the
/// kernel's socket that was last used in it, and where the number of bytes would be is that socket's number; 0 while none was.
const SCOPE: u64 = 2;

/// A thread that is inside the TLS library.
#[derive(Clone, Copy)]
#[repr(C)]
struct Call {
    object: u64,
    buffer: u64,
    /// Where `SSL_read_ex` and `SSL_write_ex` put the number of bytes; 0 for the functions that return it.
    moved_at: u64,
    /// One of [`direction`], or [`SCOPE`].
    direction: u64,
    /// 1 when a result of 0 is the end of the direction.
    ends_at_0: u64,
}

/// A TLS object of a process.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Object {
    pub(super) pid: u64,
    pub(super) address: u64,
}

/// A TLS object's stream, and the socket it is bound to (0 while not known).
#[repr(C)]
struct Session {
    connection: Connection,
    socket: u64,
}

/// A session of which nothing is known; see `FRESH` of connections.
#[unsafe(no_mangle)]
static FRESH_SESSION: Session = Session { connection: Connection::new(0, role::UNKNOWN, false), socket: 0 };

#[map]
static TLS_CALLS: HashMap<u64, Call> = HashMap::with_max_entries(limits::TLS_CALLS_MAX, 0);

/// The object of a thread's last call when that moved nothing.
#[map]
static TLS_EMPTY: LruHashMap<u64, u64> = LruHashMap::with_max_entries(limits::TLS_EMPTY_MAX, 0);

/// When the last of a process's TLS libraries was probed, by PID in the initial namespace; CLOCK_MONOTONIC.
#[map]
static TLS_SINCE: LruHashMap<u32, u64> = LruHashMap::with_max_entries(limits::TARGETS_MAX, 0);

#[map]
static TLS_OBJECTS: HashMap<Object, Session> = HashMap::with_max_entries(limits::SOCKETS_MAX, 0);

/// Entry of any of them, where one link attaches all and gives each its number for a cookie.
#[uprobe]
fn ssl_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the one that the kernel called with.
    let function = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    match function {
        function::READ => entered(&ctx, direction::RECEIVED as u64, 0, 0),
        function::WRITE => entered(&ctx, direction::SENT as u64, 0, 0),
        function::READ_EX => entered(&ctx, direction::RECEIVED as u64, ctx.arg(3).unwrap_or(0), 0),
        function::WRITE_EX => entered(&ctx, direction::SENT as u64, ctx.arg(3).unwrap_or(0), 0),
        function::RECEIVE => entered(&ctx, direction::RECEIVED as u64, 0, 1),
        function::FREE => freed(ctx.arg(0).unwrap_or(0)),
        function::NSPR_READ => imported(&ctx, direction::RECEIVED as u64, 1),
        function::NSPR_RECEIVE => nspr_received(&ctx),
        function::NSPR_WRITE => imported(&ctx, direction::SENT as u64, 0),
        function::NSPR_VECTOR => nspr_written(&ctx),
        function::GO_READ => go::read(&ctx),
        function::GO_WRITE => go::write(&ctx),
        function::RUSTLS_SEND => rustls::encrypts(&ctx, 1),
        function::RUSTLS_MESSAGE => rustls::encrypts(&ctx, 0),
        function::RUSTLS_SCOPE => scope(),
        function::RUSTLS_SCOPE_LEFT => scope_left(),
        _ => 0,
    }
}

// The same one by one, for kernels that attach them so: those have no cookies before 5.15.

#[uprobe]
fn ssl_write(ctx: ProbeContext) -> u32 {
    entered(&ctx, direction::SENT as u64, 0, 0)
}

#[uprobe]
fn ssl_read(ctx: ProbeContext) -> u32 {
    entered(&ctx, direction::RECEIVED as u64, 0, 0)
}

#[uprobe]
fn tls_receive(ctx: ProbeContext) -> u32 {
    entered(&ctx, direction::RECEIVED as u64, 0, 1)
}

#[uprobe]
fn ssl_write_ex(ctx: ProbeContext) -> u32 {
    entered(&ctx, direction::SENT as u64, ctx.arg(3).unwrap_or(0), 0)
}

#[uprobe]
fn ssl_read_ex(ctx: ProbeContext) -> u32 {
    entered(&ctx, direction::RECEIVED as u64, ctx.arg(3).unwrap_or(0), 0)
}

#[uprobe]
fn nspr_read(ctx: ProbeContext) -> u32 {
    imported(&ctx, direction::RECEIVED as u64, 1)
}

#[uprobe]
fn nspr_receive(ctx: ProbeContext) -> u32 {
    nspr_received(&ctx)
}

#[uprobe]
fn nspr_write(ctx: ProbeContext) -> u32 {
    imported(&ctx, direction::SENT as u64, 0)
}

#[uprobe]
fn nspr_vector(ctx: ProbeContext) -> u32 {
    nspr_written(&ctx)
}

#[inline(always)]
fn nspr_received(ctx: &ProbeContext) -> u32 {
    if ctx.arg::<u64>(3).unwrap_or(0) & PR_MSG_PEEK != 0 {
        return 0;
    }
    imported(ctx, direction::RECEIVED as u64, 1)
}

/// Entry of `PR_Writev`, whose buffers are not read: of a descriptor of TLS nothing is from there on, and that is counted.
#[inline(always)]
fn nspr_written(ctx: &ProbeContext) -> u32 {
    let object = ctx.arg(0).unwrap_or(0);
    if !connection(object).is_null() {
        count(Stat::NsprVectors, 1);
        freed(object);
    }
    0
}

/// Entry of a function of NSPR, if its descriptor is one that NSS has made its own: files and plain sockets have the same
/// functions, and so have the layers beneath TLS, whose descriptors are others.
#[inline(always)]
fn imported(ctx: &ProbeContext, direction: u64, ends_at_0: u64) -> u32 {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let key = Object { pid, address: ctx.arg(0).unwrap_or(0) };
    // SAFETY: the value is not used.
    if unsafe { TLS_OBJECTS.get(&key) }.is_none() {
        return 0;
    }
    entered(ctx, direction, 0, ends_at_0)
}

/// Return of `SSL_ImportFD`: the descriptor that it gives is TLS until `PR_Close` ends it.
#[uretprobe]
fn ssl_import_fd(ctx: RetProbeContext) -> u32 {
    let object: u64 = ctx.ret();
    let Some(pid_tid) = target() else { return 0 };
    if object == 0 {
        return 0;
    }
    // One that was closed where no probe saw it has left its address to this one.
    freed(object);
    let _ = session(&Object { pid: pid_tid >> 32, address: object });
    0
}

#[inline(always)]
fn entered(ctx: &ProbeContext, direction: u64, moved_at: u64, ends_at_0: u64) -> u32 {
    let (object, buffer) = (ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0));
    inside(Call { object, buffer, moved_at, direction, ends_at_0 })
}

/// Entry of a function within which rustls uses a connection's socket and gives out what it received.
#[inline(always)]
pub(super) fn scope() -> u32 {
    inside(Call { object: 0, buffer: 0, moved_at: 0, direction: SCOPE, ends_at_0: 0 })
}

/// Where such a function ends. One within another ends both: what the outer one does then is not tied.
#[inline(always)]
pub(super) fn scope_left() -> u32 {
    // SAFETY: the helper has no preconditions.
    let _ = TLS_CALLS.remove(&unsafe { bpf_get_current_pid_tgid() });
    0
}

/// The kernel's socket that was last used in such a function, and its number.
#[inline(always)]
pub(super) fn socket_of_scope() -> Option<[u64; 2]> {
    // SAFETY: the helper has no preconditions; the value is copied at once.
    let call = unsafe { TLS_CALLS.get(&bpf_get_current_pid_tgid()) }.copied()?;
    (call.direction == SCOPE && call.buffer != 0).then_some([call.buffer, call.moved_at])
}

/// Takes note that the thread is inside the TLS library.
#[inline(always)]
fn inside(call: Call) -> u32 {
    let Some(pid_tid) = target() else { return 0 };
    if TLS_CALLS.insert(&pid_tid, &call, 0).is_err() {
        count(Stat::TlsCallsFull, 1);
    }
    0
}

/// Return of all of them: the slot says which it was.
#[uretprobe]
fn ssl_return(ctx: RetProbeContext) -> u32 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: the value is copied at once.
    let Some(&call) = (unsafe { TLS_CALLS.get(&pid_tid) }) else { return 0 };
    let _ = TLS_CALLS.remove(&pid_tid);
    // The result is an `int`: the upper half of the register holds anything.
    let result: i32 = ctx.ret::<u64>() as i32;
    if result == 0 && call.ends_at_0 == 1 {
        ended(call.object, pid_tid);
        return 0;
    }
    if result <= 0 {
        let _ = TLS_EMPTY.insert(&pid_tid, &call.object, 0);
        return 0;
    }
    let size = if call.moved_at == 0 { result as u64 } else { super::user(call.moved_at).unwrap_or(0) };
    if size == 0 {
        return 0;
    }
    tls_piece(call.object, Traits::new(call.direction as u8, flag::PLAINTEXT), call.buffer, size);
    0
}

/// Return of `SSL_get_error(ssl, result)`, which a thread calls right behind a call that moved nothing: `SSL_read_ex`
/// says by its own result only that it gave no bytes, be it that there are none yet or that there will be none. Asked
/// for another object's call, of which nothing is known, it finds no entry: each entry serves one question.
#[uretprobe]
fn ssl_get_error(ctx: RetProbeContext) -> u32 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: the value is copied at once.
    let Some(&object) = (unsafe { TLS_EMPTY.get(&pid_tid) }) else { return 0 };
    let _ = TLS_EMPTY.remove(&pid_tid);
    if ctx.ret::<u64>() as i32 != SSL_ERROR_ZERO_RETURN {
        return 0;
    }
    ended(object, pid_tid);
    0
}

/// The peer of a TLS object has ended its direction.
#[inline(always)]
pub(super) fn ended(object: u64, pid_tid: u64) {
    let Some(session) = TLS_OBJECTS.get_ptr_mut(&Object { pid: pid_tid >> 32, address: object }) else {
        return;
    };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &(*session).connection };
    let has_end = matches!(connection.protocol, protocol::HTTP1 | protocol::HTTP2 | protocol::UPGRADED);
    if connection.announced == 1 && has_end {
        let mut header = emit::header(kind::END, connection.id, pid_tid);
        header.flags = flag::PLAINTEXT;
        header.direction = direction::RECEIVED;
        header.position = connection.flows[1].position;
        emit::bare(header);
    }
}

/// Writes the record of one buffer of plaintext.
#[inline(always)]
pub(super) fn tls_piece(object: u64, traits: Traits, address: u64, size: u64) {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let Some(session) = session(&Object { pid: pid_tid >> 32, address: object }) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let session = unsafe { &mut *session };
    if session.connection.protocol == protocol::IGNORED {
        return;
    }
    if session.connection.announced == 0 {
        session.connection.announced = 1;
        bound(&session.connection, session.socket, pid_tid);
    }
    piece::piece(0, &mut session.connection, traits, address, size);
    let speaks = traits.with_number(session.connection.protocol as u64);
    piece::frames_piece(0, object, speaks.0, address, size);
}

/// The stream of a TLS object of the current process, or null. Not inlined: its key leaves the stack with it.
#[inline(never)]
pub(super) fn connection(object: u64) -> *mut Connection {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    match TLS_OBJECTS.get_ptr_mut(&Object { pid, address: object }) {
        // SAFETY: the address of a field of a value of the map.
        Some(session) => unsafe { &raw mut (*session).connection },
        None => core::ptr::null_mut(),
    }
}

#[uprobe]
fn ssl_free(ctx: ProbeContext) -> u32 {
    freed(ctx.arg(0).unwrap_or(0))
}

/// A TLS object is gone: its address will be used again for another one.
#[inline(always)]
pub(super) fn freed(object: u64) -> u32 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let key = Object { pid: pid_tid >> 32, address: object };
    let Some(session) = TLS_OBJECTS.get_ptr_mut(&key) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &(*session).connection };
    if connection.announced == 1 {
        let mut header = emit::header(kind::CLOSE, connection.id, pid_tid);
        header.flags = flag::PLAINTEXT;
        header.position = connection.flows[0].position;
        header.size = connection.flows[1].position;
        emit::bare(header);
    }
    let _ = TLS_OBJECTS.remove(&key);
    0
}

/// Ties a TLS socket that the thread has just used to the TLS object whose function it is in. A function of a scalar, and not
/// inlined: the loop over buffers, behind which it stands, has no stack to spare.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn tls_bind(sk: u64) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let Some(inside) = TLS_CALLS.get_ptr_mut(&pid_tid) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs; no other thread has this one's key.
    let inside = unsafe { &mut *inside };
    let Some(connection) = SOCKETS.get_ptr_mut(&sk) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &*connection };
    if inside.direction == SCOPE {
        (inside.buffer, inside.moved_at) = (sk, connection.id);
        return 0;
    }
    match socket_of(inside.object) {
        0 => tie(inside.object, connection, is_whole(connection)),
        known if known == connection.id => {}
        _ => count(Stat::TlsMismatch, 1),
    }
    0
}

/// The socket that a TLS object of the current process is bound to; 0 when it is bound to none or not known.
#[inline(always)]
pub(super) fn socket_of(object: u64) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    match TLS_OBJECTS.get_ptr_mut(&Object { pid, address: object }) {
        // SAFETY: a value of the map, which stays valid while the program runs.
        Some(session) => unsafe { (*session).socket },
        None => 0,
    }
}

/// True when a TLS object of the current process has sent plaintext.
#[inline(always)]
pub(super) fn has_sent(object: u64) -> bool {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    match TLS_OBJECTS.get_ptr_mut(&Object { pid, address: object }) {
        // SAFETY: a value of the map, which stays valid while the program runs.
        Some(session) => unsafe { (*session).connection.flows[0].position > 0 },
        None => false,
    }
}

/// Takes note of a TLS object that is seen from its start, unless it is known.
#[inline(always)]
pub(super) fn begin(key: &Object) {
    // SAFETY: the value is not used.
    if unsafe { TLS_OBJECTS.get(key) }.is_some() {
        return;
    }
    if let Some(fresh) = session(key) {
        // SAFETY: a value of the map, which stays valid while the program runs.
        unsafe { (*fresh).connection.from_start = 1 };
    }
}

/// Ties a socket to a TLS object that is bound to none; `from_start` is 1 when all plaintext of the socket was seen.
#[inline(always)]
pub(super) fn tie(object: u64, connection: &Connection, from_start: u8) {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let key = Object { pid: pid_tid >> 32, address: object };
    let Some(session) = session(&key) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let session = unsafe { &mut *session };
    session.socket = connection.id;
    session.connection.from_start |= from_start;
    session.connection.role = connection.role;
    if session.connection.announced == 1 {
        bound(&session.connection, session.socket, pid_tid);
    }
}

/// 1 when the TLS of the current process was probed before a connection was made: else its first plaintext may not have been
/// seen.
#[inline(always)]
pub(super) fn is_whole(connection: &Connection) -> u8 {
    // SAFETY: the helper has no preconditions.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let made_ns = if connection.connect_started_ns > 0 {
        connection.connect_started_ns
    } else {
        connection.established_ns
    };
    // SAFETY: the value is copied at once.
    let was_probed = unsafe { TLS_SINCE.get(&pid) }.is_some_and(|&since_ns| since_ns < made_ns);
    (connection.from_start == 1 && was_probed) as u8
}

/// A process is gone: another one may get its PID.
#[inline(always)]
pub(super) fn forget(pid: u32) {
    let _ = TLS_SINCE.remove(&pid);
    rustls::forget(pid);
}

/// Says which socket a TLS object uses; 0 when no call has shown one.
#[inline(always)]
fn bound(connection: &Connection, socket: u64, pid_tid: u64) {
    let mut header = emit::header(kind::BIND, connection.id, pid_tid);
    header.flags = flag::PLAINTEXT | if connection.from_start == 1 { flag::FROM_START } else { 0 };
    header.extra = socket;
    emit::bare(header);
}

/// The session of a TLS object; a new one when the object has not been seen.
#[inline(always)]
fn session(key: &Object) -> Option<*mut Session> {
    if let Some(known) = TLS_OBJECTS.get_ptr_mut(key) {
        return Some(known);
    }
    // SAFETY: the helpers have no preconditions.
    let (now_ns, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    let number = TLS_OBJECT | (now_ns << 10 | (cpu & 1023) as u64) & !TLS_OBJECT;
    if TLS_OBJECTS.insert(key, &FRESH_SESSION, BPF_NOEXIST as u64).is_err() {
        // Another thread may have met it at the same time: one reads what the other writes.
        let known = TLS_OBJECTS.get_ptr_mut(key);
        if known.is_none() {
            count(Stat::TlsObjectsFull, 1);
        }
        return known;
    }
    let fresh = TLS_OBJECTS.get_ptr_mut(key)?;
    // SAFETY: a value of the map, which stays valid while the program runs.
    unsafe { (*fresh).connection.id = number };
    Some(fresh)
}
