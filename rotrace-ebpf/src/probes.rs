//! Given: nothing. Gives: the maps and globals that the probes share, and how they read memory and write records.
//! Refuses to know: which event it is for.

use core::mem::MaybeUninit;

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};

use rotrace_ebpf::admit::Connection;
use rotrace_ebpf::limits::{self, PREFIX_BYTES, PREFIX_WORDS};
use rotrace_ebpf::memory::Memory;
use rotrace_ebpf::offsets::{GoRegisters, Iterators, Offsets, Registers};
use rotrace_ebpf::record::role;
use rotrace_ebpf::stats::{STATS, Stat};
use rotrace_ebpf::syscalls::SYSCALLS;

mod buffers;
mod emit;
mod go;
mod lifecycle;
mod message;
mod piece;
mod position;
mod rustls;
mod socket;
mod syscall;
mod tls;
mod twice;

/// Offsets of this kernel; written by the daemon before the program is loaded.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::UNKNOWN;

/// Where `pt_regs` keeps the arguments of a system call.
#[unsafe(no_mangle)]
static REGISTERS: Registers = Registers::UNKNOWN;

/// Where `pt_regs` keeps what Go passes.
#[unsafe(no_mangle)]
static GO_REGISTERS: GoRegisters = GoRegisters::UNKNOWN;

/// How messages keep their buffers.
#[unsafe(no_mangle)]
static ITERATORS: Iterators = Iterators::UNKNOWN;

/// Shape of each system call by number, 64-bit calls first, then 32-bit ones.
#[unsafe(no_mangle)]
static SHAPES: [u8; 2 * SYSCALLS] = [0; 2 * SYSCALLS];

/// Marks the daemon's own `pidfd_open` calls, by which it asks for PIDs of the initial namespace.
#[unsafe(no_mangle)]
static QUESTION: u64 = 0;

/// Processes whose calls are recorded, by PID in the initial namespace. The value is how deep the PID namespace of the
/// daemon is below that, so that a fork can name the child as the daemon's users do.
#[map]
static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(limits::TARGETS_MAX, 0);

/// What is known of the sockets of targets, by the address of the kernel's `struct sock`.
#[map]
static SOCKETS: HashMap<u64, Connection> = HashMap::with_max_entries(limits::SOCKETS_MAX, 0);

/// Everything that goes to user space, in one order.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(limits::RING_BYTES, 0);

/// Requests to drain at once; see `emit::wake`.
#[map]
static WAKE: RingBuf = RingBuf::with_byte_size(4096, 0);

/// What happened, counted.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(STATS, 0);

/// Reads a global that the daemon may have written; the compiler must not fold its initial value.
macro_rules! global {
    ($name:ident $(. $field:ident)* $([$index:literal])?) => {
        // SAFETY: the address of a static of this object; a volatile read of plain data.
        unsafe { core::ptr::read_volatile(&raw const $crate::probes::$name $(. $field)* $([$index])?) }
    };
}
use global;

/// A connection of which nothing is known. Entries of maps begin as copies of this one: on the stack it would leave the
/// functions of a program too little, which have 512 bytes for all that call each other (all of them before 6.13).
#[unsafe(no_mangle)]
static FRESH: Connection = Connection::new(0, role::UNKNOWN, false);

/// The current thread, if its process is a target: the PID, and below it the TID, of the initial namespace.
#[inline(always)]
fn target() -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let pid_tid = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: the value is not used.
    unsafe { TARGETS.get(&((pid_tid >> 32) as u32)) }.map(|_| pid_tid)
}

/// Whether the current process is a target.
#[inline(always)]
fn is_target() -> bool {
    target().is_some()
}

#[inline(always)]
fn count(stat: Stat, by: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(stat as u32) {
        // SAFETY: a per-CPU value that the verifier knows to be there.
        unsafe { *value += by };
    }
}

/// The same number, of which the verifier knows nothing any more.
///
/// Up to 6.7 it may take two numbers that were equal once for bounded alike, and forget that the one was bounded by a test
/// of the other: then it drops code for values that do come. So it did on 6.1 with all records of more than 200 bytes. A
/// number that decides how much is copied is therefore tested right behind a call of this.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unknown(number: u64) -> u64 {
    core::hint::black_box(number)
}

/// The memory of the current process.
struct User;

impl Memory for User {
    #[inline(always)]
    fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        user(address)
    }

    #[inline(always)]
    fn half(&self, address: u64) -> Option<u32> {
        user(address)
    }

    #[inline(always)]
    fn fill(&self, address: u64, size: usize, into: &mut [u64; PREFIX_WORDS]) -> bool {
        // The bound must stand right before the helper: the verifier loses it over a spill.
        let bound = core::hint::black_box(size);
        let size = if bound > PREFIX_BYTES { PREFIX_BYTES } else { bound };
        // SAFETY: the helper writes `size` bytes to `into`, which has room for that many.
        unsafe {
            bpf_probe_read_user(into.as_mut_ptr().cast::<c_void>(), size as u32, address as *const c_void)
                == 0
        }
    }
}

/// The memory of the kernel.
struct Kernel;

impl Memory for Kernel {
    #[inline(always)]
    fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        kernel_known(address)
    }

    #[inline(always)]
    fn half(&self, address: u64) -> Option<u32> {
        kernel_known(address)
    }

    #[inline(always)]
    fn fill(&self, address: u64, size: usize, into: &mut [u64; PREFIX_WORDS]) -> bool {
        let bound = core::hint::black_box(size);
        let size = if bound > PREFIX_BYTES { PREFIX_BYTES } else { bound };
        // SAFETY: the helper writes `size` bytes to `into`, which has room for that many.
        unsafe {
            bpf_probe_read_kernel(into.as_mut_ptr().cast::<c_void>(), size as u32, address as *const c_void)
                == 0
        }
    }
}

/// Reads a `T` of the current process's memory.
#[inline(always)]
fn user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes to `value`, zeroes where it cannot read; every caller asks for
    // integers or arrays of them.
    unsafe {
        let result = bpf_probe_read_user(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        );
        (result == 0).then_some(value.assume_init())
    }
}

/// Reads a `T` of kernel memory; 0 where there is none, which every caller takes for "not there".
#[inline(always)]
fn kernel<T: Copy>(address: u64, offset: u32) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes to `value`, zeroes where it cannot read; every caller asks for
    // integers or arrays of them.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            (address + offset as u64) as *const c_void,
        );
        value.assume_init()
    }
}

/// Reads a `T` of kernel memory, where "not there" is no value.
#[inline(always)]
fn kernel_known<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes to `value`, zeroes where it cannot read; every caller asks for
    // integers or arrays of them.
    unsafe {
        let result = bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        );
        (result == 0).then_some(value.assume_init())
    }
}
