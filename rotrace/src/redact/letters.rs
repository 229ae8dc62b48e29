//! Given: values that may not be kept, and a key. Gives: letters in their place, which say only whether two values are the
//! same. Refuses to know: what a value is part of.
//!
//! Each byte becomes a letter of one of [`ALPHABETS`] alphabets, the order of which is as secret as the key; which of them,
//! a keyed hash decides, of the bytes before it and of what kind of character it is. From the first byte on in which two
//! values differ, their letters have nothing in common, and in that byte two small letters or digits never become the
//! same: values of one shape are told apart however short they are. A value that is there as a whole goes through from
//! both ends, so that what two values begin with in common is not seen either; of a body that comes in pieces it is.

use crate::keyed::{Key, combine};

/// What overwritten bytes become: consonants without `c`, `t` and `v`, so that nothing that anybody reads a meaning into
/// can come out, be it a number, `close`, or a query key such as `t` or `cb`.
const LETTERS: [u8; PLACES] = *b"bdfghjklmnpqrswxyzBDFGHJKLMNPQRSWXYZ";

/// One for each digit and small letter.
const PLACES: usize = 36;

/// As many as a byte can choose from.
const ALPHABETS: usize = 256;

/// Values up to this length are told apart by their bytes, one by one; of longer ones the hash, which has 64 bits, fits
/// into their letters.
const SHORT_BYTES: usize = 12;

/// Stands for a control character: a value that has one goes on having one.
pub(super) const CONTROL: u8 = 1;

/// Writes letters under one key.
pub(super) struct Letters {
    key: Key,
    /// Keeps hashes that are not keyed themselves from being known.
    secret: u64,
    alphabets: Box<[[u8; PLACES]]>,
}

/// Which bytes came before, in a value or body that is overwritten from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Hash of all but the last few.
    hash: u64,
    /// The last few behind a bit that says how many they are.
    last: u64,
}

impl Letters {
    pub(super) fn new(key: Key) -> Self {
        let alphabets = (0..ALPHABETS).map(|number| alphabet(key.hash(&number.to_le_bytes()))).collect();
        Letters { key, secret: key.hash(b"letters"), alphabets }
    }

    /// Overwrites a whole value. White space and control characters stay what they are, since they say whether a target or
    /// a value is one.
    pub(super) fn overwrite(&self, value: &mut [u8]) {
        if value.len() <= SHORT_BYTES {
            return self.overwrite_short(value);
        }
        let hash = self.key.hash(value);
        for (byte, index) in value.iter_mut().zip(0..) {
            put(byte, (combine(hash, index) % PLACES as u64) as u8);
        }
    }

    /// Overwrites the next bytes of a body, white space and all.
    pub(super) fn overwrite_next(&self, before: &mut Before, bytes: &mut [u8]) {
        for byte in bytes {
            let place = self.place_behind(before, *byte);
            before.take(*byte, &self.key);
            *byte = letter(place);
        }
    }

    fn overwrite_short(&self, value: &mut [u8]) {
        let mut shape = [0; SHORT_BYTES];
        shape.iter_mut().zip(&*value).for_each(|(to, byte)| *to = kind(*byte));
        let mut places = [0; SHORT_BYTES];
        let mut before = Before { hash: self.key.hash(&shape), ..Before::default() };
        for (byte, to) in value.iter().zip(&mut places) {
            *to = self.place_behind(&before, *byte);
            before.take(*byte, &self.key);
        }
        let mut behind = Before::default();
        for (byte, &from) in value.iter_mut().zip(&places).rev() {
            // White space can be seen, and its place cannot: what depended on it would not be certain to differ.
            if !byte.is_ascii_control() && *byte != b' ' {
                put(byte, self.chosen(&behind, 0, from));
                behind.take(from, &self.key);
            } else {
                put(byte, from);
            }
        }
    }

    fn place_behind(&self, before: &Before, byte: u8) -> u8 {
        self.chosen(before, kind(byte), place(byte))
    }

    /// Where a byte of a kind stands in the alphabet that it chooses with those before it, if it stands at `place` in the
    /// usual one.
    fn chosen(&self, before: &Before, kind: u8, place: u8) -> u8 {
        let choice =
            combine(self.secret ^ before.hash, before.last << 8 | u64::from(kind)) as usize % ALPHABETS;
        let alphabet = self.alphabets.get(choice);
        alphabet.and_then(|alphabet| alphabet.get(usize::from(place))).copied().unwrap_or(place)
    }
}

impl Before {
    fn take(&mut self, byte: u8, key: &Key) {
        self.last = self.last << 8 | u64::from(byte);
        let is_full = self.last >> 56 != 0;
        if is_full {
            let both = u128::from(self.hash) << 64 | u128::from(self.last);
            *self = Before { hash: key.hash(&both.to_le_bytes()), ..Before::default() };
        }
    }
}

/// Nothing came before.
impl Default for Before {
    fn default() -> Self {
        Before { hash: 0, last: 1 }
    }
}

/// They say as much as the key does.
impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Letters")
    }
}

/// All places, shuffled (Fisher and Yates).
fn alphabet(seed: u64) -> [u8; PLACES] {
    let mut places = std::array::from_fn(|place| place as u8);
    for last in (1..PLACES).rev() {
        places.swap(last, (combine(seed, last as u64) % (last as u64 + 1)) as usize);
    }
    places
}

/// Bytes of one kind have places of their own each.
fn kind(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'a'..=b'z' => b'a',
        b'A'..=b'Z' => b'A',
        _ => byte,
    }
}

/// Where a byte stands in the usual alphabet: each digit and small letter has its own place.
fn place(byte: u8) -> u8 {
    char::from(byte).to_digit(PLACES as u32).map_or(byte % PLACES as u8, |digit| digit as u8)
}

fn letter(place: u8) -> u8 {
    LETTERS.get(usize::from(place)).copied().unwrap_or(super::OVERWRITTEN)
}

fn put(byte: &mut u8, place: u8) {
    if byte.is_ascii_control() && !byte.is_ascii_whitespace() {
        *byte = CONTROL;
    } else if !byte.is_ascii_whitespace() {
        *byte = letter(place);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn letters() -> Letters {
        Letters::new(Key::new([7; 16]))
    }

    fn value(bytes: &[u8]) -> Vec<u8> {
        let mut value = bytes.to_vec();
        letters().overwrite(&mut value);
        value
    }

    /// A body that comes in pieces of `size` bytes.
    fn body(bytes: &[u8], size: usize) -> Vec<u8> {
        let (letters, mut before, mut body) = (letters(), Before::default(), bytes.to_vec());
        body.chunks_mut(size).for_each(|piece| letters.overwrite_next(&mut before, piece));
        body
    }

    #[test]
    fn values_of_small_letters_and_digits_are_told_apart_however_short() {
        let sign = |place: usize| char::from_digit(place as u32, 36).expect("a digit");
        let letters = letters();
        let mut seen = BTreeSet::new();
        for number in 0..36 * 36 {
            for text in
                [format!("{}{}", sign(number / 36), sign(number % 36)), format!("a {}-", sign(number % 36))]
            {
                let mut text = text.into_bytes();
                letters.overwrite(&mut text);
                seen.insert(text);
            }
        }
        assert_eq!(seen.len(), 36 * 36 + 36);
        let last = |digit: char| body(format!("page={digit}").as_bytes(), 9);
        assert_eq!(('0'..='9').map(last).collect::<BTreeSet<_>>().len(), 10);
    }

    #[test]
    fn nothing_is_left_but_letters_and_white_space() {
        let long = value(b"Bearer abcdefgh\0\r\n\tijk");
        assert!(long.iter().zip(b"aaaaaa aaaaaaaa\x01\r\n\taaa").all(|(own, like)| match like {
            b'a' => LETTERS.contains(own),
            other => own == other,
        }));
        assert!(body(b"{\"a\": 1}\0\n", 4).iter().all(|byte| LETTERS.contains(byte)));
        assert_eq!(format!("{:?}", letters()), "Letters");
    }

    #[test]
    fn no_letters_are_those_of_another_key() {
        let mut other = b"0123456789".to_vec();
        Letters::new(Key::new([8; 16])).overwrite(&mut other);
        assert_ne!(value(b"0123456789"), other);
    }

    #[test]
    fn what_values_begin_with_in_common_is_not_seen() {
        for (one, other) in [("session-1a", "session-1b"), ("session-17-of-user", "session-17-of-uses")] {
            let (one, other) = (value(one.as_bytes()), value(other.as_bytes()));
            let common = one.iter().zip(&other).filter(|(one, other)| one == other).count();
            assert!(common <= 3, "{one:?} {other:?}");
        }
    }

    proptest! {
        #[test]
        fn the_same_values_stay_the_same_and_no_others_become_it(
            one in proptest::collection::vec(any::<u8>(), 4..40),
            at: prop::sample::Index,
            change in 1u8..=255,
            size in 1usize..50,
        ) {
            let mut other = one.clone();
            let changed = at.get_mut(&mut other);
            *changed ^= change;
            prop_assert_eq!(value(&one), value(&one));
            prop_assert_eq!(body(&one, size), body(&one, 1));
            let counts = |byte: &u8| !byte.is_ascii_whitespace() && !byte.is_ascii_control();
            if other.iter().filter(|byte| counts(byte)).count().min(one.iter().filter(|byte| counts(byte)).count()) >= 4 {
                prop_assert_ne!(value(&one), value(&other));
            }
            if at.index(one.len()) + 4 <= one.len() {
                prop_assert_ne!(body(&one, size), body(&other, size));
            }
            prop_assert_eq!(value(&one).len(), one.len());
        }

        #[test]
        fn nothing_of_a_value_appears(secret in "[a-zA-Z0-9+/=_.-]{6,60}") {
            for redacted in [value(secret.as_bytes()), body(secret.as_bytes(), 7)] {
                prop_assert!(!secret.as_bytes().windows(6).any(|run| redacted.windows(6).any(|own| own == run)));
            }
        }
    }
}
