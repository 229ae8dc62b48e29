//! Given: the command line. Gives: the commands: threads, clocks, signals, files and sockets around the core. Refuses to
//! know: HTTP, games, endpoints; those are the core's.

pub mod check;
pub mod cli;
mod clock;
pub mod cost;
mod dictionary;
mod offline;
mod output;
pub mod players;
mod recorder;
mod seeker;
pub mod server;
mod session;
mod signals;
mod watch;

pub use session::DRAIN;
