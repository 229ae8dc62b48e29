//! Given: calls, and a summary at the end. Gives: lines on standard output. Refuses to know: what lines look like, and
//! where calls come from.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use anyhow::Context;

use crate::pipeline;
use crate::report::{Style, WallClock, json, text};
use crate::summary::Summary;

/// How calls are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One aligned line a call, coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Standard output, as calls are written to it.
#[derive(Debug)]
pub(super) struct Output {
    out: BufWriter<Stdout>,
    format: Format,
    style: Style,
    clock: WallClock,
    query_keys: Vec<Box<str>>,
    /// The reader has gone: not an error, but there is no point in going on.
    closed: bool,
    result: io::Result<()>,
}

impl Output {
    pub(super) fn new(format: Format, clock: WallClock, query_keys: Vec<Box<str>>) -> Self {
        let style = if io::stdout().is_terminal() { Style::Coloured } else { Style::Plain };
        Output {
            out: BufWriter::new(io::stdout()),
            format,
            style,
            clock,
            query_keys,
            closed: false,
            result: Ok(()),
        }
    }

    /// Shows a call; what else the pipeline says is not for people.
    pub(super) fn take(&mut self, event: pipeline::Output<'_>) {
        let pipeline::Output::Call(call) = event else { return };
        match self.format {
            Format::Text => self.line(&text::call_line(call, self.clock, self.style, &self.query_keys)),
            Format::Json => self.json(json::call_line(call, self.clock, &self.query_keys)),
        }
    }

    /// Shows what all calls come to.
    pub(super) fn summary(&mut self, summary: &Summary) {
        match self.format {
            Format::Text => self.line(text::end_report(summary, self.style).trim_end_matches('\n')),
            Format::Json => self.json(json::summary_line(summary)),
        }
        self.flush();
    }

    /// Hands on what has been written.
    pub(super) fn flush(&mut self) {
        if !self.is_done() {
            let flushed = self.out.flush();
            self.unless_closed(flushed);
        }
    }

    fn json(&mut self, line: serde_json::Result<String>) {
        match line {
            Ok(line) => self.line(&line),
            Err(why) => self.result = Err(why.into()),
        }
    }

    /// Nothing more can be written: the reader has gone, or writing failed.
    pub(super) fn is_done(&self) -> bool {
        self.closed || self.result.is_err()
    }

    /// How writing went; a reader that has gone is no failure.
    pub(super) fn result(self) -> anyhow::Result<()> {
        self.result.context("write to standard output")
    }

    fn line(&mut self, line: &str) {
        if !self.is_done() {
            let written = writeln!(self.out, "{line}");
            self.unless_closed(written);
        }
    }

    fn unless_closed(&mut self, written: io::Result<()>) {
        match written {
            Err(why) if why.kind() == ErrorKind::BrokenPipe => self.closed = true,
            Err(why) => self.result = Err(why),
            Ok(()) => {}
        }
    }
}
