//! Given: calls in the order in which they ended. Gives: the same in the order in which they began, as far as that is
//! possible without waiting long. Refuses to know: what they are.
//!
//! What follows on what is defined by beginnings, and a call is seen when it ends: one that began before it and lasts
//! longer comes later. So each waits as long as calls last on this host, but for the longest of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

use super::detector::Budget;
use super::observation::Observation;
use super::profile::Times;

/// A call waits so long at least, and at most. Calls that last longer come late.
const WAIT_NS: RangeInclusive<u64> = 250_000_000..=2_000_000_000;

/// The share of the calls that is over within the wait.
const IN_TIME: f64 = 0.99;

/// Calls that wait at one time; another one lets the earliest go on. As many as 10 000 calls a second that last 0.7 s.
const WAITING: usize = 7 * 1024;
const _: () = assert!(WAITING < u16::MAX as usize);

/// Calls that wait for their turn.
#[derive(Debug)]
pub struct Order {
    waiting: BinaryHeap<Reverse<Turn>>,
    /// Those that wait, and the one that is made.
    places: Vec<Observation>,
    free: Vec<u16>,
    /// The place of the one that is made.
    next: u16,
    most: usize,
    /// How long calls last.
    lasting: Times,
    wait_ns: u64,
    /// The latest end that was seen.
    now_ns: u64,
    /// The beginning of the last that has gone on: what began before comes late.
    passed_ns: u64,
    /// What began before has waited long enough.
    until_ns: u64,
    late: u64,
}

/// When it is a call's turn, which is one number so that two are compared at once: when it began, its number, of which the
/// lower 48 bits tell it from others that wait, and its place in [`Order::places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn(u128);

impl Turn {
    fn new(call: &Observation, place: u16) -> Self {
        Turn(u128::from(call.started_ns) << 64 | u128::from(call.seq << 16) | u128::from(place))
    }

    fn started_ns(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn place(self) -> u16 {
        self.0 as u16
    }
}

impl Order {
    /// Memory that it takes when it is full.
    pub const FULL_BYTES: usize =
        (WAITING + 1) * (size_of::<Observation>() + size_of::<Turn>() + size_of::<u16>());

    /// As many calls wait as the budget has room for.
    pub fn new(budget: Budget) -> Self {
        Order {
            waiting: BinaryHeap::new(),
            places: vec![Observation::default()],
            free: Vec::new(),
            next: 0,
            most: budget.entries(WAITING),
            lasting: Times::default(),
            wait_ns: *WAIT_NS.start(),
            now_ns: 0,
            passed_ns: 0,
            until_ns: 0,
            late: 0,
        }
    }

    /// The place of the next call, to be filled; what is there is of no use.
    pub fn next_place(&mut self) -> &mut Observation {
        &mut self.places[usize::from(self.next)]
    }

    /// Takes the call that was put into the next place, and lets go on whatever has waited long enough.
    pub fn push(&mut self, out: &mut dyn FnMut(&Observation)) {
        let call = &mut self.places[usize::from(self.next)];
        self.now_ns = self.now_ns.max(call.ended_ns);
        self.lasting.record(call.ended_ns - call.started_ns);
        if call.started_ns < self.passed_ns {
            // Its turn has been passed.
            self.late += 1;
            call.is_late = true;
            out(call);
        } else {
            self.waiting.push(Reverse(Turn::new(call, self.next)));
            if self.waiting.len() > self.most {
                self.pop(out);
            }
            self.next = self.free.pop().unwrap_or_else(|| {
                self.places.push(Observation::default());
                self.places.len() as u16 - 1
            });
        }
        self.release(self.now_ns, out);
    }

    /// Time has passed: judges anew how long calls last, and lets go on whatever has waited long enough.
    pub fn advance(&mut self, now_ns: u64, out: &mut dyn FnMut(&Observation)) {
        // The quantile may be an eighth too small.
        let lasting_ns = self.lasting.quantile(IN_TIME) / 8 * 9;
        self.wait_ns = lasting_ns.clamp(*WAIT_NS.start(), *WAIT_NS.end());
        self.release(now_ns, out);
    }

    /// Lets everything go on.
    pub fn finish(&mut self, out: &mut dyn FnMut(&Observation)) {
        while !self.waiting.is_empty() {
            self.pop(out);
        }
    }

    /// What began before this has gone on, but for what comes late.
    pub fn passed_ns(&self) -> u64 {
        self.passed_ns.max(self.until_ns)
    }

    /// Calls that came too late for their place.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn release(&mut self, now_ns: u64, out: &mut dyn FnMut(&Observation)) {
        let until_ns = now_ns.saturating_sub(self.wait_ns);
        while self.waiting.peek().is_some_and(|Reverse(turn)| turn.started_ns() <= until_ns) {
            self.pop(out);
        }
        self.until_ns = self.until_ns.max(until_ns);
    }

    fn pop(&mut self, out: &mut dyn FnMut(&Observation)) {
        let Some(Reverse(turn)) = self.waiting.pop() else { return };
        self.passed_ns = self.passed_ns.max(turn.started_ns());
        self.free.push(turn.place());
        out(&self.places[usize::from(turn.place())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::get;

    const MS: u64 = 1_000_000;

    /// Calls as (start, duration) in milliseconds, in the order of their ends; starts as they come out, late ones marked.
    fn check(calls: &[(u64, u64)], expect: &[(u64, bool)]) {
        let mut order = Order::new(Budget { share: 1.0 });
        let mut seen = Vec::new();
        let epoch_ns = get("/").observation().started_ns;
        let mut out = |call: &Observation| seen.push(((call.started_ns - epoch_ns) / MS, call.is_late));
        for (seq, &(start, duration)) in calls.iter().enumerate() {
            *order.next_place() = get("/").seq(seq as u64).at_ms(start).lasting_ms(duration).observation();
            order.push(&mut out);
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

    #[test]
    fn the_wait_is_as_long_as_calls_last() {
        let mut order = Order::new(Budget { share: 1.0 });
        let mut starts = Vec::new();
        // Short and long ones in turn, each second of them.
        let mut calls: Vec<Observation> = (0..400)
            .map(|n| get("/").seq(n).at_ms(n * 50).lasting_ms(if n % 2 == 0 { 5 } else { 900 }).observation())
            .collect();
        calls.sort_by_key(|call| call.ended_ns);
        for call in calls {
            let now_ns = call.ended_ns;
            *order.next_place() = call;
            order.push(&mut |call| starts.push((call.started_ns, call.is_late)));
            order.advance(now_ns, &mut |call| starts.push((call.started_ns, call.is_late)));
        }
        order.finish(&mut |call| starts.push((call.started_ns, call.is_late)));
        // Until it was known, some were late.
        assert!(order.late() < 20, "{}", order.late());
        assert!(starts.iter().skip(40).is_sorted() && starts.iter().skip(40).all(|(_, is_late)| !is_late));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut order = Order::new(Budget { share: 0.0 });
        let mut seen = 0;
        for n in 0..100 {
            *order.next_place() = get("/").seq(n).at_ms(n).lasting_ms(0).observation();
            order.push(&mut |_| seen += 1);
            assert!(order.places.len() <= 17);
        }
        assert_eq!((seen, order.late()), (84, 0));
    }
}
