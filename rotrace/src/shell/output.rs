//! Given: calls, and a summary at the end. Gives: lines on standard output. Refuses to know: what lines look like, and
//! where calls come from.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use anyhow::Context;

use crate::cost::Prices;
use crate::detect::Snapshot;
use crate::detect::finding::{FindingId, Severity};
use crate::pipeline;
use crate::report::cost::cost_report;
use crate::report::finding::{finding_line, findings_report};
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
    /// Findings that have had their line.
    told: BTreeSet<FindingId>,
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
            told: BTreeSet::new(),
            closed: false,
            result: Ok(()),
        }
    }

    /// Shows a call or a finding; what else the pipeline says is not for people.
    pub(super) fn take(&mut self, event: pipeline::Output<'_>) {
        match (event, self.format) {
            (pipeline::Output::Call(call), Format::Text) => {
                self.line(&text::call_line(call, self.clock, self.style, &self.query_keys));
            }
            (pipeline::Output::Call(call), Format::Json) => {
                self.json(json::call_line(call, self.clock, &self.query_keys));
            }
            // People are told when something is found, and of all of it at the end.
            (pipeline::Output::Finding(finding), Format::Text) => {
                if finding.severity > Severity::Info && self.told.insert(finding.id) {
                    self.line(&finding_line(finding, self.clock, self.style));
                }
            }
            (pipeline::Output::Finding(finding), Format::Json) => {
                self.json(json::finding_line(finding, self.clock));
            }
            (pipeline::Output::Ignore { .. }, _) => {}
        }
    }

    /// Shows what all calls come to.
    pub(super) fn summary(&mut self, summary: &Summary, prices: &Prices, waste: &Snapshot) {
        match self.format {
            Format::Text => {
                self.line(text::end_report(summary, self.style).trim_end_matches('\n'));
                let cost = cost_report(summary, prices, self.style);
                if !cost.is_empty() {
                    self.line(cost.trim_end_matches('\n'));
                }
                let findings = findings_report(waste.findings.iter().map(|finding| &**finding), self.style);
                if !findings.is_empty() {
                    self.line(findings.trim_end_matches('\n'));
                }
            }
            Format::Json => self.json(json::summary_line(summary, prices)),
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
