//! Given: the times of records. Gives: how many bytes of bodies may be looked through for ids. Refuses to know: the clock, so
//! that a replay looks through the same bodies.

/// Bytes a second. A byte takes some five instructions, so that this is a hundredth of a processor; hosts that make up to
/// some thousand calls a second have all answers looked through, others a share.
const BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;

/// What is saved up when there is nothing to look through.
const SAVED_BYTES_MAX: u64 = 64 * 1024;

/// From one refill to the next.
const REFILL_NS: u64 = 1_000_000;

const REFILL_BYTES: u64 = BYTES_PER_SECOND / (1_000_000_000 / REFILL_NS);

/// What may be looked through by now.
#[derive(Debug)]
pub(super) struct Scans {
    left_bytes: u64,
    refilled_ns: u64,
}

impl Default for Scans {
    fn default() -> Self {
        Scans { left_bytes: SAVED_BYTES_MAX, refilled_ns: 0 }
    }
}

impl Scans {
    /// How much it is now.
    pub(super) fn left_bytes(&mut self, now_ns: u64) -> u32 {
        let passed_ns = now_ns.saturating_sub(self.refilled_ns);
        if passed_ns >= REFILL_NS {
            self.refilled_ns = now_ns;
            let refills = passed_ns / REFILL_NS;
            self.left_bytes =
                refills.saturating_mul(REFILL_BYTES).saturating_add(self.left_bytes).min(SAVED_BYTES_MAX);
        }
        self.left_bytes as u32
    }

    /// So much is left of it.
    pub(super) fn leave(&mut self, bytes: u32) {
        self.left_bytes = bytes.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_with_time_and_is_saved_up_to_a_bound() {
        let mut scans = Scans::default();
        assert_eq!(u64::from(scans.left_bytes(1)), SAVED_BYTES_MAX);
        scans.leave(100);
        assert_eq!(scans.left_bytes(REFILL_NS - 1), 100);
        assert_eq!(u64::from(scans.left_bytes(3 * REFILL_NS + 5)), 100 + 3 * REFILL_BYTES);
        scans.leave(0);
        // Records of several processors do not come quite in order.
        assert_eq!(scans.left_bytes(2), 0);
        assert_eq!(u64::from(scans.left_bytes(1_000_000_000)), SAVED_BYTES_MAX);
        assert_eq!(u64::from(scans.left_bytes(u64::MAX)), SAVED_BYTES_MAX);
    }
}
