//! Given: an exchange, the process that made or served it, its game and its endpoint. Gives: the [`Call`] that every
//! module behind this one reads. Refuses to know: how any of them was found.

use std::sync::Arc;

use crate::exchange::Exchange;

/// A process as far as calls speak of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// In the PID namespace of the user.
    pub pid: u32,
    /// Start time since boot in clock ticks: with the PID it names one process for ever.
    pub start_ticks: u64,
    /// Path of the executable; empty when not known.
    pub exe: Box<str>,
    /// The game that the rules found for the process; `None` when none matched.
    pub game: Option<Arc<str>>,
}

/// An exchange with everything that is said about it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The exchange itself.
    pub exchange: Exchange,
    /// Who made or served it.
    pub process: Arc<Process>,
    /// The game: from the process, or from a field of the request.
    pub game: Option<Arc<str>>,
    /// Authority and path template, as in the `endpoint` label.
    pub endpoint: Arc<str>,
    /// The path without the query; what `path` shows.
    pub path: Arc<str>,
    /// Number of the connection; with the TLS bit it is a TLS object, else a socket inode.
    pub conn: u64,
    /// The bytes were the plaintext of TLS.
    pub tls: bool,
    /// What it costs, in millionths of a cost unit; `None` when the cost model asks for what was not seen of it.
    pub cost_ucu: Option<u64>,
    /// Remote address and port, `None` when the socket was not seen.
    pub peer: Option<std::net::SocketAddr>,
}
