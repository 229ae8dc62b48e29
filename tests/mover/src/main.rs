//! Given: what to move. Gives: HTTP/1 between two ends of its own, moved by the system calls that are asked for, and a line on
//! stdout for each exchange. Refuses to know: who looks on.
//!
//! ```text
//! rotrace-mover ways KIND    each way to send with each way to receive
//! rotrace-mover joined KIND  the same; with connections in mid-response it says `ready` and waits for a line
//! rotrace-mover mixed CASE   exchanges of which something goes by io_uring, the rest by system calls
//! rotrace-mover many N       N exchanges on one connection
//! rotrace-mover crowd N      N connections at one time
//! rotrace-mover storm N      N programs with a connection each
//! ```
//!
//! KIND is `calls`, `rings` (io_uring), `old-rings` (as before 6.0) or `ktls`. A line is `exchange`, the connection, the PIDs
//! of those that ask and that answer, method, path, status, and bytes of head and body of the request and of the response, between tabs.
#![expect(clippy::disallowed_methods, reason = "drives processes and sockets")]

mod axes;
mod connection;
mod crowd;
mod hand;
mod ktls;
mod log;
mod mixed;
mod receive;
mod ring;
mod send;
mod transfer;

use std::process::ExitCode;

use anyhow::{Context, bail};

use axes::{Cell, Receive, Send, cells};
use connection::{Connection, Layer};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> anyhow::Result<()> {
    match *words {
        ["ways", kind] => each(kind, Connection::run),
        ["joined", kind] => joined(kind),
        ["mixed", case] => mixed::run(case),
        ["many", count] => connection::many(number(count)?),
        ["crowd", count] => crowd::at_one_time(number(count)?),
        ["storm", count] => crowd::of_programs(number(count)?),
        ["ask", address, of] => crowd::ask_at(address.parse().context("an address")?, number(of)?),
        _ => bail!("no such command: {words:?}"),
    }
}

fn number(word: &str) -> anyhow::Result<usize> {
    word.parse().with_context(|| format!("not a number: {word}"))
}

fn kind(name: &str) -> anyhow::Result<(Vec<Cell>, Layer)> {
    Ok(match name {
        "calls" => (cells(&Send::CALLS, &Receive::CALLS), Layer::Plain),
        "rings" => (cells(&Send::RINGS, &Receive::RINGS), Layer::Plain),
        "old-rings" => (cells(&Send::OLD_RINGS, &Receive::OLD_RINGS), Layer::Plain),
        "ktls" => (cells(&Send::BUFFERS, &Receive::BUFFERS), Layer::Ktls),
        _ => bail!("no such kind: {name}"),
    })
}

/// One connection after the other.
fn each(name: &str, run: impl Fn(Connection) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (cells, layer) = kind(name)?;
    let mut numbered = cells.into_iter().enumerate();
    numbered.try_for_each(|(number, cell)| run(Connection::open(number, cell, layer)?))
}

/// All connections at once, each of which a tracer comes to in the middle of a response.
fn joined(name: &str) -> anyhow::Result<()> {
    let (cells, layer) = kind(name)?;
    let mut connections = Vec::new();
    for (number, cell) in cells.into_iter().enumerate() {
        let mut connection = Connection::open(number, cell, layer)?;
        connection.begin().with_context(|| format!("begin {}", cell.name()))?;
        connections.push(connection);
    }
    log::line("ready")?;
    std::io::stdin().read_line(&mut String::new()).context("wait for a line")?;
    for mut connection in connections {
        connection.finish_first()?;
        connection.run()?;
    }
    Ok(())
}
