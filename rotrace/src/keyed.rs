//! Given: bytes that may not be kept, and the key of this start. Gives: a number that says only whether two of them are
//! the same. Refuses to know: what they mean.
//!
//! SipHash-1-3 under a random 128-bit key: whoever sees the numbers cannot try values until one fits, and numbers of two
//! starts have nothing in common.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The key of one start.
#[derive(Clone, Copy, Default)]
pub struct Key {
    halves: (u64, u64),
}

impl Key {
    /// Of random bytes. A capture that is replayed takes [`Key::default`], so that its report is always the same.
    pub fn new(random: [u8; 16]) -> Self {
        let value = u128::from_le_bytes(random);
        Key { halves: (value as u64, (value >> 64) as u64) }
    }

    /// The number of these bytes.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.halves.0, self.halves.1);
        hasher.write(bytes);
        hasher.finish()
    }

    /// Begins the number of bytes that come in pieces. It never leaves the process, so it need not withstand whoever tries
    /// values, only be quick.
    pub fn running(&self) -> Running {
        let first = combine(self.halves.0, self.halves.1);
        let lanes = [first, first ^ 1, first ^ 2, first ^ 3];
        Running { lanes, word: 0, bytes: 0 }
    }

    /// A number for a name that may be kept and is only looked up: faster, and no secret is safe in it.
    #[inline]
    pub fn name(&self, bytes: &[u8]) -> u64 {
        let length = (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (words, rest) = bytes.as_chunks::<8>();
        let number = words.iter().fold(self.halves.0 ^ length, |number, &word| {
            // The order of words matters, since each product depends on all before it.
            fold(number ^ u64::from_le_bytes(word))
        });
        let rest = match (rest, bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            ([], ..) => 0,
            // Bytes that are read twice make no difference to names of the same length.
            (_, Some(&last), ..) => u64::from_le_bytes(last),
            (_, None, Some(&first), Some(&last)) => {
                u64::from(u32::from_le_bytes(first)) << 32 | u64::from(u32::from_le_bytes(last))
            }
            _ => rest.iter().fold(0, |rest, &byte| rest << 8 | u64::from(byte)),
        };
        fold(fold(number ^ rest) ^ self.halves.1)
    }
}

/// The number of bytes that come in pieces; how they were cut makes no difference. Words go to the lanes in turn, so that
/// a processor need not wait for one product before it begins the next.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    lanes: [u64; 4],
    /// Bytes that do not fill a word yet, the first in the lowest place.
    word: u64,
    bytes: u32,
}

impl Running {
    /// Takes the next bytes.
    pub fn write(&mut self, mut bytes: &[u8]) {
        const BLOCK_BYTES: usize = 32;
        while !bytes.is_empty() {
            let mut block = bytes;
            if (self.bytes as usize).is_multiple_of(BLOCK_BYTES) {
                let mut blocks = bytes.chunks_exact(BLOCK_BYTES);
                (&mut blocks).for_each(|block| self.take_block(block));
                block = blocks.remainder();
            }
            // What is left is less than a block, or fills up the one that has begun.
            let room = BLOCK_BYTES - self.bytes as usize % BLOCK_BYTES;
            let (now, rest) = block.split_at_checked(room).unwrap_or((block, &[]));
            now.iter().for_each(|&byte| self.take(byte));
            bytes = rest;
        }
    }

    /// Takes one word for each lane.
    fn take_block(&mut self, block: &[u8]) {
        for (lane, word) in self.lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = fold(*lane ^ word.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word)));
        }
        self.bytes = self.bytes.wrapping_add(block.len() as u32);
    }

    fn take(&mut self, byte: u8) {
        self.word |= u64::from(byte) << (8 * (self.bytes % 8));
        self.bytes = self.bytes.wrapping_add(1);
        if self.bytes.is_multiple_of(8) {
            let word = std::mem::take(&mut self.word);
            let [first, second, third, last] = &mut self.lanes;
            let lane = match (self.bytes / 8) % 4 {
                1 => first,
                2 => second,
                3 => third,
                _ => last,
            };
            *lane = fold(*lane ^ word);
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The number of all of them.
    pub fn finish(&self) -> u64 {
        let number = self.lanes.iter().fold(self.word, |number, &lane| fold(number ^ lane));
        combine(number, self.bytes.into())
    }
}

/// Both halves of the product with an odd constant: every bit of the input reaches every bit.
#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word ^ 0x2d35_8dcc_aa6c_78a5) * 0x8bb8_4b93_962e_acc9;
    product as u64 ^ (product >> 64) as u64
}

/// The key itself is a secret.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// One number of two, the order of which matters. For numbers that are hashes already, or that no stranger chooses.
#[inline]
pub fn combine(a: u64, b: u64) -> u64 {
    // The finaliser of MurmurHash3 over a sum that is not symmetric.
    let mut mixed = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ b;
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equality_is_all_that_is_left() {
        let (one, other) = (Key::new([1; 16]), Key::new([2; 16]));
        assert_eq!(one.hash(b"token"), one.hash(b"token"));
        assert_ne!(one.hash(b"token"), one.hash(b"Token"));
        assert_ne!(one.hash(b"token"), other.hash(b"token"));
        assert_eq!(format!("{one:?}"), "Key");
    }

    #[test]
    fn names_that_differ_anywhere_have_other_numbers() {
        let key = Key::default();
        let names = ["", "a", "b", "aa", "12345678", "123456789", "a2345678", "12345678\0"];
        for (at, one) in names.iter().enumerate() {
            for (other_at, other) in names.iter().enumerate() {
                assert_eq!(key.name(one.as_bytes()) == key.name(other.as_bytes()), at == other_at);
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(0..200usize, 0..6)) {
            let key = Key::new([7; 16]);
            let mut whole = key.running();
            whole.write(&bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut <= bytes.len()).collect();
            cuts.sort_unstable();
            let mut pieces = key.running();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                pieces.write(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!((whole.finish(), whole.bytes()), (pieces.finish(), pieces.bytes()));
            let mut other = bytes.clone();
            other.push(0);
            let mut longer = key.running();
            longer.write(&other);
            prop_assert_ne!(whole.finish(), longer.finish());
        }
    }

    #[test]
    fn the_order_matters() {
        assert_ne!(combine(1, 2), combine(2, 1));
        assert_ne!(combine(0, 0), combine(0, 1));
    }
}
