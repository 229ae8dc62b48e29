//! Given: the arguments of a call that moves stream bytes, and its result. Gives: the buffers those bytes are in,
//! in stream order. Refuses to know: what the bytes mean and how memory is read.

use crate::limits::ROUNDS;
use crate::memory::Memory;

/// Size of `struct iovec` on 64-bit (include/uapi/linux/uio.h).
pub const IOVEC_BYTES: u64 = 16;
/// Size of `struct mmsghdr` on 64-bit (include/linux/socket.h), which begins with a `struct user_msghdr`.
pub const MMSGHDR_BYTES: u64 = 64;
/// Offset of `msg_iov` in `struct user_msghdr` on 64-bit; `msg_iovlen` is the word behind it.
const MSGHDR_IOV: u64 = 16;
/// Offset of `msg_len` in `struct mmsghdr`.
const MMSGHDR_LEN: u64 = 56;

/// An entry of an array of `struct iovec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its buffer is in the process.
    pub address: u64,
    /// How many bytes that has; of the last that a call used, only the first may have been moved.
    pub size: u64,
}

/// An array of `struct iovec`, which says where the buffers of a call are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Where it begins.
    pub address: u64,
    /// How many entries it has. A process may say anything; the probes look at so many as they look at in any case.
    pub entries: u64,
}

/// The entry at `address`; `None` where it cannot be read.
#[inline(always)]
pub fn segment(memory: &impl Memory, address: u64) -> Option<Segment> {
    let [address, size] = memory.words(address)?;
    Some(Segment { address, size })
}

/// The vector of the `struct user_msghdr` at `address`; `None` where it cannot be read.
#[inline(always)]
pub fn vector(memory: &impl Memory, address: u64) -> Option<Vector> {
    let [address, entries] = memory.words(address.wrapping_add(MSGHDR_IOV))?;
    Some(Vector { address, entries })
}

/// Bytes that the message of the `struct mmsghdr` at `address` moved; `None` where it cannot be read.
#[inline(always)]
pub fn size_of_message(memory: &impl Memory, address: u64) -> Option<u64> {
    memory.half(address.wrapping_add(MMSGHDR_LEN)).map(u64::from)
}

/// Bytes that the first `messages` messages of `sendmmsg` or `recvmmsg`, at most [`ROUNDS`] of them, moved in all; what
/// cannot be read counts as 0.
#[inline(always)]
pub fn total_of_messages(memory: &impl Memory, address: u64, messages: u64) -> u64 {
    let mut total = 0;
    let mut at = 0;
    while at < ROUNDS as u64 {
        if at >= messages {
            break;
        }
        let length = address.wrapping_add(at * MMSGHDR_BYTES + MMSGHDR_LEN);
        total += memory.half(length).unwrap_or(0) as u64;
        at += 1;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PREFIX_WORDS;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Memory of words, and of half words at word addresses; everything else cannot be read.
    #[derive(Default)]
    struct Words(BTreeMap<u64, u64>);

    impl Memory for Words {
        fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
            let mut words = [0; N];
            for (word, at) in words.iter_mut().zip(0..) {
                *word = *self.0.get(&address.checked_add(at * 8)?)?;
            }
            Some(words)
        }

        fn half(&self, address: u64) -> Option<u32> {
            self.0.get(&address).map(|word| *word as u32)
        }

        fn fill(&self, _: u64, _: usize, _: &mut [u64; PREFIX_WORDS]) -> bool {
            false
        }
    }

    impl Words {
        fn vector(&mut self, at: u64, buffers: &[(u64, u64)]) {
            for (index, (address, room)) in (0..).zip(buffers) {
                self.0.insert(at + index * 16, *address);
                self.0.insert(at + index * 16 + 8, *room);
            }
        }

        fn message(&mut self, at: u64, vector: u64, entries: u64, size: u64) {
            self.0.insert(at + MSGHDR_IOV, vector);
            self.0.insert(at + MSGHDR_IOV + 8, entries);
            self.0.insert(at + MMSGHDR_LEN, size);
        }
    }

    /// The buffers of a vector of which `size` bytes were moved, and whether they are all; as the probes take them.
    fn walk(memory: &Words, Vector { address, entries }: Vector, size: u64) -> (Vec<(u64, u64)>, bool) {
        let (mut segments, mut left) = (Vec::new(), size);
        for index in 0..entries.min(100) {
            let Some(found) = segment(memory, address + index * IOVEC_BYTES) else { break };
            let size = found.size.min(left);
            left -= size;
            if size > 0 {
                segments.push((found.address, size));
            }
        }
        (segments, left == 0)
    }

    #[test]
    fn a_vector_is_cut_to_what_was_moved() {
        let mut memory = Words::default();
        memory.vector(1000, &[(100, 4), (200, 0), (300, 10), (400, 10)]);
        let moved = |size| walk(&memory, Vector { address: 1000, entries: 4 }, size);
        assert_eq!(moved(24), (std::vec![(100, 4), (300, 10), (400, 10)], true));
        assert_eq!(moved(5), (std::vec![(100, 4), (300, 1)], true));
        assert_eq!(moved(4), (std::vec![(100, 4)], true));
        assert!(!moved(25).1, "more than the buffers hold");
    }

    #[test]
    fn a_message_is_its_vector() {
        let mut memory = Words::default();
        memory.vector(1000, &[(100, 4), (300, 10)]);
        memory.message(2000, 1000, 2, 9);
        let found = vector(&memory, 2000).expect("a header");
        let size = size_of_message(&memory, 2000).expect("a length");
        assert_eq!(walk(&memory, found, size), (std::vec![(100, 4), (300, 5)], true));
        assert_eq!(vector(&memory, 3000), None, "memory that cannot be read");
        assert_eq!(size_of_message(&memory, 3000), None);
    }

    #[test]
    fn messages_follow_one_another() {
        let mut memory = Words::default();
        memory.message(2000, 1000, 2, 6);
        memory.message(2064, 1000, 2, 0);
        memory.message(2128, 1000, 1, 4);
        assert_eq!(total_of_messages(&memory, 2000, 3), 10);
        assert_eq!(total_of_messages(&memory, 2000, 4), 10, "the fourth cannot be read");
    }

    proptest! {
        #[test]
        fn segments_add_up_to_what_was_moved(rooms in proptest::collection::vec(0u64..50, 1..20), size in 1u64..600) {
            let mut memory = Words::default();
            let buffers: Vec<_> = (1..).zip(&rooms).map(|(index, room)| (index * 1000, *room)).collect();
            memory.vector(1_000_000, &buffers);
            let all = Vector { address: 1_000_000, entries: rooms.len() as u64 };
            let (segments, whole) = walk(&memory, all, size);
            let given: u64 = segments.iter().map(|segment| segment.1).sum();
            let room: u64 = rooms.iter().sum();
            prop_assert_eq!(given, size.min(room));
            prop_assert_eq!(whole, size <= room);
            for (address, size) in segments {
                prop_assert!(size > 0 && size <= rooms[(address / 1000 - 1) as usize]);
            }
        }
    }
}
