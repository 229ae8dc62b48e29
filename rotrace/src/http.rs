//! Given: nothing. Gives: the words that the HTTP readers share. Refuses to know: connections and processes.

mod byte_set;
pub mod h1;
pub mod h2;
pub mod hpack;
pub mod sniff;
pub mod websocket;

pub(crate) use byte_set::ByteSet;

/// Which protocol a message was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// As in the `protocol` field of a call.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http10 => "http/1.0",
            Protocol::Http11 => "http/1.1",
            Protocol::Http2 => "http/2",
        }
    }
}
