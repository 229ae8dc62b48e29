//! Given: files. Gives: `report` and `endpoints`, which need neither root nor a kernel. Refuses to know: probes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::cli;
use super::cost::prices;
use super::dictionary;
use super::output::Format;
use crate::capture::{Error, Reader};
use crate::config::Config;
use crate::detect;
use crate::endpoint::openapi::Document;
use crate::endpoint::{self, Endpoints};
use crate::exchange::Role;
use crate::keyed::Key;
use crate::pipeline::{Output, Pipeline, Settings};
use crate::report::cost::cost_report;
use crate::report::finding::findings_report;
use crate::report::{Style, WallClock, json, text};

/// What the pipeline is asked for by a configuration. `roles` are those of the command, where the file names none.
/// `key` hashes what must not be kept.
pub(super) fn settings(config: &Config, roles: &[Role], key: Key) -> anyhow::Result<Settings> {
    let documents = documents_of(config)?;
    Ok(Settings {
        rules: config.rules(),
        endpoints: endpoints_of(config, &documents)?,
        prices: prices(config, &documents)?,
        detect: detect::Settings {
            budget_bytes: config.detect.budget_bytes,
            loopback: config.detect.loopback,
            values: config.detect.patterns.clone(),
            key,
        },
        roles: config.roles.clone().unwrap_or_else(|| roles.iter().copied().collect::<BTreeSet<_>>()),
        connections: config.limits.connections,
    })
}

/// The OpenAPI documents that a configuration names.
pub(super) fn documents_of(config: &Config) -> anyhow::Result<Vec<Document>> {
    let document = |path: &PathBuf| {
        let parsed = Document::parse(&cli::read(path)?);
        parsed.with_context(|| format!("the OpenAPI document {}", path.display()))
    };
    config.endpoints.openapi.iter().map(document).collect()
}

fn endpoints_of(config: &Config, documents: &[Document]) -> anyhow::Result<Endpoints> {
    let settings = endpoint::Settings {
        rules: config.endpoints.rules.clone(),
        templates_per_authority: config.endpoints.templates_per_authority,
        templates: config.endpoints.templates,
        authorities: config.endpoints.authorities,
    };
    Endpoints::new(&settings, documents).context("the configuration of endpoints")
}

/// `rotrace report`.
pub(super) fn report(asked: &cli::Report, config: &Config) -> anyhow::Result<()> {
    let path = asked.capture.display();
    let file = File::open(&asked.capture).with_context(|| format!("open the capture {path}"))?;
    let mut reader = Reader::new(BufReader::new(file)).with_context(|| format!("read the capture {path}"))?;
    let clock = WallClock { offset_ns: i128::from(reader.description().wall_clock_offset_ns) };
    let keys: Vec<Box<str>> = config.privacy.query_keys.iter().map(|key| key.as_str().into()).collect();
    // The same capture always has the same report.
    let mut pipeline = Pipeline::new(settings(config, &[Role::Client, Role::Server], Key::default())?);
    if let Some(learned) = dictionary::of(config)? {
        pipeline.learn(learned);
    }
    let mut out: Box<dyn Write> = match &asked.output {
        Some(path) => Box::new(io::BufWriter::new(
            File::create(path).with_context(|| format!("create {}", path.display()))?,
        )),
        None => Box::new(io::BufWriter::new(io::stdout().lock())),
    };
    let mut written = Ok(());
    let mut last_ns = 0;
    let mut show = |output: Output<'_>| {
        if asked.format != Format::Json || written.is_err() {
            return;
        }
        let line = match output {
            Output::Call(call) => json::call_line(call, clock, &keys),
            Output::Finding(finding) => json::finding_line(finding, clock),
            Output::Ignore { .. } => return,
        };
        written = line.map_err(io::Error::from).and_then(|line| writeln!(out, "{line}"));
    };
    let end = loop {
        match reader.next() {
            Ok(Some(record)) => {
                pipeline.feed(record, &mut show);
                last_ns = time_of(record).max(last_ns);
            }
            Ok(None) => break None,
            Err(why) => break Some(why),
        }
    };
    pipeline.finish_all(last_ns, &mut show);
    written?;
    let summary = pipeline.summary();
    match asked.format {
        Format::Json => writeln!(out, "{}", json::summary_line(&summary, pipeline.prices())?)?,
        Format::Text => {
            let waste = pipeline.detectors().snapshot();
            write!(out, "{}", text::end_report(&summary, Style::Plain))?;
            write!(out, "{}", cost_report(&summary, pipeline.prices(), Style::Plain))?;
            let findings = waste.findings.iter().map(|finding| &**finding);
            write!(out, "{}", findings_report(findings, Style::Plain))?;
        }
    }
    out.flush()?;
    match end {
        None => Ok(()),
        Some(why @ (Error::Truncated(_) | Error::Damaged(_))) => {
            bail!("the capture {path}: {why}; the report covers what stands before")
        }
        Some(why) => Err(why).with_context(|| format!("read the capture {path}")),
    }
}

fn time_of(record: &[u8]) -> u64 {
    rotrace_ebpf::record::Record::decode(record).map_or(0, |record| record.header.time_ns)
}

/// `rotrace endpoints`.
pub(super) fn endpoints(asked: &cli::Endpoints, mut config: Config) -> anyhow::Result<()> {
    config.endpoints.openapi.extend(asked.openapi.iter().cloned());
    let mut endpoints = endpoints_of(&config, &documents_of(&config)?)?;
    if let Some(learned) = dictionary::of(&config)? {
        endpoints.learn(learned);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let lines = (1_usize..).zip(io::stdin().lock().lines());
    let mut lines: Box<dyn Iterator<Item = (usize, io::Result<String>)>> = Box::new(lines);
    if asked.learn {
        let all: Vec<(usize, io::Result<String>)> = lines.collect();
        all.iter().filter_map(|(_, line)| line.as_ref().ok()).for_each(|line| endpoints.learn_line(line));
        endpoints.settle();
        lines = Box::new(all.into_iter());
    }
    for (number, line) in lines {
        let line = line.with_context(|| format!("read line {number} of standard input"))?;
        match endpoints.annotate(&line) {
            Ok(annotated) => writeln!(out, "{annotated}")?,
            Err(why) => bail!("line {number} of standard input: {why}"),
        }
    }
    out.flush()?;
    Ok(())
}
