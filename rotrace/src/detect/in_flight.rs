//! Given: calls in the order in which they begin. Gives: how many go on at one time. Refuses to know: whose they are.

use super::observation::Observation;

/// Calls that go on, at most `MOST`.
#[derive(Debug, Default)]
pub(super) struct InFlight<const MOST: usize> {
    /// Their ends in microseconds that wrap: a call that lasts longer than half an hour is taken to be over.
    ends_us: Vec<u32>,
}

impl<const MOST: usize> InFlight<MOST> {
    /// Memory that it takes beside its own size.
    pub(super) const FULL_BYTES: usize = MOST * size_of::<u32>();

    /// A call begins. Gives how many go on then, with itself; `None` when there are more than can be counted.
    pub(super) fn begin(&mut self, call: &Observation) -> Option<usize> {
        let started_us = microseconds(call.started_ns);
        self.ends_us.retain(|&end_us| end_us.wrapping_sub(started_us).cast_signed() > 0);
        if self.ends_us.len() >= MOST {
            return None;
        }
        self.ends_us.push(microseconds(call.ended_ns));
        Some(self.ends_us.len())
    }
}

fn microseconds(at_ns: u64) -> u32 {
    (at_ns / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::get;

    #[test]
    fn calls_that_go_on_are_counted() {
        let mut in_flight = InFlight::<3>::default();
        let calls = [(0, 100), (10, 20), (29, 90), (30, 200), (31, 10), (110, 5), (5_000_000, 5)];
        let counts = calls.map(|(at_ms, lasting_ms)| {
            in_flight.begin(&get("/").at_ms(at_ms).lasting_ms(lasting_ms).observation())
        });
        assert_eq!(counts, [Some(1), Some(2), Some(3), Some(3), None, Some(3), Some(1)]);
    }
}
