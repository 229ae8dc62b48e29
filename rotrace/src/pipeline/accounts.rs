//! Given: a pipeline. Gives: what its calls cost and waste. Refuses to know: records and connections.

use super::Pipeline;
use crate::cost::Prices;
use crate::detect::Detectors;

impl Pipeline {
    /// From now on CLOCK_REALTIME is so far from CLOCK_MONOTONIC: seconds of the minute are those of the wall clock.
    pub fn set_realtime_offset_ns(&mut self, offset_ns: i64) {
        self.accounts.set_realtime_offset_ns(offset_ns);
    }

    /// What was found.
    pub fn detectors(&self) -> &Detectors {
        self.accounts.detectors()
    }

    /// What calls cost.
    pub fn prices(&self) -> &Prices {
        self.accounts.prices()
    }
}
