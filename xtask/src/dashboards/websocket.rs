//! Given: the table of metrics. Gives: the panels of WebSockets. Refuses to know: JSON.

use super::grafana::{Panel, View};
use super::panels::{of_table, query, third};
use super::query::SHOWN;

/// What went by behind handshakes.
pub(super) fn panels() -> Vec<Panel> {
    let of = |name: &'static str, by: &str| SHOWN.rate(name, by);
    vec![
        third(
            "WebSocket frames",
            &of_table("rotrace_websocket_frames_total"),
            View::Lines,
            "cps",
            vec![
                query(
                    "{{game}}: {{kind}} {{direction}}",
                    of("rotrace_websocket_frames_total", "game, kind, direction"),
                ),
                query(
                    "{{game}}: messages {{direction}}",
                    of("rotrace_websocket_messages_total", "game, direction"),
                ),
            ],
        ),
        third(
            "WebSocket payload",
            &of_table("rotrace_websocket_bytes_total"),
            View::Lines,
            "Bps",
            vec![query(
                "{{game}}: {{endpoint}} {{direction}}",
                of("rotrace_websocket_bytes_total", "game, endpoint, direction"),
            )],
        ),
        third(
            "WebSocket bytes that are not known",
            &of_table("rotrace_websocket_unknown_bytes_total"),
            View::Lines,
            "Bps",
            vec![query(
                "{{game}}: {{direction}}",
                of("rotrace_websocket_unknown_bytes_total", "game, direction"),
            )],
        ),
    ]
}
