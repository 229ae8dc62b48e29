//! Given: the arguments of a call that moves stream bytes, and its result. Gives: the buffers those bytes are in,
//! in stream order. Refuses to know: what the bytes mean and how memory is read.

use crate::limits::MESSAGES_MAX;
use crate::memory::Memory;

/// Size of `struct iovec` on 64-bit (include/uapi/linux/uio.h).
pub const IOVEC_BYTES: u64 = 16;
/// Offset of `msg_iov` in `struct user_msghdr` on 64-bit (include/linux/socket.h); `msg_iovlen` is the word behind it.
const MSGHDR_IOV: u64 = 16;
/// Size of `struct mmsghdr` on 64-bit, and the offset of its `msg_len`.
const MMSGHDR_BYTES: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// One buffer and the stream bytes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is in the process.
    pub address: u64,
    /// How many of its bytes the call moved; not 0.
    pub size: u64,
}

/// A walk over the buffers of one call. Every step is one look at memory, so that the probes can bound the steps.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Next iovec entry, or the buffer itself.
    next: u64,
    /// iovec entries left; [`PLAIN`] when `next` is the buffer itself.
    entries: u64,
    /// Bytes of the first buffer that an earlier call moved.
    skip: u64,
    /// Stream bytes of this message not yet given out.
    left: u64,
    /// Next message header, and how many there are.
    message: u64,
    messages: u64,
}

/// What one step of a [`Walk`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A buffer.
    Segment(Segment),
    /// Nothing at this step; take another.
    Again,
    /// All bytes have been given out.
    Done,
    /// The process's memory did not say where the rest is.
    Fault,
}

const PLAIN: u64 = u64::MAX;
/// What a process says of the number of its iovec entries is cut to this, so that it never says [`PLAIN`].
const ENTRIES_MASK: u64 = PLAIN >> 1;

impl Walk {
    /// One buffer: `read`, `write`, `recvfrom`, `sendto`.
    pub const fn buffer(address: u64, size: u64) -> Self {
        Walk { next: address, entries: PLAIN, skip: 0, left: size, message: 0, messages: 0 }
    }

    /// An array of `struct iovec`: `readv`, `writev`.
    pub const fn vector(address: u64, entries: u64, size: u64) -> Self {
        Walk { next: address, entries: entries & ENTRIES_MASK, skip: 0, left: size, message: 0, messages: 0 }
    }

    /// The same of as many entries as hold `size` bytes, without the first `skip` bytes of the first buffer.
    pub const fn rest(address: u64, skip: u64, size: u64) -> Self {
        Walk { next: address, entries: ENTRIES_MASK, skip, left: size, message: 0, messages: 0 }
    }

    /// A `struct user_msghdr`: `recvmsg`, `sendmsg`.
    #[inline(always)]
    pub fn message(memory: &impl Memory, address: u64, size: u64) -> Option<Self> {
        let [next, entries] = memory.words(address.wrapping_add(MSGHDR_IOV))?;
        Some(Walk { next, entries: entries & ENTRIES_MASK, skip: 0, left: size, message: 0, messages: 0 })
    }

    /// An array of `struct mmsghdr`: `recvmmsg`, `sendmmsg`, whose result counts messages.
    pub const fn messages(address: u64, messages: u64) -> Self {
        Walk { next: 0, entries: 0, skip: 0, left: 0, message: address, messages }
    }

    /// Goes one step on.
    #[inline(always)]
    pub fn step(&mut self, memory: &impl Memory) -> Step {
        if self.left == 0 {
            return self.next_message(memory);
        }
        if self.entries == PLAIN {
            let segment = Segment { address: self.next, size: self.left };
            self.left = 0;
            return Step::Segment(segment);
        }
        if self.entries == 0 {
            return Step::Fault;
        }
        let Some([address, room]) = memory.words(self.next) else { return Step::Fault };
        self.next = self.next.wrapping_add(IOVEC_BYTES);
        self.entries -= 1;
        let (address, room) = (address.wrapping_add(self.skip), room.saturating_sub(self.skip));
        self.skip = 0;
        let size = if room < self.left { room } else { self.left };
        self.left -= size;
        if size == 0 { Step::Again } else { Step::Segment(Segment { address, size }) }
    }

    #[inline(always)]
    fn next_message(&mut self, memory: &impl Memory) -> Step {
        if self.messages == 0 {
            return Step::Done;
        }
        let header = self.message;
        self.message = header.wrapping_add(MMSGHDR_BYTES);
        self.messages -= 1;
        let Some([next, entries]) = memory.words(header.wrapping_add(MSGHDR_IOV)) else { return Step::Fault };
        let Some(size) = memory.half(header.wrapping_add(MMSGHDR_LEN)) else { return Step::Fault };
        self.next = next;
        self.entries = entries & ENTRIES_MASK;
        self.left = size as u64;
        Step::Again
    }
}

/// Bytes that `messages` messages of `sendmmsg` or `recvmmsg` moved in all; what cannot be read counts as 0.
#[inline(always)]
pub fn total_of_messages(memory: &impl Memory, address: u64, messages: u64) -> u64 {
    let mut total = 0;
    let mut at = 0;
    while at < MESSAGES_MAX as u64 {
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

    /// All segments, and whether the walk came to its end.
    fn walk(memory: &Words, mut walk: Walk) -> (Vec<(u64, u64)>, bool) {
        let mut segments = Vec::new();
        for _ in 0..10_000 {
            match walk.step(memory) {
                Step::Segment(Segment { address, size }) => segments.push((address, size)),
                Step::Again => {}
                Step::Done => return (segments, true),
                Step::Fault => return (segments, false),
            }
        }
        panic!("the walk does not end");
    }

    #[test]
    fn a_buffer_is_one_segment() {
        assert_eq!(walk(&Words::default(), Walk::buffer(100, 7)), (std::vec![(100, 7)], true));
    }

    #[test]
    fn a_vector_is_cut_to_what_was_moved() {
        let mut memory = Words::default();
        memory.vector(1000, &[(100, 4), (200, 0), (300, 10), (400, 10)]);
        let moved = |size| walk(&memory, Walk::vector(1000, 4, size));
        assert_eq!(moved(24), (std::vec![(100, 4), (300, 10), (400, 10)], true));
        assert_eq!(moved(5), (std::vec![(100, 4), (300, 1)], true));
        assert_eq!(moved(4), (std::vec![(100, 4)], true));
        assert!(!moved(25).1, "more than the buffers hold");
    }

    /// The kernel took another number; the process has overwritten it since.
    #[test]
    fn no_number_of_entries_makes_a_vector_a_buffer() {
        let mut memory = Words::default();
        memory.vector(1000, &[(100, 4)]);
        memory.message(2000, 1000, u64::MAX, 4);
        assert_eq!(walk(&memory, Walk::vector(1000, u64::MAX, 4)), (std::vec![(100, 4)], true));
        let message = Walk::message(&memory, 2000, 4).expect("a header");
        assert_eq!(walk(&memory, message), (std::vec![(100, 4)], true));
        assert_eq!(walk(&memory, Walk::messages(2000, 1)), (std::vec![(100, 4)], true));
    }

    #[test]
    fn a_message_is_its_vector() {
        let mut memory = Words::default();
        memory.vector(1000, &[(100, 4), (300, 10)]);
        memory.message(2000, 1000, 2, 0);
        let message = Walk::message(&memory, 2000, 9).expect("a header");
        assert_eq!(walk(&memory, message), (std::vec![(100, 4), (300, 5)], true));
        assert!(Walk::message(&memory, 3000, 9).is_none(), "memory that cannot be read");
    }

    #[test]
    fn messages_follow_one_another_and_empty_ones_are_passed_over() {
        let mut memory = Words::default();
        memory.vector(1000, &[(100, 4), (300, 10)]);
        memory.message(2000, 1000, 2, 6);
        memory.message(2064, 1000, 2, 0);
        memory.message(2128, 1000, 1, 4);
        assert_eq!(walk(&memory, Walk::messages(2000, 3)), (std::vec![(100, 4), (300, 2), (100, 4)], true));
        assert_eq!(total_of_messages(&memory, 2000, 3), 10);
        assert!(!walk(&memory, Walk::messages(2000, 4)).1, "the fourth cannot be read");
    }

    proptest! {
        #[test]
        fn segments_add_up_to_what_was_moved(rooms in proptest::collection::vec(0u64..50, 1..20), size in 1u64..600) {
            let mut memory = Words::default();
            let buffers: Vec<_> = (1..).zip(&rooms).map(|(index, room)| (index * 1000, *room)).collect();
            memory.vector(1_000_000, &buffers);
            let (segments, whole) = walk(&memory, Walk::vector(1_000_000, rooms.len() as u64, size));
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
