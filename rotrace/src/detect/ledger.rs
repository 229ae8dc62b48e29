//! Given: calls, and which pattern claims what of each. Gives: the waste of each pattern, in which nothing is counted
//! twice and nothing exceeds what was called. Refuses to know: why something is claimed.
//!
//! The last calls of the node stand in a ring. A claim may come at any time while the call is there; for
//! [`SETTLE_NS`] after the first claim one of higher precedence takes its place, then what holds is counted for good, so
//! that counters only ever grow. A call that had to be made may still waste bytes: that is claimed beside, and is nothing
//! when the call as a whole is claimed.

use std::collections::VecDeque;

use super::detector::Budget;
use super::finding::{Amount, Class};
use super::observation::Observation;
use super::pattern::{Pattern, Pool};
use super::totals::{Owner, Totals};

/// How long a claim can be displaced by one of higher precedence. A burst is confirmed within 10 s of its first call.
pub const SETTLE_NS: u64 = 15_000_000_000;

/// Calls in the ring unless the budget says otherwise: 13 s at 10 000 calls a second; 8 MiB.
pub const RING_CALLS: usize = 1 << 17;

/// Claims that can be displaced, unless the budget says otherwise: of one call in eight.
const CLAIMS: usize = RING_CALLS / 8;

/// No claim.
const NONE: u32 = u32::MAX;

/// The claims on the last calls.
#[derive(Debug)]
pub struct Ledger {
    /// Grows up to `most_calls` and then turns round.
    ring: Vec<Entry>,
    /// A power of two, so that a place is found without a division.
    most_calls: usize,
    claims: Vec<Claim>,
    /// Places in `claims`.
    free: Vec<u32>,
    most_claims: usize,
    /// Calls that were claimed, and when that is counted for good.
    due: VecDeque<(u64, u64)>,
    /// What was counted for good.
    pub(super) totals: Totals,
    /// Claims of calls that were no longer there.
    pub too_late: u64,
}

/// Fills a line of memory, so that no two have to be fetched for one call.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry {
    seq: u64,
    owner: Owner,
    /// What is left of the call: all of it, less what was counted for good.
    left: Amount,
    /// The place of its claim. It is of all of the call, or of bytes only: what is wasted as a whole has no bytes left to
    /// waste.
    claim: u32,
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

const _: () = assert!(size_of::<Entry>() == 64);

impl Ledger {
    /// Memory that it takes when it is full.
    pub const FULL_BYTES: usize = RING_CALLS * size_of::<Entry>()
        + CLAIMS * (size_of::<Claim>() + size_of::<u32>() + size_of::<(u64, u64)>());

    /// Keeps as many calls as the budget has room for.
    pub fn new(budget: Budget) -> Self {
        Ledger {
            ring: Vec::new(),
            most_calls: 1 << budget.entries(RING_CALLS).ilog2(),
            claims: Vec::new(),
            free: Vec::new(),
            most_claims: budget.entries(CLAIMS),
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
        self.settle_place(at, call.ended_ns);
        let Ledger { ring, most_calls, .. } = self;
        if at >= ring.len() {
            if at >= ring.capacity() {
                // Doubles, but takes no memory beyond what it may have.
                let more = ring.len().max(64).min(*most_calls - ring.len());
                ring.reserve_exact(more.max(at + 1 - ring.len()));
            }
            let owner = Owner { endpoint: 0, game: 0 };
            let none = Entry { seq: u64::MAX, owner, left: Amount::default(), claim: NONE };
            ring.resize(at + 1, none);
        }
        let Some(entry) = ring.get_mut(at) else { return };
        let owner = Owner { endpoint: call.endpoint, game: call.game };
        *entry = Entry { seq: call.seq, owner, left, claim: NONE };
    }

    /// Whose waste that of a call is, while the call is still there.
    pub fn owner(&self, seq: u64) -> Option<Owner> {
        let entry = self.ring.get(self.place(seq)).filter(|entry| entry.seq == seq)?;
        Some(entry.owner)
    }

    /// Claims a call for a pattern.
    pub fn claim(&mut self, seq: u64, now_ns: u64, claim: Claim) -> Outcome {
        let at = self.place(seq);
        let Some(entry) = self.ring.get(at).copied().filter(|entry| entry.seq == seq) else {
            self.too_late += 1;
            return Outcome::TooLate;
        };
        let held = self.claims.get(entry.claim as usize).copied();
        let is_whole = |claim: &Claim| claim.pattern.pool() == Pool::Calls;
        let holds = |held: Claim| match (is_whole(&held), is_whole(&claim)) {
            (true, false) => true,
            (false, true) => false,
            _ => held.pattern <= claim.pattern,
        };
        if entry.left.calls == 0 || held.is_some_and(holds) {
            return Outcome::Overlaps;
        }
        let claim = Claim { amount: claim.amount.at_most(entry.left), ..claim };
        match self.claims.get_mut(entry.claim as usize) {
            Some(place) => *place = claim,
            None => self.open(at, seq, now_ns, claim),
        }
        Outcome::Holds(claim.amount, held)
    }

    /// Counts for good what nothing can displace any more.
    pub fn settle(&mut self, now_ns: u64) {
        while let Some((_, seq)) = self.due.pop_front_if(|&mut (due_ns, _)| due_ns <= now_ns) {
            self.settle_call(seq, now_ns);
        }
    }

    /// The first claim of a call. Should there be no room for it, the oldest is counted for good early.
    fn open(&mut self, at: usize, seq: u64, now_ns: u64, claim: Claim) {
        while self.due.len() >= self.most_claims
            && let Some((_, oldest)) = self.due.pop_front()
        {
            self.settle_call(oldest, now_ns);
        }
        let Ledger { ring, claims, free, due, .. } = self;
        let place = free.pop().unwrap_or(claims.len() as u32);
        match claims.get_mut(place as usize) {
            Some(known) => *known = claim,
            None => claims.push(claim),
        }
        if let Some(entry) = ring.get_mut(at) {
            entry.claim = place;
        }
        due.push_back((now_ns + SETTLE_NS, seq));
    }

    fn settle_call(&mut self, seq: u64, now_ns: u64) {
        let at = self.place(seq);
        if self.ring.get(at).is_some_and(|entry| entry.seq == seq) {
            self.settle_place(at, now_ns);
        }
    }

    /// Counts the claim of the call in this place for good.
    fn settle_place(&mut self, at: usize, now_ns: u64) {
        let Ledger { ring, claims, free, totals, .. } = self;
        let Some(entry) = ring.get_mut(at) else { return };
        let Some(claim) = claims.get(entry.claim as usize) else { return };
        totals.count(entry.owner, claim.pattern, claim.class, claim.amount, now_ns);
        totals.note(entry.seq, claim.pattern, claim.amount);
        entry.left = entry.left.minus(claim.amount);
        free.push(std::mem::replace(&mut entry.claim, NONE));
    }

    fn place(&self, seq: u64) -> usize {
        seq as usize & (self.most_calls - 1)
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

    /// The calls 0 to 15, of 1300 bytes each, which is all that it keeps.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(Budget { share: 0.0 });
        for seq in 0..16 {
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
        let mut ledger = ledger();
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
        let mut ledger = ledger();
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
        let mut ledger = ledger();
        ledger.claim(0, 0, claim(Pattern::NPlusOne, 1, 10));
        ledger.push(&get("/v1/users/1").seq(16).observation());
        assert_eq!(totals(&ledger), [(Pattern::NPlusOne, 1, 10)]);
        assert_eq!(ledger.claim(0, 0, claim(Pattern::NPlusOne, 1, 10)), Outcome::TooLate);
        assert_eq!(ledger.too_late, 1);
    }
    #[test]
    fn claims_that_find_no_room_to_wait_are_counted_early() {
        let mut ledger = ledger();
        for seq in 0..16 {
            ledger.claim(seq, seq, claim(Pattern::NPlusOne, 1, 10));
        }
        // Two more calls, in the places of the first two, whose claims are counted for good.
        for seq in [16, 17] {
            ledger.push(&get("/v1/users/1").seq(seq).observation());
            ledger.claim(seq, seq, claim(Pattern::NPlusOne, 1, 10));
        }
        assert_eq!(totals(&ledger), [(Pattern::NPlusOne, 2, 20)]);
        assert_eq!((ledger.claims.len(), ledger.due.len()), (16, 16));
        ledger.settle(u64::MAX);
        assert_eq!(totals(&ledger), [(Pattern::NPlusOne, 18, 180)]);
        assert_eq!(ledger.free.len(), 16);
    }
}
