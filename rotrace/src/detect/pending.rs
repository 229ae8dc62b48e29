//! Given: calls of which it is not certain yet that they matter. Gives: them back, when it is. Refuses to know: what they
//! are claimed for.

use std::collections::VecDeque;

use super::case::CaseId;
use super::desk::Desk;
use super::finding::{Amount, Class};

/// Calls that are claimed as a whole once their pattern is worth a warning.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: VecDeque<Waiting>,
    /// Calls that belong to the pattern and that no finding has counted.
    untold: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at_ns: u64,
    seq: u64,
    class: Class,
}

impl Pending {
    /// Calls that wait at one time; another one lets the oldest go unclaimed.
    pub(super) const MOST: usize = 64;

    /// Memory that it takes beside its own size.
    pub(super) const FULL_BYTES: usize = Self::MOST * size_of::<Waiting>();

    /// A call belongs to the pattern. `class` is there when it may be claimed. What began before `since_ns` no longer
    /// counts.
    pub(super) fn push(&mut self, seq: u64, at_ns: u64, class: Option<Class>, since_ns: u64) {
        self.untold += 1;
        let Some(class) = class else { return };
        while self.calls.pop_front_if(|waiting| waiting.at_ns < since_ns).is_some() {}
        if self.calls.len() >= Self::MOST {
            self.calls.pop_front();
        }
        self.calls.push_back(Waiting { at_ns, seq, class });
    }

    /// When the oldest began.
    pub(super) fn started_ns(&self) -> Option<u64> {
        self.calls.front().map(|waiting| waiting.at_ns)
    }

    /// How many calls a finding has to count now, of the `recent` ones of the window.
    pub(super) fn tell(&mut self, recent: u64) -> u64 {
        std::mem::take(&mut self.untold).min(recent)
    }

    /// Claims all of them, none as more certain than `class`.
    pub(super) fn claim(&mut self, id: CaseId, class: Class, desk: &mut Desk) {
        for waiting in self.calls.drain(..) {
            desk.claim(id, waiting.seq, Amount::WHOLE_CALL, waiting.class.max(class));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_ago_or_too_much_is_not_claimed() {
        let mut pending = Pending::default();
        for seq in 0..200 {
            pending.push(seq, 1000 + seq, Some(Class::Avoidable), 0);
        }
        let waiting = |pending: &Pending| pending.calls.iter().map(|waiting| waiting.seq).collect::<Vec<_>>();
        assert_eq!(waiting(&pending), (200 - Pending::MOST as u64..200).collect::<Vec<_>>());
        pending.push(200, 1200, None, 0);
        pending.push(201, 1201, Some(Class::Potential), 1199);
        assert_eq!(waiting(&pending), [199, 201]);
        assert_eq!(pending.started_ns(), Some(1199));
        // Calls that cannot be claimed are counted all the same, but for those that the window has lost.
        assert_eq!((pending.tell(150), pending.tell(150)), (150, 0));
    }
}
