//! Given: numbers, and a place for each. Gives: the places back. Refuses to know: what is there.
//!
//! Open addressing with linear probing (Knuth, The Art of Computer Programming 3, §6.4, algorithms L and R). A place stands
//! beside half of its scattered number, so nearly every look touches one line of memory and what it looks for; a general
//! hash table keeps its tags apart, and a call is looked up in a dozen tables.

/// The place that stands for none.
const NONE: u32 = u32::MAX;

const FIRST_CELLS: usize = 32;

/// Places by number.
#[derive(Debug)]
pub(super) struct Index {
    /// At most two of three are used.
    cells: Box<[Cell]>,
    used: usize,
    most_cells: usize,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// How great it is says where the cell should be, and mostly it tells it from others there.
    tag: u32,
    place: u32,
}

impl Index {
    /// Memory that it takes for each entry that it has room for, when it is full.
    pub(super) const ENTRY_BYTES: usize = size_of::<Cell>() * 3 / 2;

    /// With room for so many entries. Memory is taken as they come.
    pub(super) fn new(most: usize) -> Self {
        Index { cells: Box::default(), used: 0, most_cells: most.saturating_mul(3).div_ceil(2).max(2) }
    }

    /// The place of a number. `is_it` says whether it is this one, for one that looks like it.
    #[inline]
    pub(super) fn find(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.cell(tag(key), is_it).map(|(_, place)| place)
    }

    /// Adds the place of a number that has none.
    pub(super) fn insert(&mut self, key: u64, place: u32) {
        if (self.used + 1) * 3 > self.cells.len() * 2 {
            self.grow();
        }
        self.put(Cell { tag: tag(key), place });
        self.used += 1;
    }

    /// Puts another place in the place of one.
    pub(super) fn replace(&mut self, key: u64, place: u32, other: u32) {
        let cell = self.cell(tag(key), |own| own == place).and_then(|(at, _)| self.cells.get_mut(at));
        cell.into_iter().for_each(|cell| cell.place = other);
    }

    /// Removes a place. What stands behind it moves up, so that nothing has to be kept in mind of it.
    pub(super) fn remove(&mut self, key: u64, place: u32) {
        let Some((mut hole, _)) = self.cell(tag(key), |own| own == place) else { return };
        let mut at = hole;
        loop {
            at = self.next(at);
            let Some(&cell) = self.cells.get(at).filter(|cell| cell.place != NONE) else { break };
            // It may move to the hole unless that is before where it should be.
            if self.distance(self.home(cell.tag), at) >= self.distance(hole, at) {
                self.set(hole, cell);
                hole = at;
            }
        }
        self.set(hole, Cell { tag: 0, place: NONE });
        self.used -= 1;
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Memory that it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    #[inline]
    fn cell(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut at = self.home(tag);
        loop {
            let cell = self.cells.get(at).filter(|cell| cell.place != NONE)?;
            if cell.tag == tag && is_it(cell.place) {
                return Some((at, cell.place));
            }
            at = self.next(at);
        }
    }

    fn put(&mut self, cell: Cell) {
        let mut at = self.home(cell.tag);
        while self.cells.get(at).is_some_and(|cell| cell.place != NONE) {
            at = self.next(at);
        }
        self.set(at, cell);
    }

    fn set(&mut self, at: usize, cell: Cell) {
        if let Some(place) = self.cells.get_mut(at) {
            *place = cell;
        }
    }

    fn grow(&mut self) {
        // A table that holds more than it was made for goes on growing, since one cell has to be free.
        let cells = (self.cells.len() * 2).max(FIRST_CELLS).min(self.most_cells.max(self.used * 3 / 2 + 2));
        let before = std::mem::replace(&mut self.cells, vec![Cell { tag: 0, place: NONE }; cells].into());
        before.iter().filter(|cell| cell.place != NONE).for_each(|&cell| self.put(cell));
    }

    /// Where a cell should be: as far among all cells as its tag is among all tags.
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.cells.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 < self.cells.len() { at + 1 } else { 0 }
    }

    /// How many steps it takes from one cell to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.cells.len() - from }
    }
}

/// The upper half of the number times 2^64 over the golden ratio: numbers that come one after the other are far apart.
fn tag(key: u64) -> u32 {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Numbers of which many should be in the same cell, some of them with the same tag.
    fn key() -> impl Strategy<Value = u64> {
        let inverse = 0xf1de_83e1_9937_733d_u64;
        (0..3u64, 0..4u64, 0..3u64)
            .prop_map(move |(cell, tag, rest)| ((cell << 62) | (tag << 32) | rest).wrapping_mul(inverse))
    }

    proptest! {
        #[test]
        fn what_is_there_is_found_and_nothing_else(ops in prop::collection::vec((0..4u8, key()), 0..200)) {
            let mut index = Index::new(36);
            let mut keys: Vec<u64> = Vec::new();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            for (op, key) in ops {
                let known = model.get(&key).copied();
                match (op, known) {
                    (0 | 1, None) => {
                        index.insert(key, keys.len() as u32);
                        model.insert(key, keys.len() as u32);
                        keys.push(key);
                    }
                    (2, Some(place)) => {
                        index.remove(key, place);
                        model.remove(&key);
                    }
                    (3, Some(place)) => {
                        index.replace(key, place, keys.len() as u32);
                        model.insert(key, keys.len() as u32);
                        keys.push(key);
                    }
                    _ => {}
                }
                for (&key, &place) in &model {
                    prop_assert_eq!(index.find(key, |at| keys[at as usize] == key), Some(place));
                }
                let known = model.get(&key).copied();
                prop_assert_eq!(index.find(key, |at| keys[at as usize] == key), known);
                prop_assert_eq!(index.len(), model.len());
            }
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_it_says() {
        for most in [1, 16, 100, 10_000] {
            let mut index = Index::new(most);
            assert_eq!(index.find(7, |_| true), None);
            for key in 0..most as u64 {
                index.insert(key, key as u32);
                let most_bytes = (most + 1) * Index::ENTRY_BYTES;
                assert!(index.bytes() <= most_bytes, "{} for {key} of {most}", index.bytes());
            }
            assert!(
                (0..most as u64).all(|key| index.find(key, |at| u64::from(at) == key) == Some(key as u32))
            );
        }
    }
}
