//! Given: the chunks of the direction that carries requests. Gives: exchanges that wait for their responses. Refuses to
//! know: the bytes of the other direction.

use std::borrow::Cow;
use std::mem;

use super::{Decoder, Emit, FIELD_BYTES_MAX, TARGET_BYTES_MAX};
use crate::exchange::pending::{Method, Pending};
use crate::exchange::print::Print;
use crate::exchange::reader::State;
use crate::exchange::spans::{Span, Spans};
use crate::exchange::{Event, Exchange, Outcome, Role, Signals, Unpaired, Wanted};
use crate::http::Protocol;
use crate::http::h1::HeadStep;
use crate::http::h1::body::{Body, Skipped, Taken};
use crate::http::h1::head::{self, Declared, Framing};
use crate::http::sniff::{Sniff, sniff};
use crate::stream::Chunk;

impl<W: Spans> Decoder<W> {
    pub(super) fn feed_request(
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
            let Decoder { requests, witness, .. } = self;
            if let Some(taken) = requests.take_body(bytes, witness) {
                match taken {
                    Taken::UnderWay => return,
                    Taken::Done(used) => bytes = bytes.get(used..).unwrap_or_default(),
                    Taken::Broken => return self.lose_requests(emit),
                }
                self.end_request_body();
            } else {
                if !requests.may_read(turn, witness) {
                    return requests.note(witness, Span::Unread, bytes.len());
                }
                match requests.read_head(&mut bytes, at_ns, turn, witness) {
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
        self.requests.note(&mut self.witness, Span::Unread, bytes.len());
    }

    fn skip_request(&mut self, length: u64, emit: &mut Emit<'_>) {
        self.requests.print.skip();
        match &mut self.requests.state {
            State::Hunting => {}
            State::Candidate => self.requests.hunt(&mut self.witness),
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
        self.requests.hunt(&mut self.witness);
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
        self.requests.hunt(&mut self.witness);
        if self.next_ordinal == 0 {
            self.role = None;
            self.responses.hunt(&mut self.witness);
        }
        self.count_hunted_turn(emit);
    }

    fn take_request(&mut self, wanted: &Wanted, head: &[u8], emit: &mut Emit<'_>) {
        let is_candidate = self.requests.state == State::Candidate;
        // A candidate's first bytes are looked at as they come; a whole one must pass the same test.
        let is_taken = |request: &head::Request<'_>| {
            !is_candidate || request.is_certain() && sniff(head) == Sniff::Request
        };
        let Some(request) = head::request(head).filter(is_taken) else {
            self.requests.note(&mut self.witness, Span::NoHead, head.len());
            return match (is_candidate, self.next_ordinal) {
                (true, _) => self.refuse_candidate_request(emit),
                (false, 0) => self.give_up(Unpaired::NotHttp, emit),
                (false, _) => self.lose_requests(emit),
            };
        };
        self.requests.note(&mut self.witness, Span::Head, head.len());
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
        self.requests.print = self.begin_print();
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
        let mut signals = Signals::default();
        // What a client could do better is said to the client.
        let is_client = self.role == Some(Role::Client);
        signals.request.closes = request.protocol == Protocol::Http10;
        for field in request.fields.clone() {
            framing.note(field);
            if is_client && let Some((name, value)) = field.parts() {
                signals.request.note(name, value, &self.key);
            }
            host = host.or_else(|| field.value_of(b"host"));
            for (index, name) in wanted.0.iter().enumerate() {
                if let Some(value) = field.value_of(name.as_bytes()).filter(|_| room > 0) {
                    fields.push((index, head::text(value, room)));
                    room = room.saturating_sub(value.len() + size_of::<(usize, Box<str>)>());
                }
            }
        }
        let authority = request.authority(host, self.authority.as_ref());
        if authority != self.authority && authority.is_some() {
            self.authority.clone_from(&authority);
        }
        let declared = framing.declared();
        let target = request.target.get(..TARGET_BYTES_MAX).unwrap_or(request.target);
        let exchange = Exchange {
            ordinal: self.next_ordinal,
            role: self.role.unwrap_or(Role::Client),
            protocol: request.protocol,
            method: method(request.method),
            target: str::from_utf8(target).map_or_else(|_| String::from_utf8_lossy(target).into(), Box::from),
            authority,
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
            signals,
            grpc: None,
            unnamed: None,
            fields,
        };
        self.next_ordinal += 1;
        (Box::new(exchange), declared)
    }

    /// Bodies of calls that the process makes are compared.
    pub(super) fn begin_print(&self) -> Print {
        if self.role == Some(Role::Client) { Print::new(&self.key) } else { Print::default() }
    }

    /// Lets a request wait for its response, if it is certain that the next response that is read will be its own.
    fn enqueue(&mut self, pending: Pending, is_candidate: bool, emit: &mut Emit<'_>) {
        let responses_are_lost = matches!(self.responses.state, State::Hunting | State::Candidate);
        if is_candidate || responses_are_lost && pending.began_at_turn {
            self.settle(emit);
            self.responses.hunt(&mut self.witness);
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
            last.exchange.signals.request.body = self.requests.print.finish(body.payload_bytes());
        }
    }
}

/// Nearly all methods are of these few words, which take no memory.
pub(in crate::exchange) fn method(name: &str) -> Cow<'static, str> {
    const USUAL: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    match USUAL.into_iter().find(|usual| *usual == name) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(name.to_owned()),
    }
}
