//! Given: the table of metrics. Gives: the recording rules and alerts for Prometheus. Refuses to know: who is told.

mod fleet;

use super::query::{RULE, RULE_1H, family};

/// Rules that are evaluated one after the other.
struct Group {
    name: &'static str,
    /// What stands above it in the file.
    comment: &'static str,
    recordings: Vec<Recording>,
    alerts: Vec<Alert>,
}

/// Names a recording rule: level, metric and operations, as Prometheus advises.
struct Recording {
    record: &'static str,
    expression: String,
}

/// What somebody must look at.
struct Alert {
    name: &'static str,
    expression: String,
    /// So long must it be true.
    lasting: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// The text of the rule file.
pub(super) fn generate() -> String {
    let mut text = String::from(
        "# Recording rules and alerts for rotrace. `cargo xtask dashboards` writes this file from the metric table.\n\
         # The alert RotraceDown takes the scrape job of rotrace to be called rotrace.\n\
         groups:\n",
    );
    for Group { name, comment, recordings, alerts } in groups() {
        comment.lines().for_each(|line| text.push_str(&format!("  # {line}\n")));
        text.push_str(&format!("  - name: {name}\n    rules:\n"));
        for Recording { record, expression } in recordings {
            text.push_str(&format!("      - record: {record}\n        expr: {}\n", quoted(&expression)));
        }
        for Alert { name, expression, lasting, severity, summary, description } in alerts {
            text.push_str(&format!(
                "      - alert: {name}\n        expr: {}\n        for: {lasting}\n        labels:\n          \
                 severity: {severity}\n        annotations:\n          summary: {}\n          description: {}\n",
                quoted(&expression),
                quoted(summary),
                quoted(description),
            ));
        }
    }
    text
}

fn groups() -> Vec<Group> {
    vec![
        Group { name: "rotrace", comment: "", recordings: recordings(), alerts: Vec::new() },
        Group { name: "rotrace-alerts", comment: "", recordings: Vec::new(), alerts: alerts() },
        fleet::synchronized_burst(),
        fleet::player_cost_outlier(),
    ]
}

fn recordings() -> Vec<Recording> {
    const REQUESTS: &str = "rotrace_http_client_requests_total";
    const DURATION: &str = "rotrace_http_client_request_duration_seconds";
    const COST: &str = "rotrace_cost_units_total";
    const WASTED: &str = "rotrace_wasted_cost_units_total";
    const PLAYERS: &str = "rotrace_player_seconds_total";
    let recording = |record, expression| Recording { record, expression };
    vec![
        recording("game:rotrace_http_client_requests:rate5m", RULE.rate(REQUESTS, "game")),
        recording("game_endpoint:rotrace_http_client_requests:rate5m", RULE.rate(REQUESTS, "game, endpoint")),
        recording("game:rotrace_http_client_requests:error_ratio_rate5m", RULE.error_ratio(REQUESTS, "game")),
        recording(
            "game:rotrace_http_client_request_duration_seconds:p99_rate5m",
            RULE.quantile(0.99, DURATION, "game"),
        ),
        recording(
            "endpoint:rotrace_http_client_request_duration_seconds:p99_rate5m",
            RULE.quantile(0.99, DURATION, "endpoint"),
        ),
        recording("instance:rotrace_events_lost:ratio_rate5m", RULE.lost_ratio("job, instance")),
        recording("game:rotrace_cost_units:rate5m", RULE.rate(COST, "game")),
        recording("game:rotrace_wasted_cost_units:rate5m", RULE.rate(WASTED, "game")),
        recording("game:rotrace_wasted_cost_units_per_cost_units:ratio_rate5m", RULE.wasted_ratio("game")),
        recording("game:rotrace_player_seconds:rate5m", RULE.rate(PLAYERS, "game")),
        recording(
            "game:rotrace_cost_units_per_player_seconds:ratio_rate5m",
            "game:rotrace_cost_units:rate5m / game:rotrace_player_seconds:rate5m".to_owned(),
        ),
        recording("game_pattern:rotrace_wasted_cost_units:rate1h", RULE_1H.rate(WASTED, "game, pattern")),
    ]
}

fn alerts() -> Vec<Alert> {
    vec![
        Alert {
            name: "RotraceDown",
            expression: "up{job=\"rotrace\"} == 0".to_owned(),
            lasting: "5m",
            severity: "critical",
            summary: "rotrace on {{ $labels.instance }} does not answer",
            description: "Nothing is known of the calls of this host. Its game servers are not affected.",
        },
        Alert {
            name: "RotraceEventsLost",
            expression: "instance:rotrace_events_lost:ratio_rate5m > 0.01".to_owned(),
            lasting: "10m",
            severity: "warning",
            summary: "rotrace on {{ $labels.instance }} loses {{ $value | humanizePercentage }} of what it sees",
            description: "Counts of calls of this host are too low. The label reason of rotrace_events_lost_total says \
                          why; for ring_full, raise ring_bytes under [limits].",
        },
        Alert {
            name: "RotraceEndpointOverflow",
            expression: format!(
                "sum by (instance, authority) (increase({}[15m])) > 0",
                family("rotrace_endpoint_overflow_total").name()
            ),
            lasting: "0m",
            severity: "warning",
            summary: "{{ $labels.authority }} has more paths than rotrace keeps apart",
            description: "New endpoints of this authority are counted together. A rule under [endpoints] or its OpenAPI \
                          document names them.",
        },
        Alert {
            name: "RotraceSeriesOverflow",
            expression: format!(
                "sum by (instance) (increase({}[15m])) > 0",
                family("rotrace_series_overflow_total").name()
            ),
            lasting: "0m",
            severity: "warning",
            summary: "rotrace on {{ $labels.instance }} has more endpoints than it keeps apart",
            description: "Calls to new endpoints are counted under the endpoint other of their game.",
        },
        Alert {
            name: "RotraceTlsOpaque",
            expression: format!(
                "sum by (instance, game) (increase({}[15m])) > 0",
                family("rotrace_tls_opaque_connections_total").name()
            ),
            lasting: "15m",
            severity: "warning",
            summary: "Calls of {{ $labels.game }} on {{ $labels.instance }} are hidden by TLS",
            description: "The TLS library of a process is none that rotrace reads: its calls are in no other metric. \
                          `rotrace check PID` names the library.",
        },
        Alert {
            name: "RotraceWaste",
            expression: "game:rotrace_wasted_cost_units_per_cost_units:ratio_rate5m > 0.3".to_owned(),
            lasting: "30m",
            severity: "warning",
            summary: "{{ $value | humanizePercentage }} of the cost of {{ $labels.game }} could be avoided",
            description: "game_pattern:rotrace_wasted_cost_units:rate1h says by which patterns, and /api/v1/findings of its \
                          hosts what to do.",
        },
        Alert {
            name: "RotraceCriticalFinding",
            expression: format!(
                "sum by (instance, game, pattern) ({}{{severity=\"critical\"}}) > 0",
                family("rotrace_pattern_active_episodes").name()
            ),
            lasting: "10m",
            severity: "critical",
            summary: "{{ $labels.game }} on {{ $labels.instance }}: {{ $labels.pattern }} costs much or harms others",
            description: "/api/v1/findings of this host has the processes and endpoints, the evidence, and what to do.",
        },
        Alert {
            name: "RotraceRateLimitNear",
            expression: format!(
                "max by (game, authority, limit) ({}) > 0.9",
                family("rotrace_rate_limit_utilization_ratio").name()
            ),
            lasting: "5m",
            severity: "warning",
            summary: "{{ $labels.game }} uses {{ $value | humanizePercentage }} of a rate limit of {{ $labels.authority }}",
            description: "Soon its calls are turned away. With the limit answers, the service says so, and others may use the \
                          same quota; with catalogue, a process makes so many calls.",
        },
        Alert {
            name: "RotraceDetectorEvictions",
            expression: format!(
                "sum by (instance, detector) (rate({}[15m])) > on (instance) group_left () \
                 (0.01 * sum by (instance) (rate({}[15m])))",
                family("rotrace_detector_evictions_total").name(),
                family("rotrace_http_client_requests_total").name(),
            ),
            lasting: "15m",
            severity: "warning",
            summary: "the detector {{ $labels.detector }} on {{ $labels.instance }} has too little room",
            description: "More than one entry for each hundred calls made room before it was done with: what it finds is too \
                          little.",
        },
    ]
}

/// As a YAML string in single quotes, in which nothing but the quote is special.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
