//! Given: requests in the order they were sent. Gives: the one that the next response answers. Refuses to know: bytes.
//!
//! Both what waits here and what it holds is bounded, whatever a peer sends.

use std::collections::VecDeque;

use super::Exchange;

/// Requests of one connection that may wait for their responses. Clients that pipeline send 16 or so.
pub const PENDING_MAX: usize = 128;

/// Bytes that all requests which wait on one connection may take together.
pub const PENDING_BYTES_MAX: usize = 80 * 1024;

/// A request that waits for its response, or for the rest of it: the exchange so far.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) exchange: Box<Exchange>,
    pub(super) method: Method,
    /// The request began where the traffic turned round. A client that does not pipeline has seen all earlier responses
    /// to their ends by then.
    pub(super) began_at_turn: bool,
}

/// The methods whose responses are framed in another way (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

impl Method {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }
}

/// The requests that wait, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    requests: VecDeque<Pending>,
    bytes: usize,
}

impl Queue {
    /// Gives the request back when there is no room for it.
    pub(super) fn push(&mut self, pending: Pending) -> Result<(), Pending> {
        let bytes = pending.bytes();
        if self.requests.len() >= PENDING_MAX || self.bytes + bytes > PENDING_BYTES_MAX {
            return Err(pending);
        }
        self.bytes += bytes;
        self.requests.push_back(pending);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.requests.pop_front()?;
        self.bytes -= pending.bytes();
        Some(pending)
    }

    pub(super) fn first(&mut self) -> Option<&mut Pending> {
        self.requests.front_mut()
    }

    pub(super) fn second(&self) -> Option<&Pending> {
        self.requests.get(1)
    }

    pub(super) fn last(&mut self) -> Option<&mut Pending> {
        self.requests.back_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// True when the head of the oldest request's response has been seen.
    pub(super) fn first_is_answered(&self) -> bool {
        self.requests.front().is_some_and(|first| first.exchange.status.is_some())
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.bytes
    }
}

impl Pending {
    /// Memory that it takes. What is filled in later takes none.
    fn bytes(&self) -> usize {
        let Exchange { method, target, authority, fields, .. } = &*self.exchange;
        let texts = method.len() + target.len() + authority.as_ref().map_or(0, |text| text.len());
        let fields =
            fields.iter().map(|(_, value)| value.len() + size_of::<(usize, Box<str>)>()).sum::<usize>();
        // Twice, because the queue grows by doubling.
        2 * size_of::<Pending>() + size_of::<Exchange>() + texts + fields
    }
}
