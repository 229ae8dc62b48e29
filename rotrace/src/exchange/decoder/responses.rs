//! Given: the chunks of the direction that carries responses. Gives: the exchanges they complete. Refuses to know: the
//! bytes of the other direction.

use std::mem;

use super::{Decoder, Emit, Ending, Piece};
use crate::exchange::http2::Http2;
use crate::exchange::ids::{Ids, Scan};
use crate::exchange::pending::{Method, Pending};
use crate::exchange::reader::{State, payload_bytes};
use crate::exchange::signals::{Content, Notes, ResponseSignals};
use crate::exchange::spans::{Span, Spans};
use crate::exchange::websocket::WebSocket;
use crate::exchange::{AHEAD_NS_MAX, Direction, Event, Exchange, Outcome, Role, Unpaired, Wanted};
use crate::http::Protocol;
use crate::http::h1::HeadStep;
use crate::http::h1::body::{Body, Skipped, Taken};
use crate::http::h1::head::{self, Declared, Framing};
use crate::http::sniff::Sniff;
use crate::http::websocket::Tally;
use crate::stream::Chunk;

impl<W: Spans> Decoder<W> {
    /// Gives back what cannot be read before the next request is there.
    pub(super) fn feed_response<'a>(
        &mut self,
        at_ns: u64,
        mut turn: bool,
        chunk: Chunk<'a>,
        emit: &mut Emit<'_>,
    ) -> Option<&'a [u8]> {
        // What was ahead of the request of the handshake.
        if self.websocket.is_some() {
            let direction = self.responses.direction;
            self.feed_websocket(Piece { direction, at_ns, turn, frame: false, chunk }, emit);
            return None;
        }
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
            let Decoder { responses, witness, scan_bytes_left, .. } = self;
            *scan_bytes_left = scan_bytes_left.saturating_sub(responses.scan(bytes));
            if let Some(taken) = responses.take_body(bytes, witness) {
                match taken {
                    Taken::UnderWay => return None,
                    Taken::Done(used) => bytes = bytes.get(used..).unwrap_or_default(),
                    Taken::Broken => {
                        self.lose_response_body(emit);
                        return None;
                    }
                }
                self.complete(Some(at_ns), emit);
            } else {
                if !responses.may_read(turn, witness) {
                    responses.note(witness, Span::Unread, bytes.len());
                    return None;
                }
                if self.may_be_ahead() {
                    self.responses.skip_line_ends(&mut bytes, &mut self.witness);
                    return (!bytes.is_empty()).then_some(bytes);
                }
                match self.responses.read_head(&mut bytes, at_ns, turn, &mut self.witness) {
                    HeadStep::More => {
                        self.check_candidate_response(emit);
                        return None;
                    }
                    HeadStep::Whole(head) => self.take_response(&head, at_ns, emit),
                    HeadStep::TooLong => self.refuse_response(emit),
                }
            }
            if let Some(http2) = &mut self.http2 {
                let direction = self.responses.direction;
                // Nobody asks for fields of requests here.
                let piece = Piece { direction, at_ns, turn, frame: false, chunk: Chunk::Bytes(bytes) };
                http2.feed(&Wanted::default(), piece, emit);
                break;
            }
            if self.websocket.is_some() {
                let direction = self.responses.direction;
                self.feed_websocket(
                    Piece { direction, at_ns, turn, frame: false, chunk: Chunk::Bytes(bytes) },
                    emit,
                );
                return None;
            }
            turn = false;
        }
        self.responses.note(&mut self.witness, Span::Unread, bytes.len());
        None
    }

    fn skip_response(&mut self, length: u64, at_ns: u64, emit: &mut Emit<'_>) {
        self.responses.print.skip();
        self.responses.scan.skip();
        match &mut self.responses.state {
            // The gap may hide the head that the first request waits for.
            State::Hunting | State::Candidate
                if !self.queue.is_empty() && !self.queue.first_is_answered() =>
            {
                self.lose_responses(emit);
            }
            State::Hunting | State::Candidate => self.responses.hunt(&mut self.witness),
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
    pub(super) fn lose_responses(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Resync));
        self.settle(emit);
        self.responses.hunt(&mut self.witness);
    }

    /// Where the body ends is not known. Its exchange waits: the end of the connection may end it.
    fn lose_response_body(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Resync));
        self.responses.hunt(&mut self.witness);
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
        self.responses.hunt(&mut self.witness);
        self.count_hunted_turn(emit);
    }

    fn take_response(&mut self, head: &[u8], at_ns: u64, emit: &mut Emit<'_>) {
        let is_candidate = self.responses.state == State::Candidate;
        let response = head::response(head);
        let Some(response) = response.filter(|response| !is_candidate || response.is_certain()) else {
            self.responses.note(&mut self.witness, Span::NoHead, head.len());
            return self.refuse_response(emit);
        };
        self.responses.note(&mut self.witness, Span::Head, head.len());
        self.hunted_turns = 0;
        let is_interim = (100..200).contains(&response.status) && response.status != 101;
        if self.queue.first_is_answered() {
            self.settle(emit);
        }
        let Some(first) = self.queue.first() else {
            if is_interim {
                return;
            }
            emit(Event::Unpaired(Unpaired::Response));
            return self.responses.hunt(&mut self.witness);
        };
        self.responses.state = State::Head;
        if is_interim {
            return;
        }
        let Exchange {
            method,
            status,
            response_head_bytes,
            first_byte_ns,
            started_ns,
            ambiguous_framing,
            signals,
            authority,
            protocol,
            role,
            ..
        } = &mut *first.exchange;
        let began_ns = self.responses.began_ns;
        *status = Some(response.status);
        *response_head_bytes = Some(head.len() as u64);
        *first_byte_ns = Some(began_ns);
        // Calls are recorded when they end; the request had surely begun when its response was read.
        *started_ns = began_ns.min(*started_ns);
        let mut framing = Framing::default();
        let mut upgrade = None;
        let mut notes = Notes::default();
        let is_client = *role == Role::Client;
        let authority = authority.as_deref().unwrap_or_default();
        signals.response.closes = *protocol == Protocol::Http10;
        for field in response.fields {
            framing.note(field);
            upgrade = upgrade.or_else(|| field.value_of(b"upgrade"));
            if is_client && let Some((name, value)) = field.parts() {
                signals.response.note(&mut notes, name, value, authority, &self.key);
            }
        }
        signals.response.conclude(&notes);
        let may_hold_ids = is_client && may_hold_ids(method, response.status, &signals.response);
        *ambiguous_framing |= framing.is_ambiguous();
        if response.status == 101 && upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"h2c")) {
            return self.upgrade_to_http2();
        }
        let body = match (first.method, response.status, framing.declared()) {
            (_, 101, _) if upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"websocket")) => {
                self.complete(Some(at_ns), emit);
                return self.upgrade_to_websocket(at_ns, emit);
            }
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
        self.responses.print = self.begin_print();
        let is_scanned = may_hold_ids && self.scan_bytes_left > 0;
        self.responses.scan = if is_scanned { Scan::new(self.key) } else { Scan::default() };
        self.responses.state = State::Body(body);
    }

    /// The response to the first request comes as HTTP/2, and so does all that follows.
    fn upgrade_to_http2(&mut self) {
        let exchange = self.queue.pop().map(|Pending { mut exchange, .. }| {
            exchange.status = None;
            exchange.response_head_bytes = None;
            exchange.first_byte_ns = None;
            exchange.signals.response = ResponseSignals::default();
            exchange
        });
        let http2 = Http2::upgraded(self.requests.direction, exchange, self.next_ordinal, self.key);
        self.become_http2(http2);
    }

    /// Both sides send frames from here on. Those of the client may be recorded before the answer that it waited for.
    fn upgrade_to_websocket(&mut self, at_ns: u64, emit: &mut Emit<'_>) {
        let Some(role) = self.role else { return };
        let direction = self.requests.direction;
        self.settle(emit);
        let is_lost = self.requests.state != State::Head;
        let begun = mem::take(&mut self.requests.head);
        self.websocket = Some(Box::new(WebSocket::new(role, is_lost.then_some(direction))));
        for direction in [Direction::Sent, Direction::Received] {
            emit(Event::Frames { direction, at_ns, tally: Tally::default() });
        }
        self.feed_websocket(
            Piece { direction, at_ns, turn: false, frame: false, chunk: Chunk::Bytes(begun.begun()) },
            emit,
        );
        self.requests.hunt(&mut self.witness);
        self.responses.hunt(&mut self.witness);
        self.authority = None;
    }

    /// The first exchange is over, with its response.
    fn complete(&mut self, ended_ns: Option<u64>, emit: &mut Emit<'_>) {
        let body = mem::replace(&mut self.responses.state, State::Head);
        let Some(Pending { mut exchange, .. }) = self.queue.pop() else { return };
        let payload_bytes = payload_bytes(&body);
        exchange.response_body_bytes = Some(payload_bytes.unwrap_or(0));
        // Without a body what was printed last is another's.
        exchange.signals.response.body = payload_bytes.and_then(|bytes| self.responses.print.finish(bytes));
        exchange.signals.response.ids =
            payload_bytes.map_or_else(Ids::default, |bytes| self.responses.scan.finish(bytes));
        exchange.ended_ns = ended_ns;
        exchange.outcome = Outcome::Complete;
        emit(Event::Exchange(exchange));
    }

    /// No more responses will come: what waits for one is over.
    pub(super) fn end_responses(&mut self, ending: Ending, at_ns: u64, emit: &mut Emit<'_>) {
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
        self.responses.drop_head(&mut self.witness);
        if matches!(self.responses.state, State::Body(_) | State::Candidate) {
            self.responses.hunt(&mut self.witness);
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
}

/// Whether a client may go on with ids in the body of an answer, and they can be read: text of what was read.
fn may_hold_ids(method: &str, status: u16, response: &ResponseSignals) -> bool {
    method == "GET" && status == 200 && response.content == Content::Text && !response.is_coded
}

/// Responses that were recorded before their requests.
impl<W: Spans> Decoder<W> {
    /// True when bytes of a response come while no request waits, and the request may be recorded right after: a client
    /// whose requests are all known. A server has read a request before it answers.
    pub(super) fn may_be_ahead(&self) -> bool {
        self.role == Some(Role::Client)
            && self.queue.is_empty()
            && self.responses.state == State::Head
            && self.responses.head.begun().is_empty()
            && matches!(self.requests.state, State::Head | State::Body(_))
    }

    pub(super) fn keep_ahead(&mut self, at_ns: u64, chunk: Chunk<'_>, emit: &mut Emit<'_>) {
        if self.ahead.push(at_ns, chunk).is_err() {
            self.refuse_ahead(emit);
        }
    }

    /// Reads what waits for the request that has just been queued, until the next request is needed.
    pub(super) fn take_ahead(&mut self, emit: &mut Emit<'_>) {
        let Some(since_ns) = self.ahead.since_ns() else { return };
        if self.requests.began_ns.saturating_sub(since_ns) > AHEAD_NS_MAX {
            return self.drop_ahead(emit);
        }
        while let Some(waiting) = self.ahead.pop() {
            if let Some(rest) = self.feed_response(waiting.at_ns, false, waiting.chunk(), emit) {
                return self.ahead.put_back(waiting.at_ns, rest);
            }
        }
    }

    /// What was ahead of its request is a response to none.
    pub(super) fn drop_ahead(&mut self, emit: &mut Emit<'_>) {
        if !self.ahead.is_empty() {
            self.refuse_ahead(emit);
        }
    }

    pub(super) fn refuse_ahead(&mut self, emit: &mut Emit<'_>) {
        emit(Event::Unpaired(Unpaired::Response));
        self.responses.hunt(&mut self.witness);
        self.clear_ahead();
    }

    pub(super) fn clear_ahead(&mut self) {
        self.responses.note(&mut self.witness, Span::NoHead, self.ahead.captured_bytes());
        self.ahead.clear();
    }

    /// The first bytes of a response that is ahead of its request were taken before the role was known.
    pub(super) fn move_ahead(&mut self, emit: &mut Emit<'_>) {
        let begun = mem::take(&mut self.responses.head);
        if self.role == Some(Role::Client) && self.responses.state == State::Head && !begun.begun().is_empty()
        {
            self.keep_ahead(self.responses.began_ns, Chunk::Bytes(begun.begun()), emit);
        } else {
            self.responses.head = begun;
        }
    }
}
