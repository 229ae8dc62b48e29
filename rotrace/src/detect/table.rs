//! Given: numbers and what is remembered under each. Gives: it back, bounded in number: the longest unused makes room,
//! and is counted. Refuses to know: what is remembered.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::conn::Scatter;

/// No slot.
const NONE: u32 = u32::MAX;

/// What is remembered, by number, at most so many at one time.
#[derive(Debug)]
pub struct Table<V> {
    index: HashMap<u64, u32, BuildHasherDefault<Scatter>>,
    slots: Vec<Slot<V>>,
    /// The one that was used last.
    newest: u32,
    /// The one that is evicted next.
    oldest: u32,
    most: u32,
    evicted: u64,
}

#[derive(Debug)]
struct Slot<V> {
    key: u64,
    newer: u32,
    older: u32,
    value: V,
}

impl<V> Table<V> {
    /// Memory of one entry, with what its place in the index takes when that is half full.
    pub const ENTRY_BYTES: usize = size_of::<Slot<V>>() + 2 * size_of::<(u64, u32)>();

    /// At most so many entries.
    pub fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(NONE - 1).clamp(1, NONE - 1);
        Table { index: HashMap::default(), slots: Vec::new(), newest: NONE, oldest: NONE, most, evicted: 0 }
    }

    /// What is remembered under a number, made by `make` when there is nothing. It counts as used.
    pub fn of(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.index.get(&key) {
            Some(&at) => {
                self.unlink(at);
                at
            }
            None => self.insert(key, make()),
        };
        self.link_newest(at);
        &mut self.slots[at as usize].value
    }

    /// What is remembered under a number. It counts as used.
    pub fn find(&mut self, key: u64) -> Option<&mut V> {
        let at = *self.index.get(&key)?;
        self.unlink(at);
        self.link_newest(at);
        Some(&mut self.slots[at as usize].value)
    }

    /// What is remembered under a number, without using it.
    pub fn peek(&self, key: u64) -> Option<&V> {
        let at = *self.index.get(&key)?;
        Some(&self.slots[at as usize].value)
    }

    /// Forgets what is under a number.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let at = self.index.remove(&key)?;
        self.unlink(at);
        let last = self.slots.len() as u32 - 1;
        if at != last {
            self.move_slot(last, at);
        }
        self.slots.pop().map(|slot| slot.value)
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

    /// Every entry, the longest unused first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            at = slot.newer;
            Some((slot.key, &slot.value))
        })
    }

    /// Puts a value in a slot that is not linked yet.
    fn insert(&mut self, key: u64, value: V) -> u32 {
        let slot = Slot { key, newer: NONE, older: NONE, value };
        if (self.slots.len() as u32) < self.most {
            let at = self.slots.len() as u32;
            self.slots.push(slot);
            self.index.insert(key, at);
            return at;
        }
        let at = self.oldest;
        self.unlink(at);
        self.index.remove(&self.slots[at as usize].key);
        self.slots[at as usize] = slot;
        self.index.insert(key, at);
        self.evicted += 1;
        at
    }

    fn unlink(&mut self, at: u32) {
        let Slot { newer, older, .. } = self.slots[at as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        self.slots[at as usize].older = older;
        self.slots[at as usize].newer = NONE;
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
    }

    /// Lets the last slot take the place of one that is not linked.
    fn move_slot(&mut self, from: u32, to: u32) {
        self.slots.swap(from as usize, to as usize);
        let Slot { key, newer, older, .. } = self.slots[to as usize];
        self.index.insert(key, to);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = to,
            None => self.newest = to,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = to,
            None => self.oldest = to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_unused_makes_room() {
        let mut table = Table::new(2);
        table.of(1, || "a");
        table.of(2, || "b");
        table.find(1);
        table.of(3, || "c");
        assert_eq!(table.iter().collect::<Vec<_>>(), [(1, &"a"), (3, &"c")]);
        assert_eq!((table.peek(2), table.evicted()), (None, 1));
    }

    proptest! {
        /// It behaves like a list in which what is used moves to the end.
        #[test]
        fn it_is_a_list_in_order_of_use(most in 1..6usize, ops in prop::collection::vec((0..3u8, 0..8u64), 0..80)) {
            let mut table = Table::new(most);
            let mut model: Vec<u64> = Vec::new();
            let mut evicted = 0;
            for (op, key) in ops {
                let known = model.iter().position(|&known| known == key);
                match op {
                    0 => {
                        table.of(key, || key);
                        match known {
                            Some(at) => { model.remove(at); }
                            None if model.len() == most => { model.remove(0); evicted += 1; }
                            None => {}
                        }
                        model.push(key);
                    }
                    1 => {
                        prop_assert_eq!(table.find(key).copied(), known.map(|_| key));
                        if let Some(at) = known { model.remove(at); model.push(key); }
                    }
                    _ => {
                        prop_assert_eq!(table.remove(key), known.map(|_| key));
                        if let Some(at) = known { model.remove(at); }
                    }
                }
                prop_assert_eq!(table.iter().map(|(key, _)| key).collect::<Vec<_>>(), model.clone());
                prop_assert_eq!((table.len(), table.evicted()), (model.len(), evicted));
            }
        }
    }
}
