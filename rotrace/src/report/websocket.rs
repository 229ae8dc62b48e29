//! Given: the summary of a game. Gives: what went by on its WebSockets, as text for people. Refuses to know: its other calls.

use super::text::{Style, plural, table};
use super::units::bytes;
use super::visible::escape;
use crate::exchange::Role;
use crate::http::websocket::Tally;
use crate::summary::Game;

/// Endpoints that are shown: those with the most bytes.
const TOP_ENDPOINTS: usize = 10;

/// A table with a row for each endpoint and direction; nothing when there are no WebSockets.
pub(super) fn endpoints(style: Style, name: &str, game: &Game) -> String {
    let mut endpoints = Vec::new();
    for (role, verb) in [(Role::Client, "made"), (Role::Server, "served")] {
        let of_role =
            game.series(role).filter_map(|(endpoint, series)| Some((endpoint, series.frames.as_deref()?)));
        endpoints.extend(of_role.map(|(endpoint, frames)| (endpoint, verb, *frames)));
    }
    if endpoints.is_empty() {
        return String::new();
    }
    let all = |tally: &Tally| tally.payload_bytes.saturating_add(tally.unknown_bytes);
    // The sort is stable, so endpoints with as many bytes stay in the order of their names.
    endpoints.sort_by_key(|(_, _, frames)| {
        std::cmp::Reverse(all(&frames.sent).saturating_add(all(&frames.received)))
    });
    let title = match endpoints.len() {
        few @ 0..=TOP_ENDPOINTS => plural(few as u64, "endpoint"),
        many => format!("{TOP_ENDPOINTS} busiest of {many} endpoints"),
    };
    let shown = endpoints.iter().take(TOP_ENDPOINTS);
    let rows: Vec<_> = shown
        .flat_map(|(endpoint, verb, frames)| {
            [("sent", &frames.sent), ("received", &frames.received)]
                .map(|(direction, tally)| row(endpoint, verb, direction, tally))
        })
        .collect();
    let head = ["MESSAGES", "FRAMES", "CONTROL", "PAYLOAD", "NOT KNOWN", "", "", "ENDPOINT"];
    format!("\n{}, WebSocket: {title}\n{}", escape(name), table(style, head, &rows))
}

fn row(endpoint: &str, verb: &str, direction: &str, tally: &Tally) -> [String; 8] {
    [
        tally.messages.to_string(),
        tally.data_frames.to_string(),
        tally.control_frames.to_string(),
        bytes(tally.payload_bytes),
        bytes(tally.unknown_bytes),
        verb.to_owned(),
        direction.to_owned(),
        escape(endpoint),
    ]
}
