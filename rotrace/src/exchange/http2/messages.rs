//! Given: the body of one direction of a gRPC call, of which parts may not be captured. Gives: how many messages it has.
//! Refuses to know: what is in them.

/// Bytes before each message: a flag, and its length in 4 bytes, the highest first (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// Counts messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    /// Messages that are over.
    count: u64,
    /// The prefix of the next, as far as it has come.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// Bytes of the message that are still to come.
    left: u64,
    /// A prefix was not seen.
    lost: bool,
}

impl Messages {
    /// Takes `size` bytes of the body, of which `shown` are the first.
    pub(super) fn take(&mut self, size: u64, mut shown: &[u8]) {
        let mut hidden = size.saturating_sub(shown.len() as u64);
        while !self.lost && (!shown.is_empty() || hidden > 0) {
            if self.left > 0 {
                let seen = self.left.min(shown.len() as u64);
                shown = shown.get(seen as usize..).unwrap_or_default();
                // Hidden bytes stand behind the shown ones.
                let unseen = (self.left - seen).min(if shown.is_empty() { hidden } else { 0 });
                hidden -= unseen;
                self.left -= seen + unseen;
                self.count += u64::from(self.left == 0);
            } else if let Some((&byte, rest)) = shown.split_first() {
                shown = rest;
                self.prefix_byte(byte);
            } else {
                self.lost = true;
            }
        }
    }

    /// Messages of a body that is over; `None` when they could not be counted.
    pub(super) fn count(&self) -> Option<u64> {
        (!self.lost).then_some(self.count)
    }

    /// How long the body is was not seen.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    fn prefix_byte(&mut self, byte: u8) {
        if let Some(place) = self.prefix.get_mut(self.prefix_bytes) {
            *place = byte;
            self.prefix_bytes += 1;
        }
        if self.prefix_bytes < PREFIX_BYTES {
            return;
        }
        let [_, length @ ..] = self.prefix;
        self.prefix_bytes = 0;
        self.left = u32::from_be_bytes(length).into();
        self.count += u64::from(self.left == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend(vec![0xff; length]);
        bytes
    }

    fn check(pieces: &[(u64, &[u8])], expect: Option<u64>) {
        let mut messages = Messages::default();
        pieces.iter().for_each(|(size, shown)| messages.take(*size, shown));
        assert_eq!(messages.count(), expect);
    }

    #[test]
    fn messages_whose_prefixes_are_seen_are_counted() {
        check(&[], Some(0));
        check(&[(105, &message(100)[..9])], Some(1));
        check(&[(100, &message(100)[..6]), (5, b"")], Some(1));
        check(&[(5, &message(0)), (5, &message(0))], Some(2));
        check(&[(105, &message(100)[..6]), (15, &message(10))], Some(2));
    }

    #[test]
    fn a_prefix_that_is_not_seen_makes_the_number_unknown() {
        check(&[(120, &message(100)[..6])], None);
        check(&[(1, b"")], None);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(lengths in prop::collection::vec(0usize..30, 0..6), size in 1usize..40) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&length| message(length)).collect();
            let mut messages = Messages::default();
            bytes.chunks(size).for_each(|piece| messages.take(piece.len() as u64, piece));
            prop_assert_eq!(messages.count(), Some(lengths.len() as u64));
        }

        #[test]
        fn it_ends_whatever_comes(pieces in prop::collection::vec((0u64..90, prop::collection::vec(any::<u8>(), 0..50)), 0..9)) {
            let mut messages = Messages::default();
            pieces.iter().for_each(|(more, shown)| messages.take(shown.len() as u64 + more, shown));
            prop_assert!(messages.count().is_none_or(|count| count < 1000));
        }
    }
}
