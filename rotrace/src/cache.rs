//! Given: hashes, and values that take long to make. Gives: values that were made before, or are made now. Refuses to know:
//! what values are. It changes the time that an answer takes and never the answer; so do the ways here of finding and
//! comparing names that are nearly always the same ones in memory.

/// A two-way set-associative cache: each set has two values, the one that was asked for last first. With one, two values
/// that meet there and are asked for in turn would be made anew each time.
#[derive(Debug)]
pub struct Cache<T> {
    /// A power of two of them, so that none has to be divided by.
    sets: Box<[[Option<T>; 2]]>,
}

impl<T> Cache<T> {
    /// Keeps so many values at most; two at least.
    pub fn new(values: usize) -> Self {
        let sets = 1usize << (values / 2).max(1).ilog2();
        Cache { sets: (0..sets).map(|_| [None, None]).collect() }
    }

    /// The value that `is_it` knows, which has this hash; what `make` gives when it is not there, in the place of what was
    /// asked for the longest ago.
    pub fn of(&mut self, hash: usize, is_it: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
        let [last, before] = &mut self.sets[hash & (self.sets.len() - 1)];
        if !last.as_ref().is_some_and(&is_it) {
            std::mem::swap(last, before);
            if !last.as_ref().is_some_and(&is_it) {
                *last = None;
            }
        }
        last.get_or_insert_with(make)
    }

    /// Everything that is kept.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.sets.iter().flatten().flatten()
    }
}

/// A hash of where a name is in memory, which differs in its low bits: memory is given out in units of 16 bytes. It is for
/// names that are in the same memory each time, or nearly so; whoever finds something by it has to see whose it is.
#[inline]
pub fn address_hash(name: &str) -> usize {
    let address = name.as_ptr().addr();
    (address >> 4) ^ (address >> 13)
}

/// Two names are the same, which is nearly always the same one in memory.
#[inline]
pub fn is_name(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

/// A short word that stands where it is kept, so that no other memory is looked at to compare it.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    bytes: [u8; Word::BYTES_MAX],
    length: u8,
}

impl Word {
    /// Bytes of the longest: no method of HTTP that is registered has more.
    pub const BYTES_MAX: usize = 17;

    /// `None` for a word that is longer.
    pub fn new(text: &str) -> Option<Word> {
        let mut bytes = [0; Word::BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Word { bytes, length: text.len() as u8 })
    }

    /// Whether it is this one: for a handful of letters a loop is faster than a call.
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        usize::from(self.length) == text.len()
            && text.bytes().zip(self.bytes).all(|(one, other)| one == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the values that are asked for have to be made.
    fn made(values: usize, asked: &[usize]) -> Vec<usize> {
        let mut cache = Cache::new(values);
        let mut made = Vec::new();
        for &value in asked {
            let found = *cache.of(
                value,
                |&known| known == value,
                || {
                    made.push(value);
                    value
                },
            );
            assert_eq!(found, value);
        }
        made
    }

    #[test]
    fn two_that_meet_are_both_kept_and_the_third_takes_the_older() {
        assert_eq!(made(4, &[0, 2, 0, 2, 0]), [0, 2]);
        assert_eq!(made(4, &[0, 2, 0, 4, 0, 2]), [0, 2, 4, 2]);
        assert_eq!(made(4, &[0, 1, 2, 3, 0, 1, 2, 3]), [0, 1, 2, 3]);
    }

    #[test]
    fn a_word_is_itself_and_no_other() {
        let words = ["", "GET", "GOT", "GETS", "UPDATEREDIRECTREF"];
        for (one, text) in words.iter().flat_map(|one| words.map(|other| (*one, other))) {
            assert_eq!(Word::new(one).map(|word| word.is(text)), Some(one == text), "{one} {text}");
        }
        assert!(Word::new("UPDATEREDIRECTREFS").is_none());
    }

    #[test]
    fn the_smallest_has_room_for_two() {
        assert_eq!(made(0, &[5, 6, 5, 6]), [5, 6]);
    }
}
