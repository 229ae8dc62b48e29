//! Given: words of values that rustls passes by address. Gives: where the plaintext is that they stand for, or that they are not
//! of a form that is known. Refuses to know: how memory is read, and which connection it is.
//!
//! Rust promises no layout, but two things are certain: a slice is its address and then its length, and a variant without a
//! word of its own is told by a value that the other variant cannot have. What is read is believed when it can be nothing
//! else; then the lengths must be those of a TLS record.

use crate::segments::Segment;

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

/// Bytes in one buffer, or in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Spread {
    /// The one buffer; or where the several are told, by slices of Rust, which are like entries of `struct iovec`.
    pub address: u64,
    /// How many slices there are; 0 where there is one buffer.
    pub entries: u64,
    /// Bytes of the buffers to pass over.
    pub skip: u64,
    /// Bytes behind those; 0 where nothing is sent.
    pub size: u64,
}

impl Spread {
    /// Nothing that is sent.
    pub const NONE: Spread = Spread { address: 0, entries: 0, skip: 0, size: 0 };
}

/// The plaintext of an `OutboundPlainMessage` by its first words: those of `OutboundChunks`, which is one slice or a range of
/// the bytes of several (rustls/src/msgs/message/outbound.rs, 0.23). `None` where they are of no known form.
#[inline(always)]
pub fn outbound(words: [u64; 4]) -> Option<Spread> {
    let spread = match words {
        [0, address, size, _] => Spread { address, entries: 0, skip: 0, size },
        [address, entries, start, end] => {
            Spread { address, entries, skip: start, size: end.wrapping_sub(start) }
        }
    };
    let is_empty = words[0] != 0 && spread.entries == 0;
    (is_address(spread.address) && is_length(spread.size) && !is_empty).then_some(spread)
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
    fn one_slice_is_a_buffer() {
        let spread = outbound([0, HEAP + 64, 77, 0xdead]);
        assert_eq!(spread, Some(Spread { address: HEAP + 64, entries: 0, skip: 0, size: 77 }));
    }

    #[test]
    fn several_slices_have_a_range() {
        let spread = outbound([HEAP + 64, 3, 100, 16484]);
        assert_eq!(spread, Some(Spread { address: HEAP + 64, entries: 3, skip: 100, size: 16384 }));
    }

    #[test]
    fn what_is_no_record_is_not_believed() {
        assert_eq!(outbound([u64::from_le_bytes(*b"GET / HT"), 3, 0, 5]), None);
        assert_eq!(outbound([HEAP, 3, 0, 16385]), None);
        assert_eq!(outbound([HEAP, 3, 6, 5]), None);
        assert_eq!(outbound([0, 12, 6, 0]), None);
        assert_eq!(outbound([HEAP, 0, 0, 5]), None);
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
            for size in outbound(words).map(|spread| spread.size).into_iter().chain(inbound([a, b, c]).map(|found| found.size)) {
                prop_assert!(size <= RECORD_PLAINTEXT_BYTES);
            }
        }
    }
}
