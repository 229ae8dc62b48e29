//! Given: a name that would be a new label, and how full its table is. Gives: whether it gets a place. Refuses to know:
//! what the name is.
//!
//! A label that was given out stays, as its counters cannot be moved to another. So what matters is who is let in. Up to
//! half of the table everybody is. From there on a name needs weight: each time that the free part halves, twice as many
//! calls, or a hash with one more zero in front, which half of all names do not have. Thus names that come once, such as
//! random paths, leave room for those that are called; which of them stay depends on their hashes and little on their
//! order.

use super::cache::hash;

/// Counters of calls to names that have no place yet.
const COUNTERS: usize = 4096;

/// Calls after which all counters are halved, so that old noise does not weigh for ever.
const HALVING_CALLS: u32 = 65_536;

/// Counts the calls of names that have no place, approximately: names with the same counter help each other.
#[derive(Debug)]
pub(super) struct Newcomers {
    calls: Box<[u32]>,
    since_halving: u32,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self { calls: vec![0; COUNTERS].into(), since_halving: 0 }
    }
}

impl Newcomers {
    /// Counts a call to the name and gives its weight: twice the calls are one more, and so is half the hash.
    pub(super) fn weigh(&mut self, name: &str) -> u32 {
        self.since_halving += 1;
        if self.since_halving >= HALVING_CALLS {
            self.since_halving = 0;
            self.calls.iter_mut().for_each(|calls| *calls /= 2);
        }
        let hash = hash(0, name.as_bytes());
        let counter = usize::try_from(hash).unwrap_or_default() % COUNTERS;
        let Some(calls) = self.calls.get_mut(counter) else { return 0 };
        *calls += 1;
        calls.ilog2() + hash.leading_zeros()
    }
}

/// The weight that a name needs where `used` of `places` are taken; `None` when all are.
pub(super) fn needed_weight(used: usize, places: usize) -> Option<u32> {
    let free = places.checked_sub(used).filter(|free| *free > 0)?;
    Some((places / 2).checked_div(free).filter(|share| *share > 0).map_or(0, |share| 1 + share.ilog2()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_heavier() {
        let needed = |used| needed_weight(used, 400);
        assert_eq!([0, 199].map(needed), [Some(0); 2]);
        assert_eq!([200, 299, 300, 350, 399].map(needed), [1, 1, 2, 3, 8].map(Some));
        assert_eq!([400, 401].map(needed), [None; 2]);
        assert_eq!(needed_weight(0, 0), None);
        assert_eq!(needed_weight(0, 1), Some(0));
    }

    #[test]
    fn calls_add_weight_and_old_ones_lose_it() {
        let mut newcomers = Newcomers::default();
        let first = newcomers.weigh("a");
        assert_eq!(
            [newcomers.weigh("a"), newcomers.weigh("a"), newcomers.weigh("a")],
            [1, 1, 2].map(|more| first + more)
        );
        let mut heaviest = 0;
        for number in 0..HALVING_CALLS {
            heaviest = heaviest.max(newcomers.weigh(&format!("{number}")));
        }
        assert!(newcomers.calls.iter().all(|calls| *calls < 64), "16 names for each counter");
        assert!(heaviest > 8, "some hash is small");
    }
}
