//! Given: planned calls. Gives: what perf-sentinel, an external program, says of them when each is handed to it as a span.
//! Refuses to know: its code; it is run as it is.
//!
//! It needs trace ids, which nobody who watches from outside has. They are made in the way that suits it best (a new trace
//! where a process pauses for 100 ms, and after 480 ms), or taken from the plan, which knows the true tasks. The version
//! that is compared has no host in its templates, so the host is put into the path, and a file for each process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rotrace::detect::Pattern;
use serde_json::{Value, json};

use super::{Comparator, merged};
use crate::lab::api::{APIS, Api};
use crate::lab::plan::{MS, Planned};
use crate::lab::score::matching::Statement;
use crate::lab::world::World;

/// What is missing without it, and how to get it.
pub(crate) const MISSING: &str = "NOT COMPARED: perf-sentinel 0.7.8 is not installed. To compare it as well: \
     cargo install perf-sentinel --version 0.7.8 --locked";

const PROGRAM: &str = "perf-sentinel";

/// A pause of a process that ends a trace, and the longest trace.
const GAP_NS: u64 = 100 * MS;
const TRACE_NS: u64 = 480 * MS;

/// When the plan begins, for its timestamps: 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// Its rules that speak of what the lab injects. That of slow calls speaks of time alone, of which no world has a truth.
const RULES: [(&str, Pattern); 3] = [
    ("n_plus_one_http", Pattern::NPlusOne),
    ("redundant_http", Pattern::DuplicateRequest),
    ("serialized_calls", Pattern::SerialWaterfall),
];

/// A file that it reads has 16 MiB at most.
const FILE_BYTES_MAX: usize = 15 << 20;

/// How often it reads a file to say how fast it is.
const ITERATIONS: &str = "10";

/// Where trace ids come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Pauses of the process.
    Best,
    /// The true tasks.
    Oracle,
}

#[derive(Debug)]
pub(super) struct Sentinel {
    mapping: Mapping,
    spans: BTreeMap<u32, Vec<Value>>,
    traces: BTreeMap<u32, Trace>,
}

/// The trace of a process that goes on.
#[derive(Debug, Default)]
struct Trace {
    number: u64,
    start_ns: u64,
    end_ns: u64,
}

/// Whether the program can be run.
pub(crate) fn is_installed() -> bool {
    let run = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

impl Sentinel {
    pub(super) fn new(mapping: Mapping) -> Self {
        Sentinel { mapping, spans: BTreeMap::new(), traces: BTreeMap::new() }
    }

    fn trace(&mut self, call: &Planned) -> u64 {
        if self.mapping == Mapping::Oracle {
            return call.task;
        }
        let trace = self.traces.entry(call.process).or_default();
        let is_over =
            call.start_ns > trace.end_ns.saturating_add(GAP_NS) || call.start_ns - trace.start_ns > TRACE_NS;
        if is_over {
            *trace = Trace { number: trace.number + 1, start_ns: call.start_ns, end_ns: 0 };
        }
        trace.end_ns = trace.end_ns.max(call.end_ns());
        trace.number
    }
}

impl Comparator for Sentinel {
    fn name(&self) -> &'static str {
        match self.mapping {
            Mapping::Best => "perf-sentinel 0.7.8, traces by pauses",
            Mapping::Oracle => "perf-sentinel 0.7.8, true traces",
        }
    }

    fn take(&mut self, call: &Planned) {
        let trace = format!("p{}-{:x}", call.process, self.trace(call));
        let spans = self.spans.entry(call.process).or_default();
        let host = call.api.authority();
        spans.push(json!({
            "timestamp": timestamp(call.start_ns), "trace_id": trace, "span_id": format!("c{:08x}", spans.len()),
            "parent_span_id": trace, "service": format!("server-{}", call.process), "type": "http_out",
            "operation": call.api.terms().method, "target": format!("http://{host}/{host}{}", call.target),
            "duration_us": (call.end_ns() - call.start_ns) / 1_000, "status_code": call.reply.status,
            "response_size_bytes": call.reply.body_bytes,
            "source": { "endpoint": format!("server-{}", call.process), "method": "script" },
        }));
    }

    fn finish(&mut self, _: &World, _: usize) -> anyhow::Result<Vec<Statement>> {
        let place = tempfile::tempdir().context("create a directory for spans")?;
        let mut said = Vec::new();
        for (process, spans) in std::mem::take(&mut self.spans) {
            let path = place.path().join(format!("{process}.json"));
            std::fs::write(&path, serde_json::to_vec(&spans)?).context("write spans")?;
            let report = report(&["analyze", "--format", "json", "--input"], &path)?;
            let findings = report["findings"].as_array().into_iter().flatten();
            said.extend(findings.filter_map(|finding| statement(process, finding)));
        }
        Ok(merged(said))
    }
}

/// How fast it takes spans that are in memory, by its own measure, for people: `None` when it is not installed.
pub(crate) fn speed<'a>(calls: impl IntoIterator<Item = &'a Planned>) -> anyhow::Result<Option<String>> {
    if !is_installed() {
        return Ok(None);
    }
    let mut sentinel = Sentinel::new(Mapping::Best);
    calls.into_iter().for_each(|call| sentinel.take(call));
    let mut bytes = 0;
    let fits = |span: &&Value| {
        bytes += span.to_string().len() + 1;
        bytes < FILE_BYTES_MAX
    };
    let spans: Vec<&Value> = sentinel.spans.values().flatten().take_while(fits).collect();
    let place = tempfile::tempdir().context("create a directory for spans")?;
    let path = place.path().join("all.json");
    std::fs::write(&path, serde_json::to_vec(&spans)?).context("write spans")?;
    let report = report(&["bench", "--iterations", ITERATIONS, "--input"], &path)?;
    let figure = |name: &str| report[name].as_f64().with_context(|| format!("perf-sentinel says no {name}"));
    let rate = figure("throughput_events_per_sec")?;
    let (mega, mib) = (rate / 1e6, figure("rss_peak_bytes")? / f64::from(1 << 20));
    Ok(Some(format!(
        "perf-sentinel 0.7.8: {} spans in memory, {mega:.2} million a second, {:.0} ns a span, {mib:.0} MiB at most\n",
        spans.len(),
        1e9 / rate,
    )))
}

/// What it prints of a file, as JSON.
fn report(arguments: &[&str], path: &Path) -> anyhow::Result<Value> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg(path).stderr(Stdio::piped());
    let run = command.output().context("run perf-sentinel")?;
    ensure!(run.status.success(), "perf-sentinel: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).context("read what perf-sentinel says")
}

/// What counts is a warning and above, as with the product; of serialized calls both say no more than info.
fn statement(process: u32, finding: &Value) -> Option<Statement> {
    let (_, pattern) = RULES.into_iter().find(|(rule, _)| finding["type"] == *rule)?;
    let is_serial = pattern == Pattern::SerialWaterfall;
    if finding["severity"] == "info" && !is_serial {
        return None;
    }
    let start_ns = time_ns(finding["first_timestamp"].as_str()?)?;
    let end_ns = time_ns(finding["last_timestamp"].as_str()?)?;
    let template = match is_serial {
        true => first_of_chain(finding["suggestion"].as_str()?)?,
        false => finding["pattern"]["template"].as_str()?,
    };
    Some(Statement {
        pattern: Some(pattern),
        process,
        game: 0,
        endpoint: api(template)?.terms().endpoint.to_owned(),
        start_ns,
        end_ns,
        said_ns: end_ns,
    })
}

/// The template of the first of serialized calls, which stands in the advice alone: `…: GET /a/v1/b (463ms) -> …`.
fn first_of_chain(advice: &str) -> Option<&str> {
    let (_, chain) = advice.split_once(": ")?;
    chain.split_once(" (").map(|(template, _)| template)
}

/// The operation of a template such as `GET /users.roblox.com/v1/users/{id}`, in which only numbers and UUIDs are
/// parameters.
fn api(template: &str) -> Option<Api> {
    let (method, path) = template.split_once(' ')?;
    let path = path.split('?').next()?.trim_start_matches('/');
    let fits = |endpoint: &str| {
        let (mut own, mut other) = (endpoint.split('/'), path.split('/'));
        loop {
            match (own.next(), other.next()) {
                (None, None) => return true,
                (Some(own), Some(other)) if own == other || own.starts_with('{') => {}
                // `{id}:verb` is one segment.
                (Some(own), Some(other))
                    if own.contains("}:") && other.ends_with(own.split('}').nth(1).unwrap_or("")) => {}
                _ => return false,
            }
        }
    };
    let index = APIS.iter().position(|terms| terms.method == method && fits(terms.endpoint))?;
    Some(Api(index as u16))
}

/// ISO 8601 with milliseconds; a plan is shorter than the month.
fn timestamp(at_ns: u64) -> String {
    let at_ms = EPOCH_MS % 86_400_000 + at_ns / MS;
    let (seconds, ms) = (at_ms / 1_000, at_ms % 1_000);
    let (day, hour, minute, second) =
        (1 + seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("2026-01-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn time_ns(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let seconds =
        (number(8, 10)? - 1) * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Some((seconds * 1_000 + number(20, 23).unwrap_or(0)) * MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for at_ns in [0, 59_999 * MS, 3_600_000 * MS, 90_061_001 * MS] {
            assert_eq!(time_ns(&timestamp(at_ns)), Some(at_ns));
        }
        assert_eq!(timestamp(1_500 * MS), "2026-01-01T00:00:01.500Z");
    }

    #[test]
    fn templates_are_those_of_operations() {
        assert_eq!(api("GET /users.roblox.com/v1/users/{id}"), Some(Api::USER));
        let store = "GET /apis.roblox.com/cloud/v2/universes/{id}/data-stores/players/entries/player-7";
        assert_eq!(api(store), Some(Api::ENTRY));
        assert_eq!(api("POST /apis.roblox.com/cloud/v2/universes/7:publishMessage"), Some(Api::PUBLISH));
        assert_eq!(api("GET /users.roblox.com/v2/users/{id}"), None);
    }

    /// What version 0.7.8 says of five reads, and of a chain.
    #[test]
    fn what_it_says_is_read() {
        let finding = |kind: &str, severity: &str, template: &str| {
            json!({
                "type": kind, "severity": severity, "trace_id": "p1", "pattern": { "template": template },
                "suggestion": "2 sequential independent calls could potentially be parallelized: \
                    GET /users.roblox.com/v1/users/{id} (20ms) -> GET /groups.roblox.com/v1/groups/{id} (9ms). Total",
                "first_timestamp": "2026-01-01T00:00:01.000Z", "last_timestamp": "2026-01-01T00:00:03.500Z",
            })
        };
        let check = |finding: Value, expect: Option<(Pattern, Api)>| {
            let said = statement(3, &finding);
            let said = said.map(|said| (said.pattern, said.endpoint, said.start_ns, said.end_ns));
            let expect = expect.map(|(pattern, api)| {
                (Some(pattern), api.terms().endpoint.to_owned(), 1_000 * MS, 3_500 * MS)
            });
            assert_eq!(said, expect);
        };
        let group = "GET /groups.roblox.com/v1/groups/{id}";
        check(finding("n_plus_one_http", "warning", group), Some((Pattern::NPlusOne, Api::GROUP)));
        check(finding("redundant_http", "critical", group), Some((Pattern::DuplicateRequest, Api::GROUP)));
        check(finding("redundant_http", "info", group), None);
        check(finding("slow_http", "warning", group), None);
        check(finding("serialized_calls", "info", "server-3"), Some((Pattern::SerialWaterfall, Api::USER)));
    }
}
