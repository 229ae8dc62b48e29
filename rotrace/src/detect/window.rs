//! Given: what happened and when. Gives: the sum of the last stretch of time. Refuses to know: what is summed.

/// Sums of the last `SLOTS` stretches of `SLOT_S` seconds each. A window ends with the slot that goes on, so it is up to
/// one slot shorter than all of them.
#[derive(Clone, Debug)]
pub(super) struct Window<V, const SLOT_S: u64, const SLOTS: usize> {
    /// Each with its number, counted from 1.
    slots: [(u32, V); SLOTS],
}

impl<V: Copy + Default, const SLOT_S: u64, const SLOTS: usize> Default for Window<V, SLOT_S, SLOTS> {
    fn default() -> Self {
        Window { slots: [(0, V::default()); SLOTS] }
    }
}

impl<V: Copy + Default, const SLOT_S: u64, const SLOTS: usize> Window<V, SLOT_S, SLOTS> {
    /// How far it reaches back.
    pub(super) const LENGTH_NS: u64 = SLOT_S * SLOTS as u64 * 1_000_000_000;

    /// The sum to which something at this time adds; `None` when that was longer ago than the window reaches.
    pub(super) fn at(&mut self, at_ns: u64) -> Option<&mut V> {
        let number = Self::number(at_ns);
        let (own, sum) = self.slots.get_mut(number as usize % SLOTS)?;
        if *own > number {
            return None;
        }
        if *own < number {
            (*own, *sum) = (number, V::default());
        }
        Some(sum)
    }

    /// The sums up to this time, the oldest first.
    pub(super) fn recent(&self, at_ns: u64) -> impl Iterator<Item = V> {
        let last = Self::number(at_ns);
        let first = last.saturating_sub(SLOTS as u32 - 1);
        (first..=last).map(|number| {
            let slot = self.slots.get(number as usize % SLOTS);
            slot.filter(|(own, _)| *own == number).map_or(V::default(), |&(_, sum)| sum)
        })
    }

    fn number(at_ns: u64) -> u32 {
        (at_ns / (SLOT_S * 1_000_000_000)) as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_long_ago_is_no_longer_there() {
        let mut window = Window::<u32, 10, 3>::default();
        for at_s in [1, 9, 10, 25, 12, 61] {
            if let Some(sum) = window.at(at_s * SECOND) {
                *sum += 1;
            }
        }
        let recent = |at_s: u64| window.recent(at_s * SECOND).collect::<Vec<_>>();
        assert_eq!(recent(61), [0, 0, 1]);
        // The slot of the first two has made room.
        assert_eq!(recent(25), [0, 2, 1]);
        assert_eq!(window.at(5 * SECOND), None);
    }
}
