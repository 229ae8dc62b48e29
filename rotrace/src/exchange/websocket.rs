//! Given: the chunks of both directions of a connection whose server has switched to WebSocket, in the order they were seen.
//! Gives: what frames went by. Refuses to know: the handshake, and payloads.

use super::decoder::Piece;
use super::{Direction, Event, Role};
use crate::http::websocket::{FrameReader, Sender, Tally};
use crate::stream::Chunk;

type Emit<'a> = dyn FnMut(Event) + 'a;

/// Counts the frames of one WebSocket connection.
#[derive(Clone, Debug)]
pub(super) struct WebSocket {
    sent: FrameReader,
    received: FrameReader,
}

impl WebSocket {
    /// A connection whose handshake is over, seen by a process in this role; `lost` is a direction that was lost sight of
    /// before.
    pub(super) fn new(role: Role, lost: Option<Direction>) -> Self {
        let (own, other) = match role {
            Role::Client => (Sender::Client, Sender::Server),
            Role::Server => (Sender::Server, Sender::Client),
        };
        let reader = |direction, sender| match lost {
            Some(lost) if lost == direction => FrameReader::lost(sender),
            _ => FrameReader::new(sender),
        };
        WebSocket { sent: reader(Direction::Sent, own), received: reader(Direction::Received, other) }
    }

    pub(super) fn feed(&mut self, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Piece { direction, at_ns, chunk, .. } = piece;
        let reader = self.reader_mut(direction);
        let tally = match chunk {
            Chunk::Bytes(bytes) => reader.bytes(bytes),
            Chunk::Gap(length) => reader.gap(length),
            Chunk::End => reader.end(),
        };
        if tally != Tally::default() {
            emit(Event::Frames { direction, at_ns, tally });
        }
    }

    /// Of one direction.
    pub(super) fn reader_mut(&mut self, direction: Direction) -> &mut FrameReader {
        if direction == Direction::Sent { &mut self.sent } else { &mut self.received }
    }

    /// Takes the end of the connection.
    pub(super) fn close(&mut self, at_ns: u64, emit: &mut Emit<'_>) {
        for direction in [Direction::Sent, Direction::Received] {
            self.feed(Piece { direction, at_ns, turn: false, frame: false, chunk: Chunk::End }, emit);
        }
    }
}
