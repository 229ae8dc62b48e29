//! Given: nothing. Gives: the table of all metrics, each with where its samples come from. Refuses to know: how samples
//! are written.
//!
//! Names and labels are a contract with dashboards and alerts: base units, one quantity per name, no PID, no raw path.

mod waste;
mod websocket;

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Samples, Scrape};
use crate::endpoint::learned::Label;
use crate::exchange::{Role, Unnamed, Unpaired};
use crate::summary::{
    Game, OPAQUE_REASONS, Opened, Series, TlsFigures, UNKNOWN_AUTHORITY, unnamed_reason, unpaired_reason,
};

/// One metric family: the table row.
#[derive(Debug)]
pub struct Family {
    /// Without unit and suffix.
    pub(super) stem: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) kind: MetricType,
    /// What its samples mean: a sentence or two.
    pub help: &'static str,
    /// Names of the labels, in the order of the values that `samples` gives.
    pub labels: &'static [&'static str],
    pub(super) samples: fn(&Scrape, &mut Samples<'_>) -> fmt::Result,
}

/// All metrics of rotrace.
pub fn all() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().chain(&websocket::WEBSOCKET).chain(&waste::WASTE)
}

/// Metrics of calls and of the daemon.
static FAMILIES: [Family; 38] = [
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
        labels: &["game", "authority"],
        samples: |scrape, samples| tls_opaque(scrape, samples, |figures| figures.connections),
    },
    Family {
        stem: "rotrace_tls_opaque",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Encrypted bytes on TLS connections whose plaintext was not seen, both directions.",
        labels: &["game", "authority"],
        samples: |scrape, samples| tls_opaque(scrape, samples, |figures| figures.bytes),
    },
    Family {
        stem: "rotrace_opaque_connections",
        unit: None,
        kind: MetricType::Counter,
        help: "Connections that could not be decoded, or not any more.",
        labels: &["game", "reason"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| samples.by_reason(name, &OPAQUE_REASONS, &game.coverage.opaque))
        },
    },
    Family {
        stem: "rotrace_unpaired",
        unit: None,
        kind: MetricType::Counter,
        help: "What was seen on connections and did not become a call.",
        labels: &["game", "reason"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| {
                samples.by_reason(name, &Unpaired::ALL.map(unpaired_reason), &game.coverage.unpaired)
            })
        },
    },
    Family {
        stem: "rotrace_unnamed_calls",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls whose path is not known; they are under the endpoint `unknown`.",
        labels: &["game", "reason"],
        samples: |scrape, samples| {
            each_game(scrape, |name, game| {
                samples.by_reason(name, &Unnamed::ALL.map(unnamed_reason), &game.coverage.unnamed)
            })
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
        stem: "rotrace_lost",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Stream bytes whose content was lost, or that arrived twice, at the named stage.",
        labels: &["stage", "reason"],
        samples: |scrape, samples| {
            let mut lost = scrape.summary.shortfall.bytes.iter();
            lost.try_for_each(|((stage, reason), &count)| samples.counter(&[stage, reason], count))
        },
    },
    Family {
        stem: "rotrace_game_names_changed",
        unit: None,
        kind: MetricType::Counter,
        help: "Values of game rules that are not the label game as they stand: too many of them, or not printable.",
        labels: &["reason"],
        samples: |scrape, samples| {
            samples.counter(&["refused"], scrape.summary.shortfall.games_refused)?;
            samples.counter(&["altered"], scrape.summary.shortfall.games_altered)
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
            // An authority with templates has had no overflow yet: a 0 from which its first will rise.
            let authorities = scrape.own.endpoint_templates.keys().map(|(authority, _)| (authority, 0));
            let mut overflow: BTreeMap<_, _> = authorities.collect();
            overflow
                .extend(scrape.own.endpoint_overflow.iter().map(|(authority, &count)| (authority, count)));
            overflow.into_iter().try_for_each(|(authority, count)| samples.counter(&[authority], count))
        },
    },
    Family {
        stem: "rotrace_endpoint_dictionary",
        unit: None,
        kind: MetricType::Info,
        help: "The dictionary of learned paths that was read or written last: the version of its layout, and its hash.",
        labels: &["version", "hash"],
        samples: |scrape, samples| {
            scrape.own.endpoint_dictionary.map_or(Ok(()), |Label { version, hash }| {
                samples.info(&[&version.to_string(), &format!("{hash:016x}")])
            })
        },
    },
    Family {
        stem: "rotrace_endpoint_dictionary_refused",
        unit: None,
        kind: MetricType::Counter,
        help: "Templates that were not learned in full, because the dictionary had no room.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.own.endpoint_dictionary_refused),
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
        samples: |scrape, samples| samples.counter(&[], scrape.summary.records),
    },
    Family {
        stem: "rotrace_captured",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Payload bytes in the records that the daemon has read.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.summary.captured_bytes),
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
        stem: "rotrace_probe_recursion_misses",
        unit: None,
        kind: MetricType::Counter,
        help: "Times that the kernel did not run a copy of a probe, because that was running on the same processor.",
        labels: &["program"],
        samples: |scrape, samples| {
            let misses = &scrape.own.recursion_misses;
            misses.iter().try_for_each(|(program, &count)| samples.counter(&[program], count))
        },
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

    /// The unit of its values, `None` when they are counts.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_ref().map(Unit::as_str)
    }

    /// Its type as in the text format: `counter`, `gauge`, `histogram` or `info`.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Info => "info",
            MetricType::Unknown => "unknown",
        }
    }
}

/// A game whose processes are watched and have said nothing yet stands at zero: what it says first is then an increase.
fn each_game(scrape: &Scrape, mut each: impl FnMut(&str, &Game) -> fmt::Result) -> fmt::Result {
    let silent = Game::default();
    let mut games: BTreeMap<_, _> = scrape.own.processes.keys().map(|name| (&**name, &silent)).collect();
    games.extend(scrape.summary.games());
    games.into_iter().try_for_each(|(name, game)| each(name, game))
}

/// The server that nobody named is always there, for the rate of what comes later.
fn tls_opaque(scrape: &Scrape, samples: &mut Samples<'_>, count: fn(TlsFigures) -> u64) -> fmt::Result {
    each_game(scrape, |name, game| {
        let opaque = &game.coverage.tls_opaque;
        let mut by_authority = BTreeMap::from([(UNKNOWN_AUTHORITY, TlsFigures::default())]);
        by_authority.extend(opaque.authorities());
        let mut figures = by_authority.into_iter();
        figures.try_for_each(|(authority, figures)| samples.counter(&[name, authority], count(figures)))
    })
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
        let Opened { plain, tls } = *game.coverage.opened.of(role);
        samples.counter(&[name, "none"], plain)?;
        samples.counter(&[name, "tls"], tls)
    })
}
