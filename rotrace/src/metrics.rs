//! Given: a summary, and the daemon's figures about itself. Gives: the text that Prometheus scrapes. Refuses to know:
//! who asks, and where the figures of the daemon come from.
//!
//! [`FAMILIES`] is the only place that names a metric: what is not in it is not exported.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::exchange::Role;
use crate::summary::{ByRole, DURATION_BOUNDS_NS, Game, Opened, Series, Summary};

/// What the daemon knows of itself. What it does not know is `None`, and has no sample.
#[derive(Clone, Debug, Default)]
pub struct SelfMetrics {
    /// Of this program.
    pub version: &'static str,
    /// Which probes are attached: `syscall` or `socket`.
    pub probe_family: Option<&'static str>,
    /// Processor time that the daemon has used.
    pub cpu_seconds: Option<f64>,
    /// Memory of the daemon.
    pub resident_bytes: Option<u64>,
    /// Processes that are captured from.
    pub targets: u64,
    /// The same by game.
    pub processes: BTreeMap<Box<str>, u64>,
    /// Records that the pipeline has read.
    pub records: u64,
    /// Payload bytes in them.
    pub captured_bytes: u64,
    /// Path templates in use, by authority and how they were found.
    pub endpoint_templates: BTreeMap<(Box<str>, &'static str), u64>,
    /// Calls whose path went to the catch-all template of its authority.
    pub endpoint_overflow: BTreeMap<Box<str>, u64>,
}

/// What one scrape shows: a snapshot, so that a slow reader holds nothing up.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Of the calls.
    pub summary: Arc<Summary>,
    /// Of the daemon.
    pub own: SelfMetrics,
}

/// A text format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// One metric family: the table row.
#[derive(Debug)]
pub struct Family {
    /// Without unit and suffix.
    stem: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    help: &'static str,
    /// Names of the labels, in the order of the values that `samples` gives.
    pub labels: &'static [&'static str],
    samples: fn(&Scrape, &mut Samples<'_>) -> fmt::Result,
}

/// All metrics of rotrace.
pub static FAMILIES: [Family; 32] = [
    Family {
        stem: "rotrace_http_client_requests",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls made, by method and class of the status; code none had no whole response.",
        labels: &["game", "endpoint", "method", "code"],
        samples: |scrape, samples| requests(scrape, samples, Role::Client),
    },
    Family {
        stem: "rotrace_http_client_request_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        help: "From the request of a call made to the last byte of its response.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| durations(scrape, samples, Role::Client),
    },
    Family {
        stem: "rotrace_http_client_request",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Head and body of the requests of calls made, as far as their lengths are known.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Client, |labels, series| samples.counter(labels, series.request_bytes))
        },
    },
    Family {
        stem: "rotrace_http_client_response",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Head and body of the responses to calls made, as far as their lengths are known.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Client, |labels, series| samples.counter(labels, series.response_bytes))
        },
    },
    Family {
        stem: "rotrace_http_client_server_busy",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        help: "From the request of a call made to the first byte of its response, summed.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Client, |labels, series| samples.seconds(labels, series.busy_ns))
        },
    },
    Family {
        stem: "rotrace_http_client_active_requests",
        unit: None,
        kind: MetricType::Gauge,
        help: "Calls made whose response is not over.",
        labels: &["game"],
        samples: |scrape, samples| active(scrape, samples, Role::Client),
    },
    Family {
        stem: "rotrace_http_client_connections_opened",
        unit: None,
        kind: MetricType::Counter,
        help: "Connections that processes made while they were watched.",
        labels: &["game", "tls"],
        samples: |scrape, samples| opened(scrape, samples, Role::Client),
    },
    Family {
        stem: "rotrace_http_client_connection_setup",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        help: "From the begin of connect to the established connection, summed.",
        labels: &["game", "phase"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| samples.seconds(&[name, "connect"], game.coverage.connect_ns))
        },
    },
    Family {
        stem: "rotrace_http_server_requests",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls served, by method and class of the status; code none had no whole response.",
        labels: &["game", "endpoint", "method", "code"],
        samples: |scrape, samples| requests(scrape, samples, Role::Server),
    },
    Family {
        stem: "rotrace_http_server_request_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        help: "From the request of a call served to the last byte of its response.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| durations(scrape, samples, Role::Server),
    },
    Family {
        stem: "rotrace_http_server_request",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Head and body of the requests of calls served, as far as their lengths are known.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Server, |labels, series| samples.counter(labels, series.request_bytes))
        },
    },
    Family {
        stem: "rotrace_http_server_response",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Head and body of the responses to calls served, as far as their lengths are known.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Server, |labels, series| samples.counter(labels, series.response_bytes))
        },
    },
    Family {
        stem: "rotrace_http_server_server_busy",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        help: "From the request of a call served to the first byte of its response, summed.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Server, |labels, series| samples.seconds(labels, series.busy_ns))
        },
    },
    Family {
        stem: "rotrace_http_server_active_requests",
        unit: None,
        kind: MetricType::Gauge,
        help: "Calls served whose response is not over.",
        labels: &["game"],
        samples: |scrape, samples| active(scrape, samples, Role::Server),
    },
    Family {
        stem: "rotrace_http_server_connections_opened",
        unit: None,
        kind: MetricType::Counter,
        help: "Connections that processes accepted while they were watched.",
        labels: &["game", "tls"],
        samples: |scrape, samples| opened(scrape, samples, Role::Server),
    },
    Family {
        stem: "rotrace_tls_opaque_connections",
        unit: None,
        kind: MetricType::Counter,
        help: "TLS connections whose plaintext was not seen: their calls are in no other metric.",
        labels: &["game"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| samples.counter(&[name], game.coverage.tls_opaque_connections))
        },
    },
    Family {
        stem: "rotrace_tls_opaque",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Encrypted bytes on TLS connections whose plaintext was not seen, both directions.",
        labels: &["game"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| samples.counter(&[name], game.coverage.tls_opaque_bytes))
        },
    },
    Family {
        stem: "rotrace_opaque_connections",
        unit: None,
        kind: MetricType::Counter,
        help: "Connections that could not be decoded, or not any more.",
        labels: &["game", "reason"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| samples.by_reason(name, &game.coverage.opaque))
        },
    },
    Family {
        stem: "rotrace_unpaired",
        unit: None,
        kind: MetricType::Counter,
        help: "What was seen on connections and did not become a call.",
        labels: &["game", "reason"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| samples.by_reason(name, &game.coverage.unpaired))
        },
    },
    Family {
        stem: "rotrace_events_lost",
        unit: None,
        kind: MetricType::Counter,
        help: "What the named stage had to drop.",
        labels: &["stage", "reason"],
        samples: |scrape, samples| {
            let mut losses = scrape.summary.losses.iter();
            losses.try_for_each(|((stage, reason), &count)| samples.counter(&[stage, reason], count))
        },
    },
    Family {
        stem: "rotrace_series_overflow",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls counted under the endpoint other, because there are too many endpoints to keep apart.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.summary.overflow_calls()),
    },
    Family {
        stem: "rotrace_endpoint_templates",
        unit: None,
        kind: MetricType::Gauge,
        help: "Path templates in use, by how they were found.",
        labels: &["authority", "source"],
        samples: |scrape, samples| {
            let mut templates = scrape.own.endpoint_templates.iter();
            templates.try_for_each(|((authority, source), &count)| samples.gauge(&[authority, source], count))
        },
    },
    Family {
        stem: "rotrace_endpoint_overflow",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls whose path went to the catch-all template, because its authority has too many.",
        labels: &["authority"],
        samples: |scrape, samples| {
            let mut overflow = scrape.own.endpoint_overflow.iter();
            overflow.try_for_each(|(authority, &count)| samples.counter(&[authority], count))
        },
    },
    Family {
        stem: "rotrace_targets",
        unit: None,
        kind: MetricType::Gauge,
        help: "Processes that are captured from.",
        labels: &[],
        samples: |scrape, samples| samples.gauge(&[], scrape.own.targets),
    },
    Family {
        stem: "rotrace_processes",
        unit: None,
        kind: MetricType::Gauge,
        help: "Processes that are captured from, by game.",
        labels: &["game"],
        samples: |scrape, samples| {
            scrape.own.processes.iter().try_for_each(|(game, &count)| samples.gauge(&[game], count))
        },
    },
    Family {
        stem: "rotrace_tracked_connections",
        unit: None,
        kind: MetricType::Gauge,
        help: "Connections that the daemon holds state of.",
        labels: &[],
        samples: |scrape, samples| samples.gauge(&[], scrape.summary.tracked_connections),
    },
    Family {
        stem: "rotrace_records",
        unit: None,
        kind: MetricType::Counter,
        help: "Records from the probes that the daemon has read.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.own.records),
    },
    Family {
        stem: "rotrace_captured",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Payload bytes in the records that the daemon has read.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.own.captured_bytes),
    },
    Family {
        stem: "rotrace_process_cpu",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        help: "Processor time of the daemon, without that of its probes in the watched processes.",
        labels: &[],
        samples: |scrape, samples| {
            scrape.own.cpu_seconds.map_or(Ok(()), |seconds| samples.counter_f64(&[], seconds))
        },
    },
    Family {
        stem: "rotrace_process_resident_memory",
        unit: Some(Unit::Bytes),
        kind: MetricType::Gauge,
        help: "Memory of the daemon.",
        labels: &[],
        samples: |scrape, samples| {
            scrape.own.resident_bytes.map_or(Ok(()), |bytes| samples.gauge(&[], bytes))
        },
    },
    Family {
        stem: "rotrace_probe_family",
        unit: None,
        kind: MetricType::Info,
        help: "Which probes are attached.",
        labels: &["family"],
        samples: |scrape, samples| scrape.own.probe_family.map_or(Ok(()), |family| samples.info(&[family])),
    },
    Family {
        stem: "rotrace_build",
        unit: None,
        kind: MetricType::Info,
        help: "Version of the daemon.",
        labels: &["version"],
        samples: |scrape, samples| samples.info(&[scrape.own.version]),
    },
];

/// The text of a scrape. It fails only where writing to memory does.
pub fn render(scrape: Scrape, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut out = String::new();
    match format {
        Format::Text => prometheus_text::encode(&mut out, &registry)?,
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

/// The format that the client likes best by its Accept field (RFC 9110 §12.5.1): [`Format::Text`] unless it asks for
/// OpenMetrics more eagerly. What cannot be read is skipped, and who accepts neither gets text.
pub fn negotiate(accept: Option<&str>) -> Format {
    let quality = |format| {
        let matches = accept.unwrap_or("*/*").split(',').filter_map(|range| match_range(range, format));
        // The range that names the format most exactly decides; of equally exact ones, the most eager.
        matches.max().map_or(0, |(_exactness, quality)| quality)
    };
    if quality(Format::OpenMetrics) > quality(Format::Text) { Format::OpenMetrics } else { Format::Text }
}

/// How exactly a media range names a format, and its quality in thousandths; `None` when it does not.
fn match_range(range: &str, format: Format) -> Option<(u8, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    let (own_type, own_version) = match format {
        Format::Text => ("text/plain", "0.0.4"),
        Format::OpenMetrics => ("application/openmetrics-text", "1.0.0"),
    };
    let (own_top, _) = own_type.split_once('/')?;
    let mut exactness = match media_type.strip_suffix("/*") {
        Some("*") => 0,
        Some(top) if top == own_top => 1,
        None if media_type == own_type => 2,
        _ => return None,
    };
    let mut quality = 1000;
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
            ("q", value) => quality = thousandths(value)?,
            ("version", version) if version == own_version => exactness = 3,
            ("version", _) => return None,
            _ => {}
        }
    }
    Some((exactness, quality))
}

/// A quality value (RFC 9110 §12.4.2): 0 to 1 with at most three decimals.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

impl Format {
    /// The value of the Content-Type field.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Family {
    /// The name of its samples; those of a histogram have `_bucket`, `_sum` or `_count` behind it.
    pub fn name(&self) -> String {
        let unit = self.unit.as_ref().map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        format!("{}{unit}{suffix}", self.stem)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &FAMILIES {
            let metric =
                encoder.encode_descriptor(family.stem, family.help, family.unit.as_ref(), family.kind)?;
            (family.samples)(self, &mut Samples { metric, names: family.labels })?;
        }
        Ok(())
    }
}

/// Where the samples of one family go.
#[derive(Debug)]
struct Samples<'a> {
    metric: MetricEncoder<'a>,
    names: &'static [&'static str],
}

impl Samples<'_> {
    fn counter(&mut self, labels: &[&str], value: u64) -> fmt::Result {
        self.with(labels, |metric| metric.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    fn counter_f64(&mut self, labels: &[&str], value: f64) -> fmt::Result {
        self.with(labels, |metric| metric.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    fn seconds(&mut self, labels: &[&str], value_ns: u128) -> fmt::Result {
        self.counter_f64(labels, seconds(value_ns))
    }

    fn by_reason(&mut self, game: &str, counts: &BTreeMap<&'static str, u64>) -> fmt::Result {
        counts.iter().try_for_each(|(reason, &count)| self.counter(&[game, reason], count))
    }

    fn gauge(&mut self, labels: &[&str], value: u64) -> fmt::Result {
        self.with(labels, |metric| metric.encode_gauge(&value))
    }

    fn info(&mut self, labels: &[&str]) -> fmt::Result {
        self.metric.encode_info(&Labels { names: self.names, values: labels })
    }

    fn histogram(&mut self, labels: &[&str], series: &Series) -> fmt::Result {
        let bounds = DURATION_BOUNDS_NS.iter().map(|&bound| seconds(bound.into())).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(series.duration_buckets).collect();
        let (sum, count) = (seconds(series.durations.sum_ns()), series.durations.count());
        self.with(labels, |metric| metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None))
    }

    fn with(
        &mut self,
        values: &[&str],
        encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        encode(&mut self.metric.encode_family(&Labels { names: self.names, values })?)
    }
}

struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.names
            .iter()
            .zip(self.values)
            .try_for_each(|(&name, &value)| (name, value).encode(encoder.encode_label()))
    }
}

fn each_game<'a>(scrape: &'a Scrape, mut each: impl FnMut(&'a str, &'a Game) -> fmt::Result) -> fmt::Result {
    scrape.summary.games().try_for_each(|(name, game)| each(name, game))
}

fn each_series(
    scrape: &Scrape,
    role: Role,
    mut each: impl FnMut(&[&str], &Series) -> fmt::Result,
) -> fmt::Result {
    each_game(scrape, |name, game| {
        game.series(role).try_for_each(|(endpoint, series)| each(&[name, endpoint], series))
    })
}

fn requests(scrape: &Scrape, samples: &mut Samples<'_>, role: Role) -> fmt::Result {
    each_game(scrape, |name, game| {
        game.series(role).try_for_each(|(endpoint, series)| {
            series.calls().try_for_each(|(method, code, calls)| {
                samples.counter(&[name, endpoint, method.name(), code.name()], calls)
            })
        })
    })
}

fn durations(scrape: &Scrape, samples: &mut Samples<'_>, role: Role) -> fmt::Result {
    each_series(scrape, role, |labels, series| samples.histogram(labels, series))
}

fn active(scrape: &Scrape, samples: &mut Samples<'_>, role: Role) -> fmt::Result {
    each_game(scrape, |name, game| samples.gauge(&[name], *game.coverage.active_requests.of(role)))
}

fn opened(scrape: &Scrape, samples: &mut Samples<'_>, role: Role) -> fmt::Result {
    each_game(scrape, |name, game| {
        let opened: &ByRole<Opened> = &game.coverage.opened;
        let Opened { plain, tls } = *opened.of(role);
        samples.counter(&[name, "none"], plain)?;
        samples.counter(&[name, "tls"], tls)
    })
}

fn seconds(value_ns: u128) -> f64 {
    value_ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Unpaired;
    use crate::summary::fixture::call;
    use std::collections::BTreeSet;

    /// A scrape in which every family has a sample.
    fn full() -> Scrape {
        let mut summary = Summary::default();
        for role in [Role::Client, Role::Server] {
            let mut call = call("chess", "api.example.com/v1/users/{id}");
            call.exchange.role = role;
            summary.record(&call);
        }
        let coverage = summary.coverage_mut(Some(&"chess".into()), 0);
        coverage.add_opaque("not_http");
        coverage.add_unpaired(Unpaired::Response);
        coverage.tls_opaque_connections = 2;
        coverage.tls_opaque_bytes = 3000;
        coverage.connect_ns = 1_500_000;
        coverage.opened.client = Opened { plain: 4, tls: 2 };
        coverage.active_requests.client = 1;
        summary.losses.insert(("probe", "ring_full"), 0);
        summary.tracked_connections = 5;
        let own = SelfMetrics {
            version: "1.2.3",
            probe_family: Some("socket"),
            cpu_seconds: Some(0.25),
            resident_bytes: Some(20_000_000),
            targets: 3,
            processes: [("chess".into(), 3)].into(),
            records: 10,
            captured_bytes: 2560,
            endpoint_templates: [(("api.example.com".into(), "shape"), 1)].into(),
            endpoint_overflow: [("api.example.com".into(), 0)].into(),
        };
        Scrape { summary: Arc::new(summary), own }
    }

    #[derive(Debug, PartialEq)]
    struct Sample {
        family: String,
        name: String,
        labels: Vec<(String, String)>,
        value: f64,
    }

    /// A strict reader of both formats: descriptors in order before their samples, one block per family, names and
    /// labels of the right form, values as numbers, the end mark where and only where it belongs.
    fn parse(text: &str, format: Format) -> Vec<Sample> {
        let body = match format {
            Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("an end mark"),
            Format::Text => text,
        };
        assert!(body.ends_with('\n'));
        let (mut samples, mut seen) = (Vec::new(), BTreeSet::new());
        let (mut family, mut kind) = (String::new(), String::new());
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(help.ends_with('.') && !help.contains('\\'), "{help}");
                assert!(seen.insert(name.to_owned()), "{name} twice");
                (family, kind) = (name.to_owned(), String::new());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').expect("a type");
                assert_eq!(name, family);
                assert!(["counter", "gauge", "histogram", "info"].contains(&of));
                assert!(format == Format::OpenMetrics || of != "info");
                kind = of.to_owned();
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').expect("a unit");
                assert_eq!((name, format), (&*family, Format::OpenMetrics));
                assert!(name.ends_with(&format!("_{unit}")));
            } else {
                let end = line.find(['{', ' ']).expect("a value");
                let (name, mut rest) = line.split_at(end);
                let suffixes: &[&str] = match (kind.as_str(), format) {
                    ("counter", Format::OpenMetrics) => &["_total"],
                    ("info", _) => &["_info"],
                    ("histogram", _) => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line}");
                let mut labels = Vec::new();
                if let Some(inner) = rest.strip_prefix('{') {
                    rest = inner;
                    loop {
                        let (key, value) = rest.split_once("=\"").expect("a label");
                        assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
                        let (value, behind) = unquote(value);
                        labels.push((key.to_owned(), value));
                        match behind.strip_prefix(',') {
                            Some(next) => rest = next,
                            None => break rest = behind.strip_prefix('}').expect("the end of labels"),
                        }
                    }
                }
                let value = rest.strip_prefix(' ').expect("a space").parse().expect("a number");
                samples.push(Sample { family: family.clone(), name: name.to_owned(), labels, value });
            }
        }
        samples
    }

    fn unquote(text: &str) -> (String, &str) {
        let mut value = String::new();
        let mut chars = text.char_indices();
        loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => return (value, &text[at + 1..]),
                (_, '\\') => value.push(match chars.next().expect("what is escaped").1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        }
    }

    #[test]
    fn table_and_output_agree_both_ways() {
        let names: BTreeSet<_> = FAMILIES.iter().map(Family::name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for format in [Format::Text, Format::OpenMetrics] {
            let samples = parse(&render(full(), format).expect("text"), format);
            let mut rendered = BTreeSet::new();
            for Sample { name, labels, .. } in &samples {
                let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                let family = FAMILIES
                    .iter()
                    .find(|family| family.name() == *name || Some(&*family.name()) == stem)
                    .unwrap_or_else(|| panic!("{name} is not in the table"));
                let labels: Vec<_> =
                    labels.iter().map(|(key, _)| &**key).filter(|&key| key != "le").collect();
                assert_eq!(labels, family.labels, "{name}");
                rendered.insert(family.name());
            }
            assert_eq!(rendered, names);
        }
    }

    #[test]
    fn both_formats_have_the_same_values() {
        let values = |format| {
            let mut values: Vec<_> = parse(&render(full(), format).expect("text"), format)
                .into_iter()
                .map(|sample| {
                    let labels = sample.labels.into_iter().map(|(key, value)| match value.parse::<f64>() {
                        Ok(bound) if key == "le" => (key, bound.to_string()),
                        _ => (key, value),
                    });
                    (sample.name, labels.collect::<Vec<_>>(), sample.value.to_string())
                })
                .collect();
            values.sort();
            values
        };
        assert_eq!(values(Format::Text), values(Format::OpenMetrics));
    }

    #[test]
    fn histograms_are_cumulative_and_end_at_their_count() {
        let samples = parse(&render(full(), Format::Text).expect("text"), Format::Text);
        let of = |name: &str| samples.iter().filter(|sample| sample.name == name).collect::<Vec<_>>();
        let buckets = of("rotrace_http_client_request_duration_seconds_bucket");
        let values: Vec<_> = buckets.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [0., 0., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]);
        assert_eq!(buckets[0].labels.iter().find(|(key, _)| key == "le").expect("a bound").1, "0.005");
        assert_eq!(of("rotrace_http_client_request_duration_seconds_sum")[0].value, 0.012);
        assert_eq!(of("rotrace_http_client_request_duration_seconds_count")[0].value, 1.0);
    }

    #[test]
    fn label_values_survive_quoting() {
        let game = "a\"b\\n\nc,d}=\"é";
        for format in [Format::Text, Format::OpenMetrics] {
            let mut summary = Summary::default();
            summary.record(&call(game, "api/{x}\\"));
            let scrape = Scrape { summary: Arc::new(summary), own: SelfMetrics::default() };
            let samples = parse(&render(scrape, format).expect("text"), format);
            let labels = &samples[0].labels;
            assert_eq!(labels[0], ("game".to_owned(), game.to_owned()));
            assert_eq!(labels[1], ("endpoint".to_owned(), "api/{x}\\".to_owned()));
        }
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let scrape = Scrape { summary: Arc::default(), own: SelfMetrics::default() };
        let text = render(scrape, Format::Text).expect("text");
        for name in ["rotrace_process_cpu_seconds_total", "rotrace_probe_family_info"] {
            assert!(parse(&text, Format::Text).iter().all(|sample| sample.name != name), "{name}");
        }
    }

    #[test]
    fn the_client_chooses_the_format() {
        let check = |accept, expect| assert_eq!(negotiate(accept), expect, "{accept:?}");
        check(None, Format::Text);
        check(Some(""), Format::Text);
        check(Some("*/*"), Format::Text);
        check(Some("application/json"), Format::Text);
        check(Some("application/openmetrics-text"), Format::OpenMetrics);
        check(Some("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;version=\"1.0.0\""), Format::OpenMetrics);
        check(Some("application/openmetrics-text;version=2.0.0"), Format::Text);
        check(Some("application/*;q=0.9,text/*;q=0.8"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5"), Format::Text);
        check(Some("application/openmetrics-text;q=0,*/*;q=0.5"), Format::Text);
        check(Some("text/plain;q=0,*/*;q=0.5"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;q=2,text/plain;q=0.1"), Format::Text);
        check(Some("application/openmetrics-text;q=0.0001,text/plain;q=-1"), Format::Text);
        // What Prometheus 3 sends, and what it sends where only text is configured.
        check(
            Some(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ),
            Format::OpenMetrics,
        );
        check(Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Format::Text);
    }
}
