//! Given: findings. Gives: them as one JSON object each, as a line for people, and as the part of the report that says
//! what to do first. Refuses to know: how they were found.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::text::{Colour, Style, fit, paint, plural};
use super::units::{bytes, duration};
use super::visible::escape;
use super::wall::WallClock;
use crate::detect::finding::{Amount, Class, Estimate, Fact, Finding, Sample, Severity};

/// Findings that the report at the end shows: those that cost the most.
const TOP_FINDINGS: usize = 20;

/// A finding, as scripts get it.
#[derive(Serialize)]
pub(super) struct FindingObject<'a> {
    r#type: &'static str,
    id: String,
    pattern: &'static str,
    kind: &'static str,
    state: &'static str,
    severity: &'static str,
    confidence: &'static str,
    class: &'static str,
    game: &'a str,
    endpoint: &'a str,
    method: &'a str,
    pid: u32,
    started: String,
    confirmed: String,
    last: String,
    calls: u64,
    overlap_calls: u64,
    waste: Waste,
    latency_ns: u64,
    evidence: Evidence<'a>,
    remedy: &'a str,
}

#[derive(Serialize)]
struct Waste {
    calls: Range<u64>,
    bytes: Range<u64>,
    server_ns: Range<u64>,
    cost_units: Range<f64>,
}

#[derive(Serialize)]
struct Range<T> {
    low: T,
    expected: T,
    high: T,
}

#[derive(Serialize)]
struct Evidence<'a> {
    facts: BTreeMap<&'a str, Value>,
    samples: Vec<SampleObject>,
}

#[derive(Serialize)]
struct SampleObject {
    call: u64,
    started: String,
    duration_ns: u64,
    status: Option<u16>,
    resource: String,
}

/// A finding as a value that becomes JSON.
pub(super) fn object(finding: &Finding, clock: WallClock) -> FindingObject<'_> {
    FindingObject {
        r#type: "finding",
        id: finding.id.to_string(),
        pattern: finding.pattern.name(),
        kind: finding.kind,
        state: if finding.is_over { "over" } else { "open" },
        severity: finding.severity.name(),
        confidence: finding.confidence.name(),
        class: finding.class.name(),
        game: &finding.game,
        endpoint: &finding.endpoint,
        method: &finding.method,
        pid: finding.pid,
        started: clock.rfc3339(finding.started_ns),
        confirmed: clock.rfc3339(finding.confirmed_ns),
        last: clock.rfc3339(finding.last_ns),
        calls: finding.calls,
        overlap_calls: finding.overlap_calls,
        waste: waste(&finding.waste),
        latency_ns: finding.latency_ns,
        evidence: Evidence {
            facts: finding.evidence.facts.iter().map(|(name, fact)| (*name, value(fact, clock))).collect(),
            samples: finding.evidence.samples.iter().map(|sample| sample_object(sample, clock)).collect(),
        },
        remedy: &finding.remedy,
    }
}

fn waste(estimate: &Estimate) -> Waste {
    let (low, expected, high) = (estimate.low(), estimate.expected, estimate.high());
    let of =
        |part: fn(&Amount) -> u64| Range { low: part(&low), expected: part(&expected), high: part(&high) };
    Waste {
        calls: of(|amount| amount.calls),
        bytes: of(|amount| amount.bytes),
        server_ns: of(|amount| amount.server_ns),
        cost_units: Range { low: units(&low), expected: units(&expected), high: units(&high) },
    }
}

fn units(amount: &Amount) -> f64 {
    amount.cost_ucu as f64 / 1e6
}

fn value(fact: &Fact, clock: WallClock) -> Value {
    match fact {
        Fact::Count(number) | Fact::Bytes(number) | Fact::Ns(number) => Value::from(*number),
        Fact::Ratio(ratio) => Value::from((ratio * 1000.0).round() / 1000.0),
        Fact::Text(text) => Value::from(&**text),
        Fact::Counts(numbers) => Value::from(numbers.clone()),
        Fact::Times(times) => times.iter().map(|&time_ns| clock.rfc3339(time_ns)).collect(),
    }
}

fn sample_object(sample: &Sample, clock: WallClock) -> SampleObject {
    let Sample { seq, started_ns, duration_ns, status, resource } = *sample;
    SampleObject {
        call: seq,
        started: clock.rfc3339(started_ns),
        duration_ns,
        status: (status > 0).then_some(status),
        resource: format!("{resource:08x}"),
    }
}

/// The line of a finding that is new or over, without the line end.
pub fn finding_line(finding: &Finding, clock: WallClock, style: Style) -> String {
    let Finding { pattern, kind, severity, waste, .. } = finding;
    let kind = if kind.is_empty() { String::new() } else { format!(" ({kind})") };
    let what = format!("{}{kind}", pattern.name());
    let wasted = wasted(finding);
    [
        paint(style, Colour::Dim, &clock.time_of_day(finding.last_ns)),
        format!(" {} {:>7} ", fit(&finding.game, 16), finding.pid),
        paint(style, colour(*severity), &format!("{} {what}", severity.name())),
        format!(" {} {}: {wasted}", escape(&finding.method), escape(&finding.endpoint)),
        if waste.expected == Amount::default() { String::new() } else { format!(". {}", finding.remedy) },
    ]
    .concat()
}

/// The part of the report at the end: what was found, the dearest first, with what to do.
pub fn findings_report<'a>(findings: impl IntoIterator<Item = &'a Finding>, style: Style) -> String {
    let mut findings: Vec<&Finding> = findings.into_iter().collect();
    if findings.is_empty() {
        return String::new();
    }
    // The sort is stable, and they come in the order of their numbers.
    findings.sort_by_key(|finding| {
        let cost_ucu = finding.waste.expected.cost_ucu;
        (std::cmp::Reverse(finding.severity), std::cmp::Reverse(cost_ucu), finding.started_ns)
    });
    let mut out = format!("\n{}\n", paint(style, Colour::Bold, &plural(findings.len() as u64, "finding")));
    for finding in findings.iter().take(TOP_FINDINGS) {
        let kind = if finding.kind.is_empty() { String::new() } else { format!(" ({})", finding.kind) };
        let head = format!("{:<8} {}{kind}", finding.severity.name(), finding.pattern.name());
        let Finding { game, method, endpoint, pid, .. } = finding;
        out.push_str(&format!(
            "  {}  {}  {} {}  pid {pid}\n           {}\n           {}\n",
            paint(style, colour(finding.severity), &head),
            escape(game),
            escape(method),
            escape(endpoint),
            wasted(finding),
            finding.remedy
        ));
    }
    if let Some(more) = findings.len().checked_sub(TOP_FINDINGS).filter(|&more| more > 0) {
        out.push_str(&format!("  and {}\n", plural(more as u64, "lesser finding")));
    }
    out
}

/// What a finding wastes, in words.
fn wasted(finding: &Finding) -> String {
    let Finding { calls, waste, latency_ns, class, .. } = finding;
    let Amount { calls: wasted, bytes: moved, server_ns, .. } = waste.expected;
    let mut parts = Vec::new();
    if wasted > 0 {
        parts.push(format!("{wasted} calls"));
    }
    if moved > 0 {
        parts.push(bytes(moved));
    }
    if server_ns > 0 {
        parts.push(format!("{} of the server", duration(server_ns)));
    }
    if waste.expected.cost_ucu > 0 {
        parts.push(format!("{:.1} CU", units(&waste.expected)));
    }
    if *latency_ns > 0 {
        parts.push(format!("{} of waiting", duration(*latency_ns)));
    }
    let word = if *class == Class::Avoidable { "wasted" } else { "perhaps wasted" };
    if parts.is_empty() {
        format!("seen in {}, nothing counted as wasted", plural(*calls, "call"))
    } else {
        format!("{word}: {}", parts.join(", "))
    }
}

fn colour(severity: Severity) -> Colour {
    match severity {
        Severity::Info => Colour::Cyan,
        Severity::Warning => Colour::Yellow,
        Severity::Critical => Colour::Red,
    }
}
