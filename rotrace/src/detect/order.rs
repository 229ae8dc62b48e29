//! Given: calls in the order in which they ended. Gives: the same in the order in which they began, as far as that is
//! possible without waiting long. Refuses to know: what they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::observation::Observation;

/// How long a call waits for those that began before it and end after it. Calls that last longer come late.
pub const WAIT_NS: u64 = 250_000_000;

/// Calls that wait at one time; another one lets the earliest go on.
pub const WAITING_MAX: usize = 32 * 1024;

/// Calls that wait for their turn.
#[derive(Debug, Default)]
pub struct Order {
    waiting: BinaryHeap<Reverse<(u64, u64, u32)>>,
    places: Vec<Observation>,
    free: Vec<u32>,
    /// The latest end that was seen.
    now_ns: u64,
    /// Where the order has got to.
    passed_ns: u64,
    late: u64,
}

impl Order {
    /// Takes a call, and lets go on whatever has waited long enough.
    pub fn push(&mut self, mut call: Observation, out: &mut dyn FnMut(&Observation)) {
        self.now_ns = self.now_ns.max(call.ended_ns);
        if call.started_ns < self.passed_ns {
            // Its place has been passed.
            call.is_late = true;
            self.late += 1;
            out(&call);
        } else {
            let at = match self.free.pop() {
                Some(at) => {
                    self.places[at as usize] = call;
                    at
                }
                None => {
                    self.places.push(call);
                    self.places.len() as u32 - 1
                }
            };
            self.waiting.push(Reverse((call.started_ns, call.seq, at)));
            if self.waiting.len() > WAITING_MAX {
                self.pop(out);
            }
        }
        self.advance(self.now_ns, out);
    }

    /// Lets go on whatever has waited long enough by now.
    pub fn advance(&mut self, now_ns: u64, out: &mut dyn FnMut(&Observation)) {
        let until_ns = now_ns.saturating_sub(WAIT_NS);
        while self.waiting.peek().is_some_and(|Reverse((started_ns, _, _))| *started_ns <= until_ns) {
            self.pop(out);
        }
    }

    /// Lets everything go on.
    pub fn finish(&mut self, out: &mut dyn FnMut(&Observation)) {
        while !self.waiting.is_empty() {
            self.pop(out);
        }
    }

    /// Calls that came too late for their place.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn pop(&mut self, out: &mut dyn FnMut(&Observation)) {
        let Some(Reverse((started_ns, _, at))) = self.waiting.pop() else { return };
        self.passed_ns = self.passed_ns.max(started_ns);
        self.free.push(at);
        out(&self.places[at as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::get;

    const MS: u64 = 1_000_000;

    /// Calls as (start, duration) in milliseconds, in the order of their ends; starts as they come out, late ones marked.
    fn check(calls: &[(u64, u64)], expect: &[(u64, bool)]) {
        let mut order = Order::default();
        let mut seen = Vec::new();
        let epoch_ns = get("/").observation().started_ns;
        let mut out = |call: &Observation| seen.push(((call.started_ns - epoch_ns) / MS, call.is_late));
        for (seq, &(start, duration)) in calls.iter().enumerate() {
            order.push(get("/").seq(seq as u64).at_ms(start).lasting_ms(duration).observation(), &mut out);
        }
        order.finish(&mut out);
        assert_eq!(seen, expect);
    }

    #[test]
    fn calls_come_in_the_order_of_their_starts() {
        check(&[(120, 10), (110, 50), (100, 200)], &[(100, false), (110, false), (120, false)]);
    }

    #[test]
    fn a_long_call_is_late() {
        check(&[(200, 10), (500, 10), (100, 500)], &[(200, false), (100, true), (500, false)]);
    }
}
