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

use std::mem;

use super::ahead::{AHEAD_BYTES_MAX, AHEAD_NS_MAX, Ahead};
use super::pending::{Method, PENDING_BYTES_MAX, Pending, Queue};
use super::{Direction, Event, Exchange, Outcome, Role, Unpaired, Wanted};
use crate::http::h1::body::{Body, Skipped, Taken};
use crate::http::h1::head::{self, Declared, Framing};
use crate::http::h1::{HEAD_BYTES_MAX, HeadReader, HeadStep, skip_line_ends};
use crate::http::sniff::{Sniff, sniff};
use crate::stream::Chunk;

/// Memory that one connection can make a decoder retain, besides its own size: two heads, the responses ahead of their
/// requests, and the requests that wait.
pub const RETAINED_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX + AHEAD_BYTES_MAX + PENDING_BYTES_MAX;

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
    /// The bytes, or what stands for them.
    pub chunk: Chunk<'a>,
}

/// Pairs the requests and responses of one HTTP/1 connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// `None` until a start line has shown it.
    role: Option<Role>,
    /// While the role is not known, the sent direction.
    requests: Reader,
    /// While the role is not known, the received direction.
    responses: Reader,
    queue: Queue,
    /// Empty unless the next response's request is not there yet.
    ahead: Ahead,
    /// Direction of the last chunk with bytes or a gap.
    last: Option<Direction>,
    next_ordinal: u64,
    hunted_turns: u16,
    opaque: bool,
}

#[derive(Clone, Debug)]
struct Reader {
    state: State,
    head: HeadReader,
    /// When the first byte of the head was seen. Of no meaning while none has begun.
    began_ns: u64,
    /// The head began where the traffic turned round, or will if the next byte is its first.
    began_at_turn: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// At the end of a message, or in the head of the next: every byte before is accounted for.
    Head,
    /// In a body.
    Body(Body),
    /// Lost: waiting for the traffic to turn round.
    Hunting,
    /// In what may be a head, at the first turn after Hunting.
    Candidate,
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
        Decoder::in_state(State::Head)
    }

    /// For a connection that is older than the tracer.
    pub fn joined_late() -> Self {
        Decoder::in_state(State::Hunting)
    }

    /// Takes the next piece of the connection.
    pub fn feed(&mut self, wanted: &Wanted, piece: Piece<'_>, emit: &mut Emit<'_>) {
        let Piece { direction, at_ns, turn, chunk } = piece;
        if self.opaque || chunk == Chunk::Bytes(&[]) || chunk == Chunk::Gap(0) {
            return;
        }
        let turned = self.last.is_some_and(|last| last != direction);
        let turn = turn || turned && matches!(chunk, Chunk::Bytes(_));
        if chunk != Chunk::End {
            self.last = Some(direction);
        }
        if self.role.is_none() {
            self.find_role(direction, at_ns, turn, chunk, emit);
        }
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

    /// Takes the end of the connection: what is in flight ends here. Nothing is read afterwards.
    pub fn close(&mut self, at_ns: u64, emit: &mut Emit<'_>) {
        if self.opaque {
            return;
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
        self.role
    }

    /// Requests that wait for their responses, or for the rest of them.
    pub fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// Memory that the decoder takes besides its own size; at most [`RETAINED_BYTES_MAX`].
    pub fn retained_bytes(&self) -> usize {
        self.requests.head.retained_bytes()
            + self.responses.head.retained_bytes()
            + self.ahead.retained_bytes()
            + self.queue.retained_bytes()
    }

    fn in_state(state: State) -> Self {
        let reader = Reader { state, head: HeadReader::default(), began_ns: 0, began_at_turn: false };
        Decoder {
            role: None,
            requests: reader.clone(),
            responses: reader,
            queue: Queue::default(),
            ahead: Ahead::default(),
            last: None,
            next_ordinal: 0,
            hunted_turns: 0,
            opaque: false,
        }
    }

    /// Looks for a start line in a direction that is not known to carry requests or responses. Leaves a chunk that
    /// shows the role to be read.
    fn find_role(
        &mut self,
        direction: Direction,
        at_ns: u64,
        turn: bool,
        chunk: Chunk<'_>,
        emit: &mut Emit<'_>,
    ) {
        let reader = match direction {
            Direction::Sent => &mut self.requests,
            Direction::Received => &mut self.responses,
        };
        let mut bytes = match chunk {
            Chunk::Bytes(bytes) => bytes,
            Chunk::Gap(_) => return self.hunt_both(emit),
            Chunk::End => return,
        };
        if !reader.may_read(turn) {
            return;
        }
        match reader.sniff(bytes) {
            // The start line is read from this chunk again, by the reader of its direction.
            Sniff::Request => self.take_role(direction, Direction::Sent),
            Sniff::Response => {
                self.take_role(direction, Direction::Received);
                self.move_ahead(emit);
            }
            Sniff::NeedMore => {
                // So few bytes are a whole head only in the HTTP/2 preface.
                if reader.read_head(&mut bytes, at_ns, turn) != HeadStep::More {
                    self.refuse(direction, emit);
                }
            }
            Sniff::Http2Preface | Sniff::Tls | Sniff::Other => self.refuse(direction, emit),
        }
    }

    /// The traced process is a client when requests go the way of `client`.
    fn take_role(&mut self, direction: Direction, client: Direction) {
        if direction == client {
            self.role = Some(Role::Client);
        } else {
            self.role = Some(Role::Server);
            mem::swap(&mut self.requests, &mut self.responses);
        }
    }

    /// The first bytes of a response that is ahead of its request were taken before the role was known.
    fn move_ahead(&mut self, emit: &mut Emit<'_>) {
        let begun = mem::take(&mut self.responses.head);
        if self.role == Some(Role::Client) && self.responses.state == State::Head && !begun.begun().is_empty()
        {
            self.keep_ahead(self.responses.began_ns, Chunk::Bytes(begun.begun()), emit);
        } else {
            self.responses.head = begun;
        }
    }

    /// The first bytes of a direction are no start line.
    fn refuse(&mut self, direction: Direction, emit: &mut Emit<'_>) {
        let reader = match direction {
            Direction::Sent => &mut self.requests,
            Direction::Received => &mut self.responses,
        };
        if reader.state == State::Head {
            self.give_up(Unpaired::NotHttp, emit);
        } else {
            reader.hunt();
            self.count_hunted_turn(emit);
        }
    }

    /// A gap before the role was known.
    fn hunt_both(&mut self, emit: &mut Emit<'_>) {
        if self.requests.state == State::Head || self.responses.state == State::Head {
            emit(Event::Unpaired(Unpaired::Resync));
        }
        self.requests.hunt();
        self.responses.hunt();
    }

    fn feed_request(
        &mut self,
        wanted: &Wanted,
        at_ns: u64,
        mut turn: bool,
        chunk: Chunk<'_>,
        emit: &mut Emit<'_>,
    ) {
        let mut bytes = match chunk {
            Chunk::Bytes(bytes) => bytes,
            Chunk::Gap(length) => return self.skip_request(length, emit),
            Chunk::End => return,
        };
        while !bytes.is_empty() && !self.opaque {
            if let State::Body(body) = &mut self.requests.state {
                match body.take(bytes) {
                    Taken::UnderWay => return,
                    Taken::Done(used) => bytes = bytes.get(used..).unwrap_or_default(),
                    Taken::Broken => return self.lose_requests(emit),
                }
                self.end_request_body();
            } else {
                if !self.requests.may_read(turn) {
                    return;
                }
                match self.requests.read_head(&mut bytes, at_ns, turn) {
                    HeadStep::More => return self.check_candidate_request(emit),
                    HeadStep::Whole(head) => {
                        self.take_request(wanted, &head, emit);
                        self.requests.began_at_turn = false;
                    }
                    HeadStep::TooLong if self.requests.state == State::Candidate => {
                        return self.refuse_candidate_request(emit);
                    }
                    HeadStep::TooLong => {
                        emit(Event::Unpaired(Unpaired::Request));
                        return self.lose_requests(emit);
                    }
                }
            }
            turn = false;
        }
    }

    fn skip_request(&mut self, length: u64, emit: &mut Emit<'_>) {
        match &mut self.requests.state {
            State::Hunting => {}
            State::Candidate => self.requests.hunt(),
            State::Head => {
                if !self.requests.head.begun().is_empty() {
                    emit(Event::Unpaired(Unpaired::Request));
                }
                self.lose_requests(emit);
            }
            State::Body(body) => match body.skip(length) {
                Skipped::UnderWay => {}
                Skipped::Lost => self.lose_requests(emit),
                Skipped::Done(left) => {
                    self.end_request_body();
                    if left > 0 {
                        self.lose_requests(emit);
                    }
                }
            },
        }
    }

    /// Where the next request begins is not known. The responses to those that wait are as certain as before.
    fn lose_requests(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Resync));
        self.requests.hunt();
        self.drop_ahead(emit);
    }

    fn check_candidate_request(&mut self, emit: &mut Emit<'_>) {
        let is_one = matches!(self.requests.sniff(&[]), Sniff::Request | Sniff::NeedMore);
        if self.requests.state == State::Candidate && !is_one {
            self.refuse_candidate_request(emit);
        }
    }

    /// If no request was ever seen, it is not known either that this direction carries them.
    fn refuse_candidate_request(&mut self, emit: &mut Emit<'_>) {
        self.requests.hunt();
        if self.next_ordinal == 0 {
            self.role = None;
            self.responses.hunt();
        }
        self.count_hunted_turn(emit);
    }

    fn take_request(&mut self, wanted: &Wanted, head: &[u8], emit: &mut Emit<'_>) {
        let is_candidate = self.requests.state == State::Candidate;
        let request = head::request(head);
        let Some(request) = request.filter(|request| !is_candidate || request.is_certain()) else {
            return match (is_candidate, self.next_ordinal) {
                (true, _) => self.refuse_candidate_request(emit),
                (false, 0) => self.give_up(Unpaired::NotHttp, emit),
                (false, _) => self.lose_requests(emit),
            };
        };
        self.hunted_turns = 0;
        let (exchange, declared) = self.begin_exchange(wanted, head, &request);
        let request_body = match declared {
            Declared::Nothing | Declared::Length(0) => None,
            Declared::Length(length) => Some(Body::with_length(length)),
            Declared::Chunked => Some(Body::chunked()),
            Declared::OtherCoding | Declared::Invalid => None,
        };
        let pending = Pending {
            exchange,
            method: Method::named(request.method),
            began_at_turn: self.requests.began_at_turn,
        };
        self.enqueue(pending, is_candidate, emit);
        self.requests.state = request_body.map_or(State::Head, State::Body);
        if matches!(declared, Declared::OtherCoding | Declared::Invalid) {
            // RFC 9112 §6.3: such a request has no length that a server could know; it must refuse it.
            self.lose_requests(emit);
        }
        self.take_ahead(emit);
    }

    fn begin_exchange(
        &mut self,
        wanted: &Wanted,
        head: &[u8],
        request: &head::Request<'_>,
    ) -> (Box<Exchange>, Declared) {
        let mut framing = Framing::default();
        let mut host = None;
        let mut fields = Vec::new();
        let mut room = FIELD_BYTES_MAX;
        for field in request.fields.clone() {
            framing.note(&field);
            if host.is_none() && field.name.eq_ignore_ascii_case(b"host") {
                host = Some(field.value);
            }
            for (index, name) in wanted.0.iter().enumerate() {
                if field.name.eq_ignore_ascii_case(name.as_bytes()) && room > 0 {
                    fields.push((index, field.text(room)));
                    room = room.saturating_sub(field.value.len() + size_of::<(usize, Box<str>)>());
                }
            }
        }
        let declared = framing.declared();
        let target = request.target.get(..TARGET_BYTES_MAX).unwrap_or(request.target);
        let exchange = Exchange {
            ordinal: self.next_ordinal,
            role: self.role.unwrap_or(Role::Client),
            protocol: request.protocol,
            method: request.method.into(),
            target: String::from_utf8_lossy(target).into(),
            authority: request.authority(host),
            status: None,
            request_head_bytes: head.len() as u64,
            request_body_bytes: matches!(declared, Declared::Nothing | Declared::Length(0)).then_some(0),
            response_head_bytes: None,
            response_body_bytes: None,
            started_ns: self.requests.began_ns,
            first_byte_ns: None,
            ended_ns: None,
            outcome: Outcome::Lost,
            ambiguous_framing: framing.is_ambiguous(),
            fields,
        };
        self.next_ordinal += 1;
        (Box::new(exchange), declared)
    }

    /// Lets a request wait for its response, if it is certain that the next response that is read will be its own.
    fn enqueue(&mut self, pending: Pending, is_candidate: bool, emit: &mut Emit<'_>) {
        let responses_are_lost = matches!(self.responses.state, State::Hunting | State::Candidate);
        if is_candidate || responses_are_lost && pending.began_at_turn {
            self.settle(emit);
            self.responses.hunt();
        } else if responses_are_lost && !self.was_sent_with_the_last(&pending) {
            self.settle(emit);
            return emit(Event::Exchange(pending.exchange));
        }
        if let Err(pending) = self.queue.push(pending) {
            self.lose_responses(emit);
            emit(Event::Exchange(pending.exchange));
        }
    }

    /// While responses are lost, only requests that were sent in one call with one that waits can follow it. Another may
    /// be here because the response was recorded before its request, and taken for the response to an earlier one.
    fn was_sent_with_the_last(&mut self, pending: &Pending) -> bool {
        self.queue.last().is_some_and(|last| last.exchange.started_ns == pending.exchange.started_ns)
    }

    /// The body of the request that was read last is over. Its exchange may be over before.
    fn end_request_body(&mut self) {
        let State::Body(body) = mem::replace(&mut self.requests.state, State::Head) else { return };
        let ordinal = self.next_ordinal.saturating_sub(1);
        if let Some(last) = self.queue.last().filter(|last| last.exchange.ordinal == ordinal) {
            last.exchange.request_body_bytes = Some(body.payload_bytes());
        }
    }

    /// Gives back what cannot be read before the next request is there.
    fn feed_response<'a>(
        &mut self,
        at_ns: u64,
        mut turn: bool,
        chunk: Chunk<'a>,
        emit: &mut Emit<'_>,
    ) -> Option<&'a [u8]> {
        let mut bytes = match chunk {
            Chunk::Bytes(bytes) => bytes,
            Chunk::Gap(length) => {
                self.skip_response(length, at_ns, emit);
                return None;
            }
            Chunk::End => {
                self.end_responses(Ending::Sender, at_ns, emit);
                return None;
            }
        };
        while !bytes.is_empty() && !self.opaque {
            if let State::Body(body) = &mut self.responses.state {
                match body.take(bytes) {
                    Taken::UnderWay => return None,
                    Taken::Done(used) => bytes = bytes.get(used..).unwrap_or_default(),
                    Taken::Broken => {
                        self.lose_response_body(emit);
                        return None;
                    }
                }
                self.complete(Some(at_ns), emit);
            } else {
                if !self.responses.may_read(turn) {
                    return None;
                }
                if self.may_be_ahead() {
                    skip_line_ends(&mut bytes);
                    return (!bytes.is_empty()).then_some(bytes);
                }
                match self.responses.read_head(&mut bytes, at_ns, turn) {
                    HeadStep::More => {
                        self.check_candidate_response(emit);
                        return None;
                    }
                    HeadStep::Whole(head) => self.take_response(&head, at_ns, emit),
                    HeadStep::TooLong => self.refuse_response(emit),
                }
            }
            turn = false;
        }
        None
    }

    fn skip_response(&mut self, length: u64, at_ns: u64, emit: &mut Emit<'_>) {
        match &mut self.responses.state {
            // The gap may hide the head that the first request waits for.
            State::Hunting | State::Candidate
                if !self.queue.is_empty() && !self.queue.first_is_answered() =>
            {
                self.lose_responses(emit);
            }
            State::Hunting | State::Candidate => self.responses.hunt(),
            State::Head => self.lose_responses(emit),
            State::Body(body) => match body.skip(length) {
                Skipped::UnderWay => {}
                Skipped::Lost => self.lose_response_body(emit),
                Skipped::Done(left) => {
                    // Where the gap stands for lost records, it is seen only with the next record, maybe much later.
                    let overdue = self.queue.second().is_some_and(|second| second.began_at_turn);
                    self.complete((left == 0 && !overdue).then_some(at_ns), emit);
                    if left > 0 {
                        self.lose_responses(emit);
                    }
                }
            },
        }
    }

    /// Which request the next response answers is not known.
    fn lose_responses(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Resync));
        self.settle(emit);
        self.responses.hunt();
    }

    /// Where the body ends is not known. Its exchange waits: the end of the connection may end it.
    fn lose_response_body(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Resync));
        self.responses.hunt();
    }

    fn check_candidate_response(&mut self, emit: &mut Emit<'_>) {
        let is_one = matches!(self.responses.sniff(&[]), Sniff::Response | Sniff::NeedMore);
        if self.responses.state == State::Candidate && !is_one {
            self.refuse_response(emit);
        }
    }

    /// What stands where a response should begin is none.
    fn refuse_response(&mut self, emit: &mut Emit<'_>) {
        if self.responses.state != State::Candidate {
            return self.lose_responses(emit);
        }
        // An earlier response is still under way, so the request that waits is not the next to be answered.
        if !self.queue.first_is_answered() {
            self.settle(emit);
        }
        self.responses.hunt();
        self.count_hunted_turn(emit);
    }

    fn take_response(&mut self, head: &[u8], at_ns: u64, emit: &mut Emit<'_>) {
        let is_candidate = self.responses.state == State::Candidate;
        let response = head::response(head);
        let Some(response) = response.filter(|response| !is_candidate || response.is_certain()) else {
            return self.refuse_response(emit);
        };
        self.hunted_turns = 0;
        let is_interim = (100..200).contains(&response.status) && response.status != 101;
        if self.queue.first_is_answered() {
            self.settle(emit);
        }
        let Some(first) = self.queue.first() else {
            if is_interim && !is_candidate {
                return;
            }
            emit(Event::Unpaired(Unpaired::Response));
            return self.responses.hunt();
        };
        self.responses.state = State::Head;
        if is_interim {
            return;
        }
        let Exchange { status, response_head_bytes, first_byte_ns, started_ns, ambiguous_framing, .. } =
            &mut *first.exchange;
        let began_ns = self.responses.began_ns;
        *status = Some(response.status);
        *response_head_bytes = Some(head.len() as u64);
        *first_byte_ns = Some(began_ns);
        // Calls are recorded when they end; the request had surely begun when its response was read.
        *started_ns = began_ns.min(*started_ns);
        let mut framing = Framing::default();
        response.fields.for_each(|field| framing.note(&field));
        *ambiguous_framing |= framing.is_ambiguous();
        let body = match (first.method, response.status, framing.declared()) {
            (Method::Connect, 200..300, _) | (_, 101, _) => {
                self.complete(Some(at_ns), emit);
                return self.give_up(Unpaired::Upgraded, emit);
            }
            (Method::Head, ..) | (_, 204 | 304, _) | (.., Declared::Length(0)) => {
                return self.complete(Some(at_ns), emit);
            }
            (.., Declared::Length(length)) => Body::with_length(length),
            (.., Declared::Chunked) => Body::chunked(),
            (.., Declared::Nothing | Declared::OtherCoding) => Body::until_close(),
            // RFC 9112 §6.3: a client must close the connection, since no length is known.
            (.., Declared::Invalid) => return self.lose_response_body(emit),
        };
        self.responses.state = State::Body(body);
    }

    /// The first exchange is over, with its response.
    fn complete(&mut self, ended_ns: Option<u64>, emit: &mut Emit<'_>) {
        let body = mem::replace(&mut self.responses.state, State::Head);
        let Some(Pending { mut exchange, .. }) = self.queue.pop() else { return };
        exchange.response_body_bytes = Some(payload_bytes(&body).unwrap_or(0));
        exchange.ended_ns = ended_ns;
        exchange.outcome = Outcome::Complete;
        emit(Event::Exchange(exchange));
    }

    /// No more responses will come: what waits for one is over.
    fn end_responses(&mut self, ending: Ending, at_ns: u64, emit: &mut Emit<'_>) {
        if ending == Ending::Connection {
            self.note_partial_request_body();
        }
        if self.queue.first_is_answered() {
            match &self.responses.state {
                // A server ends such a body by closing the connection; when a client closes it, it gives up.
                State::Body(body)
                    if body.is_until_close()
                        && (ending == Ending::Sender || self.role == Some(Role::Server)) =>
                {
                    self.complete(Some(at_ns), emit);
                }
                State::Hunting | State::Candidate => self.settle_first(emit),
                State::Body(_) | State::Head => {}
            }
        }
        let mut response_body_bytes = payload_bytes(&self.responses.state);
        while let Some(Pending { mut exchange, .. }) = self.queue.pop() {
            exchange.response_body_bytes = response_body_bytes.take();
            exchange.ended_ns = Some(at_ns);
            exchange.outcome = Outcome::Aborted;
            emit(Event::Exchange(exchange));
        }
        self.responses.head.clear();
        if matches!(self.responses.state, State::Body(_) | State::Candidate) {
            self.responses.hunt();
        }
    }

    /// For an exchange that ends now, what was sent of its request's body is all there is.
    fn note_partial_request_body(&mut self) {
        let payload = payload_bytes(&self.requests.state);
        let ordinal = self.next_ordinal.saturating_sub(1);
        if let Some(last) = self.queue.last().filter(|last| last.exchange.ordinal == ordinal) {
            last.exchange.request_body_bytes = last.exchange.request_body_bytes.or(payload);
        }
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

    /// True when bytes of a response come while no request waits, and the request may be recorded right after: a client
    /// whose requests are all known. A server has read a request before it answers.
    fn may_be_ahead(&self) -> bool {
        self.role == Some(Role::Client)
            && self.queue.is_empty()
            && self.responses.state == State::Head
            && self.responses.head.begun().is_empty()
            && matches!(self.requests.state, State::Head | State::Body(_))
    }

    fn keep_ahead(&mut self, at_ns: u64, chunk: Chunk<'_>, emit: &mut Emit<'_>) {
        if self.ahead.push(at_ns, chunk).is_err() {
            self.refuse_ahead(emit);
        }
    }

    /// Reads what waits for the request that has just been queued.
    fn take_ahead(&mut self, emit: &mut Emit<'_>) {
        while let Some(since_ns) = self.ahead.since_ns() {
            if self.queue.is_empty() && !self.ahead.is_end() {
                return;
            }
            if self.requests.began_ns.saturating_sub(since_ns) > AHEAD_NS_MAX {
                return self.drop_ahead(emit);
            }
            let Some(waiting) = self.ahead.pop() else { return };
            if let Some(rest) = self.feed_response(waiting.at_ns, false, waiting.chunk(), emit) {
                self.ahead.put_back(waiting.at_ns, rest);
            }
        }
    }

    /// What was ahead of its request is a response to none.
    fn drop_ahead(&mut self, emit: &mut Emit<'_>) {
        if !self.ahead.is_empty() {
            self.refuse_ahead(emit);
        }
    }

    fn refuse_ahead(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Response));
        self.ahead.clear();
        self.responses.hunt();
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
        self.requests.hunt();
        self.responses.hunt();
        self.ahead.clear();
    }
}

impl Reader {
    /// False when the bytes that come are not read. A head that was hunted down must not be interrupted: where the
    /// traffic turns round, another begins.
    fn may_read(&mut self, turn: bool) -> bool {
        if matches!(self.state, State::Hunting | State::Candidate) && turn {
            self.hunt();
            self.state = State::Candidate;
        }
        self.state != State::Hunting
    }

    fn read_head<'a>(&mut self, bytes: &mut &'a [u8], at_ns: u64, turn: bool) -> HeadStep<'a> {
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
    fn sniff(&self, mut more: &[u8]) -> Sniff {
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

    fn hunt(&mut self) {
        self.state = State::Hunting;
        self.head.clear();
        self.began_at_turn = false;
    }
}

fn payload_bytes(state: &State) -> Option<u64> {
    if let State::Body(body) = state { Some(body.payload_bytes()) } else { None }
}
