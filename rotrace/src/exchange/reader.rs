//! Given: the bytes of one direction, and where the traffic turned round. Gives: heads, and the state of the direction.
//! Refuses to know: whether it carries requests or responses.

use super::Direction;
use super::ids::Scan;
use super::print::Print;
use super::spans::{Span, Spans};
use crate::http::h1::body::{Body, Taken};
use crate::http::h1::{HeadReader, HeadStep, skip_line_ends};
use crate::http::sniff::{Sniff, sniff};

#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) direction: Direction,
    pub(super) state: State,
    pub(super) head: HeadReader,
    /// When the first byte of the head was seen. Of no meaning while none has begun.
    pub(super) began_ns: u64,
    /// Of the body that goes by.
    pub(super) print: Print,
    /// Likewise, of a response.
    pub(super) scan: Scan,
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
    pub(super) fn new(direction: Direction, state: State) -> Self {
        Reader {
            direction,
            state,
            head: HeadReader::default(),
            began_ns: 0,
            print: Print::default(),
            scan: Scan::default(),
            began_at_turn: false,
        }
    }

    /// False when the bytes that come are not read. A head that was hunted down must not be interrupted: where the
    /// traffic turns round, another begins.
    pub(super) fn may_read(&mut self, turn: bool, spans: &mut impl Spans) -> bool {
        if matches!(self.state, State::Hunting | State::Candidate) && turn {
            self.hunt(spans);
            self.state = State::Candidate;
        }
        self.state != State::Hunting
    }

    /// True while it is not known where a message begins.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Hunting | State::Candidate)
    }

    /// Notes what it drops; whether a whole head is one is for the caller to say.
    pub(super) fn read_head<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        at_ns: u64,
        turn: bool,
        spans: &mut impl Spans,
    ) -> HeadStep<'a> {
        if self.head.begun().is_empty() {
            self.began_at_turn |= turn;
            self.skip_line_ends(bytes, spans);
            if bytes.is_empty() {
                return HeadStep::More;
            }
            self.began_ns = at_ns;
        }
        let dropped = self.head.begun().len() + bytes.len();
        let step = self.head.feed(bytes);
        if step == HeadStep::TooLong {
            self.note(spans, Span::NoHead, dropped);
        }
        step
    }

    /// Takes bytes of a body; `None` outside of one.
    pub(super) fn take_body(&mut self, bytes: &[u8], spans: &mut impl Spans) -> Option<Taken> {
        let State::Body(body) = &mut self.state else { return None };
        let before = body.clone();
        self.print.take(&before, bytes);
        let taken = body.take(bytes);
        let length = if let Taken::Done(used) = taken { used } else { bytes.len() };
        self.note(spans, Span::Body(before), length);
        Some(taken)
    }

    /// Looks for ids in bytes that are taken next, and says in how many of them.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> u32 {
        if let State::Body(body) = &self.state { self.scan.take(body, bytes) } else { 0 }
    }

    pub(super) fn skip_line_ends(&self, bytes: &mut &[u8], spans: &mut impl Spans) {
        let before = bytes.len();
        skip_line_ends(bytes);
        self.note(spans, Span::LineEnds, before - bytes.len());
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

    pub(super) fn hunt(&mut self, spans: &mut impl Spans) {
        self.state = State::Hunting;
        self.drop_head(spans);
        self.began_at_turn = false;
    }

    /// Forgets a head that has begun.
    pub(super) fn drop_head(&mut self, spans: &mut impl Spans) {
        self.note(spans, Span::NoHead, self.head.begun().len());
        self.head.clear();
    }

    pub(super) fn note(&self, spans: &mut impl Spans, span: Span, length: usize) {
        if length > 0 {
            spans.note(self.direction, span, length);
        }
    }
}

pub(super) fn payload_bytes(state: &State) -> Option<u64> {
    if let State::Body(body) = state { Some(body.payload_bytes()) } else { None }
}
