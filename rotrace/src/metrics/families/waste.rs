//! Given: nothing. Gives: the metrics of cost and waste, as rows of the table of all metrics. Refuses to know: how waste is
//! found.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Family, each_game, each_series};
use crate::detect::finding::{Amount, Class, Severity};
use crate::detect::{Pattern, TABLE};
use crate::exchange::Role;
use crate::metrics::Scrape;

/// Metrics of cost and waste.
pub(super) static WASTE: [Family; 17] = [
    Family {
        stem: "rotrace_cost_units",
        unit: None,
        kind: MetricType::Counter,
        help: "What calls made cost, in cost units: one is a Get of a standard data store.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| {
            each_series(scrape, Role::Client, |labels, series| samples.units(labels, series.cost_ucu))
        },
    },
    Family {
        stem: "rotrace_cost_model",
        unit: None,
        kind: MetricType::Info,
        help: "What calls are priced by: the mode, and the version and hash of the weights.",
        labels: &["mode", "version"],
        samples: |scrape, samples| {
            let model = scrape.own.cost_model.as_ref();
            model.map_or(Ok(()), |(mode, version)| samples.info(&[mode, version]))
        },
    },
    Family {
        stem: "rotrace_wasted_calls",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls made that could have been avoided for certain, each under one pattern.",
        labels: &["game", "endpoint", "pattern"],
        samples: |scrape, samples| each_waste(scrape, |labels, amount| samples.counter(labels, amount.calls)),
    },
    Family {
        stem: "rotrace_wasted",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Bytes, both directions, that could have been avoided for certain.",
        labels: &["game", "endpoint", "pattern"],
        samples: |scrape, samples| each_waste(scrape, |labels, amount| samples.counter(labels, amount.bytes)),
    },
    Family {
        stem: "rotrace_wasted_server",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        help: "Time that servers were busy with what could have been avoided for certain.",
        labels: &["game", "endpoint", "pattern"],
        samples: |scrape, samples| {
            each_waste(scrape, |labels, amount| samples.seconds(labels, amount.server_ns.into()))
        },
    },
    Family {
        stem: "rotrace_wasted_cost_units",
        unit: None,
        kind: MetricType::Counter,
        help: "Cost units that could have been avoided for certain.",
        labels: &["game", "endpoint", "pattern"],
        samples: |scrape, samples| {
            each_waste(scrape, |labels, amount| samples.units(labels, amount.cost_ucu))
        },
    },
    Family {
        stem: "rotrace_pattern_episodes",
        unit: None,
        kind: MetricType::Counter,
        help: "Episodes of a pattern in a process and endpoint, counted once for each severity that they reached.",
        labels: &["game", "pattern", "severity"],
        samples: |scrape, samples| {
            each_pattern(scrape, |game, pattern| {
                Severity::ALL.into_iter().try_for_each(|severity| {
                    let episodes = &scrape.waste.episodes;
                    let count = episodes.get(&(game.into(), pattern, severity)).copied().unwrap_or(0);
                    samples.counter(&[game, pattern.name(), severity.name()], count)
                })
            })
        },
    },
    Family {
        stem: "rotrace_pattern_active_episodes",
        unit: None,
        kind: MetricType::Gauge,
        help: "Episodes of a pattern that are not over, by the severity that they have reached.",
        labels: &["game", "pattern", "severity"],
        samples: |scrape, samples| {
            // What was open once stands at zero when it is over, so that nobody takes its last value for the present.
            let known = scrape.waste.episodes.keys();
            let mut open: BTreeMap<_, u64> =
                known.map(|(game, pattern, severity)| ((&**game, *pattern, *severity), 0)).collect();
            for finding in scrape.waste.findings.iter().filter(|finding| !finding.is_over) {
                *open.entry((&*finding.game, finding.pattern, finding.severity)).or_default() += 1;
            }
            open.into_iter().try_for_each(|((game, pattern, severity), count)| {
                samples.gauge(&[game, pattern.name(), severity.name()], count)
            })
        },
    },
    Family {
        stem: "rotrace_rate_limit_utilization_ratio",
        unit: None,
        kind: MetricType::Gauge,
        help: "Greatest part of a rate limit that was used within a minute: as answers say, or as the catalogue has it for \
               a process.",
        labels: &["game", "authority", "limit"],
        samples: |scrape, samples| {
            let mut limits = scrape.waste.limits.iter();
            limits.try_for_each(|used| {
                samples.gauge_f64(&[&used.game, &used.authority, used.limit.name()], used.share)
            })
        },
    },
    Family {
        stem: "rotrace_player",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        help: "Players times seconds. Its rate is the number of players.",
        labels: &["game", "source"],
        samples: |scrape, samples| {
            let mut players = scrape.own.player_seconds.iter();
            players.try_for_each(|((game, source), &seconds)| samples.counter_f64(&[game, source], seconds))
        },
    },
    Family {
        stem: "rotrace_first_calls",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls of a process to an endpoint that it had not called for 45 seconds.",
        labels: &["game", "endpoint"],
        samples: |scrape, samples| each_phase(scrape, |labels, calls, _| samples.counter(labels, calls)),
    },
    Family {
        stem: "rotrace_first_call_directions",
        unit: None,
        kind: MetricType::Counter,
        help: "First calls as directions on the circle of a minute, summed along four axes: towards the seconds 0, 15, 30, 45.",
        labels: &["game", "endpoint", "second"],
        samples: |scrape, samples| {
            each_phase(scrape, |&[game, endpoint], _, axes| {
                let mut axes = ["0", "15", "30", "45"].into_iter().zip(axes);
                axes.try_for_each(|(second, axis)| samples.counter_f64(&[game, endpoint, second], axis))
            })
        },
    },
    Family {
        stem: "rotrace_detector_state_entries",
        unit: None,
        kind: MetricType::Gauge,
        help: "Entries that a detector holds in memory, or that all of them share.",
        labels: &["detector"],
        samples: |scrape, samples| {
            let mut states = scrape.waste.states.iter();
            states.try_for_each(|(name, state)| samples.gauge(&[name], state.entries as u64))
        },
    },
    Family {
        stem: "rotrace_detector_evictions",
        unit: None,
        kind: MetricType::Counter,
        help: "Entries of a detector that made room for others before they were done with.",
        labels: &["detector"],
        samples: |scrape, samples| {
            let mut states = scrape.waste.states.iter();
            states.try_for_each(|(name, state)| samples.counter(&[name], state.evicted))
        },
    },
    Family {
        stem: "rotrace_late_calls",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls that lasted too long to be shown to the detectors in the order of their starts.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.waste.late_calls),
    },
    Family {
        stem: "rotrace_unclaimed_calls",
        unit: None,
        kind: MetricType::Counter,
        help: "Calls found to be wasted after they had made room for others: they are in no other metric of waste.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.waste.claims_too_late),
    },
    Family {
        stem: "rotrace_waste_expired",
        unit: None,
        kind: MetricType::Counter,
        help: "Endpoints and games whose counters of waste and of episodes ended since nothing had called them for long.",
        labels: &[],
        samples: |scrape, samples| samples.counter(&[], scrape.waste.expired),
    },
];

/// Waste that is avoidable for certain. Endpoints of several methods are one series.
fn each_waste(scrape: &Scrape, mut each: impl FnMut(&[&str], Amount) -> fmt::Result) -> fmt::Result {
    let mut sums = BTreeMap::<(&str, &str, Pattern), Amount>::new();
    for wasted in scrape.waste.wasted.iter().filter(|wasted| wasted.class == Class::Avoidable) {
        let sum = sums.entry((&wasted.names.game, &wasted.names.endpoint, wasted.pattern)).or_default();
        *sum = sum.plus(wasted.amount);
    }
    let mut sums = sums.into_iter();
    sums.try_for_each(|((game, endpoint, pattern), amount)| each(&[game, endpoint, pattern.name()], amount))
}

/// First calls and their directions. Endpoints of several methods are one series.
fn each_phase(
    scrape: &Scrape,
    mut each: impl FnMut(&[&str; 2], u64, [f64; 4]) -> fmt::Result,
) -> fmt::Result {
    let mut sums = BTreeMap::<[&str; 2], (u64, [f64; 4])>::new();
    for (names, phase) in &scrape.waste.phases {
        let (calls, axes) = sums.entry([&names.game, &names.endpoint]).or_default();
        *calls += phase.first_calls();
        axes.iter_mut().zip(phase.axes()).for_each(|(sum, axis)| *sum += axis);
    }
    sums.into_iter().try_for_each(|(labels, (calls, axes))| each(&labels, calls, axes))
}

/// Every pattern of every game that is watched has a sample: one that begins at 1 has no increase.
fn each_pattern(scrape: &Scrape, mut each: impl FnMut(&str, Pattern) -> fmt::Result) -> fmt::Result {
    each_game(scrape, |game, _| TABLE.iter().try_for_each(|row| each(game, row.pattern)))
}
