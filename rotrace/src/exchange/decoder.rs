//! Given: the chunks of both directions of one HTTP/1 connection, in the order they were seen. Gives: its exchanges, and
//! what could not be paired, as counted values. Refuses to know: sockets, processes, games, and what bodies hold.
//!
//! Response k answers request k (RFC 9112 §9.3), so pairing is a queue, as long as every head of both directions has
//! been seen. Each direction is in one of four states:
//!
//! ```text
//!              a head is whole                    the body is over
//!    ┌─ Head ──────────────────▶ Body ──────────────────────────────────▶ Head
//!    │   │ a gap; no head         │ a gap over framing; broken framing
//!    │   ▼                        ▼
//!    │  Hunting ◀──────────────── ┘
//!    │   │  ▲ not a head after all; the traffic turns round again
//!    │   ▼  │ the traffic turns round
//!    │  Candidate ──────────────▶ Body, Head
//!    │              a head that is certain
//!    └─ what comes while no request waits: kept for a moment, see `ahead`
//! ```
//!
//! A direction that hunts, and one that is joined late, takes nothing for a head but what begins where the traffic turns
//! round, is one to the last character, and for requests names its host. A request that begins there shows that all
//! responses before it are over, because a client that pipelines sends its requests together and then waits for the
//! responses. From it the queue starts anew, and what was waiting is given up as [`Outcome::Lost`], or as
//! [`Outcome::Unbounded`] when the head of its response was seen. A gap in one direction leaves certain what the other
//! one has shown: requests that wait keep their responses when later requests are lost.

pub(super) mod requests;
mod responses;

use std::mem;
use std::sync::Arc;

use rotrace_ebpf::frames::{self, PREFACE_BYTES};

use super::ahead::{AHEAD_BYTES_MAX, Ahead};
use super::http2::{self, Beginning, Http2};
use super::ids::Scan;
use super::pending::{PENDING_BYTES_MAX, Pending, Queue};
use super::reader::{Reader, State};
use super::spans::{Span, Spans};
use super::websocket::WebSocket;
use super::{Direction, Event, Outcome, Role, Unpaired, Wanted};
use crate::http::h1::head::AUTHORITY_BYTES_MAX;
use crate::http::h1::{HEAD_BYTES_MAX, HeadStep};
use crate::http::sniff::Sniff;
use crate::keyed::Key;
use crate::stream::Chunk;

/// Memory that one connection can make a decoder retain, besides its own size: two heads, the responses ahead of their
/// requests, the requests that wait, the authority of the last, and the ids of a body. Where it has become HTTP/2, all that is given back.
pub const RETAINED_BYTES_MAX: usize = {
    const HTTP1: usize = 2 * HEAD_BYTES_MAX
        + AHEAD_BYTES_MAX
        + PENDING_BYTES_MAX
        + AUTHORITY_BYTES_MAX
        + Scan::RETAINED_BYTES_MAX
        + size_of::<WebSocket>();
    const HTTP2: usize = size_of::<Http2>() + http2::RETAINED_BYTES_MAX;
    if HTTP1 > HTTP2 { HTTP1 } else { HTTP2 }
};

/// Bytes of a target that are kept; no server takes a longer start line.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of all wanted field values of one request that are kept, and of the entries that hold them.
pub const FIELD_BYTES_MAX: usize = 2 * 1024;

/// Turns of the traffic, one after the other and none of them a message, after which a connection is not HTTP/1.
pub const TURNS_HUNTED_MAX: u16 = 1024;

/// A chunk of a connection, and when and where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// When the call that moved it ended; CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The first byte of the chunk is where the traffic of the connection turned round. Only what the probes saw is
    /// said here: that a chunk of bytes follows on one of the other direction, the decoder sees by itself. A gap that
    /// stands for lost records does not begin at the turn of the record behind it.
    pub turn: bool,
    /// A frame of a WebSocket begins with the first byte: the probes have walked to there.
    pub frame: bool,
    /// The bytes, or what stands for them.
    pub chunk: Chunk<'a>,
}

/// Pairs the requests and responses of one connection of HTTP/1, or of HTTP/2. Whoever wants to know what each byte was taken for gives it
/// a witness.
#[derive(Clone, Debug)]
pub struct Decoder<W = ()> {
    /// `None` until a start line has shown it.
    role: Option<Role>,
    /// While the role is not known, one direction.
    requests: Reader,
    /// While the role is not known, the other direction.
    responses: Reader,
    /// Of the last request that named one, for the next to share.
    authority: Option<Arc<str>>,
    queue: Queue,
    /// Empty unless the next response's request is not there yet.
    ahead: Ahead,
    /// Direction of the last chunk with bytes or a gap.
    last: Option<Direction>,
    next_ordinal: u64,
    hunted_turns: u16,
    opaque: bool,
    /// Bytes of bodies that may be looked through for ids.
    scan_bytes_left: u32,
    /// The connection speaks HTTP/2 now; of what stands above, only the witness is used.
    http2: Option<Box<Http2>>,
    /// Likewise, WebSocket.
    websocket: Option<Box<WebSocket>>,
    /// Hashes what must not be kept.
    key: Key,
    witness: W,
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The sender ended it.
    Sender,
    /// The connection is gone, without a word from the sender.
    Connection,
}

type Emit<'a> = dyn FnMut(Event) + 'a;

impl Decoder {
    /// For a connection that has been seen since it was made.
    pub fn from_start() -> Self {
        Decoder::from_start_with(())
    }

    /// For a connection that is older than the tracer.
    pub fn joined_late() -> Self {
        Decoder::joined_late_with(())
    }
}

impl<W: Spans> Decoder<W> {
    /// For a connection that has been seen since it was made.
    pub fn from_start_with(witness: W) -> Self {
        Decoder::in_state(State::Head, witness)
    }

    /// For a connection that is older than the tracer.
    pub fn joined_late_with(witness: W) -> Self {
        Decoder::in_state(State::Hunting, witness)
    }

    /// Hashes under this key what must not be kept.
    pub fn keyed(self, key: Key) -> Self {
        Decoder { key, ..self }
    }

    /// Who is told of the spans.
    pub fn witness_mut(&mut self) -> &mut W {
        &mut self.witness
    }

    /// Lets so many bytes of bodies be looked through for ids from now on; before, none. A body that has begun goes on.
    pub fn allow_scan(&mut self, bytes: u32) {
        self.scan_bytes_left = bytes;
    }

    /// How many of them are left.
    pub fn scan_bytes_left(&self) -> u32 {
        self.scan_bytes_left
    }

    /// Takes the next piece of the connection.
    pub fn feed(&mut self, wanted: &Wanted, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Piece { direction, turn, chunk, .. } = piece;
        if self.opaque || self.http2.is_some() {
            self.pass_over(direction, chunk);
        }
        if self.opaque {
            return;
        }
        if let Some(http2) = &mut self.http2 {
            return http2.feed(wanted, piece, emit);
        }
        if self.websocket.is_some() {
            return self.feed_websocket(piece, emit);
        }
        if chunk == Chunk::Bytes(&[]) || chunk == Chunk::Gap(0) {
            return;
        }
        let turned = self.last.is_some_and(|last| last != direction);
        let turn = turn || turned;
        if chunk != Chunk::End {
            self.last = Some(direction);
        }
        if self.role.is_none() {
            return self.find_role(wanted, Piece { turn, ..piece }, emit);
        }
        self.feed_known(wanted, Piece { turn, ..piece }, emit);
    }

    /// Takes a piece of a connection whose role is known.
    fn feed_known(&mut self, wanted: &Wanted, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Piece { direction, at_ns, turn, chunk, .. } = piece;
        match (self.role, direction) {
            (Some(Role::Client), Direction::Sent) | (Some(Role::Server), Direction::Received) => {
                self.feed_request(wanted, at_ns, turn, chunk, emit);
            }
            (Some(_), _) if !self.ahead.is_empty() => self.keep_ahead(at_ns, chunk, emit),
            (Some(_), _) => {
                if let Some(rest) = self.feed_response(at_ns, turn, chunk, emit) {
                    self.keep_ahead(at_ns, Chunk::Bytes(rest), emit);
                }
            }
            (None, _) => {}
        }
    }

    /// Takes a piece of a WebSocket.
    fn feed_websocket(&mut self, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Some(websocket) = &mut self.websocket else { return };
        let direction = piece.direction;
        if piece.frame {
            websocket.reader_mut(direction).begin();
        }
        if let Chunk::Bytes(bytes) = piece.chunk
            && !bytes.is_empty()
        {
            let before = websocket.reader_mut(direction).clone();
            self.witness.note(direction, Span::Frames(before), bytes.len());
        }
        websocket.feed(piece, emit);
    }

    /// Bytes that are not read.
    fn pass_over(&mut self, direction: Direction, chunk: Chunk<'_>) {
        if let Chunk::Bytes(bytes) = chunk
            && !bytes.is_empty()
        {
            self.witness.note(direction, Span::Unread, bytes.len());
        }
    }

    /// Takes the end of the connection: what is in flight ends here. Nothing is read afterwards.
    pub fn close(&mut self, at_ns: u64, emit: &mut Emit<'_>) {
        if self.opaque {
            return;
        }
        if let Some(mut http2) = self.http2.take() {
            http2.close(at_ns, emit);
            return self.become_opaque(emit);
        }
        if let Some(mut websocket) = self.websocket.take() {
            websocket.close(at_ns, emit);
            return self.become_opaque(emit);
        }
        self.drop_ahead(emit);
        self.end_responses(Ending::Connection, at_ns, emit);
        if self.role.is_some() && self.requests.state == State::Head && !self.requests.head.begun().is_empty()
        {
            emit(Event::Unpaired(Unpaired::Request));
        }
        self.become_opaque(emit);
    }

    /// True when nothing more will come of the connection: it is a tunnel now, or it never was HTTP/1.
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Which side of its connection the process is on, once a start line has shown it.
    pub fn role(&self) -> Option<Role> {
        self.http2.as_ref().map_or(self.role, |http2| http2.role())
    }

    /// True when the connection is a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    /// True when the connection speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2.is_some()
    }

    /// Requests that wait for their responses, or for the rest of them.
    pub fn in_flight(&self) -> usize {
        self.http2.as_ref().map_or(self.queue.len(), |http2| http2.in_flight())
    }

    /// Memory that the decoder takes besides its own size; at most [`RETAINED_BYTES_MAX`].
    pub fn retained_bytes(&self) -> usize {
        let http2 = self.http2.as_ref().map_or(0, |http2| size_of::<Http2>() + http2.retained_bytes());
        let websocket = self.websocket.as_ref().map_or(0, |_| size_of::<WebSocket>());
        http2
            + websocket
            + self.requests.head.retained_bytes()
            + self.responses.head.retained_bytes()
            + self.ahead.retained_bytes()
            + self.responses.scan.retained_bytes()
            + self.queue.retained_bytes()
            + self.authority.as_ref().map_or(0, |authority| authority.len())
    }

    fn in_state(state: State, witness: W) -> Self {
        Decoder {
            role: None,
            requests: Reader::new(Direction::Sent, state.clone()),
            responses: Reader::new(Direction::Received, state),
            authority: None,
            queue: Queue::default(),
            ahead: Ahead::default(),
            last: None,
            next_ordinal: 0,
            hunted_turns: 0,
            opaque: false,
            scan_bytes_left: 0,
            http2: None,
            websocket: None,
            key: Key::default(),
            witness,
        }
    }

    /// Looks for a start line in a direction that is not known to carry requests or responses. A chunk that shows the
    /// role is read.
    fn find_role(&mut self, wanted: &Wanted, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Piece { direction, at_ns, turn, chunk, .. } = piece;
        let (reader, witness) = self.reader_of(direction);
        let mut bytes = match chunk {
            Chunk::Bytes(bytes) => bytes,
            Chunk::Gap(_) => return self.hunt_both(emit),
            Chunk::End => return,
        };
        if reader.is_lost() && frames::show_with(bytes) {
            return self.begin_http2(Beginning::Late, wanted, piece, &[], emit);
        }
        if !reader.may_read(turn, witness) {
            return self.pass_over(direction, chunk);
        }
        match reader.sniff(bytes) {
            // The start line is read from this chunk again, by the reader of its direction.
            Sniff::Request => self.take_role(direction, Direction::Sent),
            Sniff::Response => {
                self.take_role(direction, Direction::Received);
                self.move_ahead(emit);
            }
            Sniff::NeedMore => {
                return match reader.read_head(&mut bytes, at_ns, turn, witness) {
                    HeadStep::More => {}
                    // So few bytes may be the HTTP/2 preface up to its blank line, or a TLS record whose length is one.
                    HeadStep::Whole(head) if !head.starts_with(b"PRI ") => {
                        self.refuse(direction, head.len(), bytes, emit);
                    }
                    HeadStep::Whole(head) => {
                        let piece = Piece { chunk: Chunk::Bytes(bytes), ..piece };
                        self.begin_http2(Beginning::Preface(direction), wanted, piece, &head, emit);
                    }
                    HeadStep::TooLong => self.refuse(direction, 0, bytes, emit),
                };
            }
            Sniff::Http2Preface => {
                let begun = mem::take(&mut reader.head);
                let beginning = Beginning::Preface(direction);
                return self.begin_http2(beginning, wanted, piece, begun.begun(), emit);
            }
            Sniff::Http2Settings if reader.state == State::Head => {
                let begun = mem::take(&mut reader.head);
                let beginning = Beginning::Settings(direction);
                return self.begin_http2(beginning, wanted, piece, begun.begun(), emit);
            }
            Sniff::Http2Settings | Sniff::Tls | Sniff::Other => {
                let begun = mem::take(&mut reader.head).begun().len();
                return self.refuse(direction, begun + bytes.len(), &[], emit);
            }
        }
        self.feed_known(wanted, piece, emit);
    }

    /// The connection speaks HTTP/2: of this direction, `begun` came first and then the piece.
    fn begin_http2(
        &mut self,
        beginning: Beginning,
        wanted: &Wanted,
        piece: Piece<'_>,
        begun: &[u8],
        emit: &mut Emit<'_>,
    ) {
        let Piece { direction, chunk, .. } = piece;
        let mut http2 = Http2::new(beginning, self.key);
        let (sent, received) = (&self.requests, &self.responses);
        let opposite = if sent.direction == direction { received } else { sent };
        // Before the preface the server may have said its own, which has been passed over, or is lost with a gap.
        if opposite.is_lost() {
            http2 = http2.with_late_responses();
        }
        let bytes = if let Chunk::Bytes(bytes) = chunk { bytes.len() } else { 0 };
        let preface = match beginning {
            Beginning::Preface(_) => bytes.min((PREFACE_BYTES as usize).saturating_sub(begun.len())),
            Beginning::Settings(_) | Beginning::Late => 0,
        };
        let (reader, witness) = self.reader_of(direction);
        reader.note(witness, Span::NoHead, begun.len() + preface);
        reader.note(witness, Span::Unread, bytes - preface);
        http2.feed(wanted, Piece { chunk: Chunk::Bytes(begun), ..piece }, emit);
        http2.feed(wanted, piece, emit);
        self.become_http2(http2);
    }

    fn become_http2(&mut self, http2: Http2) {
        self.http2 = Some(Box::new(http2));
        self.requests.hunt(&mut self.witness);
        self.responses.hunt(&mut self.witness);
        self.authority = None;
    }

    fn reader_of(&mut self, direction: Direction) -> (&mut Reader, &mut W) {
        let Decoder { requests, responses, witness, .. } = self;
        (if requests.direction == direction { requests } else { responses }, witness)
    }

    /// The traced process is a client when requests go the way of `client`.
    fn take_role(&mut self, direction: Direction, client: Direction) {
        let (role, requests) = if direction == client {
            (Role::Client, Direction::Sent)
        } else {
            (Role::Server, Direction::Received)
        };
        self.role = Some(role);
        if self.requests.direction != requests {
            mem::swap(&mut self.requests, &mut self.responses);
        }
    }

    /// The first bytes of a direction, `no_head` of them, are no start line; `rest` stands behind them.
    fn refuse(&mut self, direction: Direction, no_head: usize, rest: &[u8], emit: &mut Emit<'_>) {
        let (reader, witness) = self.reader_of(direction);
        reader.note(witness, Span::NoHead, no_head);
        if reader.state == State::Head {
            self.give_up(Unpaired::NotHttp, emit);
        } else {
            reader.hunt(witness);
            self.count_hunted_turn(emit);
        }
        self.pass_over(direction, Chunk::Bytes(rest));
    }

    /// A gap before the role was known.
    fn hunt_both(&mut self, emit: &mut Emit<'_>) {
        if self.requests.state == State::Head || self.responses.state == State::Head {
            emit(Event::Unpaired(Unpaired::Resync));
        }
        self.requests.hunt(&mut self.witness);
        self.responses.hunt(&mut self.witness);
    }

    /// Gives up all that waits, since it is not certain which responses are whose.
    fn settle(&mut self, emit: &mut Emit<'_>) {
        while !self.queue.is_empty() {
            self.settle_first(emit);
        }
    }

    fn settle_first(&mut self, emit: &mut Emit<'_>) {
        let Some(Pending { mut exchange, .. }) = self.queue.pop() else { return };
        exchange.outcome = if exchange.status.is_some() { Outcome::Unbounded } else { Outcome::Lost };
        emit(Event::Exchange(exchange));
    }

    fn count_hunted_turn(&mut self, emit: &mut Emit<'_>) {
        self.hunted_turns += 1;
        if self.hunted_turns >= TURNS_HUNTED_MAX {
            self.give_up(Unpaired::NotHttp, emit);
        }
    }

    fn give_up(&mut self, reason: Unpaired, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(reason));
        self.become_opaque(emit);
    }

    fn become_opaque(&mut self, emit: &mut Emit<'_>) {
        self.settle(emit);
        self.opaque = true;
        self.requests.hunt(&mut self.witness);
        self.responses.hunt(&mut self.witness);
        self.clear_ahead();
    }
}
