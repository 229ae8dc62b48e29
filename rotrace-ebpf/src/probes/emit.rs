//! Given: a record's header and where its payload is in the process. Gives: the record in the ring buffer, in the
//! smallest class that holds it, or a counted loss. Refuses to know: why it is written.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};

use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::limits::{PAYLOAD_CLASSES, PAYLOAD_MAX};
use rotrace_ebpf::record::{HEADER_BYTES, Header, OPEN_BYTES, Open, VERSION, flag, kind};
use rotrace_ebpf::stats::Stat;

use super::{RECORDS, WAKE, count, unknown};

/// User space drains on a timer: waking it would cost the traced thread far more than the record does.
const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

/// First bytes of an answer that are looked at: of a status line up to its code and what ends that.
const FIRST_BYTES: usize = 16;

#[repr(C)]
struct Message<const N: usize> {
    header: Header,
    payload: [u8; N],
}

/// A data record in the making.
#[repr(C)]
pub(super) struct Draft {
    /// Of a data record nothing extra is said: there 1 stands while it is not known whether the bytes are an answer that switches
    /// protocols.
    pub(super) header: Header,
    /// Where the bytes are in the process.
    pub(super) address: u64,
    /// How many of them to copy.
    pub(super) captured: u64,
}

/// What [`data`] returns when the bytes that were asked about are such an answer.
pub(super) const SWITCHES: u64 = 1;

/// A header with the time of now.
#[inline(always)]
pub(super) fn header(kind: u8, conn: u64, pid_tid: u64) -> Header {
    Header {
        length: HEADER_BYTES as u32,
        version: VERSION,
        kind,
        direction: 0,
        flags: 0,
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        conn,
        pid: (pid_tid >> 32) as u32,
        tid: pid_tid as u32,
        position: 0,
        size: 0,
        extra: 0,
    }
}

/// Writes a data record, and returns 0; or writes none, and returns [`SWITCHES`].
#[inline(never)]
pub(super) fn data(draft: &mut Draft) -> u64 {
    let [small, medium, large, _] = PAYLOAD_CLASSES;
    let captured = unknown(draft.captured);
    if captured <= small as u64 {
        class::<{ PAYLOAD_CLASSES[0] }>(draft)
    } else if captured <= medium as u64 {
        class::<{ PAYLOAD_CLASSES[1] }>(draft)
    } else if captured <= large as u64 {
        class::<{ PAYLOAD_CLASSES[2] }>(draft)
    } else {
        class::<PAYLOAD_MAX>(draft)
    }
}

#[inline(always)]
fn class<const N: usize>(draft: &mut Draft) -> u64 {
    let Some(mut message) = RECORDS.reserve::<Message<N>>(0) else {
        count(Stat::RingFull, 1);
        count(Stat::RingFullBytes, draft.header.size);
        return 0;
    };
    // The bound must stand right before the helper: the verifier loses it over a spill.
    let bound = unknown(draft.captured);
    let captured = if bound > N as u64 { N as u64 } else { bound };
    let message_at = message.as_mut_ptr();
    let mut copied = 0;
    if captured > 0 {
        // SAFETY: the record has room for `N` bytes of payload and `captured` is at most `N`.
        let result = unsafe {
            bpf_probe_read_user(
                (&raw mut (*message_at).payload).cast::<c_void>(),
                captured as u32,
                draft.address as *const c_void,
            )
        };
        if result == 0 {
            copied = captured;
        } else {
            count(Stat::Fault, 1);
            draft.header.flags |= flag::FAULT;
        }
    }
    // Looked at where it has just been copied to: reading it once more would cost every call.
    if draft.header.extra == 1 && copied >= FIRST_BYTES as u64 {
        // SAFETY: the payload has room for more than two words, which any bytes are.
        let [a, b] =
            unsafe { core::ptr::read_unaligned((&raw const (*message_at).payload).cast::<[u64; 2]>()) };
        if Prefix::of([a, b, 0], FIRST_BYTES).is_switching_protocols() {
            message.discard(NO_WAKEUP);
            return SWITCHES;
        }
    }
    draft.header.extra = 0;
    draft.header.length = HEADER_BYTES as u32 + copied as u32;
    // SAFETY: the record has room for a header.
    unsafe { core::ptr::write(&raw mut (*message_at).header, draft.header) };
    message.submit(NO_WAKEUP);
    count(Stat::Records, 1);
    count(Stat::CapturedBytes, copied);
    0
}

/// Writes a record that is its header alone.
#[inline(always)]
pub(super) fn bare(header: Header) {
    match RECORDS.reserve::<Header>(0) {
        Some(mut message) => {
            message.write(header);
            message.submit(NO_WAKEUP);
            count(Stat::Records, 1);
        }
        None => count(Stat::RingFull, 1),
    }
}

/// Says that the current process has mapped code of a file.
#[inline(always)]
pub(super) fn mapped() {
    // SAFETY: the helper has no preconditions.
    bare(header(kind::MAPPED, 0, unsafe { bpf_get_current_pid_tgid() }));
    wake();
}

/// Asks user space to drain now. The request has a ring of its own: a wake-up by the records' ring would be repeated
/// for every record that is in it, and records are drained in batches.
#[inline(always)]
pub(super) fn wake() {
    if let Some(mut message) = WAKE.reserve::<u64>(0) {
        message.write(0);
        message.submit(aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP as u64);
    }
}

#[repr(C)]
struct OpenMessage {
    header: Header,
    open: Open,
}

/// Writes an open record. It is made where it will be read: the stack has no room for it.
#[inline(always)]
pub(super) fn open(mut header: Header, fill: impl FnOnce(&mut Open)) {
    let Some(mut message) = RECORDS.reserve::<OpenMessage>(0) else {
        count(Stat::RingFull, 1);
        return;
    };
    header.length = (HEADER_BYTES + OPEN_BYTES) as u32;
    let message_at = message.as_mut_ptr();
    // SAFETY: the record has room for both, and zeroes are an open record.
    unsafe {
        core::ptr::write(&raw mut (*message_at).header, header);
        core::ptr::write_bytes(&raw mut (*message_at).open, 0, 1);
        fill(&mut (*message_at).open);
    }
    message.submit(NO_WAKEUP);
    count(Stat::Records, 1);
}

/// Writes an exec record with the arguments at `address` of the current process.
#[inline(always)]
pub(super) fn exec(pid_tid: u64, address: u64, size: u64) {
    use rotrace_ebpf::limits::ARGUMENT_BYTES;
    let Some(mut message) = RECORDS.reserve::<Message<ARGUMENT_BYTES>>(0) else {
        count(Stat::RingFull, 1);
        return;
    };
    let message_at = message.as_mut_ptr();
    let mut header = header(kind::EXEC, 0, pid_tid);
    // The bound must stand right before the helper: kernels before 5.16 lose it over a spill.
    let bound = unknown(size);
    let size = if bound > ARGUMENT_BYTES as u64 { ARGUMENT_BYTES as u64 } else { bound };
    if size > 0 {
        // SAFETY: the record has room for `ARGUMENT_BYTES` and `size` is at most that.
        let result = unsafe {
            bpf_probe_read_user(
                (&raw mut (*message_at).payload).cast::<c_void>(),
                size as u32,
                address as *const c_void,
            )
        };
        if result == 0 {
            header.length += size as u32;
        }
    }
    // SAFETY: the record has room for a header.
    unsafe { core::ptr::write(&raw mut (*message_at).header, header) };
    message.submit(NO_WAKEUP);
    count(Stat::Records, 1);
}
