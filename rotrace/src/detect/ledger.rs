//! Given: calls, and which pattern claims what of each. Gives: the waste of each pattern, in which nothing is counted
//! twice and nothing exceeds what was called. Refuses to know: why something is claimed.
//!
//! The last calls of the node stand in a ring. A claim may come at any time while the call is there; for
//! [`SETTLE_NS`] after the first claim one of higher precedence takes its place, then what holds is counted for good, so
//! that counters only ever grow. A call that had to be made may still waste bytes: that is claimed beside, and is nothing
//! when the call as a whole is claimed.

use std::collections::VecDeque;

use super::finding::{Amount, Class};
use super::observation::Observation;
use super::pattern::{Pattern, Pool};
use super::totals::{Owner, Totals};

/// How long a claim can be displaced by one of higher precedence. A burst is confirmed within 10 s of its first call.
pub const SETTLE_NS: u64 = 15_000_000_000;

/// Calls in the ring unless the budget says otherwise: 13 s at 10 000 calls a second; 16 MiB.
pub const RING_CALLS: usize = 1 << 17;

/// The claims on the last calls.
#[derive(Debug)]
pub struct Ledger {
    /// Grows up to `most` and then turns round.
    ring: Vec<Entry>,
    most: usize,
    due: VecDeque<(u64, u64)>,
    /// What was counted for good.
    pub(super) totals: Totals,
    /// Claims of calls that were no longer there.
    pub too_late: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: u64,
    owner: Owner,
    /// What is left of the call: all of it, less what was counted for good.
    left: Amount,
    call: Option<Claim>,
    /// Of bytes only.
    side: Option<Claim>,
}

/// What a pattern says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who says it.
    pub pattern: Pattern,
    /// What of the call is wasted; what exceeds the call is cut off.
    pub amount: Amount,
    /// Whether it could be avoided.
    pub class: Class,
    /// The case that it belongs to.
    pub case: u64,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, with this amount; the claim that it displaced, if any, does not.
    Holds(Amount, Option<Claim>),
    /// One of higher precedence holds.
    Overlaps,
    /// The call is no longer there.
    TooLate,
}

impl Ledger {
    /// Memory of one call.
    pub const ENTRY_BYTES: usize = size_of::<Entry>();

    /// Keeps so many calls.
    pub fn new(calls: usize) -> Self {
        Ledger {
            ring: Vec::new(),
            most: calls.max(1),
            due: VecDeque::new(),
            totals: Totals::default(),
            too_late: 0,
        }
    }

    /// Writes a call down.
    pub fn push(&mut self, call: &Observation) {
        let left =
            Amount { calls: 1, bytes: call.bytes(), server_ns: call.server_ns, cost_ucu: call.cost_ucu };
        let at = self.place(call.seq);
        let Ledger { ring, totals, .. } = self;
        if at >= ring.len() {
            let owner = Owner { endpoint: 0, game: 0 };
            let none = Entry { seq: u64::MAX, owner, left: Amount::default(), call: None, side: None };
            ring.resize(at + 1, none);
        }
        let Some(entry) = ring.get_mut(at) else { return };
        settle(entry, totals, call.ended_ns);
        let owner = Owner { endpoint: call.endpoint, game: call.game };
        *entry = Entry { seq: call.seq, owner, left, call: None, side: None };
    }

    /// Whose waste that of a call is, while the call is still there.
    pub fn owner(&self, seq: u64) -> Option<Owner> {
        let entry = self.ring.get(self.place(seq)).filter(|entry| entry.seq == seq)?;
        Some(entry.owner)
    }

    /// Claims a call for a pattern.
    pub fn claim(&mut self, seq: u64, now_ns: u64, claim: Claim) -> Outcome {
        let at = self.place(seq);
        let Some(entry) = self.ring.get_mut(at).filter(|entry| entry.seq == seq) else {
            self.too_late += 1;
            return Outcome::TooLate;
        };
        let is_whole = claim.pattern.pool() == Pool::Calls;
        let is_whole_taken = entry.call.is_some();
        let is_first = entry.call.is_none() && entry.side.is_none();
        let slot = if is_whole { &mut entry.call } else { &mut entry.side };
        let is_taken = !is_whole && is_whole_taken;
        if entry.left.calls == 0 || is_taken || slot.is_some_and(|held| held.pattern <= claim.pattern) {
            return Outcome::Overlaps;
        }
        let claim = Claim { amount: claim.amount.at_most(entry.left), ..claim };
        let mut displaced = slot.replace(claim);
        // What is wasted as a whole has no bytes left to waste.
        if is_whole {
            displaced = displaced.or(entry.side.take());
        }
        if is_first {
            self.due.push_back((now_ns + SETTLE_NS, seq));
        }
        Outcome::Holds(claim.amount, displaced)
    }

    /// Counts for good what nothing can displace any more.
    pub fn settle(&mut self, now_ns: u64) {
        while let Some((_, seq)) = self.due.pop_front_if(|&mut (due_ns, _)| due_ns <= now_ns) {
            let at = self.place(seq);
            let Ledger { ring, totals, .. } = self;
            if let Some(entry) = ring.get_mut(at).filter(|entry| entry.seq == seq) {
                settle(entry, totals, now_ns);
            }
        }
    }

    fn place(&self, seq: u64) -> usize {
        (seq % self.most as u64) as usize
    }
}

fn settle(entry: &mut Entry, totals: &mut Totals, now_ns: u64) {
    // There is never more than one of them.
    for claim in [entry.call.take(), entry.side.take()].into_iter().flatten() {
        totals.count(entry.owner, claim.pattern, claim.class, claim.amount, now_ns);
        totals.note(entry.seq, claim.pattern, claim.amount);
        entry.left = entry.left.minus(claim.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::get;

    const SECOND: u64 = 1_000_000_000;

    fn claim(pattern: Pattern, calls: u64, bytes: u64) -> Claim {
        Claim {
            pattern,
            amount: Amount { calls, bytes, ..Amount::default() },
            class: Class::Avoidable,
            case: 1,
        }
    }

    fn ledger(calls: usize) -> Ledger {
        let mut ledger = Ledger::new(calls);
        // 1300 bytes each.
        for seq in 0..calls as u64 {
            ledger.push(&get("/v1/users/1").seq(seq).observation());
        }
        ledger
    }

    fn totals(ledger: &Ledger) -> Vec<(Pattern, u64, u64)> {
        let sums = ledger.totals.iter();
        sums.map(|(_, pattern, _, amount)| (pattern, amount.calls, amount.bytes)).collect()
    }

    #[test]
    fn the_pattern_of_higher_precedence_has_the_call() {
        let mut ledger = ledger(4);
        let n_plus_one = claim(Pattern::NPlusOne, 1, 500);
        assert_eq!(ledger.claim(2, SECOND, n_plus_one), Outcome::Holds(n_plus_one.amount, None));
        let retry = claim(Pattern::RetryStorm, 1, 9000);
        let cut = Amount { calls: 1, bytes: 1300, ..Amount::default() };
        assert_eq!(ledger.claim(2, SECOND, retry), Outcome::Holds(cut, Some(n_plus_one)));
        assert_eq!(ledger.claim(2, SECOND, claim(Pattern::TinyPages, 1, 1)), Outcome::Overlaps);
        ledger.settle(15 * SECOND);
        assert_eq!(totals(&ledger), []);
        ledger.settle(16 * SECOND);
        assert_eq!(totals(&ledger), [(Pattern::RetryStorm, 1, 1300)]);
        assert_eq!(ledger.claim(2, 17 * SECOND, claim(Pattern::WastedResponse, 1, 1)), Outcome::Overlaps);
    }

    #[test]
    fn bytes_of_a_wasted_call_are_wasted_once() {
        let mut ledger = ledger(4);
        ledger.claim(1, 0, claim(Pattern::UncompressedPayload, 0, 700));
        ledger.claim(2, 0, claim(Pattern::UncompressedPayload, 0, 700));
        ledger.claim(2, 0, claim(Pattern::DuplicateRequest, 1, 1300));
        ledger.settle(SETTLE_NS);
        assert_eq!(
            totals(&ledger),
            [(Pattern::DuplicateRequest, 1, 1300), (Pattern::UncompressedPayload, 0, 700)]
        );
        // What is left of the first one may still be claimed.
        ledger.claim(1, 0, claim(Pattern::DuplicateRequest, 1, 1300));
        ledger.settle(2 * SETTLE_NS);
        assert_eq!(totals(&ledger)[0], (Pattern::DuplicateRequest, 2, 1900));
    }

    #[test]
    fn what_leaves_the_ring_is_counted_and_can_no_longer_be_claimed() {
        let mut ledger = ledger(4);
        ledger.claim(0, 0, claim(Pattern::NPlusOne, 1, 10));
        ledger.push(&get("/v1/users/1").seq(4).observation());
        assert_eq!(totals(&ledger), [(Pattern::NPlusOne, 1, 10)]);
        assert_eq!(ledger.claim(0, 0, claim(Pattern::NPlusOne, 1, 10)), Outcome::TooLate);
        assert_eq!(ledger.too_late, 1);
    }
}
