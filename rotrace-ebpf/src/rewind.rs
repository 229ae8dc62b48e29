//! Given: how far the kernel has come in the buffers of a call, and how many bytes the call moved. Gives: where the first
//! of those is. Refuses to know: which kernel's iterator it is, and how memory is read.
//!
//! At the return of `inet_sendmsg` and `inet_recvmsg` the iterator of the message stands behind what was moved. Stepping it
//! back is what `iov_iter_revert` does (lib/iov_iter.c, 5.10 to 7.3): so no program is needed at the entry.

use crate::limits::{ROUNDS, SEGMENTS_BACK_MAX};
use crate::memory::Memory;
use crate::segments::IOVEC_BYTES;

/// Where in an array of `struct iovec` a call began, from where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Entries before the one at which it ended; at most [`SEGMENTS_BACK_MAX`].
    pub entries_back: u64,
    /// Bytes of that entry's buffer that were moved by an earlier call.
    pub skip: u64,
}

/// How far a stretch of at most [`ROUNDS`] entries goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// To where the call began.
    Reaches(Start),
    /// Over all but so many of the bytes.
    Lacks(u64),
    /// Memory does not say.
    Unknown,
}

/// No word of a [`Stretch`].
const UNKNOWN: u64 = u64::MAX;
/// Set in the word of a stretch that lacks bytes, of which a call moves less than 2 GiB (MAX_RW_COUNT, include/linux/fs.h).
const LACKS: u64 = 1 << 63;
const ENTRIES_BITS: u32 = 11;
const _: () = assert!(SEGMENTS_BACK_MAX < 1 << ENTRIES_BITS);

impl Stretch {
    /// Steps back over entries by the `left` bytes before the one at `entry`.
    #[inline(always)]
    pub fn before(memory: &impl Memory, entry: u64, mut left: u64) -> Stretch {
        let mut entries_back = 0;
        while entries_back < ROUNDS as u64 {
            entries_back += 1;
            let Some([_, room]) = memory.words(entry.wrapping_sub(entries_back * IOVEC_BYTES)) else {
                return Stretch::Unknown;
            };
            if left <= room {
                return Stretch::Reaches(Start { entries_back, skip: room - left });
            }
            left -= room;
        }
        Stretch::Lacks(left)
    }

    /// In one word, as a function of the probes returns it.
    pub const fn word(self) -> u64 {
        match self {
            Stretch::Reaches(Start { entries_back, skip }) => skip << ENTRIES_BITS | entries_back,
            Stretch::Lacks(left) => LACKS | left,
            Stretch::Unknown => UNKNOWN,
        }
    }

    /// The reverse.
    pub const fn of_word(word: u64) -> Stretch {
        if word == UNKNOWN {
            return Stretch::Unknown;
        }
        if word & LACKS != 0 {
            return Stretch::Lacks(word & !LACKS);
        }
        Stretch::Reaches(Start { entries_back: word & ((1 << ENTRIES_BITS) - 1), skip: word >> ENTRIES_BITS })
    }
}

impl Start {
    /// Steps back by the `moved` bytes before byte `offset` of the buffer of `entry`; `None` where that takes more than
    /// [`SEGMENTS_BACK_MAX`] entries, or memory does not say. `stretch` is [`Stretch::before`].
    #[inline(always)]
    pub fn before(
        stretch: impl Fn(u64, u64) -> Stretch,
        entry: u64,
        offset: u64,
        moved: u64,
    ) -> Option<Start> {
        if moved <= offset {
            return Some(Start { entries_back: 0, skip: offset - moved });
        }
        let mut left = moved - offset;
        let mut passed = 0;
        while passed < SEGMENTS_BACK_MAX as u64 {
            match stretch(entry.wrapping_sub(passed * IOVEC_BYTES), left) {
                Stretch::Reaches(Start { entries_back, skip }) => {
                    return Some(Start { entries_back: passed + entries_back, skip });
                }
                Stretch::Lacks(rest) => left = rest,
                Stretch::Unknown => return None,
            }
            passed += ROUNDS as u64;
        }
        None
    }

    /// Where its entry is, from the one at which the call ended.
    #[inline(always)]
    pub const fn address(self, entry: u64) -> u64 {
        entry.wrapping_sub(self.entries_back * IOVEC_BYTES)
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

    /// As the probes do it, by words.
    fn stepped_back(memory: &Buffers, entry: u64, offset: u64, moved: u64) -> Option<Start> {
        let stretch = |entry, left| Stretch::of_word(Stretch::before(memory, entry, left).word());
        Start::before(stretch, entry, offset, moved)
    }

    fn buffers(rooms: &[u64]) -> Vec<Segment> {
        (1..).zip(rooms).map(|(index, &size)| Segment { address: index * 10_000, size }).collect()
    }

    /// Moves `before` bytes, then `moved`; steps back over the latter.
    fn check(rooms: &[u64], before: u64, moved: u64) {
        let memory = Buffers(buffers(rooms));
        let all: Vec<u64> = memory.0.iter().flat_map(|it| it.address..it.address + it.size).collect();
        let (entry, offset) = advanced(&memory.0, before + moved);
        let start = stepped_back(&memory, entry, offset, moved).expect("few buffers");
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
        assert_eq!(stepped_back(&memory, ARRAY, 2, 3), None, "there is no entry before the first");
        let many = Buffers(buffers(&[1; SEGMENTS_BACK_MAX + 1]));
        let (entry, offset) = advanced(&many.0, SEGMENTS_BACK_MAX as u64 + 1);
        assert_eq!(stepped_back(&many, entry, offset, SEGMENTS_BACK_MAX as u64 + 1), None);
    }

    #[test]
    fn as_many_buffers_as_a_call_can_have_are_stepped_back_over() {
        for count in [ROUNDS - 1, ROUNDS, ROUNDS + 1, SEGMENTS_BACK_MAX - 1, SEGMENTS_BACK_MAX] {
            check(&std::vec![3; count], 0, 3 * count as u64);
            check(&std::vec![3; count], 1, 3 * count as u64 - 2);
        }
    }

    proptest! {
        #[test]
        fn stepping_back_undoes_moving_forward(
            rooms in proptest::collection::vec(0u64..20, 1..4 * ROUNDS),
            parts in (0.0..1.0f64, 0.0..1.0f64),
        ) {
            let all: u64 = rooms.iter().sum();
            let before = (all as f64 * parts.0) as u64;
            let moved = ((all - before) as f64 * parts.1) as u64;
            check(&rooms, before, moved);
        }
    }
}
