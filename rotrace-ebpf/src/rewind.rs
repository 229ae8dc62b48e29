//! Given: how far the kernel has come in the buffers of a call, and how many bytes the call moved. Gives: where the first
//! of those is. Refuses to know: which kernel's iterator it is, and how memory is read.
//!
//! At the return of `inet_sendmsg` and `inet_recvmsg` the iterator of the message stands behind what was moved. Stepping it
//! back is what `iov_iter_revert` does (lib/iov_iter.c, 5.10 to 7.3): so no program is needed at the entry.

use crate::limits::SEGMENTS_MAX;
use crate::memory::Memory;
use crate::segments::IOVEC_BYTES;

/// Where in an array of `struct iovec` a call began, from where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Entries before the one at which it ended; at most [`SEGMENTS_MAX`].
    pub entries_back: u64,
    /// Bytes of that entry's buffer that were moved by an earlier call.
    pub skip: u64,
}

/// No word of a [`Start`], whose lowest byte is small.
const NONE: u64 = u64::MAX;
const ENTRIES_BITS: u32 = 8;

impl Start {
    /// Steps back by the `moved` bytes before byte `offset` of the buffer of `entry`; `None` where that takes more than
    /// [`SEGMENTS_MAX`] entries, or memory does not say.
    #[inline(always)]
    pub fn before(memory: &impl Memory, entry: u64, offset: u64, moved: u64) -> Option<Start> {
        if moved <= offset {
            return Some(Start { entries_back: 0, skip: offset - moved });
        }
        let mut left = moved - offset;
        let mut entries_back = 0;
        while entries_back < SEGMENTS_MAX as u64 {
            entries_back += 1;
            let [_, room] = memory.words(entry.wrapping_sub(entries_back * IOVEC_BYTES))?;
            if left <= room {
                return Some(Start { entries_back, skip: room - left });
            }
            left -= room;
        }
        None
    }

    /// Where its entry is, from the one at which the call ended.
    #[inline(always)]
    pub const fn address(self, entry: u64) -> u64 {
        entry.wrapping_sub(self.entries_back * IOVEC_BYTES)
    }

    /// Both in one word, as a function of the probes returns it.
    pub const fn word(start: Option<Start>) -> u64 {
        match start {
            Some(Start { entries_back, skip }) => skip << ENTRIES_BITS | entries_back,
            None => NONE,
        }
    }

    /// The reverse.
    pub const fn of_word(word: u64) -> Option<Start> {
        if word == NONE {
            return None;
        }
        Some(Start { entries_back: word & ((1 << ENTRIES_BITS) - 1), skip: word >> ENTRIES_BITS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PREFIX_WORDS;
    use crate::segments::{Segment, segment};
    use proptest::prelude::*;
    use std::vec::Vec;

    const ARRAY: u64 = 1_000_000;

    /// An array of buffers; everything else cannot be read.
    struct Buffers(Vec<Segment>);

    impl Memory for Buffers {
        fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
            let index = address.checked_sub(ARRAY)? / IOVEC_BYTES;
            let buffer = self.0.get(usize::try_from(index).ok()?)?;
            let mut words = [0; N];
            words.copy_from_slice([buffer.address, buffer.size].get(..N)?);
            Some(words)
        }

        fn half(&self, _: u64) -> Option<u32> {
            None
        }

        fn fill(&self, _: u64, _: usize, _: &mut [u64; PREFIX_WORDS]) -> bool {
            false
        }
    }

    /// What a kernel does: moves bytes forward over the buffers. Gives the entry and the offset at which it stands.
    fn advanced(buffers: &[Segment], mut bytes: u64) -> (u64, u64) {
        let mut entry = ARRAY;
        for buffer in buffers {
            if bytes < buffer.size {
                break;
            }
            bytes -= buffer.size;
            entry += IOVEC_BYTES;
        }
        (entry, bytes)
    }

    /// Where `moved` bytes are from a place in the array on, each by its address.
    fn addresses(memory: &Buffers, mut entry: u64, mut skip: u64, moved: u64) -> Vec<u64> {
        let mut addresses = Vec::new();
        while addresses.len() < moved as usize {
            let Segment { address, size } = segment(memory, entry).expect("as many bytes as were moved");
            addresses.extend(address + skip..address + size);
            (entry, skip) = (entry + IOVEC_BYTES, 0);
        }
        addresses.truncate(moved as usize);
        addresses
    }

    fn buffers(rooms: &[u64]) -> Vec<Segment> {
        (1..).zip(rooms).map(|(index, &size)| Segment { address: index * 10_000, size }).collect()
    }

    /// Moves `before` bytes, then `moved`; steps back over the latter.
    fn check(rooms: &[u64], before: u64, moved: u64) {
        let memory = Buffers(buffers(rooms));
        let all: Vec<u64> = memory.0.iter().flat_map(|it| it.address..it.address + it.size).collect();
        let (entry, offset) = advanced(&memory.0, before + moved);
        let start = Start::before(&memory, entry, offset, moved).expect("few buffers");
        assert_eq!(Start::of_word(Start::word(Some(start))), Some(start));
        let expect = &all[before as usize..(before + moved) as usize];
        assert_eq!(
            addresses(&memory, start.address(entry), start.skip, moved),
            expect,
            "{rooms:?} {before} {moved}"
        );
    }

    #[test]
    fn a_call_that_took_everything_is_stepped_back_to_its_first_buffer() {
        check(&[5], 0, 5);
        check(&[5, 3, 4], 0, 12);
        check(&[5, 0, 4, 0], 0, 9);
    }

    #[test]
    fn a_call_that_ended_within_a_buffer_is_stepped_back_into_the_right_one() {
        check(&[5], 0, 3);
        check(&[5], 2, 2);
        check(&[5, 3, 4], 0, 7);
        check(&[5, 3, 4], 4, 5);
        check(&[0, 0, 4], 1, 2);
    }

    #[test]
    fn what_memory_does_not_say_is_not_known() {
        let memory = Buffers(buffers(&[5, 3]));
        assert_eq!(Start::before(&memory, ARRAY, 2, 3), None, "there is no entry before the first");
        let many = Buffers(buffers(&[1; SEGMENTS_MAX + 1]));
        let (entry, offset) = advanced(&many.0, SEGMENTS_MAX as u64 + 1);
        assert_eq!(Start::before(&many, entry, offset, SEGMENTS_MAX as u64 + 1), None);
        assert_eq!(Start::of_word(Start::word(None)), None);
    }

    proptest! {
        #[test]
        fn stepping_back_undoes_moving_forward(
            rooms in proptest::collection::vec(0u64..20, 1..SEGMENTS_MAX),
            parts in (0.0..1.0f64, 0.0..1.0f64),
        ) {
            let all: u64 = rooms.iter().sum();
            let before = (all as f64 * parts.0) as u64;
            let moved = ((all - before) as f64 * parts.1) as u64;
            check(&rooms, before, moved);
        }
    }
}
