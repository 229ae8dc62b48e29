//! Given: pieces of one direction of a connection, each with its position. Gives: the same bytes in order, each once,
//! with what is missing as a value. Refuses to know: what the bytes mean, and why any are missing.

/// What a direction of a connection brings next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Bytes that follow on those before.
    Bytes(&'a [u8]),
    /// So many bytes went by that were not captured: left out on purpose, or lost.
    Gap(u64),
    /// The direction has ended.
    End,
}

/// The ordered bytes of one direction.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    next: Option<u64>,
    overlap_bytes: u64,
}

impl Stream {
    /// Takes a piece of `size` bytes at `position`, of which `captured` are the first, and gives what follows on what
    /// was given before: at most a gap, bytes, and a gap.
    ///
    /// Positions count from the first byte that the probes saw, so a first piece that is not at 0, or where the direction
    /// [begins](Stream::begin_at), follows a gap: records before it were lost. A piece that overlaps what was given is cut
    /// to its new part.
    pub fn feed<'a>(
        &mut self,
        position: u64,
        captured: &'a [u8],
        size: u64,
    ) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let next = self.next.unwrap_or(0);
        let end = position.saturating_add(size);
        let missing = position.saturating_sub(next);
        let overlap = next.saturating_sub(position).min(size);
        self.overlap_bytes += overlap;
        self.next = Some(next.max(end));
        let fresh = &captured[captured.len().min(overlap as usize)..];
        let left_out = size - overlap - fresh.len() as u64;
        [
            (missing > 0).then_some(Chunk::Gap(missing)),
            (!fresh.is_empty()).then_some(Chunk::Bytes(fresh)),
            (left_out > 0).then_some(Chunk::Gap(left_out)),
        ]
        .into_iter()
        .flatten()
    }

    /// The direction is read from `position` on: what was before is known to be nothing that was lost. Without effect once
    /// something was given.
    pub fn begin_at(&mut self, position: u64) {
        self.next.get_or_insert(position);
    }

    /// Bytes between what was given and `position`: lost, when a record stands there.
    pub fn missing_before(&self, position: u64) -> u64 {
        position.saturating_sub(self.next.unwrap_or(0))
    }

    /// Bytes that arrived twice; the second time they were dropped.
    pub fn overlap_bytes(&self) -> u64 {
        self.overlap_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pieces: &[(u64, &'static [u8], u64)], expect: &[Chunk<'static>]) {
        let mut stream = Stream::default();
        let got: Vec<_> = pieces.iter().flat_map(|&(at, bytes, size)| stream.feed(at, bytes, size)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn in_order_pieces_follow_on() {
        check(&[(0, b"ab", 2), (2, b"c", 1)], &[Chunk::Bytes(b"ab"), Chunk::Bytes(b"c")]);
    }

    #[test]
    fn what_was_left_out_is_a_gap() {
        check(&[(0, b"ab", 5), (5, b"", 3)], &[Chunk::Bytes(b"ab"), Chunk::Gap(3), Chunk::Gap(3)]);
    }

    #[test]
    fn a_lost_record_is_a_gap_of_its_length() {
        check(&[(0, b"ab", 2), (7, b"c", 1)], &[Chunk::Bytes(b"ab"), Chunk::Gap(5), Chunk::Bytes(b"c")]);
    }

    #[test]
    fn a_first_piece_behind_the_start_follows_a_gap() {
        check(&[(4, b"c", 1)], &[Chunk::Gap(4), Chunk::Bytes(b"c")]);
    }

    #[test]
    fn a_first_piece_where_the_direction_begins_follows_no_gap() {
        let mut stream = Stream::default();
        stream.begin_at(4);
        stream.begin_at(2);
        let got: Vec<_> = stream.feed(5, b"c", 1).collect();
        assert_eq!(got, [Chunk::Gap(1), Chunk::Bytes(b"c")]);
    }

    #[test]
    fn an_overlap_is_given_once() {
        check(&[(0, b"abc", 3), (1, b"bcd", 3), (1, b"bc", 2)], &[Chunk::Bytes(b"abc"), Chunk::Bytes(b"d")]);
        check(&[(0, b"", 3), (1, b"b", 5)], &[Chunk::Gap(3), Chunk::Gap(3)]);
    }

    proptest! {
        #[test]
        fn lengths_add_up(pieces in proptest::collection::vec((0u64..50, 0usize..20, 0u64..30), 0..20)) {
            let bytes = [0u8; 20];
            let mut stream = Stream::default();
            let (mut given, mut end) = (0, 0);
            for (position, captured, more) in pieces {
                let size = captured as u64 + more;
                end = end.max(position + size);
                for chunk in stream.feed(position, &bytes[..captured], size) {
                    given += match chunk {
                        Chunk::Bytes(bytes) => bytes.len() as u64,
                        Chunk::Gap(length) => length,
                        Chunk::End => 0,
                    };
                }
            }
            prop_assert_eq!(given, end);
        }
    }
}
