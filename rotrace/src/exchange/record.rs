//! Given: a record, and what was seen of its direction before. Gives: the pieces that it brings. Refuses to know: what the
//! bytes mean.

use rotrace_ebpf::record::{Header, direction, flag, kind};

use super::{Direction, Piece};
use crate::stream::{Chunk, Stream};

impl Direction {
    /// Of a data or end record.
    pub fn of(header: &Header) -> Direction {
        if header.direction == direction::SENT { Direction::Sent } else { Direction::Received }
    }
}

/// What a record brings of its direction, in order: of `size` bytes, `captured` are the first.
pub fn pieces<'a>(
    header: &Header,
    captured: &'a [u8],
    size: u64,
    stream: &mut Stream,
) -> impl Iterator<Item = Piece<'a>> + use<'a> {
    let Header { time_ns: at_ns, position, flags, kind, .. } = *header;
    let direction = Direction::of(header);
    // A gap of lost records stands before the turn that this record saw.
    let first = usize::from(stream.missing_before(position) > 0);
    let turn_at = (flags & flag::TURN != 0).then_some(first);
    let before_bytes = stream.overlap_bytes();
    let chunks = stream.feed(position, captured, size).enumerate();
    // Of a record that overlaps earlier ones, what is left is not its begin.
    let is_whole = stream.overlap_bytes() == before_bytes;
    let frame_at = (flags & flag::FRAME != 0 && is_whole).then_some(first);
    let piece = move |index, chunk| {
        let (turn, frame) = (turn_at == Some(index), frame_at == Some(index));
        Piece { direction, at_ns, turn, frame, chunk }
    };
    let end = (kind == kind::END).then_some(Piece {
        direction,
        at_ns,
        turn: false,
        frame: false,
        chunk: Chunk::End,
    });
    chunks.map(move |(index, chunk)| piece(index, chunk)).chain(end)
}
