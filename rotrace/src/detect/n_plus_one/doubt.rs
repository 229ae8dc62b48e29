//! Given: bursts of one endpoint in one process, and the calls outside of them. Gives: how far the number of calls that could
//! have been spared may be off. Refuses to know: what a burst is.
//!
//! Players do not wait for a script: as many calls a second as come outside of bursts come within them. Bursts that are too
//! small to count towards a warning may be none. Where a burst is cut one call more is kept, though it goes on; and before its
//! pace is known a burst is taken to end too soon.

use crate::detect::case::CaseId;
use crate::detect::desk::Desk;

/// What is not certain of bursts.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    since_ns: Option<u64>,
    /// Calls outside of bursts.
    apart: u32,
    /// How long bursts have lasted, all together.
    burst_ns: u64,
    /// Calls of small bursts.
    small: u32,
    /// Bursts that went on when they were cut.
    pub(super) cuts: u32,
    /// Calls of bursts that ended before there was a pace.
    unpaced: u32,
}

impl Doubt {
    /// So many calls were no burst.
    pub(super) fn apart(&mut self, started_ns: u64, calls: u32) {
        self.since_ns.get_or_insert(started_ns);
        self.apart = self.apart.saturating_add(calls);
    }

    /// A burst is over, or cut; with its calls, when it is too small to count.
    pub(super) fn burst(&mut self, started_ns: u64, lasted_ns: u64, small: Option<u32>) {
        self.since_ns.get_or_insert(started_ns);
        self.burst_ns = self.burst_ns.saturating_add(lasted_ns);
        self.small = self.small.saturating_add(small.unwrap_or(0));
    }

    /// So many calls were taken for all of a burst, before its pace was known.
    pub(super) fn ended_unpaced(&mut self, calls: u32) {
        self.unpaced = self.unpaced.saturating_add(calls);
    }

    /// Says so in an open case.
    pub(super) fn tell(&self, id: CaseId, now_ns: u64, desk: &mut Desk) {
        if let Some(case) = desk.open_case(id) {
            case.finding.waste.fewer_calls = self.fewer_calls(now_ns);
            case.finding.waste.more_calls = self.more_calls();
        }
    }

    /// Claimed calls that may be needed. Of as many as come by chance, twice their deviation more are unlikely.
    fn fewer_calls(&self, now_ns: u64) -> u64 {
        let known_ns = now_ns.saturating_sub(self.since_ns.unwrap_or(now_ns));
        let apart_ns = known_ns.saturating_sub(self.burst_ns).max(1);
        let strays = f64::from(self.apart) * self.burst_ns as f64 / apart_ns as f64;
        u64::from(self.small) + (strays + 2.0 * strays.sqrt()).ceil() as u64
    }

    /// Calls that are not claimed and may be wasted.
    fn more_calls(&self) -> u64 {
        u64::from(self.cuts) + u64::from(self.unpaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn as_many_come_by_chance_within_bursts_as_outside() {
        let mut doubt = Doubt::default();
        assert_eq!((doubt.fewer_calls(SECOND_NS), doubt.more_calls()), (0, 0));
        // 90 calls in 90 s, and 10 s of bursts.
        doubt.apart(SECOND_NS, 90);
        doubt.burst(50 * SECOND_NS, 10 * SECOND_NS, None);
        assert_eq!(doubt.fewer_calls(101 * SECOND_NS), 17);
        doubt.burst(60 * SECOND_NS, 0, Some(6));
        doubt.ended_unpaced(3);
        doubt.cuts += 1;
        assert_eq!((doubt.fewer_calls(101 * SECOND_NS), doubt.more_calls()), (23, 4));
    }
}
