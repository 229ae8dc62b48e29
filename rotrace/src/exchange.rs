//! Given: the chunks of both directions of one connection, in the order they were seen, with their times. Gives:
//! exchanges, each a request with its response, and what could not be paired, as counted values. Refuses to know:
//! sockets, processes, games.

mod ahead;
mod decoder;
#[cfg(test)]
pub(crate) mod fates;
mod http2;
pub mod ids;
mod pending;
mod print;
#[cfg(test)]
mod properties;
mod reader;
mod record;
pub mod signals;
mod spans;
#[cfg(test)]
mod tests;
mod websocket;

use std::borrow::Cow;
use std::sync::Arc;

use crate::http::Protocol;
use crate::http::websocket::Tally;

pub use self::ahead::{AHEAD_BYTES_MAX, AHEAD_NS_MAX};
pub use self::decoder::{
    Decoder, FIELD_BYTES_MAX, Piece, RETAINED_BYTES_MAX, TARGET_BYTES_MAX, TURNS_HUNTED_MAX,
};
pub use self::pending::{PENDING_BYTES_MAX, PENDING_MAX};
pub use self::print::FINGERPRINT_BYTES;
pub use self::record::pieces;
pub use self::signals::Signals;
pub use self::spans::{Span, Spans};

/// Direction of bytes, as seen from the traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The process sent them.
    Sent,
    /// The process received them.
    Received,
}

/// What the traced process is in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It made the call.
    Client,
    /// It served the call.
    Server,
}

/// How an exchange ended, and so what of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Request and response were seen whole, or what was left out of them has a known length.
    Complete,
    /// The connection ended, or the process did, before the response was over. A client that closes a connection while
    /// the response goes on until the connection ends is taken to give up; a server ends its response that way.
    Aborted,
    /// Head and status are known; the end of a body was not seen, so its size and the end time are not known.
    Unbounded,
    /// Request and response were lost sight of before the response's head.
    Lost,
}

/// One request with its response. What is not known is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Which request of its connection, from 0, in the order of the requests that were seen.
    pub ordinal: u64,
    /// Client when the process sent the request.
    pub role: Role,
    /// Of the request.
    pub protocol: Protocol,
    /// The method as sent; empty when it is not known, which only happens to HTTP/2.
    pub method: Cow<'static, str>,
    /// The request target as sent: origin-form, absolute-form, authority-form or `*`; not UTF-8 bytes replaced,
    /// and cut to [`TARGET_BYTES_MAX`]. Of HTTP/2 the path, and for CONNECT the authority. Empty when it is not known; then
    /// `unnamed` says why.
    pub target: Box<str>,
    /// From the target or the Host field, lower case; `None` when neither names one.
    pub authority: Option<Arc<str>>,
    /// Of the final response.
    pub status: Option<u16>,
    /// Start line and fields with their line ends; of HTTP/2 the frames of the header block, as compressed.
    pub request_head_bytes: u64,
    /// Payload bytes, without chunk framing and trailers. `None` as well when the response was over before it.
    pub request_body_bytes: Option<u64>,
    /// Of the final response.
    pub response_head_bytes: Option<u64>,
    /// Payload bytes, without chunk framing and trailers.
    pub response_body_bytes: Option<u64>,
    /// When the call that moved the first byte of the request ended; CLOCK_MONOTONIC. Where that call ended after the
    /// response had begun, the first byte of the response.
    pub started_ns: u64,
    /// First byte of the final response.
    pub first_byte_ns: Option<u64>,
    /// Last byte of the response, or the end of the connection for an aborted exchange. `None` as well when the last
    /// byte was lost and only its number is known.
    pub ended_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Both Transfer-Encoding and Content-Length were present, or Content-Length more than once.
    pub ambiguous_framing: bool,
    /// Values of the request fields that [`Wanted`] names, by its index.
    pub fields: Vec<(usize, Box<str>)>,
    /// What it says to those who look for waste.
    pub signals: Signals,
    /// What it says of itself as a call of gRPC; `None` when it is none.
    pub grpc: Option<Grpc>,
    /// Why its target is not known; `None` when it is.
    pub unnamed: Option<Unnamed>,
}

/// A call of gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// `grpc-status`: 0 is success.
    pub status: Option<u32>,
    /// Messages of the request; `None` when the begin of one was not seen.
    pub request_messages: Option<u64>,
    /// Messages of the response, likewise.
    pub response_messages: Option<u64>,
}

impl Grpc {
    /// The status of HTTP that stands for its own (google/rpc/code.proto); `None` when it said none, or one that nobody knows.
    pub fn http_status(&self) -> Option<u16> {
        const BY_CODE: [u16; 17] =
            [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        BY_CODE.get(self.status? as usize).copied()
    }
}

/// Why the target of a request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unnamed {
    /// It is an index of a header table that was filled before the connection was watched.
    JoinedLate,
    /// It is an index of a header table, and a header block was lost that filled it, or was cut.
    BlockLost,
    /// The request names none.
    Missing,
}

impl Unnamed {
    /// Each of them.
    pub const ALL: [Unnamed; 3] = [Unnamed::JoinedLate, Unnamed::BlockLost, Unnamed::Missing];
}

impl Exchange {
    /// Time from the request to the first byte of the final response. A round trip of the network is in it: nobody told
    /// how long that is.
    pub fn ttfb_ns(&self) -> Option<u64> {
        self.first_byte_ns?.checked_sub(self.started_ns)
    }

    /// The status that says how the call went: of gRPC not that of HTTP, which is 200 for nearly all, but the one that stands
    /// for its own.
    pub fn status_of_call(&self) -> Option<u16> {
        match (self.status, self.grpc) {
            (Some(200), Some(grpc)) => grpc.http_status(),
            (status, _) => status,
        }
    }

    /// Time from the request to the last byte of the response, or to the end of the connection for an aborted exchange.
    pub fn duration_ns(&self) -> Option<u64> {
        self.ended_ns?.checked_sub(self.started_ns)
    }
}

/// Names of the request fields whose values attribution needs, lower case.
#[derive(Clone, Debug, Default)]
pub struct Wanted(pub Vec<Box<str>>);

/// Why something on a connection did not become an exchange. Each is counted once, where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unpaired {
    /// A response whose request was not seen.
    Response,
    /// A request that was given up because a gap or broken framing made its response uncertain.
    Request,
    /// A gap fell where its content mattered; the direction waits for a point that is certain.
    Resync,
    /// The connection became a tunnel or a protocol that is not read: CONNECT, or an Upgrade.
    Upgraded,
    /// The bytes cannot be HTTP/1; the connection is not read any more.
    NotHttp,
}

impl Unpaired {
    /// Each of them.
    pub const ALL: [Unpaired; 5] =
        [Unpaired::Response, Unpaired::Request, Unpaired::Resync, Unpaired::Upgraded, Unpaired::NotHttp];
}

/// What a connection yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call, once it is over.
    Exchange(Box<Exchange>),
    /// Something that did not become one.
    Unpaired(Unpaired),
    /// What more went by on a WebSocket. The first of each direction, which may count nothing, comes right behind the
    /// exchange of the handshake.
    Frames {
        /// Which way.
        direction: Direction,
        /// When the call that moved it ended; CLOCK_MONOTONIC.
        at_ns: u64,
        /// How much.
        tally: Tally,
    },
}
