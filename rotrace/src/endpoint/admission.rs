//! Given: a name that would be a new label, and how full its table is. Gives: whether it gets a place. Refuses to know:
//! what the name is.
//!
//! A label that was given out stays, as its counters cannot be moved to another. So what matters is who is let in. Up to
//! half of the table everybody is. From there on a name needs weight: twice as many calls each time that the free part
//! halves, and of those with as many calls the ones with the smaller hash. Thus names that come once, such as random
//! paths, leave room for those that are called; which of them stay depends on their hashes and little on their order.

use super::cache::hash;

/// Counters of calls to names that have no place yet.
const COUNTERS: usize = 4096;

/// Calls after which all counters are halved. With as many names that come once as there are counters, none of them
/// looks heavy by chance.
const HALVING_CALLS: u32 = 4096;

/// Bits of a weight behind the point.
const FRACTION_BITS: u32 = 8;

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
    /// Counts a call to the name and gives its weight: the logarithm of its calls, and as fraction the smallness of its
    /// hash.
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
        let smallness = u32::try_from(!hash >> (u64::BITS - FRACTION_BITS)).unwrap_or_default();
        (calls.ilog2() << FRACTION_BITS) + smallness
    }
}

/// The weight that a name needs where `used` of `places` are taken: the logarithm of how many times the free part goes
/// into half of the table. `None` when there is none.
pub(super) fn needed_weight(used: usize, places: usize) -> Option<u32> {
    let free = places.checked_sub(used).filter(|free| *free > 0)?;
    let share = (places / 2).saturating_mul(1 << FRACTION_BITS) / free;
    let Some(whole) = share.checked_ilog2().and_then(|bits| bits.checked_sub(FRACTION_BITS)) else {
        return Some(0);
    };
    // Between two powers of two the logarithm is close to a line.
    let line = (share >> whole) - (1 << FRACTION_BITS);
    Some((whole << FRACTION_BITS) + u32::try_from(line).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u32 = 1 << FRACTION_BITS;

    #[test]
    fn the_fuller_the_heavier() {
        let needed = |used| needed_weight(used, 400);
        assert_eq!([0, 199, 200].map(needed), [Some(0); 3]);
        assert_eq!([300, 350, 375].map(needed), [ONE, 2 * ONE, 3 * ONE].map(Some));
        assert_eq!([250, 399].map(needed), [ONE / 3, 7 * ONE + 9 * ONE / 16].map(Some));
        assert_eq!([400, 401].map(needed), [None; 2]);
        assert_eq!(needed_weight(0, 0), None);
        assert_eq!(needed_weight(0, 1), Some(0));
        assert_eq!(needed_weight(5, usize::MAX), Some(0));
        assert!((0..400).is_sorted_by_key(needed));
    }

    #[test]
    fn calls_add_weight_and_old_ones_lose_it() {
        let mut newcomers = Newcomers::default();
        let first = newcomers.weigh("a");
        assert!(first < ONE);
        assert_eq!([(); 3].map(|()| newcomers.weigh("a")), [1, 1, 2].map(|more| first + more * ONE));
        let noise = (0..100_000).map(|number| newcomers.weigh(&format!("{number}"))).max();
        assert!(noise < Some(4 * ONE), "{noise:?}");
        assert_eq!(newcomers.weigh("a") % ONE, first);
    }
}
