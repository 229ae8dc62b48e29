//! Given: the table of metrics. Gives: the rows of the overview dashboard, in the order in which somebody asks: is all
//! well, who calls what, what is served, what was not seen, what does the watching cost. Refuses to know: JSON.

use super::grafana::{Dashboard, Panel, Query, Row, View};
use super::query::{SHOWN, SHOWN_TIME, family, per, top};
use super::websocket;

/// Lines of a graph by endpoint. More cannot be told apart by their colours.
pub(super) const LINES: usize = 12;

/// Lines of the endpoint table.
pub(super) const TABLE_LINES: usize = 200;

/// Shares of lost records above which a number is orange, and red. The alert stands at the second.
const LOST_LIMITS: [f64; 2] = [0.001, 0.01];

/// What each game calls, and what was not seen.
pub(super) fn overview() -> Dashboard {
    Dashboard {
        uid: "rotrace-overview",
        title: "rotrace: what each game calls",
        description: "The HTTP calls of game-server processes, seen from the kernel, and what was not seen.",
        rows: rows(),
    }
}

fn rows() -> Vec<Row> {
    vec![
        Row { title: "At a glance", panels: glance() },
        Row { title: "Calls made", panels: calls(&MADE).into_iter().chain([connection_setup()]).collect() },
        Row { title: "Calls served", panels: calls(&SERVED) },
        Row { title: "WebSockets", panels: websocket::panels() },
        Row { title: "What was not seen", panels: unseen() },
        Row { title: "The daemon itself", panels: own_cost() },
    ]
}

/// The metrics of one role.
struct Role {
    requests: &'static str,
    duration: &'static str,
    request_bytes: &'static str,
    response_bytes: &'static str,
    busy: &'static str,
    active: &'static str,
    opened: &'static str,
}

const MADE: Role = Role {
    requests: "rotrace_http_client_requests_total",
    duration: "rotrace_http_client_request_duration_seconds",
    request_bytes: "rotrace_http_client_request_bytes_total",
    response_bytes: "rotrace_http_client_response_bytes_total",
    busy: "rotrace_http_client_server_busy_seconds_total",
    active: "rotrace_http_client_active_requests",
    opened: "rotrace_http_client_connections_opened_total",
};

const SERVED: Role = Role {
    requests: "rotrace_http_server_requests_total",
    duration: "rotrace_http_server_request_duration_seconds",
    request_bytes: "rotrace_http_server_request_bytes_total",
    response_bytes: "rotrace_http_server_response_bytes_total",
    busy: "rotrace_http_server_server_busy_seconds_total",
    active: "rotrace_http_server_active_requests",
    opened: "rotrace_http_server_connections_opened_total",
};

fn glance() -> Vec<Panel> {
    vec![
        number(
            "Calls made",
            "Calls made per second by all games that are selected.",
            "reqps",
            None,
            SHOWN.rate(MADE.requests, ""),
        ),
        number(
            "Answered with an error",
            "Share of the calls made that were answered with 4xx or 5xx.",
            "percentunit",
            Some([0.01, 0.05]),
            SHOWN.error_ratio(MADE.requests, ""),
        ),
        number(
            "99 % are faster than",
            "Time from the request to the last byte of its response, for calls made that were seen to their end.",
            "s",
            None,
            SHOWN.quantile(0.99, MADE.duration, ""),
        ),
        number(
            "Lost",
            "Share of what the probes saw that did not reach the daemon whole. What is lost is in no other number here.",
            "percentunit",
            Some(LOST_LIMITS),
            SHOWN.lost_ratio(""),
        ),
        number(
            "Dark TLS connections",
            "TLS connections per second whose plaintext was not seen: their calls are in no other number here.",
            "cps",
            Some([0.001, 1.0]),
            SHOWN.rate("rotrace_tls_opaque_connections_total", ""),
        ),
        number(
            "Processes watched",
            "Processes that calls are captured from.",
            "short",
            None,
            SHOWN.now("rotrace_targets", ""),
        ),
    ]
}

fn calls(role: &Role) -> Vec<Panel> {
    let by_endpoint = |expression: String| vec![query("{{endpoint}}", top(LINES, &expression))];
    let codes = SHOWN.rate(role.requests, "code");
    vec![
        third(
            "Calls by game",
            "Calls per second.",
            View::Areas,
            "reqps",
            vec![query("{{game}}", SHOWN.rate(role.requests, "game"))],
        ),
        third(
            "Calls by endpoint",
            "Calls per second to the endpoints that have the most of them.",
            View::Lines,
            "reqps",
            by_endpoint(SHOWN.rate(role.requests, "endpoint")),
        ),
        third(
            "Calls by status",
            &of_table(role.requests),
            View::Areas,
            "reqps",
            vec![query("{{code}}", codes)],
        ),
        third(
            "Errors by game",
            "Share of the calls that were answered with 4xx or 5xx. Calls without a whole answer are under status none.",
            View::Lines,
            "percentunit",
            vec![query("{{game}}", SHOWN.error_ratio(role.requests, "game"))],
        ),
        third(
            "Errors by endpoint",
            "Calls per second that were answered with 4xx or 5xx, at the endpoints that have the most of them.",
            View::Lines,
            "reqps",
            by_endpoint(SHOWN.rate_of(
                role.requests,
                &format!("code=~\"{}\"", super::query::ERRORS),
                "endpoint",
            )),
        ),
        third(
            "How long calls take",
            &format!("{} Half, 95 % and 99 % of the calls are faster.", of_table(role.duration)),
            View::Lines,
            "s",
            [("50 %", 0.5), ("95 %", 0.95), ("99 %", 0.99)]
                .into_iter()
                .map(|(legend, quantile)| query(legend, SHOWN.quantile(quantile, role.duration, "")))
                .collect(),
        ),
        third(
            "How long calls take, by game",
            &format!("{} 99 % of the calls are faster.", of_table(role.duration)),
            View::Lines,
            "s",
            vec![query("{{game}}", SHOWN.quantile(0.99, role.duration, "game"))],
        ),
        third(
            "How long calls take, by endpoint",
            &format!("{} 99 % of the calls are faster; the slowest endpoints.", of_table(role.duration)),
            View::Lines,
            "s",
            by_endpoint(SHOWN.quantile(0.99, role.duration, "endpoint")),
        ),
        third(
            "Calls in flight",
            &of_table(role.active),
            View::Areas,
            "short",
            vec![query("{{game}}", SHOWN.now(role.active, "game"))],
        ),
        third(
            "Bytes by game",
            "Head and body of requests and of responses, as far as their lengths are known.",
            View::Lines,
            "Bps",
            vec![
                query("{{game}}: requests", SHOWN.rate(role.request_bytes, "game")),
                query("{{game}}: responses", SHOWN.rate(role.response_bytes, "game")),
            ],
        ),
        third(
            "Bytes of requests by endpoint",
            &of_table(role.request_bytes),
            View::Lines,
            "Bps",
            by_endpoint(SHOWN.rate(role.request_bytes, "endpoint")),
        ),
        third(
            "Bytes of responses by endpoint",
            &of_table(role.response_bytes),
            View::Lines,
            "Bps",
            by_endpoint(SHOWN.rate(role.response_bytes, "endpoint")),
        ),
        endpoints(role),
        third(
            "Waited for, by endpoint",
            &format!("{} A second each second is one server at work all the time.", of_table(role.busy)),
            View::Lines,
            "short",
            by_endpoint(SHOWN.rate(role.busy, "endpoint")),
        ),
        third(
            "New connections",
            &of_table(role.opened),
            View::Lines,
            "cps",
            vec![query("{{game}}, TLS {{tls}}", SHOWN.rate(role.opened, "game, tls"))],
        ),
        third(
            "Calls for each new connection",
            "Near 1, connections are not used again, and most of the time goes into making them.",
            View::Lines,
            "short",
            vec![query(
                "{{game}}",
                per(&SHOWN.rate(role.requests, "game"), &SHOWN.rate(role.opened, "game")),
            )],
        ),
    ]
}

fn endpoints(role: &Role) -> Panel {
    const LABELS: &str = "game, endpoint";
    let calls = SHOWN_TIME.rate(role.requests, LABELS);
    let of_shown =
        |expression: &str| format!("({expression}) and on ({LABELS}) {}", top(TABLE_LINES, &calls));
    let column =
        |legend, unit, expression: &str| Query { unit: Some(unit), ..query(legend, of_shown(expression)) };
    let bytes = SHOWN_TIME.rate(role.response_bytes, LABELS);
    Panel {
        width: 24,
        ..panel(
            "Endpoints",
            "Each game and endpoint, over the time that is shown; those with the most calls.",
            View::Table,
            "short",
            vec![
                column("Calls", "reqps", &calls),
                column("Errors", "percentunit", &SHOWN_TIME.error_ratio(role.requests, LABELS)),
                column("Half are faster than", "s", &SHOWN_TIME.quantile(0.5, role.duration, LABELS)),
                column("99 % are faster than", "s", &SHOWN_TIME.quantile(0.99, role.duration, LABELS)),
                column("Response size", "bytes", &per(&bytes, &calls)),
                column("Responses", "Bps", &bytes),
            ],
        )
    }
}

/// Only who connects knows how long that takes.
fn connection_setup() -> Panel {
    let setup = SHOWN.rate("rotrace_http_client_connection_setup_seconds_total", "game");
    third(
        "Time to connect",
        "Mean time from the begin of connect to the established connection, over new connections.",
        View::Lines,
        "s",
        vec![query("{{game}}", per(&setup, &SHOWN.rate(MADE.opened, "game")))],
    )
}

fn unseen() -> Vec<Panel> {
    let of = |name: &'static str, by: &str| SHOWN.rate(name, by);
    vec![
        third(
            "Lost",
            &of_table("rotrace_events_lost_total"),
            View::Lines,
            "cps",
            vec![query("{{stage}}: {{reason}}", of("rotrace_events_lost_total", "stage, reason"))],
        ),
        third(
            "Lost bytes",
            &of_table("rotrace_lost_bytes_total"),
            View::Lines,
            "Bps",
            vec![query("{{stage}}: {{reason}}", of("rotrace_lost_bytes_total", "stage, reason"))],
        ),
        third(
            "Share that was lost, by host",
            "What was lost of what the probes saw. Above 1 %, the other graphs of this host are too low.",
            View::Lines,
            "percentunit",
            vec![query("{{instance}}", SHOWN.lost_ratio("instance"))],
        ),
        third(
            "Not a call",
            &of_table("rotrace_unpaired_total"),
            View::Lines,
            "cps",
            vec![
                query("{{game}}: {{reason}}", of("rotrace_unpaired_total", "game, reason")),
                query("{{game}}: path {{reason}}", of("rotrace_unnamed_calls_total", "game, reason")),
            ],
        ),
        third(
            "Dark TLS connections",
            &of_table("rotrace_tls_opaque_connections_total"),
            View::Lines,
            "cps",
            vec![query(
                "{{game}}: {{authority}}",
                of("rotrace_tls_opaque_connections_total", "game, authority"),
            )],
        ),
        third(
            "Bytes on dark TLS connections",
            &of_table("rotrace_tls_opaque_bytes_total"),
            View::Lines,
            "Bps",
            vec![query("{{game}}: {{authority}}", of("rotrace_tls_opaque_bytes_total", "game, authority"))],
        ),
        third(
            "Connections given up",
            &of_table("rotrace_opaque_connections_total"),
            View::Lines,
            "cps",
            vec![query("{{game}}: {{reason}}", of("rotrace_opaque_connections_total", "game, reason"))],
        ),
        third(
            "Path templates",
            &of_table("rotrace_endpoint_templates"),
            View::Areas,
            "short",
            vec![query(
                "{{authority}}: {{source}}",
                top(LINES, &SHOWN.now("rotrace_endpoint_templates", "authority, source")),
            )],
        ),
        third(
            "Calls to paths without a template",
            &of_table("rotrace_endpoint_overflow_total"),
            View::Lines,
            "reqps",
            vec![query("{{authority}}", top(LINES, &of("rotrace_endpoint_overflow_total", "authority")))],
        ),
        third(
            "Dictionaries of learned paths",
            &of_table("rotrace_endpoint_dictionary_info"),
            View::Lines,
            "short",
            vec![query(
                "{{version}} {{hash}}",
                SHOWN.now("rotrace_endpoint_dictionary_info", "version, hash"),
            )],
        ),
        third(
            "Templates not learned",
            &of_table("rotrace_endpoint_dictionary_refused_total"),
            View::Lines,
            "cps",
            vec![query("{{instance}}", of("rotrace_endpoint_dictionary_refused_total", "instance"))],
        ),
        third(
            "Game names that were changed",
            &of_table("rotrace_game_names_changed_total"),
            View::Lines,
            "cps",
            vec![query("{{reason}}", of("rotrace_game_names_changed_total", "reason"))],
        ),
        third(
            "Calls under the endpoint other",
            &of_table("rotrace_series_overflow_total"),
            View::Lines,
            "reqps",
            vec![query("{{instance}}", of("rotrace_series_overflow_total", "instance"))],
        ),
    ]
}

fn own_cost() -> Vec<Panel> {
    let by_host = |expression| vec![query("{{instance}}", expression)];
    vec![
        third(
            "Processor time",
            &format!(
                "{} 1 is one processor, all of the time.",
                of_table("rotrace_process_cpu_seconds_total")
            ),
            View::Lines,
            "short",
            by_host(SHOWN.rate("rotrace_process_cpu_seconds_total", "instance")),
        ),
        third(
            "Memory",
            &of_table("rotrace_process_resident_memory_bytes"),
            View::Lines,
            "bytes",
            by_host(SHOWN.now("rotrace_process_resident_memory_bytes", "instance")),
        ),
        third(
            "Connections held",
            &of_table("rotrace_tracked_connections"),
            View::Lines,
            "short",
            by_host(SHOWN.now("rotrace_tracked_connections", "instance")),
        ),
        third(
            "Records",
            &of_table("rotrace_records_total"),
            View::Lines,
            "cps",
            by_host(SHOWN.rate("rotrace_records_total", "instance")),
        ),
        third(
            "Payload copied",
            &of_table("rotrace_captured_bytes_total"),
            View::Lines,
            "Bps",
            by_host(SHOWN.rate("rotrace_captured_bytes_total", "instance")),
        ),
        third(
            "Processes watched",
            &of_table("rotrace_processes"),
            View::Areas,
            "short",
            vec![query("{{game}}", SHOWN.now("rotrace_processes", "game"))],
        ),
        panel(
            "Times that copies of probes were not run",
            &of_table("rotrace_probe_recursion_misses_total"),
            View::Lines,
            "cps",
            vec![query("{{program}}", SHOWN.rate("rotrace_probe_recursion_misses_total", "program"))],
        ),
        half("Hosts by version", "rotrace_build_info", "version"),
        half("Hosts by probes", "rotrace_probe_family_info", "family"),
    ]
}

/// How many hosts have each value of a label.
pub(super) fn number(
    title: &'static str,
    description: &str,
    unit: &'static str,
    limits: Option<[f64; 2]>,
    expression: String,
) -> Panel {
    Panel { width: 4, ..panel(title, description, View::Number(limits), unit, vec![query("", expression)]) }
}

pub(super) fn half(title: &'static str, name: &'static str, label: &'static str) -> Panel {
    let hosts = vec![query("Hosts", SHOWN.now(name, label))];
    Panel { width: 12, ..panel(title, &of_table(name), View::Table, "short", hosts) }
}

pub(super) fn third(
    title: &'static str,
    description: &str,
    view: View,
    unit: &'static str,
    queries: Vec<Query>,
) -> Panel {
    Panel { width: 8, ..panel(title, description, view, unit, queries) }
}

pub(super) fn panel(
    title: &'static str,
    description: &str,
    view: View,
    unit: &'static str,
    queries: Vec<Query>,
) -> Panel {
    Panel { title, description: description.to_owned(), view, unit, width: 24, queries }
}

pub(super) fn query(legend: &'static str, expression: String) -> Query {
    Query { expression, legend, unit: None }
}

/// What the table says of a metric.
pub(super) fn of_table(name: &str) -> String {
    family(name).help.to_owned()
}
