//! Given: the table of metrics. Gives: the dashboard of what calls cost and what of that is wasted, in the order in which
//! somebody asks: what does each game cost, what is wasted and where, what was found, what do many hosts see together, and
//! can the detectors keep up. Refuses to know: JSON.

use super::grafana::{Dashboard, Panel, Query, Row, View};
use super::panels::{LINES, TABLE_LINES, half, number, of_table, panel, query, third};
use super::query::{SHOWN, SHOWN_TIME, top};

/// Shares of waste above which a number is orange, and red. The alert stands at the second.
const WASTE_LIMITS: [f64; 2] = [0.1, 0.3];

const COST: &str = "rotrace_cost_units_total";
const PLAYERS: &str = "rotrace_player_seconds_total";
const WASTED_CALLS: &str = "rotrace_wasted_calls_total";
const WASTED_BYTES: &str = "rotrace_wasted_bytes_total";
const WASTED_SECONDS: &str = "rotrace_wasted_server_seconds_total";
const WASTED_COST: &str = "rotrace_wasted_cost_units_total";
const OPEN: &str = "rotrace_pattern_active_episodes";

/// The whole dashboard.
pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "rotrace-waste",
        title: "rotrace: what calls cost, and what is wasted",
        description: "Cost units of the calls of each game, the part of them that could have been avoided for certain, and the \
                      patterns behind it.",
        rows: vec![
            Row { title: "At a glance", panels: glance() },
            Row { title: "What calls cost", panels: cost() },
            Row { title: "What is wasted", panels: wasted() },
            Row { title: "What was found", panels: found() },
            Row { title: "What many hosts see together", panels: fleet() },
            Row { title: "The detectors themselves", panels: detectors() },
        ],
    }
}

fn glance() -> Vec<Panel> {
    vec![
        number(
            "Cost",
            "Cost units per second of all games that are selected. One is a Get of a standard data store.",
            "short",
            None,
            SHOWN.rate(COST, ""),
        ),
        number(
            "Wasted",
            "Share of the cost that could have been avoided for certain.",
            "percentunit",
            Some(WASTE_LIMITS),
            SHOWN.wasted_ratio(""),
        ),
        number(
            "Cost of a player-hour",
            "Cost units of all calls over player-hours. Without a feed of players there is none.",
            "short",
            None,
            SHOWN.per_player_hour(""),
        ),
        number("Players", "Players of all games that are selected.", "short", None, SHOWN.rate(PLAYERS, "")),
        number(
            "Open findings",
            "Episodes of any pattern that are not over.",
            "short",
            None,
            SHOWN.now(OPEN, ""),
        ),
        number(
            "Rate limit used",
            "The greatest part of any rate limit that was used within a minute.",
            "percentunit",
            Some([0.8, 0.9]),
            format!("max({})", SHOWN.greatest("rotrace_rate_limit_utilization_ratio", "game")),
        ),
    ]
}

fn cost() -> Vec<Panel> {
    vec![
        third(
            "Cost by game",
            "Cost units per second.",
            View::Areas,
            "short",
            vec![query("{{game}}", SHOWN.rate(COST, "game"))],
        ),
        third(
            "Cost by endpoint",
            "Cost units per second, at the endpoints that cost the most.",
            View::Lines,
            "short",
            vec![query("{{endpoint}}", top(LINES, &SHOWN.rate(COST, "endpoint")))],
        ),
        third(
            "Cost of a player-hour by game",
            "Cost units of the calls of a game over its player-hours. Games without a count of players are not here.",
            View::Lines,
            "short",
            vec![query("{{game}}", SHOWN.per_player_hour("game"))],
        ),
        third(
            "Players by game",
            "Players, as the feed reports them or as calls let estimate.",
            View::Areas,
            "short",
            vec![query("{{game}}: {{source}}", SHOWN.rate(PLAYERS, "game, source"))],
        ),
        Panel { width: 16, ..half("Hosts by cost model", "rotrace_cost_model_info", "mode, version") },
    ]
}

fn wasted() -> Vec<Panel> {
    let by_pattern = |title, name: &'static str, unit| {
        third(
            title,
            &of_table(name),
            View::Areas,
            unit,
            vec![query("{{pattern}}", SHOWN.rate(name, "pattern"))],
        )
    };
    vec![
        by_pattern("Wasted cost units by pattern", WASTED_COST, "short"),
        third(
            "Wasted cost units by game",
            &of_table(WASTED_COST),
            View::Areas,
            "short",
            vec![query("{{game}}", SHOWN.rate(WASTED_COST, "game"))],
        ),
        third(
            "Wasted cost units by endpoint",
            "Cost units per second, at the endpoints that waste the most.",
            View::Lines,
            "short",
            vec![query("{{endpoint}}", top(LINES, &SHOWN.rate(WASTED_COST, "endpoint")))],
        ),
        third(
            "Share that is wasted, by game",
            "What of the cost of a game could have been avoided for certain.",
            View::Lines,
            "percentunit",
            vec![query("{{game}}", SHOWN.wasted_ratio("game"))],
        ),
        by_pattern("Wasted calls by pattern", WASTED_CALLS, "reqps"),
        by_pattern("Wasted bytes by pattern", WASTED_BYTES, "Bps"),
        by_pattern("Wasted time of servers by pattern", WASTED_SECONDS, "short"),
        third(
            "Wasted calls by game",
            &of_table(WASTED_CALLS),
            View::Areas,
            "reqps",
            vec![query("{{game}}", SHOWN.rate(WASTED_CALLS, "game"))],
        ),
        third(
            "Wasted bytes by game",
            &of_table(WASTED_BYTES),
            View::Areas,
            "Bps",
            vec![query("{{game}}", SHOWN.rate(WASTED_BYTES, "game"))],
        ),
        most_wasteful(),
    ]
}

fn most_wasteful() -> Panel {
    const LABELS: &str = "game, endpoint, pattern";
    let cost = SHOWN_TIME.rate(WASTED_COST, LABELS);
    let of_shown = |expression: &str| format!("({expression}) and on ({LABELS}) {}", top(TABLE_LINES, &cost));
    let column =
        |legend, unit, expression: &str| Query { unit: Some(unit), ..query(legend, of_shown(expression)) };
    panel(
        "Most wasteful",
        "Each game, endpoint and pattern, over the time that is shown; those that waste the most cost units.",
        View::Table,
        "short",
        vec![
            column("Cost units an hour", "short", &format!("3600 * {cost}")),
            column("Calls", "reqps", &SHOWN_TIME.rate(WASTED_CALLS, LABELS)),
            column("Bytes", "Bps", &SHOWN_TIME.rate(WASTED_BYTES, LABELS)),
            column("Time of servers", "short", &SHOWN_TIME.rate(WASTED_SECONDS, LABELS)),
        ],
    )
}

fn found() -> Vec<Panel> {
    vec![
        third(
            "Open findings by severity",
            &of_table(OPEN),
            View::Areas,
            "short",
            vec![query("{{severity}}", SHOWN.now(OPEN, "severity"))],
        ),
        third(
            "Open findings by pattern",
            &of_table(OPEN),
            View::Areas,
            "short",
            vec![query("{{game}}: {{pattern}}", SHOWN.now(OPEN, "game, pattern"))],
        ),
        third(
            "Findings",
            "Findings an hour over the time that is shown, each once for each severity that it reached.",
            View::Table,
            "short",
            vec![query(
                "An hour",
                format!(
                    "3600 * ({} > 0)",
                    SHOWN_TIME.rate("rotrace_pattern_episodes_total", "game, pattern, severity")
                ),
            )],
        ),
        Panel {
            width: 24,
            ..third(
                "Rate limits",
                &of_table("rotrace_rate_limit_utilization_ratio"),
                View::Lines,
                "percentunit",
                vec![query(
                    "{{game}}: {{authority}}, {{limit}}",
                    SHOWN.greatest("rotrace_rate_limit_utilization_ratio", "game, authority, limit"),
                )],
            )
        },
    ]
}

/// From recordings: these need windows that are longer than the steps of a graph, and all hosts.
fn fleet() -> Vec<Panel> {
    let selected = |recording: &str, labels: &[&str]| {
        let matchers: Vec<_> = labels.iter().map(|label| format!("{label}=~\"${label}\"")).collect();
        format!("{recording}{{{}}}", matchers.join(", "))
    };
    vec![
        third(
            "First calls",
            "Calls per minute of processes to an endpoint that they had not called for 45 seconds: about as many processes \
             come once a minute.",
            View::Lines,
            "short",
            vec![query(
                "{{game}}: {{endpoint}}",
                top(LINES, &format!("60 * {}", SHOWN.rate("rotrace_first_calls_total", "game, endpoint"))),
            )],
        ),
        third(
            "Servers that call in the same second",
            "How long the mean direction of first calls is on the circle of a minute: 0 when they are spread, 1 when all fall \
             in one second. It says something from about ten first calls a minute on. From the recording rules.",
            View::Lines,
            "short",
            vec![query(
                "{{game}}: {{endpoint}}",
                top(
                    LINES,
                    &selected("game_endpoint:rotrace_first_calls:resultant_rate10m", &["game", "endpoint"]),
                ),
            )],
        ),
        third(
            "Cost of a player-hour against other games",
            "How far a game is above the median of all games, in robust standard deviations of the logarithm. From the \
             recording rules; games with fewer than 30 players are not judged.",
            View::Lines,
            "short",
            vec![query(
                "{{game}}",
                selected("game:rotrace_cost_units_per_player_hour:robust_z_rate1h", &["game"]),
            )],
        ),
    ]
}

fn detectors() -> Vec<Panel> {
    let lines = |title, name: &'static str, unit, legend, expression: String| Panel {
        width: 12,
        ..third(title, &of_table(name), View::Lines, unit, vec![query(legend, expression)])
    };
    let [held, evicted] = ["rotrace_detector_state_entries", "rotrace_detector_evictions_total"];
    let [late, unclaimed] = ["rotrace_late_calls_total", "rotrace_unclaimed_calls_total"];
    let expired = "rotrace_waste_expired_total";
    vec![
        lines("Entries held", held, "short", "{{detector}}", SHOWN.now(held, "detector")),
        lines("Entries that made room", evicted, "cps", "{{detector}}", SHOWN.rate(evicted, "detector")),
        lines("Late calls", late, "reqps", "{{instance}}", SHOWN.rate(late, "instance")),
        lines("Unclaimed calls", unclaimed, "reqps", "{{instance}}", SHOWN.rate(unclaimed, "instance")),
        lines("Counters that ended", expired, "cps", "{{instance}}", SHOWN.rate(expired, "instance")),
    ]
}
