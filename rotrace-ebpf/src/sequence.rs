//! Given: where TCP stands in the numbers of a direction's bytes, behind each call that moved some of them. Gives: how many
//! bytes went by before those of the call that no call has shown. Refuses to know: sockets, and who moved the others.
//!
//! `tcp_sock.write_seq` is the number of the byte that is sent next, and `tcp_sock.copied_seq` of the one that is received next
//! (include/linux/tcp.h). They have 32 bits (RFC 9293 §3.4), so what is asked for here is less than 2 GiB.

/// Where TCP stood when a direction was looked at last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sequence {
    /// Number of the next byte.
    next: u32,
    /// 1 when it has been looked at.
    is_known: u32,
}

impl Sequence {
    /// Not looked at yet.
    pub const UNKNOWN: Sequence = Sequence { next: 0, is_known: 0 };

    /// The first byte of the direction has this number. Without effect once it has been looked at.
    #[inline(always)]
    pub fn begin_at(&mut self, first: u32) {
        if self.is_known == 0 {
            *self = Sequence { next: first, is_known: 1 };
        }
    }

    /// TCP stands at `next`, behind a call that moved `moved` bytes. Gives how many bytes stand between those of the call and what
    /// was known before: 0 when nothing was.
    ///
    /// Where TCP had counted bytes of the call already, it is less than 0. When two threads send on one socket at once, the first
    /// call to end may find the bytes of both counted, and a gap of those of the other; for the other it is as much less.
    #[inline(always)]
    pub fn distance(&mut self, moved: u32, next: u32) -> i32 {
        let distance = next.wrapping_sub(moved).wrapping_sub(self.next) as i32;
        let was_known = self.is_known == 1;
        *self = Sequence { next, is_known: 1 };
        if was_known { distance } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn what_is_met_late_has_no_gap_before_it() {
        let mut sequence = Sequence::UNKNOWN;
        assert_eq!(sequence.distance(10, 5000), 0);
        assert_eq!(sequence.distance(10, 5017), 7);
        assert_eq!(sequence.distance(0, 5017), 0);
    }

    #[test]
    fn what_is_known_from_its_first_byte_has_one() {
        let mut sequence = Sequence::UNKNOWN;
        sequence.begin_at(u32::MAX);
        sequence.begin_at(77);
        assert_eq!(sequence.distance(3, 9), 7, "numbers wrap around");
    }

    /// Both threads' bytes have been sent when the first call ends.
    #[test]
    fn calls_at_one_time_are_a_gap_and_then_as_much_less() {
        let mut sequence = Sequence::UNKNOWN;
        sequence.begin_at(0);
        assert_eq!(
            [(100, 130), (30, 130), (5, 135)].map(|(size, next)| sequence.distance(size, next)),
            [30, -30, 0]
        );
    }

    /// The data of a SYN (RFC 7413) are counted when the connection is established, and its call has not ended then.
    #[test]
    fn bytes_that_are_counted_before_their_call_ends_are_no_gap() {
        let mut sequence = Sequence::UNKNOWN;
        sequence.begin_at(1100);
        assert_eq!(sequence.distance(100, 1100), -100);
        assert_eq!(sequence.distance(20, 1120), 0);
    }

    proptest! {
        #[test]
        fn gaps_are_what_was_moved_unseen(
            first in any::<u32>(),
            calls in proptest::collection::vec((any::<bool>(), 0u32..1 << 20), 0..50)
        ) {
            let mut sequence = Sequence::UNKNOWN;
            sequence.begin_at(first);
            let (mut next, mut hidden) = (first, 0_i32);
            let mut gaps = Vec::new();
            for (is_seen, size) in calls {
                next = next.wrapping_add(size);
                if is_seen {
                    gaps.push((sequence.distance(size, next), hidden));
                    hidden = 0;
                } else {
                    hidden += size as i32;
                }
            }
            for (found, expected) in gaps {
                prop_assert_eq!(found, expected);
            }
        }
    }
}
