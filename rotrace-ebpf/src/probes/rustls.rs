//! Given: entries of rustls's functions, and where some of them end. Gives: records of the plaintext, each connection a TLS object
//! of its own, and which socket it was seen to use. Refuses to know: where the functions are in a program.
//!
//! A connection of rustls is a value that moves, so its address says little. What stays, and is its alone, is the box of its
//! encrypter: whatever is sent goes through that, and the value holds its address. Where it does so is found once for each
//! process, when a record is encrypted within a function that has the value; from then on the value says itself which connection
//! it is, wherever it is. New keys begin with record 0: then nothing that was known under the address of their box holds.
//!
//! What is sent is read behind its encryption, which has read it too: before that it may be in no memory, as a constant of the
//! program on a page that nobody has touched. So the words that say where it is are kept until the next record of the same function
//! begins, or that function ends; it has what it sends for as long.
//!
//! No return probe is placed: a panic could not pass it. Functions end at `RET` instructions, as Go's do; one that a panic leaves
//! does not, and the next one of its thread takes its place.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::ProbeContext;

use rotrace_ebpf::admit::protocol;
use rotrace_ebpf::limits::{self, RUSTLS_WORDS, SEGMENTS_MAX};
use rotrace_ebpf::record::{direction, flag, role};
use rotrace_ebpf::rustls::{Spread, inbound, outbound};
use rotrace_ebpf::segments::{self, IOVEC_BYTES};
use rotrace_ebpf::stats::Stat;

use super::buffers::lesser;
use super::piece::Traits;
use super::tls::{self, Object};
use super::{SOCKETS, User, count, is_target, target, user};

/// Arguments of `MessageEncrypter::encrypt(&mut self, message, sequence)`, whose result is written to where the first says.
const ENCRYPTER: usize = 1;
const MESSAGE: usize = 2;
const SEQUENCE: usize = 3;

/// `KeyUpdate` of a length of 1 (RFC 8446 §4, §4.6.3), which is followed by another byte.
const KEY_UPDATE: u32 = u32::from_le_bytes([24, 0, 0, 1]);
const KEY_UPDATE_BYTES: u64 = 5;

/// A function that encrypts, which a thread is in.
#[derive(Clone, Copy)]
#[repr(C)]
struct Inside {
    /// Its `CommonState`.
    state: u64,
    /// 1 when what it encrypts are data of the application.
    is_data: u64,
    /// The encrypter of its last record, of which what was sent has not been read.
    object: u64,
    /// What that record sent.
    spread: Spread,
}

/// What is known of the rustls of a process.
#[derive(Clone, Copy)]
#[repr(C)]
struct Layout {
    /// Where a `CommonState` has the address of its encrypter.
    encrypter: u64,
    /// 1 when a connection has changed its keys: new keys are no sign of a new connection any more.
    has_updated: u64,
}

#[map]
static RUSTLS_INSIDE: LruHashMap<u64, Inside> = LruHashMap::with_max_entries(limits::TLS_CALLS_MAX, 0);

/// By PID in the initial namespace.
#[map]
static RUSTLS_LAYOUTS: LruHashMap<u32, Layout> = LruHashMap::with_max_entries(limits::TARGETS_MAX, 0);

/// Encrypters that were seen from their first record on.
#[map]
static RUSTLS_FRESH: LruHashMap<Object, u64> = LruHashMap::with_max_entries(limits::RUSTLS_FRESH_MAX, 0);

// As in `tls`, one by one for kernels that attach them so.

#[uprobe]
fn rustls_send(ctx: ProbeContext) -> u32 {
    encrypts(&ctx, 1)
}

#[uprobe]
fn rustls_message(ctx: ProbeContext) -> u32 {
    encrypts(&ctx, 0)
}

#[uprobe]
fn rustls_scope(_: ProbeContext) -> u32 {
    tls::scope()
}

#[uprobe]
fn rustls_scope_left(_: ProbeContext) -> u32 {
    tls::scope_left()
}

/// Entry of `CommonState::send_appdata_encrypt` and `CommonState::send_msg_encrypt`.
#[inline(always)]
pub(super) fn encrypts(ctx: &ProbeContext, is_data: u64) -> u32 {
    let Some(pid_tid) = target() else { return 0 };
    // A panic has left the function that had this one's place, and what it sent may be gone.
    // SAFETY: the value is read at once.
    if let Some(left) = unsafe { RUSTLS_INSIDE.get(&pid_tid) }
        && left.spread.size > 0
    {
        count(Stat::RustlsUnread, 1);
    }
    let inside = Inside { state: ctx.arg(0).unwrap_or(0), is_data, object: 0, spread: Spread::NONE };
    if RUSTLS_INSIDE.insert(&pid_tid, &inside, 0).is_err() {
        count(Stat::TlsCallsFull, 1);
    }
    0
}

/// Where those end.
#[uprobe]
fn rustls_left(_: ProbeContext) -> u32 {
    rustls_sent();
    // SAFETY: the helper has no preconditions.
    let _ = RUSTLS_INSIDE.remove(&unsafe { bpf_get_current_pid_tgid() });
    0
}

/// Entry of `MessageEncrypter::encrypt`, of any cipher: one record.
#[uprobe]
fn rustls_encrypt(ctx: ProbeContext) -> u32 {
    if !is_target() {
        return 0;
    }
    rustls_sent();
    let object: u64 = ctx.arg(ENCRYPTER).unwrap_or(0);
    let is_data = rustls_met(object, ctx.arg(SEQUENCE).unwrap_or(u64::MAX));
    rustls_sends(object, ctx.arg(MESSAGE).unwrap_or(0), is_data);
    0
}

/// Keeps where that is which a record sends. Not inlined: what it reads leaves the stack with it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_sends(object: u64, message: u64, is_data: u64) -> u64 {
    match user(message).and_then(outbound) {
        Some(spread) if is_data == 1 => keep(object, spread),
        Some(spread) if is_key_update(spread) => updates(),
        None if is_data == 1 => count(Stat::RustlsUnread, 1),
        _ => {}
    }
    0
}

/// Until it has been read, which is before the next record of the thread begins.
#[inline(always)]
fn keep(object: u64, spread: Spread) {
    // SAFETY: the helper has no preconditions.
    let Some(inside) = RUSTLS_INSIDE.get_ptr_mut(&unsafe { bpf_get_current_pid_tgid() }) else { return };
    // SAFETY: a value of the map, which stays valid while the program runs; no other thread has this one's key.
    unsafe { ((*inside).object, (*inside).spread) = (object, spread) };
}

/// Takes note of a record that an encrypter begins, and of where its connection has it; 1 when the record has data of the
/// application. A function of scalars, and not inlined: its keys leave the stack with it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_met(object: u64, sequence: u64) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    let pid = (pid_tid >> 32) as u32;
    // SAFETY: the value is copied at once.
    let (state, is_data) = match unsafe { RUSTLS_INSIDE.get(&pid_tid) } {
        Some(inside) => (inside.state, inside.is_data),
        None => (0, 0),
    };
    if sequence == 0 {
        begins(pid, object, is_data == 1);
    }
    if state != 0 && encrypter(pid, state) != object {
        learn(pid, state, object);
    }
    is_data
}

/// The first record of an encrypter. What its address stood for before is gone, unless that has only received so far: a server
/// may be the first to receive.
#[inline(always)]
fn begins(pid: u32, object: u64, is_data: bool) {
    let has_sent = tls::has_sent(object);
    if has_sent || !is_data {
        tls::freed(object);
    }
    let _ = RUSTLS_FRESH.insert(&Object { pid: pid as u64, address: object }, &1, 0);
}

/// The encrypter of a `CommonState`; 0 when that cannot be told.
#[inline(always)]
fn encrypter(pid: u32, state: u64) -> u64 {
    // SAFETY: the value is copied at once.
    match unsafe { RUSTLS_LAYOUTS.get(&pid) } {
        Some(layout) => user(state.wrapping_add(layout.encrypter)).unwrap_or(0),
        None => 0,
    }
}

/// Looks where a `CommonState` has the address of its encrypter. It does have it, so where one word is that address, it is this
/// one; where more are, as what was there before may have left one, it is too early to say.
#[inline(always)]
fn learn(pid: u32, state: u64, object: u64) {
    let (mut encrypter, mut found) = (0, 0);
    for at in 0..RUSTLS_WORDS as u64 {
        let is_it = rustls_is_at(state.wrapping_add(at * 8), object);
        encrypter += is_it * at * 8;
        found += is_it;
    }
    if found == 1 {
        let has_updated = has_updated(pid) as u64;
        let _ = RUSTLS_LAYOUTS.insert(&pid, &Layout { encrypter, has_updated }, 0);
    }
}

/// 1 when this word is at this address. A function of scalars: the verifier walks the loop that calls it once, and not once for
/// each place at which the word may be.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_is_at(address: u64, word: u64) -> u64 {
    (user(address) == Some(word)) as u64
}

/// A process is gone: another one may get its PID.
#[inline(always)]
pub(super) fn forget(pid: u32) {
    let _ = RUSTLS_LAYOUTS.remove(&pid);
}

#[inline(always)]
fn has_updated(pid: u32) -> bool {
    // SAFETY: the value is read at once.
    unsafe { RUSTLS_LAYOUTS.get(&pid) }.is_some_and(|layout| layout.has_updated == 1)
}

/// A connection is about to change its keys.
#[inline(always)]
fn updates() {
    // SAFETY: the helper has no preconditions.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if let Some(layout) = RUSTLS_LAYOUTS.get_ptr_mut(&pid) {
        // SAFETY: a value of the map, which stays valid while the program runs.
        unsafe { (*layout).has_updated = 1 };
    }
}

#[inline(always)]
fn is_key_update(spread: Spread) -> bool {
    spread.size == KEY_UPDATE_BYTES && spread.entries == 0 && user(spread.address) == Some(KEY_UPDATE)
}

/// Writes the records of what was sent by the record that was kept. Not inlined, as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_sent() -> u64 {
    // SAFETY: the helper has no preconditions.
    let Some(inside) = RUSTLS_INSIDE.get_ptr_mut(&unsafe { bpf_get_current_pid_tgid() }) else { return 0 };
    // SAFETY: a value of the map, which stays valid while the program runs; no other thread has this one's key.
    let inside = unsafe { &mut *inside };
    let (object, Spread { address, entries, mut skip, size }) = (inside.object, inside.spread);
    inside.spread = Spread::NONE;
    if size == 0 {
        return 0;
    }
    let traits = rustls_begun(object, direction::SENT as u64);
    if entries == 0 {
        return rustls_piece(object, traits, address, size);
    }
    let mut left = size;
    for at in 0..SEGMENTS_MAX as u64 {
        if left == 0 {
            return 0;
        }
        let entry = address.wrapping_add(at * IOVEC_BYTES);
        let found = if at < entries { segments::segment(&User, entry) } else { None };
        let Some(segment) = found else {
            count(Stat::Fault, 1);
            break;
        };
        let skipped = lesser(skip, segment.size);
        skip = skip.wrapping_sub(skipped);
        let moved = lesser(segment.size.wrapping_sub(skipped), left);
        left = left.wrapping_sub(moved);
        rustls_piece(object, traits, segment.address.wrapping_add(skipped), moved);
    }
    if left > 0 {
        count(Stat::SegmentsBeyond, left);
        rustls_piece(object, traits, 0, left);
    }
    0
}

/// What all pieces of a record have in common. A connection that is met with the first record of its keys is known from its start.
/// Not inlined, as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_begun(object: u64, direction: u64) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let key = Object { pid: pid as u64, address: object };
    if RUSTLS_FRESH.remove(&key).is_ok() && !has_updated(pid) {
        tls::begin(&key);
    }
    Traits::new(direction as u8, flag::PLAINTEXT).0
}

/// Writes the records of one buffer. A global function of scalars: the verifier walks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_piece(object: u64, traits: u64, address: u64, size: u64) -> u64 {
    if size > 0 {
        tls::tls_piece(object, Traits(traits), address, size);
    }
    0
}

/// Entry of `CommonState::take_received_plaintext`: one record.
#[uprobe]
fn rustls_take(ctx: ProbeContext) -> u32 {
    if !is_target() {
        return 0;
    }
    let object = rustls_bound(ctx.arg(0).unwrap_or(0));
    let payload = user(ctx.arg(1).unwrap_or(0)).and_then(inbound);
    match payload {
        Some(payload) if object != 0 => {
            let traits = rustls_begun(object, direction::RECEIVED as u64);
            rustls_piece(object, traits, payload.address, payload.size);
        }
        _ => count(Stat::RustlsUnread, 1),
    }
    0
}

/// The connection of a `CommonState`, tied to the socket that was read in the function that takes what it received; 0 when that
/// cannot be told. Not inlined, as above.
///
/// One that was not closed leaves the address of its encrypter to another, which has another socket; and who is connected to
/// receives first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_bound(state: u64) -> u64 {
    // SAFETY: the helper has no preconditions.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let object = encrypter(pid, state);
    let Some([sk, id]) = tls::socket_of_scope() else { return object };
    let Some(connection) = SOCKETS.get_ptr_mut(&sk) else { return object };
    // SAFETY: a value of the map, which stays valid while the program runs.
    let connection = unsafe { &*connection };
    let known = tls::socket_of(object);
    if object == 0 || connection.id != id || connection.protocol != protocol::TLS || known == id {
        return object;
    }
    if known != 0 || connection.role == role::SERVER && tls::has_sent(object) {
        tls::freed(object);
    }
    let is_whole = if has_updated(pid) { 0 } else { tls::is_whole(connection) };
    tls::tie(object, connection, is_whole);
    object
}
