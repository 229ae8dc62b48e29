//! Given: exchanges that took place. Gives: a line for each on stdout, and complaints on stderr. Refuses to know: who reads
//! them.

use std::io::{self, Write};

use anyhow::Context;

/// One exchange of a connection, as the one who made it knows it.
pub(crate) struct Exchange<'a> {
    pub(crate) connection: usize,
    /// The processes that asked and that answered.
    pub(crate) pids: [u32; 2],
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    /// Head and body of the request, head and body of the response.
    pub(crate) bytes: [usize; 4],
}

impl Exchange<'_> {
    /// Writes it down, in one write: several processes share the output.
    pub(crate) fn log(&self) -> anyhow::Result<()> {
        let Exchange { connection, pids: [client, server], method, path, status, bytes } = self;
        let sizes = bytes.map(|size| size.to_string()).join("\t");
        line(&format!("exchange\t{connection}\t{client}\t{server}\t{method}\t{path}\t{status}\t{sizes}"))
    }
}

/// Writes a line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()).context("write the log")
}

/// Says what went wrong.
pub(crate) fn complain(error: &anyhow::Error) {
    // There is nobody else to tell if this fails too.
    let _ = writeln!(io::stderr(), "rotrace-mover: {error:#}");
}
