//! Given: how many events were lost and seen, time after time. Gives: what part of the last ones was lost. Refuses to know:
//! why, and whose they were.

/// So long counts weigh as they came; then half, and so on.
const HALF_NS: u64 = 60_000_000_000;

/// Lost and seen events of the last minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    lost: u64,
    seen: u64,
    halved_ns: u64,
}

impl Loss {
    /// So many more were lost and seen until now.
    pub(super) fn count(&mut self, now_ns: u64, lost: u64, seen: u64) {
        let halves = now_ns.saturating_sub(self.halved_ns) / HALF_NS;
        if halves > 0 {
            let half = |count: u64| count.checked_shr(halves.min(64) as u32).unwrap_or(0);
            (self.lost, self.seen) = (half(self.lost), half(self.seen));
            self.halved_ns = now_ns;
        }
        self.lost = self.lost.saturating_add(lost);
        self.seen = self.seen.saturating_add(seen);
    }

    /// The part that was lost, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.lost as f64 / (self.lost as f64 + self.seen as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_long_ago_counts_less_and_less() {
        let mut loss = Loss::default();
        assert_eq!(loss.share(), 0.0);
        loss.count(HALF_NS, 100, 900);
        assert_eq!(loss.share(), 0.1);
        loss.count(HALF_NS + 1, 0, 1000);
        assert_eq!(loss.share(), 0.05);
        // A quarter of what was there, and what has come since.
        loss.count(3 * HALF_NS, 0, 1000);
        assert_eq!(loss.share(), 25.0 / 1500.0);
        loss.count(u64::MAX, 1, 0);
        assert_eq!(loss.share(), 1.0);
    }
}
