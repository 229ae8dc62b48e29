//! Given: the end of a system call. Gives: a record of it, or a counted loss. Refuses to know: what the bytes are; of a call
//! with a vector it copies the vector, which costs as much.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use aya_ebpf::programs::BtfTracePointContext;

use rotrace_ebpf::limits::{PAYLOAD_CLASSES, RING_BYTES};
use rotrace_ebpf::offsets::Registers;
use rotrace_ebpf::record::HEADER_BYTES;
use rotrace_ebpf::syscalls::{SYSCALLS, shape};

/// Where `pt_regs` keeps the arguments of a system call; written before the program is loaded, as all globals are.
#[unsafe(no_mangle)]
static REGISTERS: Registers = Registers::UNKNOWN;

/// Shape of each system call by number; the second half is of 32-bit calls, which nobody measures.
#[unsafe(no_mangle)]
static SHAPES: [u8; 2 * SYSCALLS] = [0; 2 * SYSCALLS];

/// The process, by its PID in the initial namespace.
#[unsafe(no_mangle)]
static TARGET: u32 = 0;

/// As large as the daemon's.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Records that found no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// As large as the smallest record of the daemon.
#[repr(C)]
struct Message {
    time_ns: u64,
    pid: u64,
    fd: u64,
    result: u64,
    reserved: [u64; HEADER_BYTES / 8 - 4],
    payload: [u8; PAYLOAD_CLASSES[0]],
}

const _: () = assert!(size_of::<Message>() == 256);

/// Reads a global that was written from outside; the compiler must not fold its initial value.
macro_rules! global {
    ($name:ident $(. $field:ident)* $([$index:literal])?) => {
        // SAFETY: the address of a static of this object; a volatile read of plain data.
        unsafe { core::ptr::read_volatile(&raw const $name $(. $field)* $([$index])?) }
    };
}

/// Reads a word of `pt_regs`. The pointer is typed and the offset a constant to the verifier, so this is one load.
#[inline(always)]
fn register(registers: *const u8, offset: u32) -> u64 {
    // SAFETY: the verifier holds the offset to the size of `struct pt_regs`.
    unsafe { core::ptr::read_volatile(registers.add(offset as usize).cast::<u64>()) }
}

/// `sys_exit(struct pt_regs *regs, long ret)`: trace/events/syscalls.h, the same from 5.10 to 7.3.
#[btf_tracepoint(function = "sys_exit")]
fn floor(ctx: BtfTracePointContext) -> i32 {
    let registers: *const u8 = ctx.arg(0);
    let result: i64 = ctx.arg(1);
    if result <= 0 {
        return 0;
    }
    let number = register(registers, global!(REGISTERS.number)) as u32 as usize;
    if number >= SYSCALLS {
        return 0;
    }
    // SAFETY: the index is below the length of the table.
    let shape = unsafe { core::ptr::read_volatile((&raw const SHAPES).cast::<u8>().add(number)) };
    if !matches!(shape, shape::READ..=shape::SENDMMSG) {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    if pid != u64::from(global!(TARGET)) {
        return 0;
    }
    let Some(mut message) = RECORDS.reserve::<Message>(0) else {
        if let Some(lost) = LOST.get_ptr_mut(0) {
            // SAFETY: a per-CPU value that the verifier knows to be there.
            unsafe { *lost += 1 };
        }
        return 0;
    };
    let fd = register(registers, global!(REGISTERS.arguments[0]));
    let buffer = register(registers, global!(REGISTERS.arguments[1]));
    let at = message.as_mut_ptr();
    // SAFETY: the record has room for each field, and the helpers write no more than it. A payload that cannot be read is
    // zeroes, which nobody reads.
    unsafe {
        (*at).time_ns = bpf_ktime_get_ns();
        (*at).pid = pid;
        (*at).fd = fd;
        (*at).result = result as u64;
        let payload = (&raw mut (*at).payload).cast::<c_void>();
        bpf_probe_read_user(payload, PAYLOAD_CLASSES[0] as u32, buffer as *const c_void);
    }
    message.submit(u64::from(aya_ebpf::bindings::BPF_RB_NO_WAKEUP));
    0
}
