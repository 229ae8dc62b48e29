//! Given: numbers and what is remembered under each. Gives: it back, bounded in number: what was not used for long makes
//! room, and is counted. Refuses to know: what is remembered.
//!
//! Who makes room is found by a hand that goes round (the clock algorithm, Corbató 1968): it spares once whatever was used
//! since it came by, so a use costs a mark and no list has to be mended. What was asked for once only goes first, and does
//! not flush what is asked for again and again.

use super::index::Index;

/// Room for so many is made at first.
const FIRST_SLOTS: usize = 16;

/// Entries that are looked at for a new one, when some may be over: in the end a quarter of the entries is.
const LOOKS: usize = 4;

/// What is remembered, by number, at most so many at one time. Memory is taken as entries come.
#[derive(Debug)]
pub struct Table<V> {
    /// Places in `slots`.
    index: Index,
    slots: Vec<Slot<V>>,
    /// The place that is looked at next when room has to be made.
    hand: u32,
    most: u32,
    evicted: u64,
}

#[derive(Debug)]
struct Slot<V> {
    key: u64,
    /// Since the hand came by.
    is_used: bool,
    value: V,
}

impl<V> Table<V> {
    /// Memory of one entry with its place in the index.
    pub const ENTRY_BYTES: usize = size_of::<Slot<V>>() + Index::ENTRY_BYTES;

    /// At most so many entries.
    pub fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, u32::MAX - 1);
        Table { index: Index::new(most as usize), slots: Vec::new(), hand: 0, most, evicted: 0 }
    }

    /// What is remembered under a number, made by `make` when there is nothing. It counts as used.
    #[inline]
    pub fn of(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        if let Some(at) = self.place(key) {
            return self.used(at);
        }
        let at = self.insert(key, make());
        &mut self.slots[at as usize].value
    }

    /// The same, and what is new takes the place of an entry that is over, if one is found nearby: that one does not make
    /// room, since nobody would have asked for it.
    pub fn of_live(&mut self, key: u64, is_over: impl Fn(&V) -> bool, make: impl FnOnce() -> V) -> &mut V {
        if let Some(at) = self.place(key) {
            return self.used(at);
        }
        let over = (0..LOOKS).find_map(|_| self.next_over(&is_over));
        let at = match over {
            Some(at) => self.put(at, key, make()),
            None => self.insert(key, make()),
        };
        &mut self.slots[at as usize].value
    }

    /// What is remembered under a number. It counts as used.
    #[inline]
    pub fn find(&mut self, key: u64) -> Option<&mut V> {
        let at = self.place(key)?;
        let slot = self.slots.get_mut(at as usize)?;
        slot.is_used = true;
        Some(&mut slot.value)
    }

    /// The value in this place, if that is still the place of the key. It is not marked as used.
    pub fn at(&self, place: u32, key: u64) -> Option<&V> {
        self.slots.get(place as usize).filter(|slot| slot.key == key).map(|slot| &slot.value)
    }

    /// What is remembered under a number, without using it.
    pub fn peek(&self, key: u64) -> Option<&V> {
        let at = self.place(key)?;
        self.slots.get(at as usize).map(|slot| &slot.value)
    }

    /// Forgets what is under a number.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let at = self.place(key)?;
        self.index.remove(key, at);
        let last = self.slots.len() as u32 - 1;
        if at != last {
            self.index.replace(self.slots[last as usize].key, last, at);
        }
        Some(self.slots.swap_remove(at as usize).value)
    }

    /// Forgets whatever is over.
    pub fn retain(&mut self, mut is_kept: impl FnMut(u64, &V) -> bool) {
        let gone = self.slots.iter().filter(|slot| !is_kept(slot.key, &slot.value)).map(|slot| slot.key);
        for key in gone.collect::<Vec<u64>>() {
            self.remove(key);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Entries that made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Every entry, in the same order for the same uses.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.slots.iter().map(|slot| (slot.key, &slot.value))
    }

    fn used(&mut self, at: u32) -> &mut V {
        let slot = &mut self.slots[at as usize];
        slot.is_used = true;
        &mut slot.value
    }

    /// Where the value of a key is, if there is one; until others come or go.
    #[inline]
    pub fn place(&self, key: u64) -> Option<u32> {
        let Table { index, slots, .. } = self;
        index.find(key, |at| slots[at as usize].key == key)
    }

    // Not inlined: that a key is there is what mostly happens, and needs few registers.
    #[inline(never)]
    fn insert(&mut self, key: u64, value: V) -> u32 {
        if self.slots.len() >= self.most as usize {
            let at = self.unused();
            self.evicted += 1;
            return self.put(at, key, value);
        }
        let at = self.slots.len() as u32;
        self.make_slots();
        self.slots.push(Slot { key, is_used: false, value });
        self.index.insert(key, at);
        at
    }

    /// Puts an entry in the place of another.
    fn put(&mut self, at: u32, key: u64, value: V) -> u32 {
        let slot = std::mem::replace(&mut self.slots[at as usize], Slot { key, is_used: false, value });
        self.index.remove(slot.key, at);
        self.index.insert(key, at);
        at
    }

    fn make_slots(&mut self) {
        let length = self.slots.len();
        if length == self.slots.capacity() {
            self.slots.reserve_exact(length.max(FIRST_SLOTS).min(self.most as usize - length));
        }
    }

    /// The place of an entry that has not been used since the hand came by. There is at least one entry.
    fn unused(&mut self) -> u32 {
        loop {
            let at = self.advance_hand();
            if !std::mem::take(&mut self.slots[at as usize].is_used) {
                return at;
            }
        }
    }

    /// The next entry, if it is over.
    fn next_over(&mut self, is_over: impl Fn(&V) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let at = self.advance_hand();
        is_over(&self.slots[at as usize].value).then_some(at)
    }

    fn advance_hand(&mut self) -> u32 {
        let at = if (self.hand as usize) < self.slots.len() { self.hand } else { 0 };
        self.hand = at + 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_was_used_once_makes_room_first() {
        let mut table = Table::new(3);
        for (key, value) in [(1, "a"), (2, "b"), (3, "c")] {
            table.of(key, || value);
        }
        table.find(1);
        table.of(4, || "d");
        assert_eq!(table.iter().collect::<Vec<_>>(), [(1, &"a"), (4, &"d"), (3, &"c")]);
        // The first was spared once, and has not been used since.
        table.of(5, || "e");
        table.of(6, || "f");
        assert_eq!(table.iter().collect::<Vec<_>>(), [(6, &"f"), (4, &"d"), (5, &"e")]);
        assert_eq!((table.peek(2), table.evicted()), (None, 3));
    }

    #[test]
    fn what_is_asked_for_again_and_again_is_not_flushed() {
        let mut table = Table::new(64);
        for key in 0..10_000 {
            table.of(key % 10 + 1_000_000, || 0);
            table.of(key, || 0);
        }
        assert!((0..10).all(|key| table.peek(key + 1_000_000).is_some()));
    }

    #[test]
    fn what_is_over_is_forgotten_and_makes_no_room() {
        let mut table = Table::new(100);
        for key in 0..10_000u64 {
            table.of_live(key, |&since| since + 40 < key, || key);
        }
        assert_eq!(table.evicted(), 0);
        assert!((9_960..10_000).all(|key| table.peek(key).is_some()));
        table.retain(|key, _| key % 2 == 0);
        assert!((9_960..10_000).all(|key| table.peek(key).is_some() == (key % 2 == 0)));
    }

    #[test]
    fn memory_is_taken_as_entries_come_and_no_more_than_they_may_take() {
        let mut table = Table::new(100);
        table.of(0, || 0);
        assert!(table.slots.capacity() <= FIRST_SLOTS);
        (0..1000).for_each(|key| _ = table.of(key, || 0));
        assert_eq!((table.len(), table.slots.capacity()), (100, 100));
        assert!(table.index.bytes() <= 100 * Index::ENTRY_BYTES);
    }

    proptest! {
        /// What is there is what was put there, and whatever is gone was removed or made room.
        #[test]
        fn nothing_is_mixed_up(most in 1..6usize, ops in prop::collection::vec((0..4u8, 0..8u64), 0..80)) {
            let mut table = Table::new(most);
            let mut model: BTreeMap<u64, usize> = BTreeMap::new();
            let mut evicted = 0;
            for (n, (op, key)) in ops.into_iter().enumerate() {
                match op {
                    0 => {
                        let is_new = !model.contains_key(&key);
                        evicted += u64::from(is_new && model.len() == most);
                        let value = *table.of(key, || n);
                        prop_assert_eq!(value, *model.entry(key).or_insert(n));
                    }
                    1 => prop_assert_eq!(table.find(key).copied(), model.get(&key).copied()),
                    2 => prop_assert_eq!(table.remove(key), model.remove(&key)),
                    _ => {
                        let is_new = !model.contains_key(&key);
                        table.of_live(key, |&since| since < n / 2, || n);
                        let gone = model.iter().filter(|&(&own, &since)| since < n / 2 && table.peek(own).is_none());
                        let gone: Vec<u64> = gone.map(|(&own, _)| own).collect();
                        prop_assert!(gone.len() <= LOOKS + 1);
                        gone.iter().for_each(|own| _ = model.remove(own));
                        model.entry(key).or_insert(n);
                        evicted = table.evicted().min(evicted + u64::from(is_new));
                    }
                }
                model.retain(|own, _| *own == key || table.peek(*own).is_some());
                prop_assert_eq!(table.iter().map(|(key, &value)| (key, value)).collect::<BTreeMap<_, _>>(), model.clone());
                prop_assert_eq!(table.evicted(), evicted);
                prop_assert!(table.len() <= most && table.index.len() == table.len());
            }
        }
    }
}
