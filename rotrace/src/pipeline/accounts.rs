//! Given: a pipeline. Gives: what its calls cost and waste. Refuses to know: records and connections.

use super::Pipeline;
use crate::cost::Prices;
use crate::cost::players::{Estimate, Players};
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

    /// Estimates from now on how many players games have, or does not.
    pub fn estimate_players(&mut self, estimate: Option<Estimate>) {
        self.accounts.estimate_players(estimate);
    }

    /// How many players the calls of the last minutes let estimate; of no game when that is not wanted.
    pub fn estimated_players(&mut self, now_ns: u64) -> Players {
        self.accounts.estimated_players(now_ns)
    }

    /// What calls cost.
    pub fn prices(&self) -> &Prices {
        self.accounts.prices()
    }
}
