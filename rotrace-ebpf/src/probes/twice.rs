//! Given: a call that two copies of a program come by, one right behind the other. Gives: which of them records it. Refuses
//! to know: what is recorded.
//!
//! The kernel runs a program once at a time on each processor (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, and
//! `__bpf_trace_run`, kernel/trace/bpf_trace.c). Where it can be preempted within the program, it does not run it for any
//! other thread that comes by there until the first goes on. So there is a second copy: the first takes note that it was run,
//! and where it was not, the second records the call. Only what both were not run for is missed.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;

use rotrace_ebpf::limits;

/// Where second copies are attached: bits of [`Hook`]; written by the daemon before the program is loaded.
#[unsafe(no_mangle)]
static TWICE: u64 = 0;

/// Both copies of a program, with what they are attached to: each gives its context, and which copy it is, to the function that
/// stands last.
macro_rules! twice {
    ($(#[$attribute:meta])+ fn $first:ident, $second:ident: $context:ty => $function:ident) => {
        $(#[$attribute])+
        fn $first(ctx: $context) -> i32 {
            $function(&ctx, $crate::probes::twice::Copy::First)
        }

        $(#[$attribute])+
        fn $second(ctx: $context) -> i32 {
            $function(&ctx, $crate::probes::twice::Copy::Second)
        }
    };
}
pub(super) use twice;

/// Threads of targets, and whether the first copy was run for the call that the thread is in.
#[map]
static NOTES: HashMap<u64, u64> = HashMap::with_max_entries(limits::NOTES_MAX, 0);

/// Of a program that is attached twice.
#[derive(Clone, Copy)]
pub(super) enum Copy {
    First = 1,
    Second = 2,
}

/// What a program is attached to.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    Function = limits::TWICE_AT_FUNCTIONS as isize,
    Tracepoint = limits::TWICE_AT_TRACEPOINTS as isize,
}

/// Whether this copy records the call of the current thread, which is one of a target.
#[inline(always)]
pub(super) fn records(copy: Copy, hook: Hook) -> bool {
    // SAFETY: the address of a static of this object; a volatile read of plain data.
    if unsafe { core::ptr::read_volatile(&raw const TWICE) } & hook as u64 == 0 {
        return matches!(copy, Copy::First);
    }
    take_note(copy as u64) != 0
}

/// 1 where the copy records the call. Not inlined: what it needs of the stack, the rest of the program has use for.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_note(copy: u64) -> u64 {
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: null, or a value of the map, which stays valid while the program runs; nobody but this thread uses it.
    let note = NOTES.get_ptr_mut(&thread).and_then(|note| unsafe { note.as_mut() });
    match (copy == Copy::First as u64, note) {
        (true, Some(note)) => {
            *note = 1;
            1
        }
        // Where there is no room for the note, the second copy finds none.
        (true, None) => NOTES.insert(&thread, &1, 0).is_ok() as u64,
        (false, Some(note)) => (core::mem::replace(note, 0) == 0) as u64,
        (false, None) => 1,
    }
}

/// Forgets a thread that ends.
#[inline(always)]
pub(super) fn forget(thread: u64) {
    let _ = NOTES.remove(&thread);
}
