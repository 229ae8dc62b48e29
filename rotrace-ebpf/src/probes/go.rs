//! Given: entries of Go's `crypto/tls` and its return instructions. Gives: records of the plaintext and of its end, and which
//! socket a `tls.Conn` uses. Refuses to know: where the functions are in a program.
//!
//! A return probe would put its own address on a stack that Go walks and moves, so each `RET` has a probe like any other
//! instruction. A goroutine wakes up on another thread than it fell asleep on, and its stack may have moved meanwhile; what
//! stays is its `g` and how far below the top of its stack the call is. That also tells TLS within TLS apart.
//!
//! One goroutine writes requests, another waits for responses, and it can have one before the first is back from its write.
//! Then what was written is recorded first, with the time at which it was, once the socket has sent as much.
//!
//! Layouts: internal/abi/{iface,type}.go, internal/poll/fd_unix.go, net/fd_posix.go, runtime/runtime2.go; 1.18 to 1.26.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::{HashMap, LruHashMap};
use aya_ebpf::programs::ProbeContext;

use rotrace_ebpf::admit::protocol;
use rotrace_ebpf::limits;
use rotrace_ebpf::record::{direction, flag};
use rotrace_ebpf::stats::Stat;

use super::piece::Traits;
use super::tls::Object;
use super::{SOCKETS, count, global, is_target, kernel, socket, target, tls, user};

/// Where a call is.
#[derive(Clone, Copy)]
#[repr(C)]
struct Place {
    pid: u64,
    /// Address of the goroutine's `g`.
    goroutine: u64,
    /// Bytes between the top of its stack and the call.
    depth: u64,
}

/// What was passed to a call.
#[derive(Clone, Copy)]
#[repr(C)]
struct Call {
    object: u64,
    buffer: u64,
    /// 1 when it is a `Write` that stands in [`GO_WRITES`], until it is recorded.
    is_pending: u64,
}

/// A `Write` that has not returned, and that nobody has recorded.
#[derive(Clone, Copy)]
#[repr(C)]
struct Pending {
    goroutine: u64,
    buffer: u64,
    length: u64,
    /// CLOCK_MONOTONIC when it began.
    since_ns: u64,
    /// The kernel's socket, and what that had sent by then; 0 when it is not known.
    sk: u64,
    sent: u64,
}

#[map]
static GO_CALLS: LruHashMap<Place, Call> = LruHashMap::with_max_entries(limits::GO_CALLS_MAX, 0);

/// The one `Write` of each `tls.Conn`: others wait for it within Go, and are recorded when they return.
#[map]
static GO_WRITES: HashMap<Object, Pending> = HashMap::with_max_entries(limits::GO_WRITES_MAX, 0);

/// `g.stack.hi`.
const STACK_HIGH: u64 = 8;
/// `itab.Type`.
const TABLE_TYPE: u64 = 8;
/// The word of `abi.Type` whose uppermost byte has the kind.
const TYPE_KIND: u64 = 16;
/// The kind itself; above it are flags.
const KIND_MASK: u64 = 31;
const KIND_POINTER: u64 = 22;
const KIND_STRUCT: u64 = 25;
/// `PtrType.Elem`, and of a structure the name of its package, the address of its fields, and their number.
const TYPE_REST: u64 = 48;
/// `netFD.pfd.Sysfd`.
const DESCRIPTOR: u64 = 16;
/// A longer write has too many records for [`RECORD_BYTES`] to tell when the last of them was sent.
const OVERTAKEN_BYTES: u64 = 64 * 1024;
/// What a TLS record adds to its plaintext, at least: a header of 5 bytes and a tag of 16.
const RECORD_BYTES: u64 = 21;
/// Plaintext of a TLS record, at most (RFC 8446 §5.1).
const RECORD_PLAINTEXT_BYTES: u64 = 16384;
/// No descriptor.
const NONE: u64 = u64::MAX;

#[uprobe]
fn go_read(ctx: ProbeContext) -> u32 {
    read(&ctx)
}

#[uprobe]
fn go_write(ctx: ProbeContext) -> u32 {
    write(&ctx)
}

/// Entry of `Read`.
#[inline(always)]
pub(super) fn read(ctx: &ProbeContext) -> u32 {
    entered(ctx);
    0
}

/// Entry of `Write`.
#[inline(always)]
pub(super) fn write(ctx: &ProbeContext) -> u32 {
    let Some((place, mut call)) = entered(ctx) else { return 0 };
    let sk = go_socket(call.object);
    let pending = Pending {
        goroutine: place.goroutine,
        buffer: call.buffer,
        length: kernel(ctx.as_ptr() as u64, global!(GO_REGISTERS.words[2])),
        // SAFETY: the helper has no preconditions.
        since_ns: unsafe { bpf_ktime_get_ns() },
        sk,
        sent: sent(sk).unwrap_or(0),
    };
    let key = Object { pid: place.pid, address: call.object };
    let _ = GO_WRITES.insert(&key, &pending, BPF_NOEXIST as u64);
    // SAFETY: the value is read at once.
    if unsafe { GO_WRITES.get(&key) }.is_some_and(|known| known.goroutine == place.goroutine) {
        call.is_pending = 1;
        let _ = GO_CALLS.insert(&place, &call, 0);
    }
    0
}

/// Takes note of a call that begins. It may do so twice: a function begins anew once its stack has grown.
#[inline(always)]
fn entered(ctx: &ProbeContext) -> Option<(Place, Call)> {
    let pid = target()? >> 32;
    let registers = ctx.as_ptr() as u64;
    let place = place(registers, pid)?;
    let call = Call {
        object: kernel(registers, global!(GO_REGISTERS.words[0])),
        buffer: kernel(registers, global!(GO_REGISTERS.words[1])),
        is_pending: 0,
    };
    // Where there is no room, the return counts what is missed.
    let _ = GO_CALLS.insert(&place, &call, 0);
    Some((place, call))
}

/// Entry of `Close`.
#[uprobe]
fn go_close(ctx: ProbeContext) -> u32 {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let object: u64 = kernel(ctx.as_ptr() as u64, global!(GO_REGISTERS.words[0]));
    overtake(&Object { pid, address: object });
    tls::freed(object)
}

/// Records a `Write` that has not returned although all of it has been sent.
#[inline(always)]
fn overtake(key: &Object) {
    // SAFETY: the value is copied at once.
    let Some(&written) = (unsafe { GO_WRITES.get(key) }) else { return };
    if written.length > OVERTAKEN_BYTES {
        return;
    }
    let records = written.length / RECORD_PLAINTEXT_BYTES + 1;
    // A socket that was met while the call went on has sent nothing before it, as far as is counted.
    let sk = if written.sk == 0 { go_socket(key.address) } else { written.sk };
    let Some(sent) = sent(sk) else { return };
    if sent.wrapping_sub(written.sent) < written.length + records * RECORD_BYTES
        || GO_WRITES.remove(key).is_err()
    {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let ago_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(written.since_ns);
    let traits = Traits::new(direction::SENT, flag::PLAINTEXT).ago(ago_ns);
    go_piece(key.address, traits.0, written.buffer, written.length);
}

/// Bytes that a socket has sent since it is tracked.
#[inline(always)]
fn sent(sk: u64) -> Option<u64> {
    let connection = SOCKETS.get_ptr_mut(&sk)?;
    // SAFETY: a value of the map, which stays valid while the program runs.
    Some(unsafe { (*connection).flows[0].position })
}

/// A `RET` of `Read`.
#[uprobe]
fn go_read_return(ctx: ProbeContext) -> u32 {
    let Some(Returned { place, call, moved }) = returned(&ctx) else { return 0 };
    let registers = ctx.as_ptr() as u64;
    let [table, value] = [global!(GO_REGISTERS.words[1]), global!(GO_REGISTERS.words[2])];
    // The last bytes may come together with the end.
    let has_ended = is_end(kernel(registers, table), kernel(registers, value));
    if moved > 0 || has_ended {
        overtake(&Object { pid: place.pid, address: call.object });
    }
    if moved > 0 {
        go_piece(call.object, Traits::new(direction::RECEIVED, flag::PLAINTEXT).0, call.buffer, moved as u64);
    }
    if has_ended {
        // SAFETY: the helper has no preconditions.
        tls::ended(call.object, unsafe { bpf_get_current_pid_tgid() });
    }
    0
}

/// A `RET` of `Write`.
#[uprobe]
fn go_write_return(ctx: ProbeContext) -> u32 {
    let Some(Returned { place, call, moved }) = returned(&ctx) else { return 0 };
    let key = Object { pid: place.pid, address: call.object };
    // SAFETY: the value is copied at once.
    let is_recorded = match unsafe { GO_WRITES.get(&key) } {
        Some(pending) if pending.goroutine == place.goroutine => GO_WRITES.remove(&key).is_err(),
        Some(_) => false,
        None => call.is_pending == 1,
    };
    if moved > 0 && !is_recorded {
        go_piece(call.object, Traits::new(direction::SENT, flag::PLAINTEXT).0, call.buffer, moved as u64);
    }
    0
}

/// Writes the records of what a call moved.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn go_piece(object: u64, traits: u64, address: u64, size: u64) -> u64 {
    bind(object);
    tls::tls_piece(object, Traits(traits), address, size);
    0
}

/// A call that returns.
struct Returned {
    place: Place,
    call: Call,
    moved: i64,
}

#[inline(always)]
fn returned(ctx: &ProbeContext) -> Option<Returned> {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let registers = ctx.as_ptr() as u64;
    let place = place(registers, pid)?;
    let moved: i64 = kernel(registers, global!(GO_REGISTERS.words[0]));
    // SAFETY: the value is copied at once.
    let entered = unsafe { GO_CALLS.get(&place) }.copied();
    let _ = GO_CALLS.remove(&place);
    let call = entered.or_else(|| passed(registers, moved))?;
    Some(Returned { place, call, moved })
}

/// What was passed to a call that was under way when the probes came: every idle connection has a `Read`, and the answer that
/// it waits for would be missed, to be taken for that of the next request. The convention gives arguments a home above the
/// return address, and a function that waits leaves them there. What is there is only believed when it can be nothing else:
/// a `tls.Conn` over a TCP connection, and a slice that has room for what was moved.
#[inline(always)]
fn passed(registers: u64, moved: i64) -> Option<Call> {
    if moved <= 0 || !is_target() {
        return None;
    }
    let stack: u64 = kernel(registers, global!(GO_REGISTERS.stack));
    let [object, buffer, length] = user::<[u64; 3]>(stack.wrapping_add(8)).unwrap_or([0; 3]);
    if moved as u64 <= length && go_descriptor(object) != NONE {
        return Some(Call { object, buffer, is_pending: 0 });
    }
    count(Stat::GoEntryMissed, 1);
    None
}

#[inline(always)]
fn place(registers: u64, pid: u64) -> Option<Place> {
    let goroutine: u64 = kernel(registers, global!(GO_REGISTERS.goroutine));
    let stack: u64 = kernel(registers, global!(GO_REGISTERS.stack));
    let high: u64 = user(goroutine.wrapping_add(STACK_HIGH))?;
    Some(Place { pid, goroutine, depth: high.wrapping_sub(stack) })
}

/// Whether an error is `io.EOF`, by which `Read` says that close_notify has come: an `errors.errorString` of that text. A
/// connection that broke off has another one.
#[inline(always)]
fn is_end(table: u64, value: u64) -> bool {
    if table == 0 {
        return false;
    }
    let Some([text, length]) = user::<[u64; 2]>(value) else { return false };
    length == 3 && user::<[u8; 3]>(text).is_some_and(|text| text == *b"EOF")
}

/// Ties a `tls.Conn` to its socket. One that was not closed leaves its address to another, which has another socket.
#[inline(always)]
fn bind(object: u64) {
    let sk = go_socket(object);
    let Some(connection) = SOCKETS.get_ptr_mut(&sk) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &*connection };
    let known = tls::socket_of(object);
    if known == connection.id {
        return;
    }
    if known != 0 {
        tls::freed(object);
    }
    tls::tie(object, connection, tls::is_whole(connection));
}

/// The socket of a `tls.Conn`, when it is tracked and speaks TLS, and the `net.Conn` is one of package `net`: what others put
/// between the two has its own idea of a descriptor, or none. Else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn go_socket(object: u64) -> u64 {
    let fd = go_descriptor(object);
    if fd == NONE {
        return 0;
    }
    let Some(socket) = socket::of_descriptor(fd) else { return 0 };
    let Some(connection) = SOCKETS.get_ptr_mut(&socket.sk) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &*connection };
    if connection.id == socket.inode && connection.protocol == protocol::TLS { socket.sk } else { 0 }
}

/// The descriptor of the connection that a `tls.Conn` has for its `net.Conn`, or [`NONE`].
///
/// `net.TCPConn` is told by its type, which the program carries at run time, stripped or not: a pointer to a structure of
/// package `net` whose only field is `conn`. All those have a `netFD` there, which begins with a `poll.FD`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn go_descriptor(object: u64) -> u64 {
    descriptor(object).unwrap_or(NONE)
}

#[inline(always)]
fn descriptor(object: u64) -> Option<u64> {
    let [table, value]: [u64; 2] = user(object)?;
    let pointer: u64 = user(table.wrapping_add(TABLE_TYPE))?;
    if !is_kind(pointer, KIND_POINTER) {
        return None;
    }
    let structure: u64 = user(pointer.wrapping_add(TYPE_REST))?;
    if !is_kind(structure, KIND_STRUCT) {
        return None;
    }
    let [package, fields, count]: [u64; 3] = user(structure.wrapping_add(TYPE_REST))?;
    if count != 1 || !is_named(package, *b"\x03net\0\0\0\0") || !is_named(user(fields)?, *b"\x04conn\0\0\0") {
        return None;
    }
    let net_fd: u64 = user(value)?;
    user(net_fd.wrapping_add(DESCRIPTOR))
}

#[inline(always)]
fn is_kind(of: u64, kind: u64) -> bool {
    user::<u64>(of.wrapping_add(TYPE_KIND)).is_some_and(|word| word >> 56 & KIND_MASK == kind)
}

/// Whether an `abi.Name`, a byte of flags in front of length and text, is this one: length, text, and zeroes.
#[inline(always)]
fn is_named(name: u64, expected: [u8; 8]) -> bool {
    let bits = (expected[0] as u64 + 1) * 8;
    user::<u64>(name.wrapping_add(1))
        .is_some_and(|word| word & ((1 << bits) - 1) == u64::from_le_bytes(expected))
}
