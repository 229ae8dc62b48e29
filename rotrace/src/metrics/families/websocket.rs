//! Given: nothing. Gives: the metrics of WebSockets, as rows of the table of all metrics. Refuses to know: how frames are told.
//!
//! An endpoint has them from its first handshake on, at zero.

use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Family, each_series};
use crate::exchange::Role;
use crate::http::websocket::Tally;
use crate::metrics::{Samples, Scrape};

/// Metrics of WebSockets.
pub(super) static WEBSOCKET: [Family; 4] = [
    Family {
        stem: "rotrace_websocket_frames",
        unit: None,
        kind: MetricType::Counter,
        help: "Frames on WebSockets: data, and control (close, ping, pong).",
        labels: &["game", "endpoint", "role", "direction", "kind"],
        samples: |scrape, samples| {
            each_direction(scrape, |&[game, endpoint, role, direction], tally| {
                samples.counter(&[game, endpoint, role, direction, "control"], tally.control_frames)?;
                samples.counter(&[game, endpoint, role, direction, "data"], tally.data_frames)
            })
        },
    },
    Family {
        stem: "rotrace_websocket_messages",
        unit: None,
        kind: MetricType::Counter,
        help: "Messages on WebSockets.",
        labels: &["game", "endpoint", "role", "direction"],
        samples: |scrape, samples| each_tally(scrape, samples, |tally| tally.messages),
    },
    Family {
        stem: "rotrace_websocket",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Payload of frames on WebSockets, as sent.",
        labels: &["game", "endpoint", "role", "direction"],
        samples: |scrape, samples| each_tally(scrape, samples, |tally| tally.payload_bytes),
    },
    Family {
        stem: "rotrace_websocket_unknown",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        help: "Bytes on WebSockets of which it is not known what frames they were; these are in no other metric.",
        labels: &["game", "endpoint", "role", "direction"],
        samples: |scrape, samples| each_tally(scrape, samples, |tally| tally.unknown_bytes),
    },
];

fn each_tally(scrape: &Scrape, samples: &mut Samples<'_>, count: fn(&Tally) -> u64) -> fmt::Result {
    each_direction(scrape, |labels, tally| samples.counter(labels, count(tally)))
}

fn each_direction(scrape: &Scrape, mut each: impl FnMut(&[&str; 4], &Tally) -> fmt::Result) -> fmt::Result {
    for (role, name) in [(Role::Client, "client"), (Role::Server, "server")] {
        each_series(scrape, role, |labels, series| {
            let (&[game, endpoint], Some(frames)) = (labels, &series.frames) else { return Ok(()) };
            each(&[game, endpoint, name, "received"], &frames.received)?;
            each(&[game, endpoint, name, "sent"], &frames.sent)
        })?;
    }
    Ok(())
}
