//! Given: the bytes of one direction, and where the traffic turned round. Gives: heads, and the state of the direction.
//! Refuses to know: which direction it is.

use crate::http::h1::body::Body;
use crate::http::h1::{HeadReader, HeadStep, skip_line_ends};
use crate::http::sniff::{Sniff, sniff};

#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) state: State,
    pub(super) head: HeadReader,
    /// When the first byte of the head was seen. Of no meaning while none has begun.
    pub(super) began_ns: u64,
    /// The head began where the traffic turned round, or will if the next byte is its first.
    pub(super) began_at_turn: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// At the end of a message, or in the head of the next: every byte before is accounted for.
    Head,
    /// In a body.
    Body(Body),
    /// Lost: waiting for the traffic to turn round.
    Hunting,
    /// In what may be a head, at the first turn after Hunting.
    Candidate,
}

impl Reader {
    /// False when the bytes that come are not read. A head that was hunted down must not be interrupted: where the
    /// traffic turns round, another begins.
    pub(super) fn may_read(&mut self, turn: bool) -> bool {
        if matches!(self.state, State::Hunting | State::Candidate) && turn {
            self.hunt();
            self.state = State::Candidate;
        }
        self.state != State::Hunting
    }

    pub(super) fn read_head<'a>(&mut self, bytes: &mut &'a [u8], at_ns: u64, turn: bool) -> HeadStep<'a> {
        if self.head.begun().is_empty() {
            self.began_at_turn |= turn;
            skip_line_ends(bytes);
            if bytes.is_empty() {
                return HeadStep::More;
            }
            self.began_ns = at_ns;
        }
        self.head.feed(bytes)
    }

    /// What the head begins with, `more` included.
    pub(super) fn sniff(&self, mut more: &[u8]) -> Sniff {
        let begun = self.head.begun();
        if begun.is_empty() {
            skip_line_ends(&mut more);
            return sniff(more);
        }
        let mut first = [0; rotrace_ebpf::limits::PREFIX_BYTES];
        let mut length = 0;
        for (to, from) in first.iter_mut().zip(begun.iter().chain(more)) {
            *to = *from;
            length += 1;
        }
        sniff(first.get(..length).unwrap_or_default())
    }

    pub(super) fn hunt(&mut self) {
        self.state = State::Hunting;
        self.head.clear();
        self.began_at_turn = false;
    }
}

pub(super) fn payload_bytes(state: &State) -> Option<u64> {
    if let State::Body(body) = state { Some(body.payload_bytes()) } else { None }
}
