//! Given: what a decoder takes each byte for. Gives: nothing, or what a witness makes of it. Refuses to know: the bytes.
//!
//! Every byte of a direction is in one span, and spans come in the order of the direction. A span may come later than its
//! bytes: those of a head that has begun when the head is whole or given up, and those of a response that is ahead of its
//! request when the request is there. The end of the connection is the end of all spans.

use super::Direction;
use crate::http::h1::body::Body;
use crate::http::websocket::FrameReader;

/// What bytes were taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Line ends before a head.
    LineEnds,
    /// A whole head that was read, from its start line to its empty line.
    Head,
    /// What might have become a head and did not: its beginning, or all of it, and what waited with it.
    NoHead,
    /// A part of a body, framing included. The body is as it was before these bytes; bytes behind broken framing are in
    /// the span as well.
    Body(Body),
    /// A piece of a WebSocket, or the first bytes of one. The reader is as it was before these bytes.
    Frames(FrameReader),
    /// They were passed over.
    Unread,
}

/// Is told of the spans of a connection.
pub trait Spans {
    /// The next `length` bytes of a direction, at least one, are this.
    fn note(&mut self, direction: Direction, span: Span, length: usize);
}

/// Nobody wants to know; costs nothing.
impl Spans for () {
    fn note(&mut self, _: Direction, _: Span, _: usize) {}
}
