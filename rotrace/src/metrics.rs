//! Given: a summary, and the daemon's figures about itself. Gives: the text that Prometheus scrapes. Refuses to know:
//! who asks, and where the figures of the daemon come from.
//!
//! [`families`] is the only place that names a metric: what is not in it is not exported.

pub mod accept;
pub mod families;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::registry::Registry;

use crate::detect::Snapshot;
use crate::endpoint::learned::Label;
use crate::summary::{DURATION_BOUNDS_NS, Series, Summary};

/// What the daemon knows of itself. What it does not know is `None`, and has no sample.
#[derive(Clone, Debug, Default)]
pub struct SelfMetrics {
    /// Of this program.
    pub version: &'static str,
    /// Which probes are attached: `syscall` or `socket`.
    pub probe_family: Option<&'static str>,
    /// Times that the kernel did not run a copy of a probe, because that was running on the same processor, by program.
    pub recursion_misses: BTreeMap<Box<str>, u64>,
    /// Processor time that the daemon has used.
    pub cpu_seconds: Option<f64>,
    /// Memory of the daemon.
    pub resident_bytes: Option<u64>,
    /// Processes that are captured from.
    pub targets: u64,
    /// The same by game.
    pub processes: BTreeMap<Box<str>, u64>,
    /// Path templates in use, by authority and how they were found.
    pub endpoint_templates: BTreeMap<(Box<str>, &'static str), u64>,
    /// Calls whose path went to the catch-all template of its authority.
    pub endpoint_overflow: BTreeMap<Box<str>, u64>,
    /// The dictionary of endpoints that was read or written last.
    pub endpoint_dictionary: Option<Label>,
    /// Templates that were not learned in full.
    pub endpoint_dictionary_refused: u64,
    /// Players times seconds, by game and who says how many players there are.
    pub player_seconds: BTreeMap<(Box<str>, &'static str), f64>,
    /// Mode and version of what calls are priced by.
    pub cost_model: Option<(Box<str>, Box<str>)>,
}

/// What one scrape shows: a snapshot, so that a slow reader holds nothing up.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Of the calls.
    pub summary: Arc<Summary>,
    /// What was found.
    pub waste: Arc<Snapshot>,
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

impl Format {
    /// The value of the Content-Type field.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in families::all() {
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

    /// Cost units, from millionths.
    fn units(&mut self, labels: &[&str], value_ucu: u64) -> fmt::Result {
        self.counter_f64(labels, value_ucu as f64 / 1e6)
    }

    fn seconds(&mut self, labels: &[&str], value_ns: u128) -> fmt::Result {
        self.counter_f64(labels, seconds(value_ns))
    }

    /// Every reason of `known` has a sample: one that begins at 1 has no rate when it first happens.
    fn by_reason(
        &mut self,
        game: &str,
        known: &[&'static str],
        counts: &BTreeMap<&'static str, u64>,
    ) -> fmt::Result {
        let reasons: BTreeSet<_> = known.iter().chain(counts.keys()).copied().collect();
        reasons
            .into_iter()
            .try_for_each(|reason| self.counter(&[game, reason], counts.get(reason).copied().unwrap_or(0)))
    }

    fn gauge(&mut self, labels: &[&str], value: u64) -> fmt::Result {
        self.with(labels, |metric| metric.encode_gauge(&value))
    }

    fn gauge_f64(&mut self, labels: &[&str], value: f64) -> fmt::Result {
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

fn seconds(value_ns: u128) -> f64 {
    value_ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::finding::{Amount, Class, Severity};
    use crate::detect::limit::{Limit, LimitUse};
    use crate::detect::phase::{Phase, SECONDS};
    use crate::detect::subject::Names;
    use crate::detect::{Pattern, State, Wasted};
    use crate::exchange::{Direction, Role, Unpaired};
    use crate::http::websocket::Tally;
    use crate::summary::fixture::call;
    use crate::summary::{Key, Opened, TlsFigures};
    use families::Family;

    /// A scrape in which every family has a sample.
    fn full() -> Scrape {
        let mut summary = Summary::default();
        for role in [Role::Client, Role::Server] {
            let mut call = call("chess", "api.example.com/v1/users/{id}");
            call.exchange.role = role;
            summary.record(&call);
            summary.record_frames(
                &Key::of(&call),
                0,
                Direction::Sent,
                Tally { messages: 3, ..Tally::default() },
            );
        }
        let coverage = summary.coverage_mut(Some(&"chess".into()), 0);
        coverage.add_opaque("not_http");
        coverage.add_unpaired(Unpaired::Response);
        *coverage.tls_opaque.of_mut(Some("pay.example.com")) = TlsFigures { connections: 2, bytes: 3000 };
        coverage.connect_ns = 1_500_000;
        coverage.opened.client = Opened { plain: 4, tls: 2 };
        coverage.active_requests.client = 1;
        summary.losses.insert(("probe", "ring_full"), 0);
        summary.shortfall.bytes.insert(("kernel", "ring_full"), 700);
        summary.tracked_connections = 5;
        summary.records = 10;
        summary.captured_bytes = 2560;
        let own = SelfMetrics {
            version: "1.2.3",
            probe_family: Some("socket"),
            recursion_misses: [("on_sys_exit".into(), 0)].into(),
            cpu_seconds: Some(0.25),
            resident_bytes: Some(20_000_000),
            targets: 3,
            processes: [("chess".into(), 3)].into(),
            endpoint_templates: [(("api.example.com".into(), "shape"), 1)].into(),
            endpoint_overflow: [("api.example.com".into(), 0)].into(),
            endpoint_dictionary: Some(Label { version: 1, hash: 0xc0ffee }),
            endpoint_dictionary_refused: 2,
            player_seconds: [(("chess".into(), "reported"), 120.5)].into(),
            cost_model: Some(("list".into(), "1".into())),
        };
        Scrape { summary: Arc::new(summary), waste: Arc::new(waste()), own }
    }

    fn waste() -> Snapshot {
        let names = Names {
            game: "chess".into(),
            endpoint: "api.example.com/v1/users/{id}".into(),
            authority: "api.example.com".into(),
            method: "GET".into(),
        };
        let amount = Amount { calls: 9, bytes: 2700, server_ns: 90_000_000, cost_ucu: 8_500_000 };
        let wasted =
            |class| Wasted { names: Arc::new(names.clone()), pattern: Pattern::NPlusOne, class, amount };
        let limit = LimitUse {
            game: "chess".into(),
            authority: "api.example.com".into(),
            limit: Limit::Answers,
            share: 0.75,
        };
        let mut phase = Phase { seconds: [0; SECONDS] };
        (phase.seconds[0], phase.seconds[15]) = (3, 1);
        Snapshot {
            wasted: vec![wasted(Class::Avoidable), wasted(Class::Potential)],
            episodes: [(("chess".into(), Pattern::NPlusOne, Severity::Info), 2)].into(),
            states: vec![("n_plus_one", State { entries: 3, evicted: 1 })],
            limits: vec![limit],
            // Of two methods of one endpoint.
            phases: vec![(Arc::new(names.clone()), phase), (Arc::new(names.clone()), phase)],
            ..Snapshot::default()
        }
    }

    #[test]
    fn only_waste_that_is_avoidable_for_certain_is_counted() {
        let samples = parse(&render(full(), Format::Text).expect("text"), Format::Text);
        let value = |name: &str| {
            let mut of_name = samples.iter().filter(|sample| sample.name == name);
            of_name.next().map(|sample| sample.value).filter(|_| of_name.next().is_none())
        };
        assert_eq!(value("rotrace_wasted_calls_total"), Some(9.0));
        assert_eq!(value("rotrace_wasted_bytes_total"), Some(2700.0));
        assert_eq!(value("rotrace_wasted_server_seconds_total"), Some(0.09));
        assert_eq!(value("rotrace_wasted_cost_units_total"), Some(8.5));
    }

    #[test]
    fn endpoints_of_several_methods_begin_together() {
        let samples = parse(&render(full(), Format::Text).expect("text"), Format::Text);
        let of = |name: &str| -> Vec<(&str, f64)> {
            let of_name = samples.iter().filter(|sample| sample.name == name);
            of_name.map(|sample| (&*sample.labels.last().expect("a label").1, sample.value.round())).collect()
        };
        assert_eq!(of("rotrace_first_calls_total"), [("api.example.com/v1/users/{id}", 8.0)]);
        let directions = [("0", 6.0), ("15", 2.0), ("30", 0.0), ("45", 0.0)];
        assert_eq!(of("rotrace_first_call_directions_total"), directions);
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
        let names: BTreeSet<_> = families::all().map(Family::name).collect();
        assert_eq!(names.len(), families::all().count());
        for format in [Format::Text, Format::OpenMetrics] {
            let samples = parse(&render(full(), format).expect("text"), format);
            let mut rendered = BTreeSet::new();
            for Sample { name, labels, .. } in &samples {
                let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                let family = families::all()
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
                    (sample.name, labels.collect::<BTreeMap<_, _>>(), sample.value.to_string())
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
            let scrape =
                Scrape { summary: Arc::new(summary), waste: Arc::default(), own: SelfMetrics::default() };
            let samples = parse(&render(scrape, format).expect("text"), format);
            let labels = &samples[0].labels;
            assert_eq!(labels[0], ("game".to_owned(), game.to_owned()));
            assert_eq!(labels[1], ("endpoint".to_owned(), "api/{x}\\".to_owned()));
        }
    }

    #[test]
    fn what_may_stay_hidden_stands_at_zero_before_it_does() {
        let mut summary = Summary::default();
        summary.coverage_mut(Some(&"chess".into()), 0).add_opaque("not_http");
        let own = SelfMetrics {
            processes: [("go".into(), 1)].into(),
            endpoint_templates: [(("api".into(), "shape"), 1)].into(),
            ..SelfMetrics::default()
        };
        let text = render(Scrape { summary: Arc::new(summary), waste: Arc::default(), own }, Format::Text)
            .expect("text");
        let samples = parse(&text, Format::Text);
        let check = |name: &str, expect: &[(&str, &str, f64)]| {
            let of_name = samples.iter().filter(|sample| sample.name == name);
            let got: Vec<_> = of_name
                .map(|sample| {
                    (&*sample.labels[0].1, sample.labels.get(1).map_or("", |label| &label.1), sample.value)
                })
                .collect();
            assert_eq!(got, expect, "{name}");
        };
        check("rotrace_endpoint_overflow_total", &[("api", "", 0.)]);
        check("rotrace_tls_opaque_connections_total", &[("chess", "unknown", 0.), ("go", "unknown", 0.)]);
        check(
            "rotrace_opaque_connections_total",
            &[
                ("chess", "not_http", 1.),
                ("chess", "upgraded", 0.),
                ("go", "not_http", 0.),
                ("go", "upgraded", 0.),
            ],
        );
        let unpaired = ["not_http", "request", "response", "resync", "upgraded"];
        let zeros = ["chess", "go"].into_iter().flat_map(|game| unpaired.map(|reason| (game, reason, 0.)));
        check("rotrace_unpaired_total", &zeros.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let scrape = Scrape { summary: Arc::default(), waste: Arc::default(), own: SelfMetrics::default() };
        let text = render(scrape, Format::Text).expect("text");
        for name in ["rotrace_process_cpu_seconds_total", "rotrace_probe_family_info"] {
            assert!(parse(&text, Format::Text).iter().all(|sample| sample.name != name), "{name}");
        }
    }
}
