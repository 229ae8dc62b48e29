//! Given: nothing. Gives: the clock that records carry, and how it relates to the wall clock. Refuses to know: records.

use crate::report::WallClock;

/// CLOCK_MONOTONIC in nanoseconds: what `bpf_ktime_get_ns` reads.
pub(super) fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Wall clock minus CLOCK_MONOTONIC: of a few readings the one that was least disturbed.
pub(super) fn wall_clock() -> WallClock {
    let sample = || {
        let before = monotonic_ns();
        let wall = read(libc::CLOCK_REALTIME);
        let after = monotonic_ns();
        (after - before, i128::from(wall) - i128::from(before / 2 + after / 2))
    };
    let (_, offset_ns) = (0..9).map(|_| sample()).min().unwrap_or_default();
    WallClock { offset_ns }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec; these two clocks exist on every kernel.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
