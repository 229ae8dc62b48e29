//! Given: words of values that rustls passes by address. Gives: where the plaintext is that they stand for, or that they are not
//! of a form that is known. Refuses to know: how memory is read, and which connection it is.
//!
//! Rust promises no layout, but two things are certain: a slice is its address and then its length, and a variant without a
//! word of its own is told by a value that the other variant cannot have. What is read is believed when it can be nothing
//! else; then the lengths must be those of a TLS record.

use crate::segments::{Segment, Vector};

/// Plaintext of a TLS record, at most (RFC 8446 §5.1).
pub const RECORD_PLAINTEXT_BYTES: u64 = 16384;

/// No address of a process is below this: its program is mapped above (`ld` places one that is not relocated at 4 MiB), and the
/// rest above that. No length of a record is above it.
const ADDRESSES_FROM: u64 = 1 << 20;

/// The end of a process's addresses (47 bits on x86-64).
const ADDRESSES_END: u64 = 1 << 47;

/// Where a capacity cannot be: the uppermost bit of the word says that there is none (`Vec`'s niche, the values above
/// `isize::MAX`).
const NO_CAPACITY: u64 = 1 << 63;

/// Bytes in several buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The buffers: slices in Rust are like entries of `struct iovec`.
    pub vector: Vector,
    /// Bytes of them to pass over.
    pub skip: u64,
    /// Bytes behind those.
    pub size: u64,
}

/// The plaintext of an `OutboundPlainMessage` at `address`, by its first words: those of `OutboundChunks`, which is one slice
/// or a range of the bytes of several (rustls/src/msgs/message/outbound.rs, 0.23). `None` where they are of no known form.
#[inline(always)]
pub fn outbound(address: u64, words: [u64; 4]) -> Option<Spread> {
    let [chunks, entries, start, end] = words;
    let (vector, skip, size) = if chunks == 0 {
        // The two words of the one slice, whose length is where the range of several would begin.
        (Vector { address: address.wrapping_add(8), entries: 1 }, 0, start)
    } else {
        (Vector { address: chunks, entries }, start, end.wrapping_sub(start))
    };
    let first = if chunks == 0 { entries } else { chunks };
    (is_address(first) && is_length(size)).then_some(Spread { vector, skip, size })
}

/// The plaintext of a `Payload` by its words: a slice, or a `Vec` with address, length and capacity in an order that the
/// compiler chose (rustls/src/msgs/base.rs, 0.23). `None` where they are of no known form.
#[inline(always)]
pub fn inbound(words: [u64; 3]) -> Option<Segment> {
    let [a, b, c] = words;
    let (address, one, other) = match (is_address(a), is_address(b), is_address(c)) {
        (true, false, false) => (a, b, c),
        (false, true, false) => (b, a, c),
        (false, false, true) => (c, a, b),
        _ => return None,
    };
    // A length is no more than the capacity, and a capacity that is none is more than any length.
    let (size, rest) = if one < other { (one, other) } else { (other, one) };
    let is_rest = rest < ADDRESSES_FROM || rest == NO_CAPACITY;
    (is_length(size) && is_rest).then_some(Segment { address, size })
}

#[inline(always)]
fn is_address(word: u64) -> bool {
    (ADDRESSES_FROM..ADDRESSES_END).contains(&word)
}

#[inline(always)]
fn is_length(word: u64) -> bool {
    (1..=RECORD_PLAINTEXT_BYTES).contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAP: u64 = 0x5555_5555_0000;

    #[test]
    fn one_slice_stands_within_the_message() {
        let spread = outbound(HEAP, [0, HEAP + 64, 77, 0xdead]).unwrap();
        assert_eq!(spread.vector, Vector { address: HEAP + 8, entries: 1 });
        assert_eq!((spread.skip, spread.size), (0, 77));
    }

    #[test]
    fn several_slices_have_a_range() {
        let spread = outbound(HEAP, [HEAP + 64, 3, 100, 16484]).unwrap();
        assert_eq!(spread.vector, Vector { address: HEAP + 64, entries: 3 });
        assert_eq!((spread.skip, spread.size), (100, 16384));
    }

    #[test]
    fn what_is_no_record_is_not_believed() {
        assert_eq!(outbound(HEAP, [u64::from_le_bytes(*b"GET / HT"), 3, 0, 5]), None);
        assert_eq!(outbound(HEAP, [HEAP, 3, 0, 16385]), None);
        assert_eq!(outbound(HEAP, [HEAP, 3, 6, 5]), None);
        assert_eq!(outbound(HEAP, [0, 12, 6, 0]), None);
        assert_eq!(inbound([HEAP, HEAP, 10]), None);
        assert_eq!(inbound([HEAP, 0, 10]), None);
        assert_eq!(inbound([HEAP, 16385, 16385]), None);
        assert_eq!(inbound([HEAP, NO_CAPACITY + 1, 10]), None);
    }

    proptest! {
        #[test]
        fn a_payload_is_read_in_any_order(length in 1..=RECORD_PLAINTEXT_BYTES, spare in 0..4096_u64, borrowed: bool) {
            let capacity = if borrowed { NO_CAPACITY } else { length + spare };
            let expected = Some(Segment { address: HEAP, size: length });
            for words in [
                [capacity, HEAP, length],
                [capacity, length, HEAP],
                [HEAP, capacity, length],
                [HEAP, length, capacity],
                [length, HEAP, capacity],
                [length, capacity, HEAP],
            ] {
                prop_assert_eq!(inbound(words), expected);
            }
        }

        #[test]
        fn any_words_are_taken(words: [u64; 4]) {
            let [a, b, c, _] = words;
            for size in outbound(HEAP, words).map(|spread| spread.size).into_iter().chain(inbound([a, b, c]).map(|found| found.size)) {
                prop_assert!(size <= RECORD_PLAINTEXT_BYTES);
            }
        }
    }
}
