//! Given: what the two directions of a connection say of one stream. Gives: its exchange so far. Refuses to know: other
//! streams, and frames.

use std::collections::BTreeMap;

use super::messages::Messages;
use crate::exchange::print::Print;
use crate::exchange::signals::Signals;
use crate::exchange::{Exchange, Grpc, Outcome, Role};
use crate::http::Protocol;
use crate::keyed::Key;

/// Streams of one connection that may be open at one time. Servers allow 100 to 250 by default, and those that allow any
/// number have seldom more than a few hundred.
pub(super) const STREAMS_MAX: usize = 4096;

/// Bytes that the calls of one connection may take together.
pub(super) const STREAMS_BYTES_MAX: usize = 1024 * 1024;

/// A stream with its exchange so far.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) exchange: Box<Exchange>,
    /// The head of the request has been seen. A response that is recorded before its request waits for it.
    pub(super) is_asked: bool,
    /// The response is over; only its request is missing.
    pub(super) ended_ns: Option<u64>,
    pub(super) request: Body,
    pub(super) response: Body,
}

/// The body of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Body {
    bytes: u64,
    is_unknown: bool,
    pub(super) is_over: bool,
    messages: Messages,
    print: Print,
}

/// The streams of a connection, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    by_stream: BTreeMap<u32, Call>,
    /// Those whose requests have not been seen.
    unasked: usize,
    bytes: usize,
}

impl Call {
    /// Nothing is known of it.
    pub(super) fn new(ordinal: u64, role: Role, key: &Key) -> Self {
        let exchange = Exchange {
            ordinal,
            role,
            protocol: Protocol::Http2,
            method: "".into(),
            target: "".into(),
            authority: None,
            status: None,
            request_head_bytes: 0,
            request_body_bytes: None,
            response_head_bytes: None,
            response_body_bytes: None,
            started_ns: 0,
            first_byte_ns: None,
            ended_ns: None,
            outcome: Outcome::Lost,
            ambiguous_framing: false,
            signals: Signals::default(),
            grpc: None,
            unnamed: None,
            fields: Vec::new(),
        };
        Call::of(Box::new(exchange), key)
    }

    /// That of a request, if it is filled in. Bodies of calls that the process makes are compared.
    pub(super) fn of(exchange: Box<Exchange>, key: &Key) -> Self {
        let print = if exchange.role == Role::Client { Print::new(key) } else { Print::default() };
        let body = Body { print, ..Body::default() };
        Call { exchange, is_asked: false, ended_ns: None, request: body, response: body }
    }

    /// True when the head of the final response has been seen.
    pub(super) fn is_answered(&self) -> bool {
        self.exchange.response_head_bytes.is_some()
    }

    /// The exchange, which ends in this way.
    pub(super) fn end(self, outcome: Outcome, ended_ns: Option<u64>) -> Box<Exchange> {
        let is_answered = self.is_answered();
        let Call { mut exchange, request, response, .. } = self;
        // What was sent of an exchange that ends before its time is all there is.
        let is_sent = request.is_over || outcome == Outcome::Aborted;
        exchange.request_body_bytes = request.known().filter(|_| is_sent);
        let is_received = outcome == Outcome::Complete || outcome == Outcome::Aborted && is_answered;
        exchange.response_body_bytes = response.known().filter(|_| is_received);
        if request.is_over {
            // That of a request which asked for the upgrade was seen before.
            let print = exchange.request_body_bytes.and_then(|bytes| request.print.finish(bytes));
            exchange.signals.request.body = print.or(exchange.signals.request.body);
        }
        if outcome == Outcome::Complete {
            exchange.signals.response.body =
                exchange.response_body_bytes.and_then(|bytes| response.print.finish(bytes));
        }
        if let Some(grpc) = &mut exchange.grpc {
            let Grpc { request_messages, response_messages, .. } = grpc;
            *request_messages = request.messages.count().filter(|_| is_sent);
            *response_messages = response.messages.count().filter(|_| is_received);
        }
        exchange.outcome = outcome;
        exchange.ended_ns = ended_ns;
        exchange
    }

    /// Memory that it takes.
    fn bytes(&self) -> usize {
        let Exchange { method, target, authority, fields, .. } = &*self.exchange;
        let texts = method.len() + target.len() + authority.as_ref().map_or(0, |text| text.len());
        let fields =
            fields.iter().map(|(_, value)| value.len() + size_of::<(usize, Box<str>)>()).sum::<usize>();
        // Twice, because the nodes of the map are half full.
        2 * size_of::<Call>() + size_of::<Exchange>() + texts + fields
    }
}

impl Body {
    /// Takes `size` bytes, of which `shown` are the first.
    pub(super) fn take(&mut self, size: u64, shown: &[u8]) {
        self.bytes += size;
        self.messages.take(size, shown);
        self.print.write(shown);
        if (shown.len() as u64) < size {
            self.print.skip();
        }
    }

    /// Some bytes went by, and nobody knows how many.
    pub(super) fn lose(&mut self) {
        self.is_unknown = true;
        self.messages.lose();
        self.print.skip();
    }

    fn known(&self) -> Option<u64> {
        (!self.is_unknown).then_some(self.bytes)
    }
}

impl Calls {
    /// Gives the call back when there is no room for it.
    pub(super) fn insert(&mut self, stream: u32, call: Call) -> Result<(), Box<Call>> {
        let bytes = call.bytes();
        if self.by_stream.len() >= STREAMS_MAX || self.bytes + bytes > STREAMS_BYTES_MAX {
            return Err(Box::new(call));
        }
        self.bytes += bytes;
        self.unasked += usize::from(!call.is_asked);
        self.by_stream.insert(stream, call);
        Ok(())
    }

    /// Takes a call out; its size may change before it comes back.
    pub(super) fn remove(&mut self, stream: u32) -> Option<Call> {
        let call = self.by_stream.remove(&stream)?;
        self.bytes -= call.bytes();
        self.unasked -= usize::from(!call.is_asked);
        Some(call)
    }

    /// What is changed in place takes no memory.
    pub(super) fn find(&mut self, stream: u32) -> Option<&mut Call> {
        self.by_stream.get_mut(&stream)
    }

    /// The lowest stream above this one, if there is one.
    pub(super) fn above(&self, stream: u32) -> Option<u32> {
        self.by_stream.range(stream.checked_add(1)?..).next().map(|(&stream, _)| stream)
    }

    /// The lowest stream whose request has not been seen, below this one.
    pub(super) fn unasked_below(&self, stream: u32) -> Option<u32> {
        if self.unasked == 0 {
            return None;
        }
        self.by_stream.range(..stream).find(|(_, call)| !call.is_asked).map(|(&stream, _)| stream)
    }

    /// Streams whose requests have been seen.
    pub(super) fn asked(&self) -> usize {
        self.by_stream.len() - self.unasked
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.bytes
    }
}
