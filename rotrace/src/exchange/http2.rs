//! Given: the chunks of both directions of one HTTP/2 connection, in the order they were seen. Gives: its exchanges, and
//! what could not be paired, as counted values. Refuses to know: sockets, processes, games, and what bodies hold.
//!
//! A response has the number of its request's stream, so pairing needs no order. A stream becomes an exchange when its
//! response is over, or it is reset, refused or lost:
//!
//! ```text
//! requests    HEADERS … DATA … END_STREAM        the head opens the exchange, the end gives its size
//! responses   HEADERS 1xx … HEADERS … DATA …     the first head that is not interim answers it
//!             … END_STREAM, or HEADERS (trailers) with it: Complete
//! either      RST_STREAM; GOAWAY below the stream: Aborted
//! ```
//!
//! When it is lost where frames of the responses begin, what was open is given up as [`Outcome::Lost`] or
//! [`Outcome::Unbounded`]: its end may have been among what was lost. When those of the requests are lost, what was open
//! keeps its responses.

mod call;
mod fields;
mod messages;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::call::{Call, Calls, STREAMS_BYTES_MAX};
use self::fields::{Request, Response};
use super::decoder::Piece;
use super::{Direction, Event, Exchange, Grpc, Outcome, Role, Unnamed, Unpaired, Wanted};
use crate::http::h1::head::AUTHORITY_BYTES_MAX;
use crate::http::h2::{self, BLOCK_BYTES_MAX, Block, FrameReader};
use crate::http::hpack;
use crate::keyed::Key;
use crate::stream::Chunk;

/// Memory that one connection can make the decoder retain, besides its own size: two header blocks and the first bytes of
/// two frames, two tables, the open streams, and the authority of the last request.
pub(super) const RETAINED_BYTES_MAX: usize =
    2 * (BLOCK_BYTES_MAX + 64 + hpack::RETAINED_BYTES_MAX) + STREAMS_BYTES_MAX + AUTHORITY_BYTES_MAX;

type Emit<'a> = dyn FnMut(Event) + 'a;

/// Pairs the requests and responses of one HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    sent: Side,
    received: Side,
    streams: Streams,
}

/// One direction.
#[derive(Clone, Debug)]
struct Side {
    frames: FrameReader,
    fields: hpack::Decoder,
    /// Why an index of a header table may not be known.
    doubt: Option<Unnamed>,
}

/// What both directions say together.
#[derive(Clone, Debug)]
struct Streams {
    /// `None` until a header block has shown it.
    role: Option<Role>,
    calls: Calls,
    /// The highest stream whose request has been seen.
    last_stream: u32,
    /// Every request since the first that was seen has been seen.
    requests_are_certain: bool,
    next_ordinal: u64,
    /// Of the last request that named one, for the next to share.
    authority: Option<Arc<str>>,
    key: Key,
}

/// Which way a connection speaks HTTP/2, when it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The client's preface came in this direction, and all before it has been seen.
    Preface(Direction),
    /// The server's first frame came in this direction, and nothing in the other.
    Settings(Direction),
    /// Frames were found in the middle.
    Late,
}

impl Http2 {
    /// A connection that has just shown that it is one. Both directions begin with what is fed next.
    pub(super) fn new(beginning: Beginning, key: Key) -> Self {
        let from_start = |frames| Side { frames, fields: hpack::Decoder::default(), doubt: None };
        let requests = match beginning {
            Beginning::Preface(requests) => Some(requests),
            Beginning::Settings(responses) => Some(other(responses)),
            Beginning::Late => None,
        };
        let role = requests.map(role_of);
        let [client, server] = match role {
            Some(_) => [FrameReader::client(), FrameReader::server()].map(from_start),
            None => [FrameReader::lost(), FrameReader::lost()]
                .map(|frames| Side { doubt: Some(Unnamed::JoinedLate), ..from_start(frames) }),
        };
        let (sent, received) =
            if requests == Some(Direction::Sent) { (client, server) } else { (server, client) };
        let streams = Streams {
            role,
            calls: Calls::default(),
            last_stream: 0,
            requests_are_certain: role.is_some(),
            next_ordinal: 0,
            authority: None,
            key,
        };
        Http2 { sent, received, streams }
    }

    /// The server's direction is joined late: it has carried bytes that nobody knows.
    pub(super) fn with_late_responses(mut self) -> Self {
        let Some(role) = self.streams.role else { return self };
        let responses = if role == Role::Client { &mut self.received } else { &mut self.sent };
        responses.frames = FrameReader::lost();
        responses.doubt = Some(Unnamed::JoinedLate);
        self
    }

    /// HTTP/1 was upgraded (RFC 7540 §3.2): the request that asked for it is that of stream 1, and over.
    pub(super) fn upgraded(
        requests: Direction,
        exchange: Option<Box<Exchange>>,
        next_ordinal: u64,
        key: Key,
    ) -> Self {
        let mut http2 = Http2::new(Beginning::Preface(requests), key);
        let Streams { calls, last_stream, next_ordinal: next, authority, .. } = &mut http2.streams;
        *last_stream = 1;
        *next = next_ordinal;
        if let Some(exchange) = exchange {
            authority.clone_from(&exchange.authority);
            let mut call = Call { is_asked: true, ..Call::of(exchange, &key) };
            call.request.take(call.exchange.request_body_bytes.unwrap_or(0), &[]);
            call.request.is_over = call.exchange.request_body_bytes.is_some();
            // The first of all fits.
            let _ = calls.insert(1, call);
        }
        http2
    }

    /// Takes the next piece of the connection.
    pub(super) fn feed(&mut self, wanted: &Wanted, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Piece { direction, at_ns, chunk, .. } = piece;
        let Http2 { sent, received, streams } = self;
        let side = if direction == Direction::Sent { sent } else { received };
        let Side { frames, fields, doubt } = side;
        let each = &mut |event: h2::Event<'_>| {
            streams.take(wanted, Said { direction, at_ns, event }, fields, doubt, emit);
        };
        match chunk {
            Chunk::Bytes(bytes) => frames.bytes(bytes, at_ns, each),
            Chunk::Gap(length) => frames.gap(length, each),
            Chunk::End => {
                if streams.role.is_some_and(|role| direction != requests_of(role)) {
                    streams.end_all(at_ns, emit);
                }
            }
        }
    }

    /// Takes the end of the connection: what is open ends here.
    pub(super) fn close(&mut self, at_ns: u64, emit: &mut Emit<'_>) {
        self.streams.end_all(at_ns, emit);
    }

    /// Which side of its connection the process is on, once a header block has shown it.
    pub(super) fn role(&self) -> Option<Role> {
        self.streams.role
    }

    /// Streams whose responses are not over.
    pub(super) fn in_flight(&self) -> usize {
        self.streams.calls.asked()
    }

    /// Memory that the decoder takes besides its own size; at most [`RETAINED_BYTES_MAX`].
    pub(super) fn retained_bytes(&self) -> usize {
        let side = |side: &Side| side.frames.retained_bytes() + side.fields.retained_bytes();
        let authority = self.streams.authority.as_ref().map_or(0, |authority| authority.len());
        side(&self.sent) + side(&self.received) + self.streams.calls.retained_bytes() + authority
    }
}

/// What a direction says, and when.
struct Said<'a> {
    direction: Direction,
    at_ns: u64,
    event: h2::Event<'a>,
}

impl Streams {
    fn take(
        &mut self,
        wanted: &Wanted,
        said: Said<'_>,
        fields: &mut hpack::Decoder,
        doubt: &mut Option<Unnamed>,
        emit: &mut Emit<'_>,
    ) {
        let Said { direction, at_ns, event } = said;
        if let h2::Event::Block(block) = &event {
            self.find_role(direction, block, fields);
        }
        let is_request = self.role.is_some_and(|role| direction == requests_of(role));
        match event {
            h2::Event::Block(block) => {
                let result = if is_request {
                    self.request(wanted, &block, fields, *doubt, emit)
                } else {
                    self.response(&block, at_ns, fields, emit)
                };
                if result.is_err() || !block.is_whole {
                    fields.lose();
                    *doubt = Some(Unnamed::BlockLost);
                    emit(Event::Unpaired(Unpaired::Resync));
                }
            }
            h2::Event::Data { stream, size, bytes } => {
                if let Some(call) = self.calls.find(stream) {
                    let body = if is_request { &mut call.request } else { &mut call.response };
                    body.take(size, bytes);
                }
            }
            h2::Event::DataUnknown { stream } => {
                if let Some(call) = self.calls.find(stream) {
                    let body = if is_request { &mut call.request } else { &mut call.response };
                    body.lose();
                }
            }
            h2::Event::End { stream } if is_request => self.end_request(stream),
            h2::Event::End { stream } => self.complete(stream, at_ns, emit),
            h2::Event::Reset { stream } => self.abort(stream, at_ns, emit),
            h2::Event::GoAway { last_stream } if !is_request => {
                let mut above = last_stream;
                while let Some(refused) = self.calls.above(above) {
                    self.abort(refused, at_ns, emit);
                    above = refused;
                }
            }
            h2::Event::GoAway { .. } => {}
            h2::Event::Lost => {
                fields.lose();
                *doubt = Some(Unnamed::BlockLost);
                emit(Event::Unpaired(Unpaired::Resync));
                if is_request || self.role.is_none() {
                    self.requests_are_certain = false;
                } else {
                    self.settle_all(emit);
                }
            }
        }
    }

    /// The first header block that names a pseudo-field shows which direction carries requests.
    fn find_role(&mut self, direction: Direction, block: &Block<'_>, fields: &hpack::Decoder) {
        if self.role.is_some() {
            return;
        }
        let mut is_request = None;
        // What it is is known only from what it says, and saying it changes the table.
        let _ = fields.clone().decode(block.fields, &mut |field| match field.name {
            Some(b":method" | b":path" | b":scheme") => is_request = Some(!block.is_promise),
            Some(b":status") => is_request = Some(false),
            _ => {}
        });
        self.role =
            is_request.map(|is_request| role_of(if is_request { direction } else { other(direction) }));
    }

    fn request(
        &mut self,
        wanted: &Wanted,
        block: &Block<'_>,
        fields: &mut hpack::Decoder,
        doubt: Option<Unnamed>,
        emit: &mut Emit<'_>,
    ) -> Result<(), hpack::Broken> {
        let role = self.role.unwrap_or(Role::Client);
        let mut request = Request::default();
        let note =
            &mut |field: hpack::Field<'_>| request.note(field, role == Role::Client, wanted, &self.key);
        let result = fields.decode(block.fields, note);
        let is_cut = result.is_err() || !block.is_whole;
        request.has_unknown |= is_cut;
        let doubt = if is_cut { Some(Unnamed::BlockLost) } else { doubt };
        let Block { stream, ends_stream, .. } = *block;
        if self.calls.find(stream).is_some_and(|call| call.is_asked) {
            if ends_stream {
                self.end_request(stream);
            }
            return result;
        }
        // Clients number their streams upwards, and oddly (RFC 9113 §5.1.1).
        if stream <= self.last_stream || stream.is_multiple_of(2) {
            return result;
        }
        if !request.is_request {
            emit(Event::Unpaired(Unpaired::Request));
            return result;
        }
        self.last_stream = stream;
        while let Some(passed) = self.calls.unasked_below(stream) {
            self.calls.remove(passed);
            emit(Event::Unpaired(Unpaired::Response));
        }
        self.open(request, block, doubt, emit);
        result
    }

    /// Opens the exchange of a request, which may have been answered before it was recorded.
    fn open(&mut self, mut request: Request, block: &Block<'_>, doubt: Option<Unnamed>, emit: &mut Emit<'_>) {
        let Block { stream, ends_stream, wire_bytes, mark, .. } = *block;
        let target = request.target(doubt);
        let authority = request.authority(self.authority.as_ref());
        if authority.is_some() {
            self.authority.clone_from(&authority);
        }
        let answered = self.calls.remove(stream);
        let role = self.role.unwrap_or(Role::Client);
        let mut call = answered.unwrap_or_else(|| Call::new(0, role, &self.key));
        call.is_asked = true;
        let exchange = &mut *call.exchange;
        exchange.ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        exchange.method = request.method;
        exchange.unnamed = target.as_ref().err().copied();
        exchange.target = target.unwrap_or_default();
        exchange.authority = authority;
        exchange.request_head_bytes = wire_bytes;
        // Calls are recorded when they end; the request had surely begun when its response was read.
        exchange.started_ns = exchange.first_byte_ns.map_or(mark, |first_ns| first_ns.min(mark));
        exchange.signals.request = request.signals;
        exchange.signals.is_partial |= request.has_unknown;
        exchange.fields = request.wanted;
        if request.is_grpc {
            exchange.grpc = Some(exchange.grpc.unwrap_or_default());
        } else {
            exchange.grpc = None;
        }
        call.request.is_over = ends_stream;
        let ended_ns = call.ended_ns;
        if let Err(call) = self.calls.insert(stream, call) {
            return emit(Event::Exchange(call.end(Outcome::Lost, None)));
        }
        if let Some(ended_ns) = ended_ns {
            self.complete(stream, ended_ns, emit);
        }
    }

    fn response(
        &mut self,
        block: &Block<'_>,
        at_ns: u64,
        fields: &mut hpack::Decoder,
        emit: &mut Emit<'_>,
    ) -> Result<(), hpack::Broken> {
        let Block { stream, ends_stream, is_promise, wire_bytes, mark, .. } = *block;
        let known = self.calls.find(stream);
        let authority = known.as_ref().and_then(|call| call.exchange.authority.clone());
        let authority = authority.as_deref().unwrap_or_default();
        let is_client = self.role == Some(Role::Client);
        let mut response = Response::default();
        let result =
            fields.decode(block.fields, &mut |field| response.note(field, is_client, authority, &self.key));
        // What a server pushes answers no request, and its streams are even.
        if is_promise || stream.is_multiple_of(2) || response.is_interim() {
            return result;
        }
        if self.calls.find(stream).is_none() && !self.expect(stream) {
            if response.is_response {
                emit(Event::Unpaired(Unpaired::Response));
            }
            return result;
        }
        let Some(call) = self.calls.find(stream) else { return result };
        if response.is_response && !call.is_answered() {
            let exchange = &mut *call.exchange;
            exchange.status = response.status;
            exchange.response_head_bytes = Some(wire_bytes);
            exchange.first_byte_ns = Some(mark);
            exchange.started_ns = exchange.started_ns.min(mark);
            exchange.signals.response = response.conclude();
            exchange.signals.is_partial |= response.has_unknown || result.is_err() || !block.is_whole;
        }
        if let Some(status) = response.grpc_status {
            call.exchange.grpc =
                Some(Grpc { status: Some(status), ..call.exchange.grpc.unwrap_or_default() });
        }
        if ends_stream {
            self.complete(stream, at_ns, emit);
        }
        result
    }

    /// Lets a response wait for its request, where that may be recorded right after it: a client whose requests are all
    /// known. A server has read a request before it answers.
    fn expect(&mut self, stream: u32) -> bool {
        let may_come =
            self.role == Some(Role::Client) && self.requests_are_certain && stream > self.last_stream;
        may_come && self.calls.insert(stream, Call::new(0, Role::Client, &self.key)).is_ok()
    }

    fn end_request(&mut self, stream: u32) {
        if let Some(call) = self.calls.find(stream) {
            call.request.is_over = true;
        }
    }

    /// The response of a stream is over.
    fn complete(&mut self, stream: u32, at_ns: u64, emit: &mut Emit<'_>) {
        let Some(call) = self.calls.find(stream) else { return };
        if !call.is_asked {
            call.ended_ns = Some(at_ns);
            return;
        }
        if let Some(call) = self.calls.remove(stream) {
            emit(Event::Exchange(call.end(Outcome::Complete, Some(at_ns))));
        }
    }

    /// A stream ends before its response does.
    fn abort(&mut self, stream: u32, at_ns: u64, emit: &mut Emit<'_>) {
        let Some(call) = self.calls.remove(stream) else { return };
        emit(if call.is_asked {
            Event::Exchange(call.end(Outcome::Aborted, Some(at_ns)))
        } else {
            Event::Unpaired(Unpaired::Response)
        });
    }

    /// No more responses will come.
    fn end_all(&mut self, at_ns: u64, emit: &mut Emit<'_>) {
        while let Some(stream) = self.calls.above(0) {
            self.abort(stream, at_ns, emit);
        }
    }

    /// Gives up all that is open: it is not known which of it is over.
    fn settle_all(&mut self, emit: &mut Emit<'_>) {
        while let Some(stream) = self.calls.above(0) {
            let Some(call) = self.calls.remove(stream) else { return };
            let outcome = if call.is_answered() { Outcome::Unbounded } else { Outcome::Lost };
            emit(if call.is_asked {
                Event::Exchange(call.end(outcome, None))
            } else {
                Event::Unpaired(Unpaired::Response)
            });
        }
    }
}

/// The process is a client when it sends the requests.
fn role_of(requests: Direction) -> Role {
    if requests == Direction::Sent { Role::Client } else { Role::Server }
}

fn requests_of(role: Role) -> Direction {
    if role == Role::Client { Direction::Sent } else { Direction::Received }
}

fn other(direction: Direction) -> Direction {
    if direction == Direction::Sent { Direction::Received } else { Direction::Sent }
}
